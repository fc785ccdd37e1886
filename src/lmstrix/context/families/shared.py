"""Haystacks that carry the facts of several families at once.

Reading a long prompt costs as much as dozens of answers, so families whose tasks are sentences
between other sentences share one.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from msgspec.structs import replace

from lmstrix.context.families.haystack import Fact, hide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lmstrix.context.families import ProbeFamily
    from lmstrix.context.families.haystack import Haystack, Question


class Planted(NamedTuple):
    """Facts to hide: those that are asked about, and those that only stand beside them."""

    asked: list[Fact]
    beside: list[Fact]


@runtime_checkable
class FactFamily(Protocol):
    """A family that can say its facts alone, and so share a haystack with others like it."""

    @property
    def name(self) -> str:
        """What the family is called."""
        ...

    def facts(self, rng: random.Random, *, questions: int) -> Planted:
        """Up to `questions` facts that are asked about, and others beside them."""
        ...


class Shared:
    """Several families in one haystack; each question says of which it is.

    Every family draws from a source of its own: what it hides does not depend on the others.
    """

    def __init__(self, families: Sequence[ProbeFamily]) -> None:
        self._families = {family.name: family for family in families}
        self.name = "+".join(self._families)
        self.version = 1

    def haystack(
        self,
        rng: random.Random,
        *,
        approx_tokens: int,
        count: Callable[[str], int],
        questions: int,
        language: str,
    ) -> Haystack:
        """See `ProbeFamily`; the questions are divided between the families."""
        asked: list[Fact] = []
        beside: list[Fact] = []
        for place, family in enumerate(self._families.values()):
            assert isinstance(family, FactFamily)
            own = random.Random(rng.getrandbits(64))  # noqa: S311  # no secret
            part = (questions + place) // len(self._families)
            planted = family.facts(own, questions=part) if part else Planted([], [])
            asked += [replace(fact, family=family.name) for fact in planted.asked]
            beside += [replace(fact, family=family.name) for fact in planted.beside]
        return hide(
            asked + beside,
            rng,
            asked=len(asked),
            approx_tokens=approx_tokens,
            count=count,
            language=language,
        )

    def score(self, question: Question, answer: str) -> float:
        """See `ProbeFamily`."""
        return self._families[question.family].score(question, answer)


def groups_of(families: Sequence[ProbeFamily]) -> tuple[tuple[str, ...], ...]:
    """The names of families that share haystacks, then those of each that does not."""
    together = tuple(family.name for family in families if isinstance(family, FactFamily))
    alone = [(family.name,) for family in families if family.name not in together]
    return (together, *alone) if together else tuple(alone)


def together(families: Sequence[ProbeFamily]) -> ProbeFamily:
    """One family that asks the tasks of all of a group."""
    return families[0] if len(families) == 1 else Shared(families)
