"""How long a prompt may be before the answers get worse, and how sure that is.

The effective limit is the longest length at which every tested length up to it has a lower
95 % bound of mean score of at least 0.85 x the model's own base at <= 1 K tokens. Pure
statistics: `EffectiveSearch` says what to ask next and stops asking where the answer is clear.

Several questions are asked of one cached prompt (a haystack) because processing it is what
costs. Questions of one haystack succeed and fail together, so they count for less than as many
independent ones; see `LengthEvidence`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from lmstrix.results import LengthPoint, Limit, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lmstrix.results import Score

Z = 1.645  # each bound holds with 95 %
Z_FAILS = (
    2.12  # the same for a failure looked for up to five times (S. Pocock, Biometrika 64, 1977)
)
ASSUMED_CORRELATION = 0.1  # of two questions asked of one haystack, before any is seen
ASSUMED_WEIGHT = 10  # in haystacks: as if so many had shown that correlation
HAYSTACKS = 4  # asked at a time
QUESTIONS = 6  # of each haystack
BASE_SAMPLES = 96  # short prompts are cheap, and every verdict rests on the base
LEAST_SAMPLES = 48  # before a length may be given up as undecided
MOST_SAMPLES = 216  # at one length; what is undecided then stays undecided
MOST_UNCLEAR = 2  # undecided lengths in a row; beyond that, the fall is too gentle to pin down
LENGTH_STEP = 0.12
LEAST_STEP_TOKENS = 256
ABLE = 0.25  # a family counts when the base is this far above chance


@dataclass(frozen=True)
class LengthEvidence:
    """The mean score of one length with its one-sided 95 % bounds.

    The bounds are Wilson's (E. B. Wilson, JASA 22, 1927) at the effective sample size
    n / deff, which keeps its coverage for clustered proportions near 1 (N. Dean, M. Pagano,
    J. Survey Statistics and Methodology 3, 2015). deff = 1 + (m - 1) rho is L. Kish's design
    effect (Survey Sampling, 1965) with m = sum m_i^2 / n; rho is the one-way analysis of
    variance estimate (M. Ridout, C. Demetrio, D. Firth, Biometrics 55, 1999), shrunk towards
    `ASSUMED_CORRELATION` because few haystacks, or all answers right, tell nothing about it.
    Partial scores vary less than right-or-wrong ones, so for them the bounds are wide.
    """

    samples: Sequence[Score]

    @cached_property
    def mean(self) -> float:
        """Mean score, 0..1; 0 without samples."""
        return sum(sample.score for sample in self.samples) / max(1, len(self.samples))

    @cached_property
    def correlation(self) -> float:
        """The shrunk correlation of two questions of one haystack, 0..1."""
        clusters = list(self._clusters.values())
        many, count = len(clusters), len(self.samples)
        told = 0.0
        seen = False
        if many > 1 and count > many:
            between = sum(len(c) * (sum(c) / len(c) - self.mean) ** 2 for c in clusters)
            within = sum((score - sum(c) / len(c)) ** 2 for c in clusters for score in c)
            size = (count - sum(len(c) ** 2 for c in clusters) / count) / (many - 1)
            outer, inner = between / (many - 1), within / (count - many)
            spread = outer + (size - 1) * inner
            seen = spread > 0
            told = max(0.0, (outer - inner) / spread) if seen else 0.0
        weight = many - 1 if seen else 0
        return (weight * told + ASSUMED_WEIGHT * ASSUMED_CORRELATION) / (weight + ASSUMED_WEIGHT)

    @cached_property
    def n_effective(self) -> float:
        """As many independent questions would tell as much."""
        count = len(self.samples)
        if not count:
            return 0.0
        size = sum(len(cluster) ** 2 for cluster in self._clusters.values()) / count
        return count / (1 + (size - 1) * self.correlation)

    @property
    def low(self) -> float:
        """The mean is above this with 95 %."""
        return wilson(self.mean, self.n_effective)[0]

    @property
    def high(self) -> float:
        """The mean is below this with 95 %."""
        return wilson(self.mean, self.n_effective)[1]

    def by_family(self) -> dict[str, float]:
        """Mean score of each family."""
        families: dict[str, list[float]] = defaultdict(list)
        for sample in self.samples:
            families[sample.family].append(sample.score)
        return {name: sum(scores) / len(scores) for name, scores in sorted(families.items())}

    @cached_property
    def _clusters(self) -> dict[int, list[float]]:
        clusters: dict[int, list[float]] = defaultdict(list)
        for sample in self.samples:
            clusters[sample.cluster].append(sample.score)
        return clusters


def wilson(mean: float, count: float, *, z: float = Z) -> tuple[float, float]:
    """Wilson's bounds, 0..1, of a mean score over `count` independent questions."""
    if not count:
        return 0.0, 1.0
    half = z * math.sqrt(mean * (1 - mean) / count + z * z / (4 * count * count))
    middle, shrink = mean + z * z / (2 * count), 1 + z * z / count
    return max(0.0, (middle - half) / shrink), min(1.0, (middle + half) / shrink)


