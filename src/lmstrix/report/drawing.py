"""Plots as SVG: scales, axes, lines, bands, bars. Colours come from classes. Pure.

Coordinates are those of a picture `WIDTH` by `HEIGHT` that is scaled as a whole.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from lmstrix.report.markup import Markup, joined, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 464, 56, 236
_MOST_TICKS = 6
_NICE = (1, 2, 2.5, 5, 10)


class Scale(NamedTuple):
    """Values from `low` to `high` along one axis of the picture, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value is; what is beyond an end is at that end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


class Spot(NamedTuple):
    """Where on a sheet the upper left corner of a picture lies."""

    x: float
    y: float


class Point(NamedTuple):
    """A measured value, its bounds where there are some, and what it says when pointed at."""

    x: float
    y: float
    says: str = ""
    low: float | None = None
    high: float | None = None


def lengths(values: Iterable[float]) -> Scale:
    """Token counts from left to right, by their logarithm, at least two octaves of them."""
    known = list(values) or [1024.0]
    low, high = min(known) / 1.12, max(known) * 1.12
    if high / low < 4:
        middle = math.sqrt(low * high)
        low, high = middle / 2, middle * 2
    return Scale(max(low, 1.0), high, LEFT, RIGHT, log=True)


def upwards(values: Iterable[float], *, log: bool = False) -> Scale:
    """Values from the bottom to the top: from 0, or by their logarithm from below the least."""
    known = [value for value in values if value > 0] or [1.0]
    if not log:
        return Scale(0.0, _steps(max(known))[-1], BOTTOM, TOP)
    low, high = min(known) / 1.3, max(known) * 1.3
    if high / low < 10:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    return Scale(low, high, BOTTOM, TOP, log=True)


def length_ticks(scale: Scale) -> list[tuple[float, str]]:
    """Powers of two that lie on the scale, thinned out to a few."""
    exponents = range(math.ceil(math.log2(scale.low)), math.floor(math.log2(scale.high)) + 1)
    stride = max(1, math.ceil(len(exponents) / _MOST_TICKS))
    return [(2.0**power, short_tokens(2**power)) for power in exponents[::stride]]


