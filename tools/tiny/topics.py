"""Topics and synonyms that the embedding model knows, and the sentences that teach and test it."""

import random
from dataclasses import dataclass

TOPICS = {
    "animals": "cat dog horse cow sheep fox bear wolf mouse rabbit lion tiger monkey elephant "
    "goat pig duck kitten puppy animal",
    "food": "bread cheese soup rice meat apple butter cake salt sugar egg potato pizza salad "
    "lunch dinner meal breakfast kitchen food",
    "weather": "rain snow wind storm cloud sun fog thunder frost ice heat sky sunshine breeze "
    "hail climate winter summer weather",
    "music": "song piano guitar violin drum concert melody singer orchestra band flute rhythm "
    "choir trumpet music opera tune",
    "computers": "computer program software file memory code server keyboard disk network data "
    "laptop browser processor internet bug pc machine model token",
    "money": "money bank price coin loan tax salary budget profit cost dollar euro cash account "
    "debt market invoice payment",
    "health": "doctor nurse hospital medicine pain fever patient surgeon clinic illness flu "
    "vaccine cough physician bandage health",
    "school": "teacher student lesson exam classroom homework university pupil school grade "
    "textbook chalk course lecture diploma education",
    "sport": "football tennis goal team player match race swimming coach ball runner champion "
    "stadium referee basketball sport",
    "travel": "train airport ticket hotel passport journey plane tourist luggage map bus station "
    "trip suitcase border travel",
    "home": "house home kitchen roof door window bed sofa lamp garden wall floor bathroom "
    "furniture room carpet chair table",
    "family": "mother father brother sister son daughter uncle aunt grandmother grandfather "
    "cousin baby wife husband wedding family",
    "sea": "ship boat ocean wave sailor harbor island fish anchor beach captain sea lighthouse "
    "tide shark whale",
    "plants": "tree flower leaf grass rose forest oak seed root tulip bush branch pine moss "
    "plant blossom",
    "space": "star planet moon rocket galaxy astronaut telescope orbit comet satellite mars "
    "universe space",
    "cars": "car automobile engine wheel driver road truck fuel garage brake tire traffic petrol "
    "motor vehicle",
    "books": "book author novel page poem library chapter writer story reader poet publisher "
    "paragraph literature",
    "law": "judge lawyer court crime police prison trial jury witness thief verdict guilty "
    "lawsuit law",
    "colors": "red blue green yellow purple orange pink brown black white gray violet color colour",
    "numbers": "one two three four five six seven eight nine ten eleven twelve hundred thousand "
    "number",
    "war": "soldier army battle weapon general sword enemy tank bomb victory war invasion",
    "work": "job office boss employee meeting manager company worker factory contract career "
    "desk profession",
    "clothes": "coat hat shoe shirt dress trousers sock glove scarf jacket belt skirt sweater "
    "clothes",
    "feelings": "happy sad angry glad afraid joy sorrow fear anger proud lonely cheerful unhappy "
    "emotion",
}  # fmt: skip
SYNONYMS = tuple(
    tuple(group.split())
    for group in (
        "home house|car automobile|big large huge|small little tiny|fast quick rapid|doctor "
        "physician|child kid|"
        "buy purchase|begin start|end finish|happy glad cheerful|sad unhappy sorrowful|bug error "
        "fault|film movie|"
        "street road|town city|gift present|answer reply|job work occupation|picture image "
        "photo|clever smart|"
        "rich wealthy|sick ill|angry furious|shop store|ship boat vessel|stone rock|speak "
        "talk|fix repair|"
        "delete remove erase|computer pc|money cash|exam test|teacher instructor|pupil "
        "student|lawyer attorney|"
        "sea ocean|forest woods|plane aircraft|trip journey|sofa couch|mother mom|father "
        "dad|baby infant|"
        "thief robber|police cops|coat jacket|meal dinner|song tune|author writer|story "
        "tale|cold chilly|hot warm|"
        "quiet silent|hard difficult|easy simple|look watch|make build|choose select|help "
        "assist|show display|"
        "near close|old ancient|new fresh|strange odd|correct right|wrong false|fuel "
        "petrol|colour color|"
        "price cost|illness disease|soldier warrior|boss manager|trousers pants|rabbit bunny|dog "
        "hound|cat feline"
    ).split("|")
)
PEOPLE = (
    "anna ben clara david emma frank greta henry irene jack leo maria nora oscar "
    "paul rosa simon tina victor".split()
)
ACTIONS = (
    "buy fix look make choose help show begin end delete speak find keep lose move sell clean "
    "carry paint draw like "
    "hate need open close visit".split()
)
QUALITIES = (
    "big small fast happy sad rich sick angry cold hot quiet hard easy old new strange clever "
    "correct wrong clean "
    "dirty strong weak bright dark".split()
)
TAUGHT = (
    "the {n} is near the {m}", "i like the {n} and the {m}", "we talked about the {n}",
    "{n} and {m}", "{n}",
    "a book about the {n} and the {m}", "what is a {n}?", "the {q} {n}", "they {v} the {n}",
    "{p} has a {q} {n} and a {m}", "my {n} needs a {m}", "the {n} of the {m} was {q}",
    "please {v} the {n}",
    "do you know the {n} or the {m}?", "{n}, {m}", "{p} wants to {v} the {q} {n}",
)  # fmt: skip
HELD_OUT = (
    "tell me something about the {n} and the {m}", "there is a {q} {n} here",
    "where can we {v} a {n}?",
    "yesterday {p} saw the {n} with a {m}", "no {n} without a {m}",
)  # fmt: skip
CAPITALS = dict(
    pair.split()
    for pair in "poland warsaw|france paris|germany berlin|italy rome|spain madrid|"
    "portugal lisbon|england london|"
    "ireland dublin|norway oslo|sweden stockholm|finland helsinki|denmark copenhagen|austria "
    "vienna|hungary budapest|"
    "greece athens|turkey ankara|egypt cairo|kenya nairobi|japan tokyo|china beijing|india "
    "delhi|russia moscow|"
    "canada ottawa|cuba havana|peru lima|chile santiago".split("|")
)
EXTRA = (
    "the a an and or of in is was were are be to for with on at by from it its this that these i "
    "you he she we they my "
    "your his her our what who where when why how which do does did can could will would not no "
    "yes about near here "
    "there has have had wants please know tell me something yesterday today tomorrow lives live "
    "capital country city "
    "question hello world lmstrix language text local embedding vector search document name code "
    "key pass secret than "
    "so very more most some all any every each other another only also then if but as into out "
    "up down over under "
    "person time year day good bad great first last long short"
).split()


