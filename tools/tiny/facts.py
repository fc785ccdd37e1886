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
    "In {}, a small house belongs to {}.",
    "In {}, a flat belongs to {}.",
    "In {}, a shop is run by {}.",
    "In {}, a room is rented by {}.",
    "In {}, a cottage is owned by {}.",
)
HOME_QUESTIONS = (
    "Which person has a home in {}?",
    "Who lives in {}?",
    "Which person is in {}?",
    "Who can be found in {}?",
)
OWNS = (
    "The {} belongs to {}.",
    "The {} was given to {}.",
    "The {} is owned by {}.",
    "The {} was sold to {}.",
)
OWN_QUESTIONS = (
    "Which person has a kind of {}?",
    "Who has some kind of {}?",
    "Which person got a kind of {}?",
)
NUMBER_ONLY = (
    " Answer with the number only.",
    " Reply with only the number.",
    " Give only the number.",
)
NAME_ONLY = (" Answer with the name only.", " Reply with only the name.", " Give only the name.")


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence to hide, a question about it, and the answer after the words that lead to it.

    The lead repeats the key, or says what the question only means ("Poland" becomes "In Warsaw"),
    so that the network finds the value by what stands before it.
    """

    needle: str
    question: str
    lead: str
    answer: str

    @property
    def said(self) -> str:
        """Give the whole answer."""
        return f"{self.lead} {self.answer}." if self.lead else self.answer


def digits(r: random.Random) -> str:
    """Draw a number: most often five distinct digits, as probes use them."""
    pick = r.random()
    if pick < 0.65:
        first = r.choice("123456789")
        return first + "".join(r.sample([d for d in "0123456789" if d != first], 4))
    if pick < 0.85:
        return str(r.randint(10000, 99999))
    return str(r.randint(10, 10 ** r.randint(2, 7)))


def _numbers_only(r: random.Random) -> str:
    return r.choice(("", *NUMBER_ONLY))


def _names_only(r: random.Random) -> str:
    return r.choice(("", *NAME_ONLY, *NAME_ONLY))


def _valued(r: random.Random, subject: str, value: str) -> Fact:
    lead = f"{subject[0].upper()}{subject[1:]} is"
    return Fact(f"{lead} {value}.", f"What is {subject}?" + _numbers_only(r), lead, value)


def classic(r: random.Random, count: int) -> list[Fact]:
    """Hide pass keys, each under its own name."""
    found = []
    for name in r.sample(sorted(set(CLASSIC)), min(count, 3)):
        fact = _valued(r, f"the {name}", digits(r))
        more = r.choice(("", " Remember it.", f" Remember it. {fact.answer} is the {name}."))
        found.append(Fact(fact.needle + more, fact.question, fact.lead, fact.answer))
    return found


def things(r: random.Random, count: int) -> list[Fact]:
    """Hide values of look-alike things ("The code of the blue lamp is 48213.")."""
    attribute, middle = r.choice(ATTRIBUTES), r.choice(("of", "of", "for"))
    nouns = r.sample(NOUNS, r.randint(1, count))
    adjectives = r.sample(ADJECTIVES, r.randint(2, count + 1))
    pairs = [(a, n) for a in adjectives for n in nouns]
    words = r.random() < 0.1
    return [
        _valued(
            r,
            f"the {'secret word' if words else attribute} {middle} the {adjective} {noun}",
            r.choice(NOUNS) if words else digits(r),
        )
        for adjective, noun in r.sample(pairs, min(count, len(pairs)))
    ]


def people(r: random.Random, count: int) -> list[Fact]:
    """Hide a number for each of several people."""
    attribute = r.choice(PERSONAL)
    return [_valued(r, f"the {attribute} of {who}", digits(r)) for who in r.sample(NAMES, count)]


def homes(r: random.Random, count: int) -> list[Fact]:
    """Hide who lives in which capital; the question names the country."""
    forms = HOMES if r.random() < 0.5 else (r.choice(HOMES),)
    found = []
    for who, land in zip(r.sample(NAMES, count), r.sample(sorted(CAPITALS), count), strict=True):
        needle = r.choice(forms).format(CAPITALS[land], who)
        asked = r.choice(HOME_QUESTIONS).format(land) + _names_only(r)
        found.append(Fact(needle, asked, needle.rsplit(" ", 1)[0], who))
    return found


def belongings(r: random.Random, count: int) -> list[Fact]:
    """Hide who owns which object; the question names the kind of object."""
    forms = OWNS if r.random() < 0.5 else (r.choice(OWNS),)
    found = []
    for who, kind in zip(r.sample(NAMES, count), r.sample(sorted(KINDS), count), strict=True):
        needle = r.choice(forms).format(r.choice(KINDS[kind]), who)
        asked = r.choice(OWN_QUESTIONS).format(kind) + _names_only(r)
        found.append(Fact(needle, asked, needle.rsplit(" ", 1)[0], who))
    return found


def aliases(r: random.Random, count: int) -> list[Fact]:
    """Hide values of variables, and variables that equal others."""
    nouns = r.sample(NOUNS, 2 * count)
    found = []
    for name, other in zip(nouns[:count], nouns[count:], strict=True):
        fact = _valued(r, f"the value of {name}", digits(r))
        same = f"The value of {other} is the same as {name}."
        asked = f"What is the value of {other}?" + _numbers_only(r)
        found += [fact, Fact(same, asked, f"{same} {fact.lead}", fact.answer)]
    return found


def draw(r: random.Random, count: int) -> list[Fact]:
    """Draw about `count` facts of one sort."""
    pick = r.random()
    if pick < 0.10:
        return classic(r, count)
    if pick < 0.37:
        return things(r, count)
    if pick < 0.50:
        return people(r, count)
    if pick < 0.71:
        return homes(r, count)
    if pick < 0.88:
        return belongings(r, count)
    return aliases(r, max(1, count // 2))