def value_ticks(scale: Scale, show: Callable[[float], str]) -> list[tuple[float, str]]:
    """Round values on the scale."""
    if not scale.log:
        return [(value, show(value)) for value in _steps(scale.high)]
    first, last = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
    powers = range(first, last + 1)[:: max(1, (last - first) // _MOST_TICKS)]
    steps = (1,) if len(powers) > 4 else (1, 2, 5) if len(powers) < 4 else (1, 3)
    values = [step * 10.0**power for power in powers for step in steps]
    return [(value, show(value)) for value in values if scale.low <= value <= scale.high]


def _steps(high: float) -> list[float]:
    """Round values from 0 until `high` is reached."""
    rough = high / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in _NICE if nice * power >= rough * 0.999)
    return [step * count for count in range(math.ceil(high / step - 1e-9) + 1)]


def short_tokens(tokens: float) -> str:
    """`512`, `8k`, `1M`, as on a ruler (k = 1,024)."""
    for unit, size in (("M", 2**20), ("k", 2**10)):
        if tokens >= size and tokens % size == 0:
            return f"{tokens / size:,.0f}{unit}"
    return f"{tokens:,.0f}"


def axes(
    x: Scale,
    y: Scale,
    *,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    x_title: str = "",
) -> Markup:
    """Grid lines with their values, and what the horizontal axis counts."""
    parts: list[str] = []
    for value, label in y_ticks:
        at = y.at(value)
        parts.append(tag("line", class_="grid", x1=LEFT, x2=RIGHT, y1=at, y2=at))
        parts.append(tag("text", label, class_="tick end", x=LEFT - 8, y=at + 4))
    for value, label in x_ticks:
        at = x.at(value)
        parts.append(tag("line", class_="grid", x1=at, x2=at, y1=BOTTOM, y2=BOTTOM + 5))
        parts.append(tag("text", label, class_="tick middle", x=at, y=BOTTOM + 19))
    parts.append(tag("line", class_="axis", x1=LEFT, x2=RIGHT, y1=BOTTOM, y2=BOTTOM))
    if x_title:
        middle = (LEFT + RIGHT) / 2
        parts.append(tag("text", x_title, class_="tick middle", x=middle, y=BOTTOM + 37))
    return joined(*parts)


def line(points: Sequence[Point], x: Scale, y: Scale, kind: str) -> Markup:
    """Points joined by straight lines; each has a whisker where it has bounds."""
    parts: list[str] = []
    if len(points) > 1:
        corners = " ".join(f"{x.at(p.x):.1f},{y.at(p.y):.1f}" for p in points)
        parts.append(tag("polyline", class_=f"line {kind}", points=corners))
    for point in points:
        at = x.at(point.x)
        if point.low is not None and point.high is not None:
            low, high = y.at(point.low), y.at(point.high)
            parts.append(tag("line", class_=f"whisker {kind}", x1=at, x2=at, y1=low, y2=high))
        says = tag("title", point.says) if point.says else None
        parts.append(tag("circle", says, class_=f"dot {kind}", cx=at, cy=y.at(point.y), r=4))
    return joined(*parts)


def band(points: Sequence[Point], x: Scale, y: Scale, kind: str) -> Markup:
    """The room between the bounds of points."""
    bounded = [(p.x, p.low, p.high) for p in points if p.low is not None and p.high is not None]
    if len(bounded) < 2:
        return Markup()
    upper = [f"{x.at(at):.1f},{y.at(high):.1f}" for at, _, high in bounded]
    lower = [f"{x.at(at):.1f},{y.at(low):.1f}" for at, low, _ in reversed(bounded)]
    return tag("polygon", class_=f"band {kind}", points=" ".join(upper + lower))


def level(value: float, label: str, y: Scale, kind: str) -> Markup:
    """A horizontal line with its meaning at its left end."""
    at = y.at(value)
    return joined(
        tag("line", class_=f"mark {kind}", x1=LEFT, x2=RIGHT, y1=at, y2=at),
        tag("text", label, class_=f"note {kind}", x=LEFT + 6, y=at + 14),
    )


def limit(value: float, label: str, x: Scale, kind: str) -> Markup:
    """A vertical line with its meaning at its top, on the side where there is room."""
    at = x.at(value)
    right = at > (LEFT + RIGHT) / 2
    return joined(
        tag("line", class_=f"mark {kind}", x1=at, x2=at, y1=TOP - 4, y2=BOTTOM),
        tag(
            "text",
            label,
            class_=f"note {kind}{' end' if right else ''}",
            x=at - 5 if right else at + 5,
            y=TOP - 8,
        ),
    )


def legend(names: Sequence[tuple[str, str]]) -> Markup:
    """Colours with their meanings, right of the title: pairs of text and class."""
    parts: list[str] = []
    at = float(RIGHT)
    for label, kind in reversed(names):
        at -= 6.6 * len(label)
        parts.append(tag("text", label, class_="note plain", x=at, y=24))
        parts.append(tag("rect", class_=f"swatch {kind}", x=at - 15, y=15, width=10, height=10))
        at -= 28
    return joined(*parts)


def picture(
    title: str,
    description: str,
    *content: str,
    key: str,
    spot: Spot | None = None,
) -> Markup:
    """A whole plot, readable to those who do not see it. `key` is unique on its page.

    On a sheet with others it lies at `spot`; without one it is as wide as its page lets it.
    """
    return tag(
        "svg",
        tag("title", title, id=f"{key}-t"),
        tag("desc", description, id=f"{key}-d"),
        tag("text", title, class_="title", x=16, y=24, aria_hidden="true"),
        *content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        x=spot and spot.x,
        y=spot and spot.y,
        width=spot and WIDTH,
        height=spot and HEIGHT,
        class_="plot",
        role="img",
        aria_labelledby=f"{key}-t {key}-d",
    )
