"""Ordered look-up: the second of several notes about the same thing, in a long dialogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lmstrix.context.families.haystack import Haystack, Question, answered, lay
from lmstrix.context.families.keyed import five_digits
from lmstrix.context.families.names import NOUNS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

_HEAD = "Here is a long conversation. A question about it follows."
_ORDER = ("first", "second", "third")
_ONLY = ("Answer with the number only.", "Give only the number.", "Reply with only the number.")
MOST = 30  # questions


class Dialogue:
    """User and assistant talk; three times each the user wants a note about the same thing.

    Every note has a number. Asked is that of "the second note about the river", so which note
    is meant depends on all that came before. Guessing one of the numbers in sight is right at
    most once in `questions`.
    """

    name: ClassVar[str] = "dialogue"
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
        asked = min(questions, MOST)
        topics = rng.sample(NOUNS, -(-asked // len(_ORDER)))
        turns = topics * len(_ORDER)
        rng.shuffle(turns)
        values = five_digits(rng, len(turns))
        depths = [(place + rng.random()) / len(turns) for place in range(len(turns))]
        only = rng.choice(_ONLY)
        known = [
            Question(
                text=f"\n\nWhat is the number of the {_ORDER[turns[:place].count(topic)]} note "
                f"about the {topic}? {only}",
                expected=value,
                rivals=tuple(other for other in values if other != value),
                depth=round(depths[place], 4),
            )
            for place, (topic, value) in enumerate(zip(turns, values, strict=True))
        ]
        text = lay(
            [
                (depth, f"\nUser: Write a note about the {topic}.\nAssistant: Note {value}.")
                for depth, topic, value in zip(depths, turns, values, strict=True)
            ],
            rng,
            head=_HEAD,
            approx_tokens=approx_tokens,
            count=count,
            language=language,
        )
        chosen = rng.sample(known, asked)
        return Haystack(text=text, questions=tuple(sorted(chosen, key=lambda q: q.depth)))

    def score(self, question: Question, answer: str) -> float:
        """See `ProbeFamily`."""
        return answered(question, answer)
