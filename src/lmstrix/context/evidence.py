"""How long a prompt may be before the answers get worse, and how sure that is.

The effective limit is the longest length at which every tested length up to it has a lower
95 % bound of mean score of at least 0.85 x the model's own base at <= 1 K tokens. The bound of
a length does not rest on its own answers alone: a longer prompt never makes answers better
(the assumption of `response`), so all answers at all lengths bear on it. Pure statistics:
`EffectiveSearch` says what to ask next and stops asking where the answer is clear.

A limit is a thing known to about `LENGTH_STEP`: the search ends when it lies, but for a risk of
`RISK` on either side, between two lengths that far apart. That risk is half of what a statement of
95 % leaves, because the search looks often and ends at a moment that suits it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from lmstrix.context.clusters import LengthEvidence, correlation, deff, wilson
from lmstrix.context.response import KEPT, Answers, Grid, Posterior
from lmstrix.context.statements import (
    absolute,
    base_sentence,
    interval,
    length_sentence,
    nothing,
)
from lmstrix.results import LengthPoint, Limit, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lmstrix.context.response import Weights
    from lmstrix.results import Score

__all__ = ["Ask", "Bracket", "EffectiveSearch", "LengthEvidence"]

LENGTH_STEP = 2**0.25  # a limit is known to this ratio, 19 %
RISK = 0.0125  # that the limit is below what is said to hold, and that it is above what fails
BOUND_RISK = 0.05  # of each bound of a score
CEILING_RISK = 0.03  # that the limit is below the ceiling, where that is said to hold
CONFIDENCE = "95 %"  # of the interval, as stated
QUESTIONS = 10  # of each family: reading a haystack costs as much as some forty answers
QUESTION_TOKENS = 200  # an answer takes about as long as reading so many
MOST_TOGETHER = 20
SCREENING = 10  # questions of each family at base, before it is judged,
SCREENING_UNCLEAR = 30  # where it scores nearly what it must,
UNCLEAR = 0.15  # which is this near
LEAST_BASE = 60  # questions: short prompts are cheap, and every verdict rests on the base
MOST_QUESTIONS = 3000  # in all; what is undecided then stays undecided
MOST_AT_CEILING = 160  # questions there, once the limit is known to be less than a step away
ABLE = 0.4  # a family counts when the base is this far above chance
QUESTIONS_PER_STREAK = 250  # the more is known, the less one haystack changes what to ask next
CANDIDATES = 14  # lengths that are weighed against each other
Z_AGAINST = 3.3  # a length's own answers speak clearly against what the others make of it
LEAST_AGAINST = 20  # questions for that
CORRELATIONS = (
    -0.04,
    -0.03,
    -0.02,
    -0.01,
    0.0,
    0.01,
    0.02,
    0.03,
    0.045,
    0.065,
    0.09,
    0.13,
    0.18,
    0.25,
    0.4,
    0.7,
    1.0,
)
_READ_FROM_SCORES = (
    "able",
    "base",
    "_able_scores",
    "_correlation",
    "_eases",
    "_weights",
    "_bracket",
)


@dataclass(frozen=True)
class Ask:
    """Make a fresh prompt of `length_tokens` with tasks of `families`, and put `questions` to it.

    The questions are divided between the families.
    """

    length_tokens: int
    families: tuple[str, ...]
    questions: int


class Bracket(NamedTuple):
    """The longest tested length that holds, and the shortest tested that fails.

    `clear_cell` is the longest that would hold and `lost_cell` the shortest that would fail,
    tested or not, as places in the grid.
    """

    holds: int
    fails: int | None
    clear_cell: int = 0
    lost_cell: int | None = None


@dataclass
class EffectiveSearch:
    """Plans probes until the effective limit is known to a length step.

    Args:
        base_tokens: Length of the short prompts that tell what the model can do at all.
        ceiling_tokens: The longest prompt worth asking: the processable limit.
        groups: The families of tasks there are; those of a group share haystacks.
        chance: What guessing scores, by family; 0 where none is given.
        questions: How many of each family are put to one haystack, at most `MOST_TOGETHER` in all.
        most_questions: After so many the search ends undecided.

    After the base it asks one haystack at a time, at the length that tells most about the limit
    for what it costs to read.
    """

    base_tokens: int
    ceiling_tokens: int
    groups: tuple[tuple[str, ...], ...]
    chance: Mapping[str, float] = field(default_factory=dict)
    questions: int = QUESTIONS
    most_questions: int = MOST_QUESTIONS
    _scores: dict[int, list[Score]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.base_tokens <= self.ceiling_tokens:
            raise ValueError("the base is at least one token and no longer than the ceiling")
        self._grid = Grid(self.base_tokens, self.ceiling_tokens)
        self._posterior: Posterior | None = None
        self._foundation: tuple[float, dict[str, float]] | None = None
        self._taken: dict[int, int] = {}
        self._streak = (self.base_tokens, 0)  # the length asked last, and how often in a row

    def record(self, length_tokens: int, scores: Sequence[Score]) -> None:
        """Take scores of questions at a length; fresh haystacks have fresh `cluster` numbers."""
        self._scores.setdefault(length_tokens, []).extend(scores)
        length, times = self._streak
        self._streak = (length_tokens, times + 1 if length == length_tokens else 1)
        for stale in _READ_FROM_SCORES:
            self.__dict__.pop(stale, None)

    @cached_property
    def able(self) -> tuple[str, ...]:
        """The families the model can do at base, known once the base is."""
        known = LengthEvidence(self._scores.get(self.base_tokens, ())).by_family()
        return tuple(
            name
            for group in self.groups
            for name in group
            if known.get(name, 0.0) >= self._bar(name)
        )

    @cached_property
    def base(self) -> LengthEvidence:
        """What the model scores on short prompts, in the families it can do."""
        return self.evidence(self.base_tokens)

    def evidence(self, length_tokens: int) -> LengthEvidence:
        """What a length's own answers say, in the families the model can do at base."""
        return LengthEvidence(self._able_scores.get(length_tokens, ()))

    def next(self) -> Ask | None:
        """What to ask next; `None` when the search is over. Asking again changes nothing."""
        if missing := self._unscreened:
            return self._ask(self.base_tokens, missing[0])
        if not self.able:
            return None
        if len(self.base.samples) < LEAST_BASE:
            return self._ask(self.base_tokens, self._next_group(self.base_tokens))
        asked = sum(map(len, self._able_scores.values()))
        if self._settled:
            return None
        if asked >= self.most_questions:
            return self._last_look(asked)
        length, times = self._streak
        if times > asked // QUESTIONS_PER_STREAK:
            length = self._grid.tokens[self._next_cell()]
        return self._ask(length, self._next_group(length))

    def _last_look(self, asked: int) -> Ask | None:
        """At the end of the questions, the longest length that would hold is tested once."""
        clear = self._bracket.clear_cell
        if clear <= self._grid.cell(self._bracket.holds) or asked > self.most_questions + 60:
            return None
        length = self._grid.tokens[clear]
        return None if length in self._able_scores else self._ask(length, self._next_group(length))

    def _ask(self, length: int, group: tuple[str, ...]) -> Ask:
        return Ask(length, group, min(MOST_TOGETHER, self.questions * len(group)))

    @property
    def limit(self) -> Limit:
        """The limit as far as it is known now."""
        if self._unscreened:
            return Limit(evidence=("The base score is not known yet.",))
        dropped = [name for group in self.groups for name in group if name not in self.able]
        if not self.able:
            return Limit(evidence=(nothing(dropped, self.base_tokens),))
        holds, fails, _, _ = self._bracket
        evidence = [
            interval(holds, fails, ceiling_tokens=self.ceiling_tokens, confidence=CONFIDENCE),
            base_sentence(self.base_tokens, self.base),
            *(self._sentence(length) for length in sorted(self._able_scores)[1:]),
        ]
        if dropped:
            evidence.append(f"Left out, for the model cannot do it at base: {', '.join(dropped)}.")
        known = {length: self.evidence(length) for length in self._able_scores}
        evidence.append(absolute({} if dropped else known))
        return Limit(
            verdict=Verdict.FOUND if self._settled else Verdict.AT_LEAST,
            tokens=holds,
            below_tokens=fails,
            evidence=tuple(evidence),
        )

    @property
    def curve(self) -> tuple[LengthPoint, ...]:
        """Quality over length, shortest first; bounds are by all answers together."""
        points = []
        for length in sorted(self._scores):
            known = self.evidence(length)
            low, high = known.low, known.high
            if self._weights is not None:
                cell = self._grid.cell(length)
                together = self._weights.score_bounds(cell, risk=BOUND_RISK)
                low, high = together if all(together) else (low, high)
            points.append(
                LengthPoint(
                    tokens=length,
                    samples=len(known.samples),
                    mean=known.mean,
                    low=min(low, known.mean),
                    high=max(high, known.mean),
                    by_family=known.by_family(),
                )
            )
        return tuple(points)

    @property
    def _unscreened(self) -> list[tuple[str, ...]]:
        """The groups with families of which it is not clear whether the model can do them."""
        scores = self._scores.get(self.base_tokens, ())
        seen, means = Counter(score.family for score in scores), LengthEvidence(scores).by_family()

        def unclear(name: str) -> bool:
            near = abs(means.get(name, 0.0) - self._bar(name)) < UNCLEAR
            return seen[name] < (SCREENING_UNCLEAR if near else SCREENING)

        return [group for group in self.groups if any(map(unclear, group))]

    def _bar(self, name: str) -> float:
        return self.chance.get(name, 0.0) + ABLE

    @cached_property
    def _able_scores(self) -> dict[int, list[Score]]:
        able = self.able
        return {
            length: [score for score in scores if score.family in able]
            for length, scores in self._scores.items()
        }

    # What is believed

    @cached_property
    def _weights(self) -> Weights | None:
        """The belief, built anew where what it rests on changed; else only what is new is taken.

        `None` where there is nothing to search.
        """
        if not self.able or not self._grid.cells:
            return None
        base = self.base
        foundation = (self._correlation, self._eases)
        fresh = self._taken.get(self.base_tokens) != len(base.samples)
        if self._posterior is None or fresh or foundation != self._foundation:
            self._foundation = foundation
            told = list(self._discounted(base.samples).values())
            self._posterior = Posterior(
                self._grid,
                right=sum(right for right, _ in told),
                asked=sum(asked for _, asked in told),
                alive=self._posterior.alive if self._posterior else (),
            )
            self._taken = {self.base_tokens: len(base.samples)}
        for length, scores in self._able_scores.items():
            cell = self._grid.cell(length)
            fresh_scores = scores[self._taken.get(length, 0) :]
            for family, (right, asked) in self._discounted(fresh_scores).items():
                self._posterior.take(Answers(cell, right, asked, self._eases[family]))
            self._taken[length] = len(scores)
        return self._posterior.weigh()

    def _discounted(self, scores: Sequence[Score]) -> dict[str, tuple[float, float]]:
        """Right and asked by family, as so many independent questions."""
        sizes = Counter(score.cluster for score in scores)
        told: dict[str, tuple[float, float]] = {}
        for score in scores:
            effect = deff(sizes[score.cluster], self._correlation)
            right, asked = told.get(score.family, (0.0, 0.0))
            told[score.family] = (right + score.score / effect, asked + 1 / effect)
        return told

    @cached_property
    def _correlation(self) -> float:
        """That of two questions of one haystack, rounded so that it seldom changes."""
        groups = []
        for length, scores in self._able_scores.items():
            means = self.evidence(length).by_family()
            clusters: dict[int, list[float]] = defaultdict(list)
            for score in scores:
                clusters[score.cluster].append(score.score - means[score.family])
            groups.append(list(clusters.values()))
        told = correlation(groups)
        return min(CORRELATIONS, key=lambda value: abs(value - told))

    @cached_property
    def _eases(self) -> dict[str, float]:
        """How much more often than the mean each family is done at base."""
        mean = self.base.mean
        return {name: score / mean for name, score in self.base.by_family().items()}

    # Where the limit is

    @cached_property
    def _bracket(self) -> Bracket:
        grid, weights = self._grid, self._weights
        if weights is None:
            return Bracket(self.base_tokens, None)
        reaches = weights.reaches()
        clear = max(cell for cell, chance in enumerate(reaches) if chance >= 1 - RISK)
        if reaches[-1] >= 1 - CEILING_RISK:
            clear = grid.cells
        lost = next((cell for cell, chance in enumerate(reaches) if chance <= RISK), None)
        fails = [
            length
            for length in self._able_scores
            if (lost is not None and grid.cell(length) >= lost) or self._fails_alone(length)
        ]
        first = min(fails, default=self.ceiling_tokens + 1)
        tested = [n for n in self._able_scores if grid.cell(n) <= clear and n < first]
        return Bracket(max(tested, default=self.base_tokens), min(fails, default=None), clear, lost)

    def _fails_alone(self, length: int) -> bool:
        """Whether a length's own answers show that it fails, whatever the others say."""
        known = self.evidence(length)
        if length == self.base_tokens or len(known.samples) < LEAST_AGAINST:
            return False
        asked = sum(count for _, count in self._discounted(known.samples).values())
        return wilson(known.mean, asked, z=Z_AGAINST)[1] < KEPT * self.base.mean

    @property
    def _settled(self) -> bool:
        """Whether the limit is known to a step."""
        holds, fails, _, _ = self._bracket
        if holds == self.ceiling_tokens:
            return True
        if fails is not None:
            return _near(holds, fails)
        asked = len(self._able_scores.get(self.ceiling_tokens, ()))
        return _near(holds, self.ceiling_tokens) and asked >= MOST_AT_CEILING

    # What to ask

    def _next_cell(self) -> int:
        """The length that tells most about the limit for what it costs."""
        grid, weights = self._grid, self._weights
        assert weights is not None
        holds, fails, clear, lost = self._bracket
        end = grid.cells
        if lost is not None and _near(grid.tokens[clear], grid.tokens[lost]):
            # All is known but for a look at the two lengths themselves.
            if grid.cell(holds) < clear and (fails is None or clear < grid.cell(fails)):
                return clear
            if fails is None or lost < grid.cell(fails):
                return lost
        reaches = weights.reaches()
        first = max(cell for cell, chance in enumerate(reaches) if chance >= 0.995)
        last = next((cell for cell, chance in enumerate(reaches) if chance <= 0.005), end)
        first, last = max(first - 2, 0), min(last + 6, end)
        stride = max(1, round((last - first) / CANDIDATES))
        cells = {0, *range(first, last + 1, stride), min(last, end)}
        if fails is None:
            cells.add(end)
        together = min(MOST_TOGETHER, self.questions * max(map(len, self.groups)))
        effect: float = together / deff(together, self._correlation)

        def worth(cell: int) -> float:
            cost = grid.tokens[cell] + together * QUESTION_TOKENS
            assert weights is not None
            return weights.telling(cell, effect) / cost

        best: int = max(sorted(cells), key=worth)
        # The ceiling costs hardly more, and to hold there is all that can be shown.
        return end if fails is None and _near(grid.tokens[best], self.ceiling_tokens) else best

    def _next_group(self, length: int) -> tuple[str, ...]:
        """The group that was asked least at a length, and beyond the base."""
        here = Counter(score.family for score in self._able_scores.get(length, ()))
        beyond = Counter(
            score.family
            for other, scores in self._able_scores.items()
            if other != self.base_tokens
            for score in scores
        )
        groups = [tuple(name for name in group if name in self.able) for group in self.groups]
        return min(filter(None, groups), key=lambda group: (here[group[0]], beyond[group[0]]))

    # What is said

    def _sentence(self, length: int) -> str:
        holds, fails, _, _ = self._bracket
        says = "holds" if length <= holds else "is undecided"
        if fails is not None and length >= fails:
            says = "fails"
        kept = None
        if self._weights is not None:
            kept = self._weights.kept_bounds(self._grid.cell(length), risk=BOUND_RISK)
        return length_sentence(length, self.evidence(length), says=says, kept=kept)


def _near(holds: int, fails: int) -> bool:
    return fails <= holds * LENGTH_STEP * 1.001  # lengths are whole tokens
