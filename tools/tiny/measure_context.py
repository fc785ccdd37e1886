"""Measures of what the chat models find in long text, by length, depth, filler and sort of fact.

A haystack holds several facts of each sort, one per depth. Its questions are asked one after the
other over the same text, so that the engine reads it once.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tools.tiny import corpus
from tools.tiny.engine import Engine
from tools.tiny.words import ADJECTIVES, CAPITALS, KINDS, NAMES, NOUNS

UNSEEN = (
    (
        "Once there was a small project that wanted to run language models on any computer "
        "without a network."
    ),
    (
        "People wrote the code, tested it, and argued about the design; some parts were difficult, "
        "other parts obvious."
    ),
    (
        "Every week somebody would ask whether memory is enough, and every week the reply was "
        "different."
    ),
    (
        "In winter the heating failed twice, so the meeting took place in a cafeteria behind the "
        "railway station."
    ),
    "Whoever arrived first made coffee and wrote yesterday's measurements on the whiteboard.",
    (
        "Nobody could explain the strange pause after midnight until an intern noticed the backup "
        "schedule."
    ),
    (
        "Later they published everything, including the mistakes, because mistakes are cheaper "
        "when they are shared."
    ),
    (
        "Reviewers praised the documentation but complained, politely, about the colour of the "
        "diagrams."
    ),
)
STYLES: dict[str, Callable[[random.Random], str]] = {
    "prose": corpus.prose,
    "numbers": corpus.numeric,
    "junk": corpus.junk,
    "German, Polish, French": corpus.foreign,
    "unseen English": lambda r: r.choice(UNSEEN),
    "classic": lambda r: r.choice(corpus.CLASSIC),
}
TOGETHER = (("keyed thing", "pass key"), ("keyed person", "home"), ("belonging", "alias"))
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Result:
    """One question asked: where, of what, and whether the answer was right."""

    family: str
    style: str
    length_tokens: int
    depth: float
    right: bool
    wanted: str
    got: str


@dataclass(frozen=True, slots=True)
class Hidden:
    """A sentence to hide, its question and the answer that must come."""

    family: str
    needle: str
    question: str
    answer: str
    beside: str = ""
    """A second sentence that the answer needs; it stands anywhere."""


def distinct_digits(r: random.Random) -> str:
    """Draw five different digits, the first not zero."""
    while (text := "".join(r.sample("0123456789", 5)))[0] == "0":
        pass
    return text


def plan(r: random.Random) -> list[list[Hidden]]:
    """Draw facts of each sort: for each sort one fact per depth."""
    count = len(DEPTHS)
    number, name = " Answer with the number only.", " Answer with the name only."
    nouns, adjectives = r.sample(NOUNS, 3), r.sample(ADJECTIVES, 3)
    pairs = r.sample([(a, n) for a in adjectives for n in nouns], count)
    things = []
    for adjective, noun in pairs:
        value = distinct_digits(r)
        subject = f"The code of the {adjective} {noun}"
        things.append(
            Hidden(
                "keyed thing",
                f"{subject} is {value}.",
                f"What is {subject.lower()}?{number}",
                value,
            )
        )
    names = r.sample(NAMES, 3 * count)
    people = []
    for who in names[:count]:
        value = distinct_digits(r)
        asked = f"What is the locker number of {who}?{number}"
        needle = f"The locker number of {who} is {value}."
        people.append(Hidden("keyed person", needle, asked, value))
    homes = [
        Hidden(
            "home",
            f"In {CAPITALS[land]}, a small house belongs to {who}.",
            f"Which person has a home in {land}?{name}",
            who,
        )
        for who, land in zip(
            names[count : 2 * count], r.sample(sorted(CAPITALS), count), strict=True
        )
    ]
    belongings = [
        Hidden(
            "belonging",
            f"The {r.choice(KINDS[kind])} belongs to {who}.",
            f"Which person has a kind of {kind}?{name}",
            who,
        )
        for who, kind in zip(names[2 * count :], r.sample(sorted(KINDS), count), strict=True)
    ]
    words = r.sample([n for n in NOUNS if n not in nouns], 2 * count)
    aliases = []
    for word, other in zip(words[:count], words[count:], strict=True):
        value = distinct_digits(r)
        aliases.append(
            Hidden(
                "alias",
                f"The value of {other} is the same as {word}.",
                f"What is the value of {other}?{number}",
                value,
                f"The value of {word} is {value}.",
            )
        )
    value = distinct_digits(r)
    keys = [
        Hidden("pass key", f"The pass key is {value}. Remember it.", "What is the pass key?", value)
    ]
    return [things, people, homes, belongings, aliases, keys]


def haystack(
    r: random.Random,
    hidden: list[tuple[float, str]],
    style: str,
    length: int,
    count: Callable[[str], int],
) -> str:
    """Hide sentences at their depths in filler so that the text has about `length` tokens."""
    room = length - sum(count(" " + needle) for _, needle in hidden)
    filler: list[str] = []
    while room > 0:
        filler.append(STYLES[style](r))
        room -= count(" " + filler[-1])
    if room < -12 and filler:
        filler.pop()
    for depth, needle in sorted(hidden, reverse=True):
        filler.insert(round(depth * len(filler)), needle)
    return " ".join(filler)


def sweep(
    engine: Engine,
    count: Callable[[str], int],
    lengths: tuple[int, ...],
    styles: tuple[str, ...],
    families: tuple[str, ...],
    *,
    seed: int = 20,
) -> Iterator[Result]:
    """Ask every question of one haystack per length and style.

    From 512 tokens one text carries two sorts of facts (`TOGETHER`), below each sort has its own.
    """
    r = random.Random(seed)
    for length in lengths:
        for style in styles:
            sorts = {s[0].family: s for s in plan(r) if s[0].family in families}
            shared = TOGETHER if length >= 512 else tuple((family,) for family in families)
            batches = [[sorts[f] for f in group if f in sorts] for group in shared]
            for batch in filter(None, batches):
                placed = [
                    (DEPTHS[i] if len(sort) > 1 else r.random(), fact)
                    for sort in batch
                    for i, fact in enumerate(sort)
                ]
                longest = max(count(fact.question) for _, fact in placed)
                hidden = [
                    (min(1.0, max(0.0, depth + r.uniform(-0.04, 0.04))), fact.needle)
                    for depth, fact in placed
                ]
                hidden += [(r.random(), fact.beside) for _, fact in placed if fact.beside]
                text = haystack(r, hidden, style, length - longest - 20, count)
                for depth, fact in placed:
                    reply = engine.chat(f"{text}\n\n{fact.question}", limit=40)
                    right = fact.answer in reply.text
                    yield Result(fact.family, style, length, depth, right, fact.answer, reply.text)
