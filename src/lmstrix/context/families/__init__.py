"""Probe families: kinds of task whose answers tell how far a model really reads.

Each is found through the entry point group `lmstrix.probe_families`, our own included; an
entry point names a class with the shape of `ProbeFamily`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple, Protocol

from lmstrix.context.families.filler import LANGUAGES
from lmstrix.context.families.haystack import Fact, Haystack, Question, answered, hide

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable
    from importlib.metadata import EntryPoint

__all__ = [
    "GROUP",
    "LANGUAGES",
    "Fact",
    "Families",
    "Haystack",
    "ProbeFamily",
    "Question",
    "answered",
    "find_families",
    "hide",
]

GROUP = "lmstrix.probe_families"


class ProbeFamily(Protocol):
    """One kind of task. Pure: the same `rng` state gives the same text, nothing is fetched.

    `version` grows whenever the same seed gives other texts or scores.
    """

    @property
    def name(self) -> str:
        """What it is called; the same for every instance."""
        ...

    @property
    def version(self) -> int:
        """See above."""
        ...

    def haystack(
        self,
        rng: random.Random,
        *,
        approx_tokens: int,
        count: Callable[[str], int],
        questions: int,
        language: str,
    ) -> Haystack:
        """A text of about `approx_tokens` (as `count` counts) and up to `questions` questions.

        The same seed at another length gives the same questions at the same relative depths.
        `language`, one of `LANGUAGES`, is that of the filler; facts and questions are English.
        """
        ...

    def score(self, question: Question, answer: str) -> float:
        """How right an answer is, 0..1, by rules and without its reasoning."""
        ...


class Families(NamedTuple):
    """The families there are, by name, and one sentence for each that cannot be used."""

    found: tuple[ProbeFamily, ...]
    problems: tuple[str, ...]

    @property
    def suite(self) -> str:
        """What a result depends on: names and versions, such as `keyed-1+latent-1`."""
        return "+".join(f"{family.name}-{family.version}" for family in self.found)


def find_families(entries: Iterable[EntryPoint] | None = None) -> Families:
    """Every family installed. One that cannot be used is skipped and named."""
    found: dict[str, ProbeFamily] = {}
    problems: list[str] = []
    for entry in sorted(entry_points(group=GROUP) if entries is None else entries):
        try:
            family: ProbeFamily = entry.load()()
            for needed in ("name", "version", "haystack", "score"):
                getattr(family, needed)
        except Exception as error:  # noqa: BLE001  # whatever is wrong in it, the rest goes on
            problems.append(
                f"The probe family {entry.name!r} ({entry.value}) is skipped: "
                f"{type(error).__name__}: {error}"
            )
            continue
        found.setdefault(family.name, family)
    return Families(tuple(found[name] for name in sorted(found)), tuple(problems))
