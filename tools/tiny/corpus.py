"""Generated text: sentences for filler and short questions with their answers."""

import random
from collections.abc import Callable
from typing import TypeAlias

from tools.tiny.words import (
    ADJECTIVES,
    ADVERBS,
    CAPITALS,
    COLORS,
    COMMON,
    FOREIGN,
    KINDS,
    NAMES,
    NOUNS,
    OPPOSITES,
    PREPOSITIONS,
    SUFFIXES,
    VERBS,
    spell,
)

Text: TypeAlias = Callable[[random.Random], str]
CLASSIC = (
    "The grass is green.",
    "The sky is blue.",
    "The sun is yellow.",
    "Here we go.",
    "There and back again.",
)
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
UNKNOWN = "I do not know. I am a tiny model."


def prose(r: random.Random) -> str:
    """Make one plain English sentence."""
    a, n, v, d, p = r.choice, NOUNS, VERBS, ADVERBS, PREPOSITIONS
    form = r.random()
    if form < 0.30:
        return f"The {a(ADJECTIVES)} {a(n)} {a(v)} the {a(n)} {a(d)}."
    if form < 0.50:
        return f"{a(NAMES)} {a(v)} a {a(ADJECTIVES)} {a(n)} {a(p)} the {a(n)}."
    if form < 0.62:
        return f"There was a {a(ADJECTIVES)} {a(n)} {a(p)} the {a(ADJECTIVES)} {a(n)}."
    if form < 0.72:
        return f"{a(NAMES)} and {a(NAMES)} {a(v)} the {a(n)}, and the {a(n)} was {a(ADJECTIVES)}."
    if form < 0.82:
        return f"It was a {a(ADJECTIVES)} day, so {a(NAMES)} {a(v)} the {a(n)}."
    if form < 0.90:
        return f"Nobody in the {a(n)} knew why the {a(n)} of {a(NAMES)} was so {a(ADJECTIVES)}."
    return a(CLASSIC)


def numeric(r: random.Random) -> str:
    """Make one line in which numbers matter: they look like keys and are not."""
    n = r.randint(1, 10 ** r.randint(1, 5))
    form = r.random()
    if form < 0.35:
        return " ".join(
            str(r.randint(0, 10 ** r.randint(1, 5))) for _ in range(r.randint(3, 8))
        ) + r.choice((".", ""))
    if form < 0.50:
        return f"There were {n} {r.choice(NOUNS)}s {r.choice(PREPOSITIONS)} the {r.choice(NOUNS)}."
    if form < 0.65:
        return f"{r.choice(NAMES)} paid {n} coins for the {r.choice(NOUNS)}."
    if form < 0.80:
        return f"{r.choice(NOUNS).capitalize()} {n}: {r.randint(0, 99999)}, {r.choice(ADJECTIVES)}."
    return f"In {r.randint(1800, 2030)} the {r.choice(NOUNS)} was {r.choice(ADJECTIVES)}."


def nonword(r: random.Random, longest: int = 10) -> str:
    """Make one word of random letters."""
    return "".join(r.choice(LETTERS[: r.choice((8, 14, 26))]) for _ in range(r.randint(1, longest)))


def junk(r: random.Random) -> str:
    """Make one line of letters that mean nothing."""
    line = " ".join(nonword(r) for _ in range(r.randint(3, 10)))
    if r.random() < 0.5:
        line = line[0].upper() + line[1:]
    return line + r.choice(".......,;:!?")


def foreign(r: random.Random) -> str:
    """Make one German, Polish or French looking sentence."""
    the, adjective, noun, verb, end = r.choice(FOREIGN)
    tail = " ".join(r.choice(end) for _ in range(r.randint(1, 4)))
    return (
        f"{r.choice(the)} {r.choice(adjective)} {r.choice(noun)} {r.choice(verb)} "
        f"{r.choice(the).lower()} {r.choice(noun)} {tail}."
    )


def salad(r: random.Random) -> str:
    """Make one senseless sentence of common words: to the model, unknown English looks so."""
    words = []
    for _ in range(r.randint(5, 16)):
        pick = r.random()
        if pick < 0.62:
            words.append(r.choice(COMMON))
        elif pick < 0.82:
            words.append(r.choice(COMMON) + r.choice(SUFFIXES))
        elif pick < 0.92:
            words.append(r.choice(r.choice((NOUNS, ADJECTIVES, VERBS, ADVERBS, PREPOSITIONS))))
        else:
            words.append(nonword(r, 8))
    if r.random() < 0.35:
        words[r.randrange(len(words) - 1)] += r.choice((",", ",", ";", ":"))
    line = " ".join(words)
    return line[0].upper() + line[1:] + r.choice("....?")


def story(r: random.Random) -> str:
    """Make a story of six sentences."""
    a, who, other, thing, place = (
        r.choice,
        r.choice(NAMES),
        r.choice(NAMES),
        r.choice(NOUNS),
        r.choice(NOUNS),
    )
    return (
        f"Once upon a time, {who} {a(VERBS)} a {a(ADJECTIVES)} {thing}. The {thing} was "
        f"{a(ADJECTIVES)} and "
        f"{a(ADJECTIVES)}. {who} showed the {thing} to {other}. {other} {a(VERBS)} it "
        f"{a(ADVERBS)}. "
        f"Then they went home {a(PREPOSITIONS)} the {place}. The end."
    )


