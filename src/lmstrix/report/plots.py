"""The plots of a report: quality, speed and memory of one model, and several models beside. Pure.

Each gives `None` where nothing was measured that it could show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.registry.columns import human_bytes
from lmstrix.report import drawing
from lmstrix.report.drawing import Point, Scale, Spot
from lmstrix.report.markup import Markup, joined, tag
from lmstrix.results import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lmstrix.report.material import Card, Loaded, Measured, Timed
    from lmstrix.results import LengthPoint

COLORS = 8  # that many series can be told apart; more begin anew, with dashes
KEPT = 0.85  # part of the base that a length must keep, as the definition of "effective" says
_BASE_TOKENS = 1024
_UNIT = Scale(0.0, 1.0, drawing.BOTTOM, drawing.TOP)
_PROMPT_AXIS = "tokens in the prompt"
_BAR, _MOST_BARS = 46, 8
_PARTS = (
    ("weights", "weights_bytes"),
    ("KV cache", "kv_bytes"),
    ("compute buffers", "compute_bytes"),
)


def of_model(card: Card, spots: Iterator[Spot] | None = None) -> list[Markup]:
    """Every plot of one model that has something to show, at the next of `spots` each."""
    test = card.main
    found: list[Markup] = []
    for make in (quality, speed, first_token, memory) if test is not None else ():
        assert test is not None
        if make(card, test) is None:
            continue
        plot = make(card, test, next(spots, None) if spots is not None else None)
        assert plot is not None
        found.append(plot)
    return found


def quality(card: Card, test: Measured, spot: Spot | None = None) -> Markup | None:
    """Mean score over prompt length with its interval, and the line answers must keep above."""
    points = _scores(test)
    if not points:
        return None
    effective = card.limit("effective")
    marks = [mark for mark in (effective.tokens, effective.below_tokens) if mark]
    x = drawing.lengths([*(point.x for point in points), *marks])
    parts: list[str] = [_grid(x, _UNIT, _percent)]
    base = _base(test.curve)
    said = ""
    if base is not None:
        least = base * KEPT
        parts.append(drawing.level(least, f"{KEPT:.0%} of the base", _UNIT, "threshold"))
        said = f" Answers hold while they keep above {least:.2f}, {KEPT:.0%} of the score at base."
    parts.append(drawing.band(points, x, _UNIT, "c0"))
    parts.append(drawing.line(points, x, _UNIT, "c0"))
    if effective.tokens and effective.verdict in (Verdict.FOUND, Verdict.AT_LEAST):
        more = "≥ " if effective.verdict is Verdict.AT_LEAST else ""
        label = f"effective {more}{effective.tokens:,}"
        parts.append(drawing.limit(effective.tokens, label, x, "good"))
        said += f" Effective limit: {more}{effective.tokens:,} tokens."
    return drawing.picture(
        "Quality over prompt length",
        "; ".join(point.says for point in points) + "." + said,
        *parts,
        key=f"q{card.number}",
        spot=spot,
    )


def speed(card: Card, test: Measured, spot: Spot | None = None) -> Markup | None:
    """Tokens per second over prompt length: reading the prompt, and writing the answer."""
    read = _rates(test.timed, "prompt", lambda one: one.prompt_per_s)
    wrote = _rates(test.timed, "answer", lambda one: one.answer_per_s)
    if len(read) < 2 and len(wrote) < 2:
        return None
    both = [*read, *wrote]
    x = drawing.lengths(point.x for point in both)
    y = drawing.upwards((point.y for point in both), log=True)
    return drawing.picture(
        "Tokens per second",
        "; ".join(point.says for point in both) + ".",
        _grid(x, y, _number),
        drawing.legend([("reading", "c0"), ("writing", "c1")]),
        drawing.line(read, x, y, "c0"),
        drawing.line(wrote, x, y, "c1"),
        key=f"s{card.number}",
        spot=spot,
    )


def first_token(card: Card, test: Measured, spot: Spot | None = None) -> Markup | None:
    """Seconds to the first token over prompt length."""
    points = _waits(test)
    if len(points) < 2:
        return None
    x = drawing.lengths(point.x for point in points)
    y = drawing.upwards(point.y for point in points)
    return drawing.picture(
        "Seconds to the first token",
        "; ".join(point.says for point in points) + ".",
        _grid(x, y, _number),
        drawing.line(points, x, y, "c0"),
        key=f"f{card.number}",
        spot=spot,
    )


def memory(card: Card, test: Measured, spot: Spot | None = None) -> Markup | None:
    """Bytes of weights, KV cache and compute buffers for each size that was loaded."""
    bars = [one for one in test.loaded if one.memory is not None][-_MOST_BARS:]
    if not bars:
        return None
    y = drawing.upwards(_total(bar) for bar in bars)
    step = (drawing.RIGHT - drawing.LEFT) / len(bars)
    parts: list[str] = [
        drawing.axes(
            Scale(0.0, 1.0, drawing.LEFT, drawing.RIGHT),
            y,
            x_ticks=(),
            y_ticks=drawing.value_ticks(y, human_bytes),
            x_title="tokens of context",
        ),
        drawing.legend([(name, f"c{at}") for at, (name, _) in enumerate(_PARTS)]),
    ]
    for at, bar in enumerate(bars):
        parts.append(_bar(bar, drawing.LEFT + (at + 0.5) * step, y))
    return drawing.picture(
        "Memory",
        "; ".join(_sizes_of(bar) for bar in bars) + ".",
        *parts,
        key=f"m{card.number}",
        spot=spot,
    )


def compare_quality(cards: Sequence[Card], spot: Spot | None = None) -> Markup | None:
    """Mean scores of several models over prompt length."""
    return _compare(
        cards,
        "Quality over prompt length, compared",
        _scores,
        lambda _: _UNIT,
        _percent,
        key="cq",
        spot=spot,
    )


def compare_speed(cards: Sequence[Card], spot: Spot | None = None) -> Markup | None:
    """Seconds to the first token of several models over prompt length."""
    return _compare(
        cards,
        "Seconds to the first token, compared",
        _waits,
        lambda values: drawing.upwards(values, log=True),
        _number,
        key="cf",
        spot=spot,
    )


def comparable(card: Card) -> bool:
    """Whether a model has something that can be shown beside others."""
    return card.main is not None and bool(_scores(card.main) or _waits(card.main))


def color_of(card: Card) -> str:
    """The class that gives a model its colour, and a dash where all colours were used once."""
    dash = " dash" if card.number // COLORS % 2 else ""
    return f"c{card.number % COLORS}{dash}"


def _compare(
    cards: Sequence[Card],
    title: str,
    points_of: Callable[[Measured], list[Point]],
    scale: Callable[[Iterable[float]], Scale],
    show: Callable[[float], str],
    *,
    key: str,
    spot: Spot | None = None,
) -> Markup | None:
    series = [(card, points_of(card.main)) for card in cards if card.main is not None]
    series = [(card, points) for card, points in series if points]
    if not series:
        return None
    every = [point for _, points in series for point in points]
    x, y = drawing.lengths(point.x for point in every), scale([point.y for point in every])
    lines = [
        tag(
            "g",
            tag("title", card.name),
            drawing.line([p._replace(low=None) for p in points], x, y, color_of(card)),
            data_model=card.number,
        )
        for card, points in series
    ]
    description = " ".join(f"{card.name}: {points[-1].says}." for card, points in series)
    return drawing.picture(title, description, _grid(x, y, show), *lines, key=key, spot=spot)


def _grid(x: Scale, y: Scale, show: Callable[[float], str]) -> Markup:
    return drawing.axes(
        x,
        y,
        x_ticks=drawing.length_ticks(x),
        y_ticks=drawing.value_ticks(y, show),
        x_title=_PROMPT_AXIS,
    )


def _scores(test: Measured) -> list[Point]:
    return [_scored(point) for point in test.curve if point.mean is not None]


def _waits(test: Measured) -> list[Point]:
    return [
        Point(one.tokens, one.first_token_s, f"{one.tokens:,} tokens: {one.first_token_s:.2f} s")
        for one in test.timed
        if one.first_token_s
    ]


def _scored(point: LengthPoint) -> Point:
    assert point.mean is not None
    bounds = (
        f" ({point.low:.2f} to {point.high:.2f})"
        if point.low is not None and point.high is not None
        else ""
    )
    says = f"{point.tokens:,} tokens: {point.mean:.2f}{bounds} from {point.samples:,} questions"
    return Point(point.tokens, point.mean, says, point.low, point.high)


def _base(curve: Sequence[LengthPoint]) -> float | None:
    """The score at a length at which nothing is long yet; `None` where none was measured."""
    if not curve or curve[0].tokens > _BASE_TOKENS:
        return None
    return curve[0].mean


def _rates(timed: Sequence[Timed], what: str, rate: Callable[[Timed], float | None]) -> list[Point]:
    found = [(one.tokens, rate(one)) for one in timed]
    return [
        Point(tokens, per_s, f"{tokens:,} tokens: {what} {per_s:,.1f} tokens/s")
        for tokens, per_s in found
        if per_s
    ]


def _bar(bar: Loaded, middle: float, y: Scale) -> Markup:
    """One size as parts on top of each other."""
    assert bar.memory is not None
    below, parts = 0.0, []
    for at, (name, field) in enumerate(_PARTS):
        size = getattr(bar.memory, field)
        if not size:
            continue
        top, bottom = y.at(below + size), y.at(below)
        parts.append(
            tag(
                "rect",
                tag("title", f"{name}: {human_bytes(size)}"),
                class_=f"bar c{at}",
                x=middle - _BAR / 2,
                width=_BAR,
                y=top,
                height=max(bottom - top, 0.5),
            )
        )
        below += size
    label = drawing.short_tokens(bar.tokens) if bar.tokens % 1024 == 0 else f"{bar.tokens:,}"
    return joined(
        *parts,
        tag("text", human_bytes(below), class_="note middle plain", x=middle, y=y.at(below) - 6),
        tag("text", label, class_="tick middle", x=middle, y=drawing.BOTTOM + 19),
    )


def _total(bar: Loaded) -> float:
    sizes: list[int] = [getattr(bar.memory, field) for _, field in _PARTS]
    return float(sum(sizes))


def _sizes_of(bar: Loaded) -> str:
    parts = ", ".join(f"{name} {human_bytes(getattr(bar.memory, f))}" for name, f in _PARTS)
    return f"{bar.tokens:,} tokens: {parts}"


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"