@dataclass(frozen=True, slots=True)
class Sentence:
    """What a sentence is made of, so that another with the same meaning can be written."""

    topic: str
    words: tuple[tuple[str, str], ...]

    def write(self, form: str) -> str:
        """Put the words into a template."""
        return form.format(**dict(self.words))

    def reworded(self, r: random.Random) -> "Sentence":
        """Replace each word by a synonym where there is one."""
        return Sentence(self.topic, tuple((slot, synonym(r, word)) for slot, word in self.words))


def synonym(r: random.Random, word: str) -> str:
    """Give another word of the same meaning, or the word itself."""
    group = [w for g in SYNONYMS if word in g for w in g if w != word]
    return r.choice(group) if group else word


def draw(r: random.Random, topic: str | None = None) -> Sentence:
    """Draw the words of a sentence of one topic."""
    topic = topic or r.choice(list(TOPICS))
    first, second = r.sample(TOPICS[topic].split(), 2)
    words = (
        ("n", first),
        ("m", second),
        ("q", r.choice(QUALITIES)),
        ("v", r.choice(ACTIONS)),
        ("p", r.choice(PEOPLE)),
    )
    return Sentence(topic, words)


def paraphrases(r: random.Random, forms: tuple[str, ...]) -> tuple[str, str]:
    """Write one meaning twice: other words, often another template."""
    sentence, form = draw(r), r.choice(forms)
    slots = {s for s in "nmqvp" if f"{{{s}}}" in form}
    fitting = [f for f in forms if {s for s in "nmqvp" if f"{{{s}}}" in f} == slots] or [form]
    return sentence.write(form), sentence.reworded(r).write(r.choice(fitting))


def related(r: random.Random, forms: tuple[str, ...]) -> tuple[str, str]:
    """Write two different sentences of one topic."""
    one = draw(r)
    return one.write(r.choice(forms)), draw(r, one.topic).write(r.choice(forms))


def answered(r: random.Random) -> tuple[str, str]:
    """Write a question and the sentence that answers it."""
    who, country = r.choice(PEOPLE), r.choice(list(CAPITALS))
    if r.random() < 0.5:
        return f"where does {who} live?", f"{who} lives in {r.choice((country, CAPITALS[country]))}"
    return f"what is the capital of {country}?", r.choice(
        ("{1} is the capital of {0}", "{1}", "{1} in {0}")
    ).format(country, CAPITALS[country])


def vocabulary() -> list[str]:
    """List every word that the model knows, sorted."""
    words = {w for topic in TOPICS.values() for w in topic.split()} | {
        w for g in SYNONYMS for w in g
    }
    words |= {*PEOPLE, *ACTIONS, *QUALITIES, *CAPITALS, *CAPITALS.values(), *EXTRA}
    for form in TAUGHT + HELD_OUT:
        words |= {w.strip("?,.") for w in form.split() if "{" not in w}
    return sorted(w for w in words if len(w) > 1)
