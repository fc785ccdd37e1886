"""Variable tracking: a value that is reached over another name."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lmstrix.context.families.haystack import LOOK_ALIKES, Fact, answered, hide
from lmstrix.context.families.keyed import five_digits
from lmstrix.context.families.names import NOUNS
from lmstrix.context.families.shared import Planted

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from lmstrix.context.families.haystack import Haystack, Question

_ONLY = ("Answer with the number only.", "Give only the number.", "Reply with only the number.")
MOST = 20  # questions; each takes two nouns


class Tracking:
    """Sentences such as "The value of wolf is 30521.", and others that point to them.

    "The value of lamp is the same as wolf." stands elsewhere, and asked is the value of lamp;
    either sentence may come first. Two more values nobody asks about. Guessing one of the values
    in sight is right once in `questions + 2`.
    """

    name: ClassVar[str] = "tracking"
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
        nouns = rng.sample(NOUNS, 2 * asked + LOOK_ALIKES)
        first, second = nouns[: len(values)], nouns[len(values) :]
        only = rng.choice(_ONLY)
        return Planted(
            asked=[
                Fact(
                    sentence=f"The value of {other} is the same as {noun}.",
                    question=f"What is the value of {other}? {only}",
                    answer=value,
                )
                for noun, other, value in zip(first, second, values, strict=False)
            ],
            beside=[
                Fact(sentence=f"The value of {noun} is {value}.", answer=value)
                for noun, value in zip(first, values, strict=True)
            ],
        )

    def score(self, question: Question, answer: str) -> float:
        """See `ProbeFamily`."""
        return answered(question, answer)
