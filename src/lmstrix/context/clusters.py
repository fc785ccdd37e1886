"""Scores of one length, where questions of one haystack succeed and fail together.

Such answers count for less than as many independent ones: for n / deff with L. Kish's design
effect deff = 1 + (m - 1) rho (Survey Sampling, 1965), m being the questions of a haystack.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lmstrix.results import Score

Z = 1.645  # each bound holds with 95 %
ASSUMED_CORRELATION = 0.04  # of two questions asked of one haystack, before any is seen
ASSUMED_WEIGHT = 16  # in haystacks: as if so many had shown that correlation
LEAST_DEFF = 0.6  # haystacks whose questions stand at all depths differ less than chance would


@dataclass(frozen=True)
class LengthEvidence:
    """The mean score of one length with its one-sided 95 % bounds, by its own answers alone.

    The bounds are Wilson's (E. B. Wilson, JASA 22, 1927) at the effective sample size
    n / deff, which keeps its coverage for clustered proportions near 1 (N. Dean, M. Pagano,
    J. Survey Statistics and Methodology 3, 2015). Partial scores vary less than right-or-wrong
    ones, so for them the bounds are wide.
    """

    samples: Sequence[Score]

    @cached_property
    def mean(self) -> float:
        """Mean score, 0..1; 0 without samples."""
        return sum(sample.score for sample in self.samples) / max(1, len(self.samples))

    @cached_property
    def correlation(self) -> float:
        """The shrunk correlation of two questions of one haystack."""
        return correlation([self.clusters])

    @cached_property
    def n_effective(self) -> float:
        """As many independent questions would tell as much."""
        return sum(len(c) / deff(len(c), self.correlation) for c in self.clusters)

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
    def clusters(self) -> list[list[float]]:
        """The scores of each haystack."""
        clusters: dict[tuple[str, int], list[float]] = defaultdict(list)
        for sample in self.samples:
            clusters[sample.family, sample.cluster].append(sample.score)
        return list(clusters.values())


def deff(questions: int, correlation: float) -> float:
    """How many questions of one haystack count for one that is asked alone."""
    return max(LEAST_DEFF, 1 + (questions - 1) * correlation)


def correlation(groups: Iterable[Sequence[Sequence[float]]]) -> float:
    """The correlation of two questions of one haystack; below 0 where haystacks are too alike.

    Each group has the scores of haystacks that may be expected to be the same. The estimate is
    that of a one-way analysis of variance over all groups (M. Ridout, C. Demetrio, D. Firth,
    Biometrics 55, 1999), shrunk towards `ASSUMED_CORRELATION` because few haystacks, or all
    answers right, tell nothing about it.
    """
    between = within = free_between = free_within = questions = haystacks = 0.0
    for group in groups:
        scores = [score for cluster in group for score in cluster]
        mean = sum(scores) / max(1, len(scores))
        if len(group) < 2 or all(score == mean for score in scores):
            continue
        between += sum(len(c) * (sum(c) / len(c) - mean) ** 2 for c in group)
        within += sum((score - sum(c) / len(c)) ** 2 for c in group for score in c)
        free_between += len(group) - 1
        free_within += len(scores) - len(group)
        questions += len(scores)
        haystacks += len(group)
    told = 0.0
    if free_between and free_within:
        outer, inner = between / free_between, within / free_within
        spread = outer + (questions / haystacks - 1) * inner
        told = (outer - inner) / spread if spread else 0.0
    else:
        free_between = 0.0
    return (free_between * told + ASSUMED_WEIGHT * ASSUMED_CORRELATION) / (
        free_between + ASSUMED_WEIGHT
    )


def wilson(mean: float, count: float, *, z: float = Z) -> tuple[float, float]:
    """Wilson's bounds, 0..1, of a mean score over `count` independent questions."""
    if not count:
        return 0.0, 1.0
    half = z * math.sqrt(mean * (1 - mean) / count + z * z / (4 * count * count))
    middle, shrink = mean + z * z / (2 * count), 1 + z * z / count
    return max(0.0, (middle - half) / shrink), min(1.0, (middle + half) / shrink)
