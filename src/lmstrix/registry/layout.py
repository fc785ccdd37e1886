"""Fit a table of texts into a number of terminal columns, without a layout engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from unicodedata import category, east_asian_width

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """`text` in at most `width` columns, an ellipsis where something was left out.

    Of a path or a key with a publisher the last piece counts most; of that the two ends, since
    names differ in their first letters and in their quantization.
    """
    if display_width(text) <= width:
        return text
    folder, slash, piece = text.rpartition("/")
    if slash and piece:
        room = width - display_width(piece) - 2
        if room >= 0:
            return f"{_head(folder, room)}…/{piece}"
        text = piece
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


class Layout(NamedTuple):
    """How the lines of one table are set; no line comes out wider than `room`."""

    widths: Sequence[int]
    right: Sequence[bool]
    room: int | None = None

    def line(self, row: Sequence[str]) -> str:
        """One row, without trailing spaces."""
        cells = [
            _cell(text, width, right=right)
            for text, width, right in zip(row, self.widths, self.right, strict=True)
        ]
        line = _GAP.join(cells).rstrip(" ")
        if self.room is None or len(line) * 2 <= self.room:  # no character takes more than two
            return line
        return line if display_width(line) <= self.room else _head(line, self.room).rstrip(" ")


def _cell(text: str, width: int, *, right: bool) -> str:
    if text.isascii() and len(text) <= width:  # nearly all there are
        return text.rjust(width) if right else text.ljust(width)
    text = shorten(text, width)
    padding = " " * (width - display_width(text))
    return padding + text if right else text + padding
