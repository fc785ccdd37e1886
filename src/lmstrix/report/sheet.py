"""The plots of a report as one picture: SVG from the same drawing, PNG made of it."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lmstrix.errors import UnsupportedError
from lmstrix.report import plots
from lmstrix.report.drawing import HEIGHT, WIDTH, Spot
from lmstrix.report.markup import Markup, tag
from lmstrix.report.page import part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.report.material import Card, Material

_COLUMNS = 2
_HEAD, _GAP, _KEY_ROW = 40, 16, 24
_COLOR = re.compile(r"(--[\w-]+): (#[0-9a-f]{6})")
_USE = re.compile(r"var\((--[\w-]+)\)")
_PIXELS = 2.0


def svg(material: Material) -> str:
    """The plots of every tested model below each other, of several a comparison on top.

    It is light or dark as its viewer is.
    """
    night = f"@media (prefers-color-scheme: dark) {{\n{_style('dark')}\n}}"
    return _drawn(material, f"{_style('light')}\n{night}")


def png(material: Material) -> bytes:
    """The same as a picture of pixels, in light colours.

    Raises `UnsupportedError` where the optional dependency that draws it is not installed.
    """
    if find_spec("resvg_py") is None:
        raise UnsupportedError(
            "PNG needs the package resvg-py, which is not installed.",
            hint="pip install 'lmstrix[report]', or choose --format svg.",
        )
    import resvg_py  # noqa: PLC0415  # optional

    return bytes(resvg_py.svg_to_bytes(svg_string=_drawn(material, _style("light")), zoom=_PIXELS))


def _drawn(material: Material, style: str) -> str:
    cards = [card for card in material.tested if plots.of_model(card)]
    parts: list[Markup] = []
    y = 0.0
    compared = [card for card in cards if plots.comparable(card)]
    if len(compared) > 1:
        y = _comparison(compared, parts)
    for card in cards:
        y = _model(card, parts, y)
    width, height = WIDTH * _COLUMNS, max(y, _HEAD)
    whole = tag(
        "svg",
        tag("title", "LMStrix report"),
        tag("style", Markup(style)),
        tag("rect", class_="paper", width=width, height=height),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height:.0f}",
        width=width,
        height=height,
        class_="plot",
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{whole}\n'


def _comparison(cards: Sequence[Card], parts: list[Markup]) -> float:
    """Add the plots of several models and which colour is which; gives where they end."""
    parts.append(_heading("Comparison", 0))
    quality = plots.compare_quality(cards, Spot(0, _HEAD))
    speed = plots.compare_speed(cards, Spot(WIDTH if quality else 0, _HEAD))
    parts += [plot for plot in (quality, speed) if plot is not None]
    for place, card in enumerate(cards):
        x = _GAP + place % _COLUMNS * WIDTH
        at = _HEAD + HEIGHT + _GAP + place // _COLUMNS * _KEY_ROW
        kind = f"line {plots.color_of(card)}"
        parts.append(tag("line", class_=kind, x1=x, x2=x + 24, y1=at, y2=at))
        parts.append(tag("text", card.name, class_="note plain", x=x + 32, y=at + 4))
    return _HEAD + HEIGHT + _GAP + -(-len(cards) // _COLUMNS) * _KEY_ROW


def _model(card: Card, parts: list[Markup], y: float) -> float:
    """Add the plots of one model below `y`; gives where they end."""
    parts.append(_heading(card.name, y))
    count = len(plots.of_model(card))
    spots = (
        Spot(place % _COLUMNS * WIDTH, y + _HEAD + place // _COLUMNS * HEIGHT)
        for place in range(count)
    )
    parts += plots.of_model(card, spots)
    return y + _HEAD + -(-count // _COLUMNS) * HEIGHT + _GAP


def _heading(words: str, y: float) -> Markup:
    return tag("text", words, class_="title", x=16, y=y + 28)


def _style(theme: str) -> str:
    """The style of plots with every colour written out, for programs that know no variables."""
    light, rest = part("page.css").split("@media (prefers-color-scheme: dark)", 1)
    palette = light if theme == "light" else rest.split("* {", 1)[0]
    colors = dict(_COLOR.findall(palette))
    sheet = part("plot.css") + ".plot .paper { fill: var(--bg); }"
    return _USE.sub(lambda match: colors[match[1]], sheet)
