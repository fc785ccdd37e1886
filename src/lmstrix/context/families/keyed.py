"""Keyed retrieval: the number that belongs to one of several things that look alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lmstrix.context.families.haystack import LOOK_ALIKES, Fact, answered, halves, hide
from lmstrix.context.families.names import PEOPLE
from lmstrix.context.families.shared import Planted

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from lmstrix.context.families.haystack import Haystack, Question

_KEYS = ("code", "number", "key", "access code", "serial number")
_COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "purple")
_THINGS = ("door", "box", "lamp", "gate", "safe", "drawer", "bag", "engine", "ship", "clock")
_NUMBERS = ("locker number", "phone number", "room number", "ticket number")
_FORMS = ("The {key} of the {thing} is {value}.", "The {key} for the {thing} is {value}.")
MOST = 30  # questions; of names and things there are more
_ONLY = ("Answer with the number only.", "Give only the number.", "Reply with only the number.")


class Keyed:
    """Facts such as "The code of the blue lamp is 48213.", asked for one by one.

    Each thing shares its colour or its kind with others. Many questions are half about things
    and half about people ("The locker number of Anna is 70251."). Of two more nobody asks. Values
    have five distinct digits, so that no digit read twice or skipped is right by luck.
    Guessing one of the values in sight is right once in `questions + 2`.
    """

    name: ClassVar[str] = "keyed"
    version: ClassVar[int] = 2

    def haystack(
        self,
        rng: random.Random,
        *,
        approx_tokens: int,
        count: Callable[[str], int],
        questions: int,
        language: str,
    ) -> Haystack:
        """See `ProbeFamily`."""
        planted = self.facts(rng, questions=questions)
        return hide(
            planted.asked + planted.beside,
            rng,
            asked=len(planted.asked),
            approx_tokens=approx_tokens,
            count=count,
            language=language,
        )

    def facts(self, rng: random.Random, *, questions: int) -> Planted:
        """See `FactFamily`."""
        asked = min(questions, MOST)
        values = five_digits(rng, asked + LOOK_ALIKES)
        planted = Planted([], [])
        for draw, part in zip((_things, _people), halves(asked), strict=False):
            drawn = draw(rng, values[sum(map(len, planted)) :][: sum(part)])
            planted.asked.extend(drawn[: part[0]])
            planted.beside.extend(drawn[part[0] :])
        return planted

    def score(self, question: Question, answer: str) -> float:
        """See `ProbeFamily`."""
        return answered(question, answer)


def _things(rng: random.Random, values: Sequence[str]) -> list[Fact]:
    side = 2
    while side * side < len(values):
        side += 1
    pairs = [
        f"{colour} {thing}"
        for colour in rng.sample(_COLOURS, side)
        for thing in rng.sample(_THINGS, side)
    ]
    key, form, only = rng.choice(_KEYS), rng.choice(_FORMS), rng.choice(_ONLY)
    link = "for" if " for " in form else "of"
    return [
        Fact(
            sentence=form.format(key=key, thing=thing, value=value),
            question=f"What is the {key} {link} the {thing}? {only}",
            answer=value,
        )
        for thing, value in zip(rng.sample(pairs, len(values)), values, strict=True)
    ]


def _people(rng: random.Random, values: Sequence[str]) -> list[Fact]:
    key, only = rng.choice(_NUMBERS), rng.choice(_ONLY)
    return [
        Fact(
            sentence=f"The {key} of {person} is {value}.",
            question=f"What is the {key} of {person}? {only}",
            answer=value,
        )
        for person, value in zip(rng.sample(PEOPLE, len(values)), values, strict=True)
    ]


def five_digits(rng: random.Random, count: int) -> list[str]:
    """Different numbers of five distinct digits, the first not 0."""
    values: dict[str, None] = {}
    while len(values) < count:
        digits = rng.sample("0123456789", 5)
        if digits[0] != "0":
            values["".join(digits)] = None
    return list(values)
