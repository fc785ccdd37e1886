"""Fit a table of texts into a number of terminal columns, without a layout engine."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unicodedata import category, east_asian_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_GAP = "  "
_NARROWEST_TEXT = 8


def display_width(text: str) -> int:
    """Terminal columns that `text` takes: wide characters two, combining ones none.

    Widths: Unicode Standard Annex 11; ambiguous characters count as narrow.
    """
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if east_asian_width(char) in "WF":
        return 2
    return 0 if category(char) in ("Mn", "Me", "Cf") else 1


def one_line(text: str) -> str:
    """`text` with every control character as `?`: a model's name must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "?" for char in text)


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` columns, with an ellipsis in its middle where it was longer.

    Both ends stay, since names differ in their first letters and in their quantization.
    """
    if display_width(text) <= width:
        return text
    if width < 2:
        return "…"[:width]
    tail = _head(text[::-1], (width - 1) // 2)[::-1]
    head = _head(text, width - 1 - display_width(tail))
    return f"{head}…{tail}"


def _head(text: str, width: int) -> str:
    """The beginning of `text` that takes at most `width` columns."""
    taken = 0
    for place, char in enumerate(text):
        taken += _char_width(char)
        if taken > width:
            return text[:place]
    return text


def column_widths(natural: Sequence[int], shrinks: Sequence[bool], room: int | None) -> list[int]:
    """A width for each column so that all of them with their gaps take at most `room`.

    The widest give way first: those that shrink down to 8, then all, down to 1. More columns
    than fit even so come out too wide together, and their lines must be cut.
    """
    widths = list(natural)
    if room is None:
        return widths
    room -= len(_GAP) * (len(widths) - 1)
    for which, narrowest in ((shrinks, _NARROWEST_TEXT), ([True] * len(widths), 1)):
        cap = max(widths, default=0)
        while sum(widths) > room and cap > narrowest:
            cap -= 1
            widths = [min(w, cap) if s else w for w, s in zip(widths, which, strict=True)]
    return widths


def lay_out(
    rows: Iterable[Sequence[str]],
    *,
    widths: Sequence[int],
    right: Sequence[bool],
    room: int | None,
) -> Iterator[str]:
    """The lines of a table; no line is wider than `room`."""
    table_width = sum(widths) + len(_GAP) * (len(widths) - 1)
    for row in rows:
        cells = [
            _cell(text, width, right=to_right)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ]
        line = _GAP.join(cells).rstrip(" ")
        yield line if room is None or table_width <= room else _head(line, room)


def _cell(text: str, width: int, *, right: bool) -> str:
    if text.isascii() and len(text) <= width:  # nearly all there are
        return text.rjust(width) if right else text.ljust(width)
    text = shorten(text, width)
    padding = " " * (width - display_width(text))
    return padding + text if right else text + padding