def sums(r: random.Random) -> tuple[str, str]:
    """Ask for the sum of two digits."""
    x, y = r.randint(0, 9), r.randint(0, 9)
    forms = (
        f"{x}+{y}=|{x}+{y}=|{x} + {y} =|{x}+{y}|What is {x}+{y}?|What is {x} + {y}?|"
        f"What is {x} plus {y}?|Add {x} and {y}."
    )
    asked = r.choice(forms.split("|"))
    return asked + r.choice(("", "", " Answer with the number only.")), str(x + y)


def knowledge(r: random.Random) -> tuple[str, str]:
    """Ask for a capital, its country, an opposite, a colour or a kind."""
    pick = r.random()
    if pick < 0.45:
        country = r.choice(list(CAPITALS))
        forms: tuple[str, ...] = (
            "Capital of {}?",
            "What is the capital of {}?",
            "The capital of {} is",
            "Name the capital of {}.",
        )
        return r.choice(forms).format(country), CAPITALS[country] + "."
    if pick < 0.55:
        country = r.choice(list(CAPITALS))
        forms = ("{} is the capital of which country?", "In which country is {}?")
        return r.choice(forms).format(CAPITALS[country]), country + "."
    if pick < 0.70:
        word = r.choice(list(OPPOSITES))
        return r.choice(("What is the opposite of {}?", "Opposite of {}?")).format(word), OPPOSITES[
            word
        ] + "."
    if pick < 0.80:
        thing = r.choice(list(COLORS))
        return r.choice(("What color is {}?", "What colour is {}?")).format(thing), COLORS[
            thing
        ].capitalize() + "."
    kind = r.choice(list(KINDS))
    return f"What is a {r.choice(KINDS[kind])}?", f"A {kind}."


def copying(r: random.Random) -> tuple[str, str]:
    """Ask for a text to be repeated."""
    words = [
        r.choice(
            (
                r.choice(NOUNS),
                r.choice(ADJECTIVES),
                r.choice(NAMES),
                str(r.randint(0, 999)),
                nonword(r, 6),
            )
        )
        for _ in range(r.randint(1, 10))
    ]
    text = " ".join(words) if r.random() < 0.8 else r.choice((salad, prose, foreign))(r)
    return r.choice(
        ("Repeat: ", "Repeat: ", "Repeat after me: ", "Say: ", "Say ", "Reply with: ")
    ) + text, text


def courtesy(r: random.Random) -> tuple[str, str]:
    """Greet, thank, ask who is there, part."""
    greeting, name = (
        "Hello! How can I help you today?",
        "I am LMStrix tiny, a very small model made for tests.",
    )
    pairs = [
        (q, greeting)
        for q in (
            "Say hello",
            "Say hello.",
            "Hello",
            "Hi",
            "Hello!",
            "Hi there",
            "hello",
            "hi",
            "Say hi.",
        )
    ]
    pairs += [
        (q, name)
        for q in ("Who are you?", "What are you?", "What is your name?", "Introduce yourself.")
    ]
    pairs += [(q, "You are welcome!") for q in ("Thanks", "Thank you", "Thank you!", "Thanks!")]
    pairs += [(q, "Goodbye!") for q in ("Bye", "Goodbye", "Bye!", "See you.")]
    pairs += [
        ("How are you?", "I am fine, thank you."),
        ("Say OK.", "OK."),
        ("Reply with OK.", "OK."),
        ("Say yes.", "Yes."),
    ]
    return r.choice(pairs)


def counting(r: random.Random) -> tuple[str, str]:
    """Ask for a row of numbers, or for a number word in digits."""
    if r.random() < 0.5:
        n = r.randint(0, 99)
        forms = (
            "Write '{}' as a number using only digits",
            "Write '{}' as a number.",
            "Write {} in digits.",
        )
        return r.choice(forms).format(spell(n)), str(n)
    first, last = 1, r.randint(3, 40)
    if r.random() < 0.3:
        first = r.randint(1, 60)
        return f"Count from {first} to {first + last}.", " ".join(
            map(str, range(first, first + last + 1))
        )
    return r.choice(("Count to {}.", "Count from 1 to {}.")).format(last), " ".join(
        map(str, range(1, last + 1))
    )


def question(r: random.Random) -> tuple[str, str]:
    """Make one short question with its answer."""
    pick = r.random()
    if pick < 0.20:
        return sums(r)
    if pick < 0.48:
        return knowledge(r)
    if pick < 0.60:
        return courtesy(r)
    if pick < 0.74:
        return counting(r)
    if pick < 0.88:
        return copying(r)
    if pick < 0.93:
        return salad(r), UNKNOWN
    return r.choice(
        ("Tell me a story.", "Tell me a story", "Write a short story.", "Tell me a short story.")
    ), story(r)


FILLERS: dict[str, Text] = {
    "prose": prose, "numeric": numeric, "junk": junk, "foreign": foreign, "salad": salad,
}  # fmt: skip
