"""Which context size to load next, to find the largest that loads in as few loads as possible.

A pure planner: `next()` names a size, `record()` takes the result, no clock and no I/O. What is
believed about the limit is a `Prior`; a load that worked or failed cuts the belief, so the
belief after any number of loads is the prior between the largest good and the smallest bad
size. The next size is the one whose success is nearest to an even bet among the edges of cells
as wide as the tolerance, which is the weight-balanced search tree (K. Mehlhorn, "Nearly optimal
binary search trees", Acta Informatica 5, 1975: within two loads of the entropy, in practice
far nearer). Cells rather than the plain median, because a bracket narrower than asked for is
a load wasted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_FLOOR_TOKENS = 128
ECONOMICAL_TOLERANCE = 0.044  # cells that a prior of +-20 % holds about ten of
DOUBT = 0.02  # how much of the belief a prior leaves to "it is simply wrong"
HEAVY = 0.1  # how often a memory figure is three times as wrong as its error says
TAIL = 0.08  # so much belief at an end is one cell where it is spread thinly ...
THIN = 0.2  # ... that is, over more than this part of the bracket
ROUNDING_TOKENS = 256  # servers round sizes; a shortfall up to this is no refusal


class Prior(Protocol):
    """What is believed about the limit before and between loads."""

    def below(self, tokens: float) -> float:
        """The probability that the limit is below `tokens`; never falls with `tokens`."""
        ...

    def learn(self, tokens: int, memory_bytes: int) -> Prior:
        """The same belief after a load of `tokens` was seen to take `memory_bytes`."""
        ...


@dataclass(frozen=True)
class NoPrior:
    """Nothing is known but the range.

    15 % that the model loads whole, 1 % that not even the floor loads. The rest is half even
    over sizes and half even over their logarithms: down to 1/32 of the ceiling, with a tenth
    of that half down to the floor.
    """

    floor_tokens: int
    ceiling_tokens: int

    def below(self, tokens: float) -> float:
        """See `Prior`."""
        if tokens <= self.floor_tokens:
            return 0.01 * tokens / self.floor_tokens
        size = min(tokens, self.ceiling_tokens)
        even = (size - self.floor_tokens) / max(1, self.ceiling_tokens - self.floor_tokens)
        near = _log_even(
            size, max(self.floor_tokens, self.ceiling_tokens / 32), self.ceiling_tokens
        )
        far = _log_even(size, self.floor_tokens, self.ceiling_tokens)
        part = 0.01 + 0.84 * (0.5 * even + 0.45 * near + 0.05 * far)
        return part if tokens <= self.ceiling_tokens else 1.0

    def learn(self, tokens: int, memory_bytes: int) -> Prior:  # noqa: ARG002  # the protocol's
        """Bytes say nothing without a budget."""
        return self


@dataclass(frozen=True)
class Estimate:
    """Somebody's estimate (a server's, an earlier test's) of the limit.

    The estimate is within `relative_error` of the truth, anywhere in it alike.
    """

    tokens: float
    relative_error: float = 0.2

    def below(self, tokens: float) -> float:
        """See `Prior`."""
        low = self.tokens / (1 + self.relative_error)
        return _log_even(tokens, low, self.tokens / (1 - self.relative_error))

    def learn(self, tokens: int, memory_bytes: int) -> Prior:  # noqa: ARG002  # the protocol's
        """Bytes say nothing without a budget."""
        return self


@dataclass(frozen=True)
class MemoryLine:
    """The limit is where `fixed + scale * context_bytes(tokens)` reaches the budget.

    Args:
        fixed_bytes: Weights and whatever else does not grow with the context.
        context_bytes: Bytes that come with a context of so many tokens (KV cache, buffers);
            for a plain transformer `lambda tokens: tokens * bytes_per_token`.
        budget_bytes: Memory there is, `fixed_bytes` included.
        fixed_error: Relative standard error of `fixed_bytes`.
        context_error: Relative standard error of `context_bytes`.
        budget_error: Relative standard error of `budget_bytes`.
        told_error: Relative standard error of the bytes that a load is said to take.

    Fixed part and scale are held as a normal distribution and updated by Bayesian least
    squares (Bishop, Pattern Recognition and Machine Learning, 2006, section 3.3).
    """

    fixed_bytes: float
    context_bytes: Callable[[float], float]
    budget_bytes: float
    fixed_error: float = 0.03
    context_error: float = 0.05
    budget_error: float = 0.02
    told_error: float = 0.005
    scale: float = 1.0
    covariance: tuple[float, float, float] | None = None  # fixed, both, scale

    def below(self, tokens: float) -> float:
        """See `Prior`."""
        grown = self.context_bytes(tokens)
        fixed, both, scale = self._spread
        needed = self.fixed_bytes + self.scale * grown
        variance = fixed + 2 * grown * both + grown * grown * scale
        variance += (self.budget_error * self.budget_bytes) ** 2
        away = (self.budget_bytes - needed) / math.sqrt(2 * max(variance, 1.0))
        return 0.5 * ((1 - HEAVY) * math.erfc(away) + HEAVY * math.erfc(away / 3))

    def learn(self, tokens: int, memory_bytes: int) -> MemoryLine:
        """See `Prior`."""
        grown = self.context_bytes(tokens)
        fixed, both, scale = self._spread
        with_fixed = fixed + grown * both
        with_scale = both + grown * scale
        noise = (self.told_error * memory_bytes) ** 2
        told = with_fixed + grown * with_scale + noise
        surprise = (memory_bytes - self.fixed_bytes - self.scale * grown) / told
        return MemoryLine(
            fixed_bytes=self.fixed_bytes + with_fixed * surprise,
            context_bytes=self.context_bytes,
            budget_bytes=self.budget_bytes,
            budget_error=self.budget_error,
            told_error=self.told_error,
            scale=self.scale + with_scale * surprise,
            covariance=(
                fixed - with_fixed * with_fixed / told,
                both - with_fixed * with_scale / told,
                scale - with_scale * with_scale / told,
            ),
        )

    @property
    def _spread(self) -> tuple[float, float, float]:
        if self.covariance is not None:
            return self.covariance
        return ((self.fixed_error * self.fixed_bytes) ** 2, 0.0, self.context_error**2)


@dataclass(frozen=True)
class _Scale:
    """Sizes measured in cells: `grain` tokens each, from where that is finer, relative."""

    tolerance: float
    grain: int
    turn: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "turn", self.grain * (1 - self.tolerance) / self.tolerance)

    def cells(self, tokens: float) -> float:
        if tokens <= self.turn:
            return tokens / self.grain
        return self.turn / self.grain - math.log(tokens / self.turn) / math.log1p(-self.tolerance)

    def tokens(self, cells: float) -> float:
        turn = self.turn / self.grain
        if cells <= turn:
            return cells * self.grain
        return self.turn * math.exp((turn - cells) * math.log1p(-self.tolerance))


class LoadSearch:
    """Plans loads until the largest size that loads is known within the tolerance.

    Args:
        ceiling_tokens: Never asked beyond: the declared context or the user's threshold.
        floor_tokens: The smallest size that makes sense.
        prior: What is believed; without one, `NoPrior`. Every prior is doubted a little, so a
            wrong one costs loads and never a wrong answer.
        known_good: A size that is known to load.
        known_bad: A size never to be tried again, nor anything above it.
        tolerance: Ends when the good size is within this part of the smallest bad one.
        granularity_tokens: Ends too when they are this near.
        economical: Stop at a bracket of 4.4 % rather than at `tolerance`.

    What is claimed, `bracket[0]`, is always a size that really loaded, or 0.
    """

    def __init__(
        self,
        *,
        ceiling_tokens: int,
        floor_tokens: int = DEFAULT_FLOOR_TOKENS,
        prior: Prior | None = None,
        known_good: int = 0,
        known_bad: int | None = None,
        tolerance: float = 0.01,
        granularity_tokens: int = 32,
        economical: bool = False,
    ) -> None:
        if ceiling_tokens < 1 or floor_tokens < 1 or granularity_tokens < 1:
            raise ValueError("sizes are at least one token")
        if not 0 < tolerance < 1:
            raise ValueError("tolerance is a part between 0 and 1")
        if economical:
            tolerance = max(tolerance, ECONOMICAL_TOLERANCE)
        self.ceiling_tokens = ceiling_tokens
        self.floor_tokens = min(floor_tokens, ceiling_tokens)
        self._vague = NoPrior(self.floor_tokens, ceiling_tokens)
        self._prior = prior
        self._scale = _Scale(tolerance, granularity_tokens)
        self._good = known_good
        self._reached = known_good  # what was asked for `_good`; a server may round down
        self._bads: set[int] = set() if known_bad is None else {known_bad}
        self._shortened: dict[int, int] = {}
        self.loads = 0

    @property
    def bracket(self) -> tuple[int, int | None]:
        """The largest size that loaded and the smallest failed one above it."""
        return self._good, min((bad for bad in self._bads if bad > self._good), default=None)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to try."""
        return self.next() is None

    def record(
        self,
        tokens: int,
        loaded: bool,  # noqa: FBT001  # the result itself, not an option
        *,
        memory_bytes: int | None = None,
        real_tokens: int | None = None,
    ) -> None:
        """Take the result of a load of `tokens`.

        `real_tokens` is the context the instance says it holds: much less than asked counts as
        a refusal of what was asked and proof of what was given. `memory_bytes` is what the
        instance took.
        """
        self.loads += 1
        if not loaded:
            self._bads.add(tokens)
            return
        held = tokens if real_tokens is None else real_tokens
        if memory_bytes is not None and self._prior is not None:
            self._prior = self._prior.learn(held, memory_bytes)
        short = tokens - held
        if short > max(ROUNDING_TOKENS, self._scale.tolerance * tokens):
            self._bads.add(tokens)
            self._shortened[tokens] = held
            self._reached = max(self._reached, held)
        else:
            self._reached = max(self._reached, tokens, held)
        self._good = max(self._good, held)

    def rule_out(self, tokens: int) -> None:
        """Take it as known, without a load, that `tokens` fails."""
        self._bads.add(tokens)

    def next(self) -> int | None:
        """The size to load next; `None` when the search is over. Asking again changes nothing."""
        wall = min(self._bads, default=self.ceiling_tokens + 1)
        top = min(wall - 1, self.ceiling_tokens)
        whole = wall > self.ceiling_tokens
        if top <= self._reached or top < self.floor_tokens or self._capped is not None:
            return None
        low = self._reached or self.floor_tokens
        if self._reached and not whole and self._near(low, wall):
            return None
        return self._even_bet(low, self.ceiling_tokens if whole else wall, whole=whole)

    @property
    def reason(self) -> str:
        """Why the search stands where it does, in one sentence."""
        good, bad = self.bracket
        below = [size for size in self._bads if size <= good]
        if self.next() is not None:
            return f"Between {good:,} and {bad or self.ceiling_tokens:,} tokens nothing is known."
        if below:
            return (
                f"{good:,} tokens loaded although {min(below):,} once failed; nothing at or "
                f"above a size that failed is tried again."
            )
        if self._capped is not None:
            return f"The server gives {self._capped:,} tokens whatever more is asked."
        if bad is None:
            return f"{good:,} tokens load, and no more is asked for."
        if not good:
            return f"Not even {bad:,} tokens load."
        return f"{good:,} tokens load, {bad:,} do not."

    @property
    def _capped(self) -> int | None:
        """The size a server gave for two different, larger ones."""
        given = list(self._shortened.values())
        return next((size for size in given if given.count(size) > 1), None)

    def _near(self, low: int, high: int) -> bool:
        return self._scale.cells(high) - self._scale.cells(low) <= 1 + 1e-9

    def _below(self, tokens: float) -> float:
        vague = self._vague.below(tokens)
        if self._prior is None:
            return vague
        if tokens > self.ceiling_tokens:
            return 1.0
        return DOUBT * vague + (1 - DOUBT) * min(1.0, max(0.0, self._prior.below(tokens)))

    def _even_bet(self, low: int, high: int, *, whole: bool) -> int:
        """The cell edge in the bracket whose success is nearest to an even bet.

        `low` is known to load unless nothing has loaded yet, `high` known to fail unless
        `whole`: then loading `high` itself is among the choices.
        """
        under = self._below(low) if self._reached else 0.0
        over = 1.0 if whole else self._below(high)
        mass = max(over - under, 1e-12)

        def fails(cells: float) -> float:
            return (self._below(self._scale.tokens(cells)) - under) / mass

        first, last = self._scale.cells(low), self._scale.cells(high)
        start, stop = self._belief(fails, first, last)
        count = max(1, math.ceil(stop - start - 1e-9))
        width = max(1.0, stop - start) if count == 1 else stop - start
        edges = [start + width * step / count for step in range(count + 1)]
        edges = [edge for edge in edges if first < edge < last]
        if not self._reached:
            edges.insert(0, first)
        if whole:
            edges.append(last)
        if not edges:
            edges.append((first + last) / 2)
        best = min(edges, key=lambda edge: (abs(fails(edge) - 0.5), edge))
        inside = high if whole else high - 1
        return min(
            max(math.floor(self._scale.tokens(best) + 1e-6), low + bool(self._reached)), inside
        )

    @staticmethod
    def _belief(fails: Callable[[float], float], first: float, last: float) -> tuple[float, float]:
        """The part of the bracket where the belief is, without thin ends."""
        thin = max(1.0, THIN * (last - first))
        start, stop = first, last
        if thin < last - first:
            if fails(first + thin) < TAIL:
                start = _crossing(fails, TAIL, first, last)
            if fails(last - thin) > 1 - TAIL:
                stop = _crossing(fails, 1 - TAIL, first, last)
        return start, stop


def _crossing(rising: Callable[[float], float], level: float, low: float, high: float) -> float:
    for _ in range(40):
        middle = (low + high) / 2
        if rising(middle) < level:
            low = middle
        else:
            high = middle
    return low


def _log_even(tokens: float, low: float, high: float) -> float:
    if tokens <= low:
        return 0.0
    if tokens >= high:
        return 1.0
    return math.log(tokens / low) / math.log(high / low)
