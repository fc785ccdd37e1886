"""Keyed retrieval: the number that belongs to one of several things that look alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lmstrix.context.families.haystack import LOOK_ALIKES, Fact, answered, hide

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from lmstrix.context.families.haystack import Haystack, Question

_KEYS = ("code", "number", "key", "access code", "serial number")
_COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "purple")
_THINGS = ("door", "box", "lamp", "gate", "safe", "drawer", "bag", "engine", "ship", "clock")
_FORMS = ("The {key} of the {thing} is {value}.", "The {key} for the {thing} is {value}.")
_ONLY = ("Answer with the number only.", "Give only the number.", "Reply with only the number.")


class Keyed:
    """Facts such as "The code of the blue lamp is 48213.", asked for one by one.

    Each thing shares its colour or its kind with others, and of two more nobody asks. Values
    have five distinct digits, so that no digit read twice or skipped is right by luck.
    Guessing one of the values in sight is right once in `questions + 2`.
    """

    name: ClassVar[str] = "keyed"
    version: ClassVar[int] = 1

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
        facts = questions + LOOK_ALIKES
        side = 2
        while side * side < facts:
            side += 1
        pairs = [
            f"{colour} {thing}"
            for colour in rng.sample(_COLOURS, min(side, len(_COLOURS)))
            for thing in rng.sample(_THINGS, min(side, len(_THINGS)))
        ]
        key, form, only = rng.choice(_KEYS), rng.choice(_FORMS), rng.choice(_ONLY)
        link = "for" if " for " in form else "of"
        chosen = rng.sample(pairs, min(facts, len(pairs)))
        values = _values(rng, len(chosen))
        return hide(
            [
                Fact(
                    sentence=form.format(key=key, thing=thing, value=value),
                    question=f"What is the {key} {link} the {thing}? {only}",
                    answer=value,
                )
                for thing, value in zip(chosen, values, strict=True)
            ],
            rng,
            asked=min(questions, len(chosen)),
            approx_tokens=approx_tokens,
            count=count,
            language=language,
        )

    def score(self, question: Question, answer: str) -> float:
        """See `ProbeFamily`."""
        return answered(question, answer)


def _values(rng: random.Random, count: int) -> list[str]:
    """Different numbers of five distinct digits, the first not 0."""
    values: dict[str, None] = {}
    while len(values) < count:
        digits = rng.sample("0123456789", 5)
        if digits[0] != "0":
            values["".join(digits)] = None
    return list(values)