@dataclass(frozen=True)
class Ask:
    """Make `haystacks` fresh prompts of `length_tokens` and put `questions` to each.

    `families` are those that count, empty while that is not known yet.
    """

    length_tokens: int
    haystacks: int
    questions: int
    families: tuple[str, ...] = ()


@dataclass
class EffectiveSearch:
    """Plans probes until the effective limit is known to a length step.

    Args:
        base_tokens: Length of the short prompts that tell what the model can do at all.
        ceiling_tokens: The longest prompt worth asking: the processable limit.
        threshold: Part of the base score that must be kept.
        step: The limit is found to this part of the length, or `LEAST_STEP_TOKENS`.
        chance: What guessing scores, by family; 0 where none is given.
        most_samples: Questions at one length before it is left undecided.

    Lengths double from the base until one does not hold; then the range between the longest
    that holds and the shortest that does not is halved (by ratio). At each length questions
    are asked in batches until its bound is clearly on one side of the threshold.
    """

    base_tokens: int
    ceiling_tokens: int
    threshold: float = 0.85
    step: float = LENGTH_STEP
    chance: Mapping[str, float] = field(default_factory=dict)
    most_samples: int = MOST_SAMPLES
    _scores: dict[int, list[Score]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.base_tokens <= self.ceiling_tokens:
            raise ValueError("the base is at least one token and no longer than the ceiling")

    def record(self, length_tokens: int, scores: Sequence[Score]) -> None:
        """Take scores of questions at a length; fresh haystacks have fresh `cluster` numbers."""
        self._scores.setdefault(length_tokens, []).extend(scores)

    @property
    def families(self) -> tuple[str, ...]:
        """The families the model can do at base, known once the base is."""
        return tuple(
            name
            for name, mean in self._all_base.by_family().items()
            if mean >= self.chance.get(name, 0.0) + ABLE
        )

    @property
    def base(self) -> LengthEvidence:
        """What the model scores on short prompts, in the families it can do."""
        return self.evidence(self.base_tokens)

    def evidence(self, length_tokens: int) -> LengthEvidence:
        """What is known about a length, in the families the model can do at base."""
        able = self.families
        scores = self._scores.get(length_tokens, ())
        return LengthEvidence([score for score in scores if score.family in able])

    def next(self) -> Ask | None:
        """What to ask next; `None` when the search is over. Asking again changes nothing."""
        if self._base_wanted:
            return Ask(self.base_tokens, HAYSTACKS, QUESTIONS)
        if not self.families:
            return None
        length = self._next_length()
        return None if length is None else Ask(length, HAYSTACKS, QUESTIONS, self.families)

    @property
    def limit(self) -> Limit:
        """The limit as far as it is known now."""
        if self._base_wanted:
            return Limit(evidence=("The base score is not known yet.",))
        dropped = [name for name in self._all_base.by_family() if name not in self.families]
        if not self.families:
            none = (
                f"The model can do none of the tasks ({', '.join(dropped)}) at "
                f"{self.base_tokens:,} tokens, so no length can be compared with that."
            )
            return Limit(evidence=(none,))
        holds, _, fails = self._bracket
        found = holds == self.ceiling_tokens or (fails is not None and self._pinned)
        base = (
            f"At {self.base_tokens:,} tokens the model scores {self.base.mean:.2f}; a length "
            f"holds when its score is at least {self._wanted:.2f} with 95 % confidence."
        )
        evidence = [base]
        evidence += [self._sentence(length) for length in sorted(self._scores)[1:]]
        if dropped:
            evidence.append(f"Left out, for the model cannot do it at base: {', '.join(dropped)}.")
        return Limit(
            verdict=Verdict.FOUND if found else Verdict.AT_LEAST,
            tokens=holds,
            below_tokens=fails,
            evidence=tuple(evidence),
        )

    @property
    def curve(self) -> tuple[LengthPoint, ...]:
        """Quality over length, shortest first."""
        points = []
        for length in sorted(self._scores):
            known = self.evidence(length)
            points.append(
                LengthPoint(
                    tokens=length,
                    samples=len(known.samples),
                    mean=known.mean,
                    low=known.low,
                    high=known.high,
                    by_family=known.by_family(),
                )
            )
        return tuple(points)

    @property
    def _all_base(self) -> LengthEvidence:
        return LengthEvidence(self._scores.get(self.base_tokens, ()))

    @property
    def _base_wanted(self) -> bool:
        known = self._all_base
        if len(known.samples) < HAYSTACKS * QUESTIONS:
            return True
        nearly_all_right = known.low >= 0.85
        return not nearly_all_right and len(known.samples) < BASE_SAMPLES

    @property
    def _wanted(self) -> float:
        return self.threshold * self.base.mean

    def _holds(self, length: int) -> bool | None:
        """Whether a length keeps the threshold; `None` while that is unclear."""
        if length == self.base_tokens:
            return True
        known = self.evidence(length)
        return self._verdict(known.mean, known.n_effective)

    def _verdict(self, mean: float, n_effective: float) -> bool | None:
        if wilson(mean, n_effective)[0] >= self._wanted:
            return True
        return False if wilson(mean, n_effective, z=Z_FAILS)[1] < self._wanted else None

    @property
    def _bracket(self) -> tuple[int, list[int], int | None]:
        """The longest length that holds, those of no clear order above it, the first that fails."""
        holds, unclear = self.base_tokens, list[int]()
        for length in sorted(self._scores):
            verdict = self._holds(length)
            if verdict is False:
                return holds, unclear, length
            if verdict is None or unclear:
                unclear.append(length)
            else:
                holds = length
        return holds, unclear, None

    def _next_length(self) -> int | None:
        """The length to ask (again): what is begun is finished first.

        Around a length that stays undecided, where the score is near the threshold and no
        number of questions would settle it, the lengths a step away are asked.
        """
        for length, scores in self._scores.items():
            if self._holds(length) is None and self._worth_asking(length, len(scores)):
                return length
        if self._pinned:
            return None
        holds, unclear, fails = self._bracket
        if not unclear:
            if fails is None:
                return min(2 * holds, self.ceiling_tokens)
            return round(math.sqrt(holds * fails))
        if not self._near(holds, unclear[0]):
            step = unclear[0] - self._step(unclear[0]) * len(unclear)
            return max(step, round(math.sqrt(holds * unclear[0])))
        return min(unclear[-1] + self._step(unclear[-1]), self.ceiling_tokens)

    def _worth_asking(self, length: int, asked: int) -> bool:
        """Whether all the questions allowed would decide a length if its mean stayed."""
        if asked >= self.most_samples or asked < LEAST_SAMPLES:
            return asked < self.most_samples
        known = self.evidence(length)
        more = known.n_effective * self.most_samples / asked
        return self._verdict(known.mean, more) is not None

    @property
    def _pinned(self) -> bool:
        """Whether the lengths on both sides of the limit are as near as they need be."""
        holds, unclear, fails = self._bracket
        if not unclear:
            return holds == self.ceiling_tokens or (fails is not None and self._near(holds, fails))
        above = unclear[-1] == self.ceiling_tokens or len(unclear) > MOST_UNCLEAR
        above = above or (fails is not None and self._near(unclear[-1], fails))
        return above and self._near(holds, unclear[0])

    def _step(self, length: int) -> int:
        return max(round(self.step * length / 2), LEAST_STEP_TOKENS // 2)

    def _near(self, holds: int, stop: int) -> bool:
        return stop - holds <= max(self.step * holds, LEAST_STEP_TOKENS)

    def _sentence(self, length: int) -> str:
        known = self.evidence(length)
        says = {True: "holds", False: "fails", None: "is undecided"}[self._holds(length)]
        return (
            f"{length:,} tokens {says}: {known.mean:.2f} (between {known.low:.2f} and "
            f"{known.high:.2f}) from {len(known.samples)} questions."
        )
