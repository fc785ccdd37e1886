"""How a model's score may fall with the length of the prompt, and what answers say about it.

The one assumption is that a longer prompt never makes answers better: the part of its base score
that a model keeps falls, or stays, as the prompt grows. How it falls is left open: `SHAPES`
has gentle and sudden falls, falls to a floor (where some tasks survive) and falls after a slow
decline. Each is weighed by what was answered at all lengths together, so a length's bounds
rest on its neighbours too. Once less than `LOST` is kept, its course is not modelled at all: such
a length tells that it is lost, not how steep the way there was.

The score of a question is taken for a draw with probability base x part kept. Questions of one
haystack succeed and fail together, so a haystack of n questions counts for n / deff, with the
design effect deff = 1 + (n - 1) rho of L. Kish (Survey Sampling, 1965).
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import lru_cache
from itertools import accumulate
from operator import add, itemgetter, mul
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")
KEPT = 0.85  # part of the base that a length must keep
LOST = 0.6
LEVELS = 128  # parts kept are known to 1 / LEVELS; 0 is all that is lost
_LEAST_LEVEL = math.ceil(LOST * LEVELS)
_LOST_LEVEL = _LEAST_LEVEL * 7 // 8  # what a lost length is expected to keep
CELLS_PER_DOUBLING = 16
CELLS_BEYOND = 24  # limits up to 2.8 x the ceiling, which show in a score below base there
# How likely, before anything is asked, the limit is below the ceiling (anywhere, by ratio),
# beyond it (anywhere, by ratio), and that there is none.
WITHIN, BEYOND, NEVER = 0.6, 0.2, 0.2
BASES = (*(value / 80 for value in range(8, 79)), 0.985, 0.992, 0.998)
MOST_BASES = 10  # considered at once
NEGLIGIBLE_BASE = 7.0  # in logarithms: a base this much less likely than the best is left out
NEGLIGIBLE = 16.0  # the same for a shape with a limit
PERMILLE = 1000  # chances are known to one of so many parts
_CHANCES = [min(max(part, 10), 998) / PERMILLE for part in range(PERMILLE + 1)]  # luck and slips
_LOG_RIGHT = [math.log(chance) for chance in _CHANCES]
_LOG_WRONG = [math.log(1 - chance) for chance in _CHANCES]


class Shape(NamedTuple):
    """A way of falling: a logistic curve in the logarithm of the length, with its variations.

    `slope` is that of the curve (4 falls from 0.85 to 0.5 over 54 % of the length, 12 over 16 %),
    `floor` is kept however long the prompt is, `decline` is lost slowly before the fall. With a
    `power` it is W. Weibull's curve instead (J. Applied Mechanics 18, 1951), 0.85 to the power
    of the length beyond the base, as a part of that of the limit, raised to `power`.
    `weight` is how likely the shape is before anything is asked.
    """

    slope: float = 0.0
    floor: float = 0.0
    decline: float = 0.0
    power: float = 0.0
    weight: float = 1.0

    def at(self, limit: float) -> Callable[[float], float]:
        """The part of the base kept by length, where `KEPT` is kept at `limit`.

        Lengths are logarithms of multiples of the base. Where the slope is too gentle for a limit
        near the base, the gentlest possible is taken.
        """
        if self.power:
            whole, power = math.expm1(limit), self.power
            return lambda length: KEPT ** min(600.0, (math.expm1(length) / whole) ** power)
        floor, decline = self.floor, self.decline / limit
        left = (KEPT / (1 - self.decline) - floor) / (1 - floor)
        slope = max(self.slope, (math.log(1 / left) + 0.2) / limit)
        # 1 / (1 + odds(0)) is what the curve itself has at the base; all is relative to that.
        odds = (1 - left) / (left - math.exp(-slope * limit))
        top = (1 - floor) * (1 + odds * math.exp(-slope * limit))
        return lambda length: (
            max(0.0, 1 - decline * length)
            * (floor + top / (1 + odds * math.exp(min(600.0, slope * (length - limit)))))
        )


_SLOPES = {2.5: 2.0, 4.0: 2.0, 6.0: 1.5, 9.0: 1.2, 14.0: 1.0, 22.0: 1.0, 40.0: 1.0, 150.0: 0.7}
SHAPES = (
    *(Shape(slope, weight=weight) for slope, weight in _SLOPES.items()),
    *(Shape(slope, floor=0.45, weight=0.7) for slope in (4.0, 9.0)),
    *(Shape(slope, floor=0.7, weight=0.4) for slope in (6.0, 25.0)),
    *(Shape(power=power, weight=1.0) for power in (1.5, 3.0, 6.0, 12.0)),
    *(Shape(slope, decline=0.07, weight=0.7) for slope in (5.0, 12.0, 40.0)),
)


class Grid:
    """The lengths that may be asked, from the base (0) to the ceiling (`cells`), even by ratio.

    A possible limit lies in the middle of a cell between two lengths, or beyond the ceiling, or
    nowhere.
    """

    def __init__(self, base_tokens: int, ceiling_tokens: int) -> None:
        span = math.log(ceiling_tokens / base_tokens)
        self.cells = math.ceil(span / math.log(2) * CELLS_PER_DOUBLING)
        self.width = span / self.cells if self.cells else 0.0
        self.tokens = [
            round(base_tokens * math.exp(self.width * cell)) for cell in range(self.cells)
        ]
        self.tokens.append(ceiling_tokens)
        self.response = _response(self.cells, self.width) if self.cells else None

    def cell(self, tokens: int) -> int:
        """The place of the length that is nearest."""
        if not self.cells:
            return 0
        place = round(math.log(max(1, tokens) / self.tokens[0]) / self.width)
        return min(max(place, 0), self.cells)


class Response:
    """The part kept at each length, for each shape and each possible limit.

    Flat tables: shape by shape, within it limit by limit, the last of which is "nowhere".
    """

    def __init__(self, cells: int, width: float) -> None:
        self.cells, self.width = cells, width
        step = math.log(2) / CELLS_PER_DOUBLING
        limits = [width * (cell + 0.5) for cell in range(cells)]
        limits += [width * cells + step * (cell + 0.5) for cell in range(CELLS_BEYOND)]
        self.positions = len(limits) + 1
        self._falls = [fall for shape in SHAPES for fall in (*map(shape.at, limits), _never)]
        within = math.log(WITHIN / cells)
        beyond = math.log(BEYOND / CELLS_BEYOND)
        spread = [within] * cells + [beyond] * CELLS_BEYOND + [math.log(NEVER)]
        total = sum(shape.weight for shape in SHAPES)
        self.prior = [math.log(s.weight / total) + place for s in SHAPES for place in spread]
        self._levels: dict[int, tuple[int, ...]] = {}

    def levels(self, cell: int) -> tuple[int, ...]:
        """The part kept at the length `cell`, in `LEVELS`."""
        if cell not in self._levels:
            length = self.width * cell
            levels = [round(LEVELS * fall(length)) for fall in self._falls]
            self._levels[cell] = tuple(level if level >= _LEAST_LEVEL else 0 for level in levels)
        return self._levels[cell]


@lru_cache(maxsize=16)
def _response(cells: int, width: float) -> Response:
    return Response(cells, width)


class Answers(NamedTuple):
    """Answers at one length that may be taken together.

    `cell` is the length's place in the grid, `right` the sum of scores and `asked` the number of
    questions, both already divided by the design effect. `ease` is how much more often than the
    mean these tasks are done at base.
    """

    cell: int
    right: float
    asked: float
    ease: float = 1.0


class Posterior:
    """What is believed after some answers. `take` and read; nothing is ever untaken.

    `alive` are the shapes with a limit that are worth considering, as places in the tables of
    `Response`; all, if none are given.
    """

    def __init__(
        self, grid: Grid, *, right: float, asked: float, alive: Sequence[int] = ()
    ) -> None:
        """`right` and `asked` are those of the base, both divided by the design effect."""
        assert grid.response is not None
        self._response = grid.response
        prior = grid.response.prior
        self.alive = list(alive) or list(range(len(prior)))
        told = [_log_chance(right, asked, round(value * PERMILLE)) for value in BASES]
        best = max(told)
        likely = [at for at, log in enumerate(told) if log > best - NEGLIGIBLE_BASE]
        thin = -(-len(likely) // MOST_BASES)
        self._beliefs = {
            BASES[at]: [told[at] - best + prior[place] for place in self.alive]
            for at in likely[::thin]
        }

    def take(self, answers: Answers) -> None:
        """Learn from answers."""
        levels = _pick(self._response.levels(answers.cell), self.alive)
        for base, belief in self._beliefs.items():
            most = base * answers.ease * PERMILLE / LEVELS
            told = [
                _log_chance(answers.right, answers.asked, min(int(most * level), PERMILLE))
                for level in range(_LEAST_LEVEL, LEVELS + 1)
            ]
            lost = min(answers.right / answers.asked * PERMILLE, most * LOST * LEVELS)
            told = [
                _log_chance(answers.right, answers.asked, int(lost)),
                *[0.0] * (_LEAST_LEVEL - 1),
                *told,
            ]
            self._beliefs[base] = list(map(add, belief, map(told.__getitem__, levels)))

    def weigh(self) -> Weights:
        """The belief as weights. What has become negligible is forgotten."""
        best = max(map(max, self._beliefs.values()))
        likeliest = list(map(max, *self._beliefs.values())) if len(self._beliefs) > 1 else None
        if likeliest is None:
            likeliest = next(iter(self._beliefs.values()))
        kept = [at for at, value in enumerate(likeliest) if value > best - NEGLIGIBLE]
        if len(kept) < 0.8 * len(self.alive):
            self.alive = list(_pick(self.alive, kept))
            self._beliefs = {b: list(_pick(belief, kept)) for b, belief in self._beliefs.items()}
        weights = {
            base: [math.exp(value - best) for value in belief]
            for base, belief in self._beliefs.items()
        }
        return Weights(self._response, self.alive, weights)


class Weights:
    """A belief, read: where the limit is, what a length scores, what is worth asking."""

    def __init__(
        self, response: Response, alive: Sequence[int], weights: dict[float, list[float]]
    ) -> None:
        self._response, self._alive, self._weights = response, list(alive), weights
        cells, positions = response.cells, response.positions
        self._places = [min(at % positions, cells) for at in alive]
        total = sum(map(sum, weights.values()))
        together = list(map(sum, zip(*weights.values(), strict=True)))
        self._first = [0.0] * len(alive)  # over bases: the weight x the base
        self._second = [0.0] * len(alive)  # and x its square
        for base, belief in weights.items():
            share, square = base / total, base * base / total
            self._first = [a + share * b for a, b in zip(self._first, belief, strict=True)]
            self._second = [a + square * b for a, b in zip(self._second, belief, strict=True)]
        self.places = [0.0] * (cells + 1)  # the last: at or above the ceiling
        for place, weight in zip(self._places, together, strict=True):
            self.places[place] += weight / total

    def reaches(self) -> list[float]:
        """The probability that each length of the grid is not beyond the limit."""
        return list(accumulate(reversed(self.places)))[::-1]

    def score_bounds(self, cell: int, *, risk: float) -> tuple[float, float]:
        """The score at a length is above the first, and below the second, each but for `risk`.

        The first is 0 where the length may be lost.
        """
        heap: dict[float, float] = defaultdict(float)
        levels = _pick(self._response.levels(cell), self._alive)
        for base, belief in self._weights.items():
            for level, weight in zip(levels, belief, strict=True):
                heap[base * level] += weight
        low, high = _quantiles(heap, risk)
        return low / LEVELS, high / LEVELS

    def kept_bounds(self, cell: int, *, risk: float) -> tuple[float, float]:
        """The same of the part of the base that is kept."""
        heap: dict[float, float] = defaultdict(float)
        levels = _pick(self._response.levels(cell), self._alive)
        for belief in self._weights.values():
            for level, weight in zip(levels, belief, strict=True):
                heap[level] += weight
        low, high = _quantiles(heap, risk)
        return low / LEVELS, high / LEVELS

    def telling(self, cell: int, questions: float) -> float:
        """How much `questions` independent ones at a length would tell about the limit, in nats.

        Mutual information where answers and beliefs were normal: half the logarithm of the total
        variance of the mean score over what is left of it once the limit is known. Limits at or
        above the ceiling are one.
        """
        levels = [level or _LOST_LEVEL for level in _pick(self._response.levels(cell), self._alive)]
        weighted = list(map(mul, self._first, levels))
        squares = sum(map(mul, map(mul, self._second, levels), levels)) / LEVELS**2
        by_place = [0.0] * len(self.places)
        for place, score in zip(self._places, weighted, strict=True):
            by_place[place] += score / LEVELS
        mean = sum(by_place)
        noise = max(mean - squares, 1e-4) / questions
        spread = squares - mean * mean
        explained = sum(
            score * score / weight
            for score, weight in zip(by_place, self.places, strict=True)
            if weight > 0
        )
        explained = min(max(explained - mean * mean, 0.0), spread)
        return 0.5 * math.log((spread + noise) / (spread - explained + noise))


def _never(_: float) -> float:
    return 1.0


def _log_chance(right: float, asked: float, permille: int) -> float:
    return right * _LOG_RIGHT[permille] + (asked - right) * _LOG_WRONG[permille]


def _pick(values: Sequence[_T], places: Sequence[int]) -> Sequence[_T]:
    if len(places) == len(values):
        return values
    return itemgetter(*places)(values) if len(places) > 1 else (values[places[0]],)


def _quantiles(heap: dict[float, float], risk: float) -> tuple[float, float]:
    """The values below and above which `risk` of the weight lies."""
    values = sorted(heap)
    return _quantile(values, heap, risk), _quantile(values[::-1], heap, risk)


def _quantile(values: Sequence[float], heap: dict[float, float], risk: float) -> float:
    wanted, passed = risk * sum(heap.values()), 0.0
    for value in values:
        passed += heap[value]
        if passed > wanted:
            return value
    return values[-1]
