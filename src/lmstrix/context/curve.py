"""Which lengths are asked how often, so that quality and speed can be drawn over them. Pure.

The lengths are powers of two and what lies halfway between them, up to the longest prompt that is
processed. First comes one haystack for each power of two, then one for each length between, then
more for all: a budget that ends the work early leaves a curve that is coarse, not one that is
short.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from lmstrix.context.evidence import LengthEvidence
from lmstrix.results import LengthPoint, ProbeKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lmstrix.results import Probe, ProbeOutcome, Score

BASE_TOKENS = 1024
QUESTIONS = 8  # put to one haystack
HAYSTACKS = 3  # of each family at each length
ABLE = 0.25  # a family that scores less at base tells nothing of longer prompts
OWN_CLUSTERS = 10_000  # from here on haystacks are those of a curve, not of the search


def curve_lengths(longest_tokens: int) -> tuple[int, ...]:
    """1 K and every half octave from there to the longest; that alone where it is shorter."""
    lengths = {min(BASE_TOKENS, longest_tokens), longest_tokens}
    octaves = math.log2(max(1.0, longest_tokens / BASE_TOKENS))
    lengths |= {round(BASE_TOKENS * 2 ** (half / 2)) for half in range(math.floor(octaves * 2) + 1)}
    # One that is almost the longest would only be asked twice.
    return tuple(sorted(n for n in lengths if n == longest_tokens or n * 1.1 < longest_tokens))


@dataclass(frozen=True)
class CurveAsk:
    """Make haystack `number` of `family` at `length_tokens` and put `QUESTIONS` to it.

    The same number is the same haystack at every length; it is the cluster of its scores too.
    """

    length_tokens: int
    family: str
    number: int


@dataclass
class Curve:
    """Plans a curve over `lengths`, the shortest first, from tasks of `families`.

    What the journal holds is not asked again, so a curve that was interrupted goes on, and one
    that is complete is complete at once.
    """

    lengths: Sequence[int]
    families: Sequence[str]
    _outcomes: dict[int, list[ProbeOutcome]] = field(
        default_factory=lambda: defaultdict(list), init=False
    )
    _dies_at: float = field(default=math.inf, init=False)

    def record(self, length_tokens: int, outcome: ProbeOutcome) -> None:
        """Take how a probe went. Where one died, that length and all beyond are left out."""
        if outcome.scores:
            self._outcomes[length_tokens].append(outcome)
        elif outcome.failure is not None and outcome.failure.blames_model:
            self._dies_at = min(self._dies_at, length_tokens)

    def take(self, probes: Iterable[Probe]) -> None:
        """Take the probes of a test; answers that its search asked for count as well."""
        for probe in probes:
            if probe.kind is ProbeKind.ANSWER and probe.outcome is not None:
                self.record(probe.tokens, probe.outcome)

    def next(self) -> CurveAsk | None:
        """What to ask next; `None` when the curve is complete."""
        return next((ask for ask in self._asks() if not self._is_done(ask)), None)

    @property
    def progress(self) -> tuple[int, int]:
        """How many haystacks were asked, of how many."""
        asks = list(self._asks())
        return sum(map(self._is_done, asks)), len(asks)

    def points(self, earlier: Iterable[LengthPoint] = ()) -> tuple[LengthPoint, ...]:
        """The curve so far, the shortest length first; `earlier` where it has no point."""
        found = {point.tokens: point for point in earlier}
        for length in self.lengths:
            point = self._point(length)
            if point is not None:
                found[length] = point
        return tuple(found[length] for length in sorted(found))

    # Inside

    def _asks(self) -> Iterator[CurveAsk]:
        """Every haystack in its turn."""
        alive = [length for length in self.lengths if length < self._dies_at]
        octaves = [n for n in alive if n & (n - 1) == 0 or n in (alive[0], alive[-1])]
        between = [length for length in alive if length not in octaves]
        for number in range(HAYSTACKS):
            for lengths in (octaves, between) if number == 0 else (alive,):
                for length in lengths:
                    for family in self._able:
                        yield CurveAsk(length, family, OWN_CLUSTERS + number)

    @property
    def _able(self) -> list[str]:
        """The families that the model can do at base, all until the base is known."""
        at_base = LengthEvidence(self._scores(self.lengths[0])).by_family()
        return [name for name in self.families if at_base.get(name, 1.0) >= ABLE]

    def _is_done(self, ask: CurveAsk) -> bool:
        return any(
            (score.family, score.cluster) == (ask.family, ask.number)
            for score in self._scores(ask.length_tokens)
        )

    def _scores(self, length: int) -> list[Score]:
        return [score for outcome in self._outcomes[length] for score in outcome.scores]

    def _point(self, length: int) -> LengthPoint | None:
        able = self._able
        known = LengthEvidence([s for s in self._scores(length) if s.family in able])
        if not known.samples:
            return None
        outcomes = self._outcomes[length]
        return LengthPoint(
            tokens=length,
            samples=len(known.samples),
            mean=known.mean,
            low=known.low,
            high=known.high,
            time_to_first_token_s=_median(o.time_to_first_token_s for o in outcomes),
            prompt_tokens_per_s=_median(o.prompt_tokens_per_s for o in outcomes),
            tokens_per_s=_median(o.tokens_per_s for o in outcomes),
            by_family=known.by_family(),
        )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 4) if known else None
