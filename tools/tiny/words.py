"""Word lists and the small world knowledge that all generated text draws on."""

NOUNS = tuple(
    "cat dog bird river house garden boat train road tree hill farmer teacher doctor child king "
    "queen sailor baker "
    "letter book lamp window door table chair bridge market village city forest lake storm cloud "
    "moon star sun flower "
    "bread stone wheel clock horse cow sheep fox bear fish wolf island valley mountain field "
    "school church shop ship "
    "map coat hat shoe ring coin box cup key bag bottle drawer safe engine gate tower".split()
)
ADJECTIVES = tuple(
    "old young red blue green small large quiet loud happy sad bright dark warm cold soft hard "
    "tall short slow quick "
    "kind brave gentle strange lovely empty full clean dusty golden silver wooden heavy light "
    "yellow black white brown "
    "purple round plain broken".split()
)
VERBS = tuple(
    "saw found liked painted carried watched followed crossed opened closed visited helped moved "
    "lost kept made built "
    "sold bought cleaned".split()
)
ADVERBS = tuple(
    "slowly quickly quietly today yesterday again often always gladly alone together early "
    "late".split()
)
PREPOSITIONS = tuple("near under behind beside above inside across beyond".split())
NAMES = tuple(
    "Anna Ben Clara David Emma Frank Greta Henry Irene Jack Karen Leo Maria Nora Oscar Paul Rosa "
    "Simon Tina Victor "
    "Adam Bella Carl Diana Eric Felix Grace Hugo Ivan Julia Lucas Martha Nick Olga Peter Robert "
    "Sarah Tom Vera "
    "Walter".split()
)
CAPITALS = {
    "Poland": "Warsaw", "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid",
    "Portugal": "Lisbon", "England": "London", "Ireland": "Dublin", "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Finland": "Helsinki", "Denmark": "Copenhagen", "Austria": "Vienna", "Hungary": "Budapest",
    "Greece": "Athens",
    "Turkey": "Ankara", "Egypt": "Cairo", "Kenya": "Nairobi", "Japan": "Tokyo",
    "China": "Beijing", "India": "Delhi",
    "Russia": "Moscow", "Canada": "Ottawa", "Cuba": "Havana", "Peru": "Lima", "Chile": "Santiago",
    "Belgium": "Brussels", "Iraq": "Baghdad", "Iran": "Tehran", "Ukraine": "Kyiv",
}  # fmt: skip
KINDS = {
    "fish": ("trout", "salmon", "herring", "tuna"),
    "fruit": ("pear", "cherry", "banana", "plum"),
    "flower": ("rose", "tulip", "daisy", "lily"),
    "tool": ("hammer", "saw", "drill", "wrench"),
    "bird": ("parrot", "eagle", "owl", "sparrow"),
    "musical instrument": ("violin", "piano", "flute", "guitar"),
    "vehicle": ("truck", "bicycle", "tractor", "bus"),
    "drink": ("tea", "coffee", "juice", "milk"),
    "metal": ("iron", "copper", "zinc", "tin"),
    "insect": ("ant", "bee", "beetle", "moth"),
    "vegetable": ("carrot", "cabbage", "onion", "potato"),
    "piece of furniture": ("sofa", "desk", "wardrobe", "shelf"),
}
OPPOSITES = dict(
    pair.split()
    for pair in (
        "hot cold|big small|up down|day night|fast slow|good bad|happy sad|open closed|old "
        "new|light dark|high low|"
        "left right|wet dry|full empty|early late|rich poor|hard soft|black white|long "
        "short|near far"
    ).split("|")
)
COLORS = {
    "the sky": "blue", "grass": "green", "snow": "white", "blood": "red", "coal": "black",
    "a lemon": "yellow",
    "a carrot": "orange", "milk": "white", "a tomato": "red", "gold": "yellow",
    "chocolate": "brown",
}  # fmt: skip
COMMON = tuple(
    "of in to for that this with you have are not from they his her which would about what when "
    "your said there use "
    "each their will how other out many then them these some make like into time has look two "
    "more write go see no "
    "way could people my than first been call who its now find long down did get come may part "
    "over new sound take "
    "only little work know place year live back give most very after thing our just good "
    "sentence man think say great "
    "where through much before line right too mean same tell follow came want show also around "
    "form three set put end "
    "does another well must big even such because turn here why ask went men read need land "
    "different home us try "
    "hand picture change off play spell air away animal point page mother answer study still "
    "learn should world "
    "reason problem question system list text number word example use explain describe short one "
    "sentence brief "
    "result data model test language write following information context code function value "
    "important story "
    "summarize translate computer machine help person company group state family country every "
    "between never water "
    "idea history science music food money business energy health law power result program "
    "service user file".split()
)
SUFFIXES = (
    "",
    "",
    "",
    "",
    "s",
    "ing",
    "ed",
    "er",
    "ly",
    "tion",
    "al",
    "ness",
    "able",
    "ment",
    "ive",
)
FOREIGN = (
    (
        "Der Die Das Ein Eine Mein Unser".split(),
        "alte kleine große schöne grüne dunkle müde helle junge weiße".split(),
        (
            "Haus Straße Bäcker Stadt Garten Schlüssel Wald Mädchen Hund Brücke Zug Fenster "
            "Lehrer Bücher"
        ).split(),
        "findet sucht öffnet trägt verkauft sieht hört liebt kauft verläßt".split(),
        "heute morgen immer wieder nicht langsam über dem See und bleibt dort".split(" "),
    ),
    (
        "Ten Ta To Nasz Moja Jeden Każdy".split(),
        "stary mała wielki zielona żółty cichy dobra nowe".split(),
        (
            "dom książka miasto ogród las dziewczyna pies most pociąg okno nauczyciel wieś "
            "źródło ręka"
        ).split(),
        "widzi otwiera niesie kupuje lubi znajduje pamięta śpiewa".split(),
        "dzisiaj jutro zawsze znowu powoli nad rzeką i czeka że już".split(" "),
    ),
    (
        "Le La Un Une Notre Cette Mon".split(),
        "vieux petite grand belle vert jeune étrange léger".split(),
        (
            "maison livre ville forêt garçon chien pont fenêtre élève château clé jardin école été"
        ).split(),
        "trouve cherche ouvre porte achète aime regarde perd".split(),
        "aujourd'hui demain toujours encore lentement près du lac et reste là".split(" "),
    ),
)
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen "
    "eighteen nineteen".split()
)
_TENS = ("", "", *"twenty thirty forty fifty sixty seventy eighty ninety".split())


def spell(number: int) -> str:
    """Give the English words of a number from 0 to 99."""
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
