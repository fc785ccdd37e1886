"""Facts to hide in a long text, the questions about them, and the answers expected.

`PROBES.md` beside this file lists the wordings for the people who write context tests.
"""

import random
from dataclasses import dataclass

from tools.tiny.words import ADJECTIVES, CAPITALS, KINDS, NAMES, NOUNS

ATTRIBUTES = (
    "code",
    "code",
    "number",
    "price",
    "key",
    "serial number",
    "secret code",
    "access code",
)
CLASSIC = (
    "pass key",
    "pass key",
    "pass key",
    "secret code",
    "magic number",
    "door code",
    "secret number",
)
PERSONAL = ("locker number", "phone number", "room number", "ticket number", "code", "lucky number")
HOMES = (
    "{} keeps a small house in {}.",
    "{} lives in {}.",
    "{} bought a flat in {} last year.",
    "{} has stayed in {} for many years.",
    "{} runs a small shop in {}.",
    "{} moved to {} in the spring.",
)
HOME_QUESTIONS = (
    "Which person has a home in {}?",
    "Who lives in {}?",
    "Which person is in {}?",
    "Who can be found in {}?",
)
OWNS = (
    "{} bought a {} yesterday.",
    "{} owns a {}.",
    "{} was given a {} as a present.",
    "{} took a {} home.",
)
OWN_QUESTIONS = ("Which person has a {}?", "Who has some kind of {}?", "Which person got a {}?")
NUMBER_ONLY = (
    " Answer with the number only.",
    " Reply with only the number.",
    " Give only the number.",
)
NAME_ONLY = (" Answer with the name only.", " Reply with only the name.", " Give only the name.")
WORD_ONLY = (" Answer with one word.", " Answer with the word only.", " Reply with only the word.")


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence to hide, a question that it answers, and the answer."""

    needle: str
    question: str
    answer: str


def digits(r: random.Random) -> str:
    """Draw a number: most often five distinct digits, as probes use them."""
    pick = r.random()
    if pick < 0.65:
        first = r.choice("123456789")
        return first + "".join(r.sample([d for d in "0123456789" if d != first], 4))
    if pick < 0.85:
        return str(r.randint(10000, 99999))
    return str(r.randint(10, 10 ** r.randint(2, 7)))


def _ask(r: random.Random, subject: str, value: str, only: tuple[str, ...]) -> tuple[str, str]:
    if r.random() < 0.65:
        return f"What is {subject}?" + r.choice(only), value
    return f"What is {subject}?", f"{subject[0].upper()}{subject[1:]} is {value}."


def classic(r: random.Random, count: int) -> list[Fact]:
    """Hide pass keys, each under its own name."""
    facts = []
    for name in r.sample(sorted(set(CLASSIC)), min(count, 3)):
        key = digits(r)
        form = r.choice(
            (
                "The {0} is {1}.",
                "The {0} is {1}. Remember it.",
                "The {0} is {1}. Remember it. {1} is the {0}.",
            )
        )
        facts.append(Fact(form.format(name, key), *_ask(r, f"the {name}", key, NUMBER_ONLY)))
    return facts


def things(r: random.Random, count: int) -> list[Fact]:
    """Hide values of look-alike things ("The code of the blue lamp is 48213.")."""
    attribute = r.choice(ATTRIBUTES)
    nouns, adjectives = (
        r.sample(NOUNS, r.randint(1, count)),
        r.sample(ADJECTIVES, r.randint(2, count + 1)),
    )
    pairs = [(a, n) for a in adjectives for n in nouns]
    words = r.random() < 0.12
    facts = []
    form = r.choice(
        ("The {} of the {} {} is {}.", "The {} of the {} {} is {}.", "The {} for the {} {} is {}.")
    )
    for adjective, noun in r.sample(pairs, min(count, len(pairs))):
        value = r.choice(NOUNS) if words else digits(r)
        name = "secret word" if words else attribute
        middle = "for" if " for " in form else "of"
        subject = f"the {name} {middle} the {adjective} {noun}"
        facts.append(
            Fact(
                form.format(name, adjective, noun, value),
                *_ask(r, subject, value, WORD_ONLY if words else NUMBER_ONLY),
            )
        )
    return facts


def people(r: random.Random, count: int) -> list[Fact]:
    """Hide a number for each of several people."""
    attribute = r.choice(PERSONAL)
    form = r.choice(("{0}'s {1}", "the {1} of {0}"))
    facts = []
    for name in r.sample(NAMES, count):
        value, subject = digits(r), form.format(name, attribute)
        facts.append(
            Fact(
                f"{subject[0].upper()}{subject[1:]} is {value}.",
                *_ask(r, subject, value, NUMBER_ONLY),
            )
        )
    return facts


def homes(r: random.Random, count: int) -> list[Fact]:
    """Hide who lives in which capital; the question names the country."""
    forms = HOMES if r.random() < 0.5 else (r.choice(HOMES),)
    return [
        Fact(
            r.choice(forms).format(name, CAPITALS[country]),
            r.choice(HOME_QUESTIONS).format(country)
            + (r.choice(NAME_ONLY) if r.random() < 0.8 else ""),
            name,
        )
        for name, country in zip(
            r.sample(NAMES, count), r.sample(sorted(CAPITALS), count), strict=True
        )
    ]


def belongings(r: random.Random, count: int) -> list[Fact]:
    """Hide who owns which object; the question names the kind of object."""
    forms = OWNS if r.random() < 0.5 else (r.choice(OWNS),)
    return [
        Fact(
            r.choice(forms).format(name, r.choice(KINDS[kind])),
            r.choice(OWN_QUESTIONS).format(kind)
            + (r.choice(NAME_ONLY) if r.random() < 0.8 else ""),
            name,
        )
        for name, kind in zip(r.sample(NAMES, count), r.sample(sorted(KINDS), count), strict=True)
    ]


def aliases(r: random.Random, count: int) -> list[Fact]:
    """Hide values of variables, and variables that equal others."""
    nouns = r.sample(NOUNS, 2 * count)
    facts = []
    for name, other in zip(nouns[:count], nouns[count:], strict=True):
        value = digits(r)
        subject = f"the value of {other}"
        facts.append(
            Fact(
                f"The value of {name} is {value}.",
                *_ask(r, f"the value of {name}", value, NUMBER_ONLY),
            )
        )
        facts.append(
            Fact(
                f"The value of {other} is the same as {name}.",
                *_ask(r, subject, value, NUMBER_ONLY),
            )
        )
    return facts


def draw(r: random.Random, count: int) -> list[Fact]:
    """Draw about `count` facts of one sort."""
    pick = r.random()
    if pick < 0.16:
        return classic(r, count)
    if pick < 0.46:
        return things(r, count)
    if pick < 0.60:
        return people(r, count)
    if pick < 0.80:
        return homes(r, count)
    if pick < 0.92:
        return belongings(r, count)
    return aliases(r, max(1, count // 2))
