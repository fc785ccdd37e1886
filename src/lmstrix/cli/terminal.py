"""The terminal as it is: what it can show, and the few things drawn without a library.

Results go to `out`, everything else to `err`. Nothing here imports rich: answers, notes and
short tables must not wait for it.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, TextIO

from lmstrix.registry.layout import display_width, one_line, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lmstrix.config import Settings

_REDRAW_S = 0.1
_COLORS = {"red": 31, "green": 32, "yellow": 33}


class Terminal:
    """Two streams and their abilities. `color=None` decides by the stream and NO_COLOR."""

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        quiet: bool = False,
        color: bool | None = None,
        symbols: bool = True,
    ) -> None:
        self.out = out
        self.err = err
        self.quiet = quiet
        capable = os.environ.get("TERM") != "dumb"
        self.out_live = capable and out.isatty()
        self.err_live = capable and err.isatty()
        self._color_wanted = color is None and not os.environ.get("NO_COLOR")
        self.symbols = symbols and _can_encode(out, "✓✗")
        self.boxes = _can_encode(err, "─│╭╯█")
        self._status = ""
        self._status_at = 0.0

    def apply(self, settings: Settings) -> None:
        """Take `color` and `emoji` from the settings; the command line has spoken before."""
        if settings.color is False:
            self._color_wanted = False
        if settings.emoji is False:
            self.symbols = False

    @property
    def color(self) -> bool:
        """Whether results are coloured."""
        return self._color_wanted and self.out_live

    @property
    def err_color(self) -> bool:
        """Whether progress is coloured."""
        return self._color_wanted and self.err_live

    @property
    def width(self) -> int:
        """Columns of the terminal, COLUMNS where set, 80 without either."""
        return max(20, shutil.get_terminal_size((80, 24)).columns)

    def print(self, text: str) -> None:
        """Write a result."""
        self.clear_status()
        self.out.write(text if text.endswith("\n") else text + "\n")

    def hang(self, text: str, *, mark: str = "", color: str = "", indent: int = 0) -> None:
        """Write a result behind a coloured `mark`, or `indent` columns in; folded on a terminal."""
        width = display_width(mark) + 1 if mark else indent
        head = f"{mark} " if mark else " " * indent
        if mark and self.color:
            head = f"\x1b[{_COLORS[color]}m{mark}\x1b[0m "
        room = self.width - width if self.out_live else sys.maxsize
        first, *rest = fold(one_line(text), room)
        self.print("\n".join([head + first, *(" " * width + line for line in rest)]))

    def note(self, text: str) -> None:
        """Write something beside the result, folded on a terminal; not with --quiet."""
        if not self.quiet:
            self.clear_status()
            self.out.flush()
            room = self.width if self.err_live else sys.maxsize
            for line in text.split("\n"):
                short = display_width(line) <= room
                self.err.writelines(
                    f"{piece}\n" for piece in ([line] if short else fold(line, room))
                )
            self.err.flush()

    def aside(self, text: str) -> None:
        """Write a piece of something beside the result, dimmed where that can be."""
        if text and not self.quiet:
            self.clear_status()
            self.out.flush()
            self.err.write(f"\x1b[2m{text}\x1b[0m" if self.err_color else text)
            self.err.flush()

    def status(self, text: str) -> None:
        """Show what is going on in one line that goes away; nothing without a terminal."""
        now = time.monotonic()
        if self.quiet or not self.err_live or now - self._status_at < _REDRAW_S:
            return
        self._status_at = now
        shown = shorten(one_line(text), self.width - 1)
        blank = " " * max(0, display_width(self._status) - display_width(shown))
        self.err.write(f"\r{shown}{blank}")
        self.err.flush()
        self._status = shown

    def clear_status(self) -> None:
        """Take the status line away."""
        if self._status:
            self.err.write("\r" + " " * display_width(self._status) + "\r")
            self.err.flush()
            self._status = ""
            self._status_at = 0.0

    def box(self, title: str, lines: Iterable[str]) -> list[str]:
        """Lines of a frame as wide as the terminal, at most 100 columns."""
        width = min(self.width, 100)
        inner = width - 4
        corner, dash, side = ("╭╮╰╯", "─", "│") if self.boxes else ("++++", "-", "|")
        head = f"{dash} {shorten(title, inner - 2)} "
        framed = [corner[0] + head + dash * (width - 2 - display_width(head)) + corner[1]]
        for line in lines:
            framed += [
                f"{side} {piece}{' ' * (inner - display_width(piece))} {side}"
                for piece in fold(one_line(line), inner)
            ]
        return [*framed, corner[2] + dash * (width - 2) + corner[3]]


def _can_encode(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def fold(line: str, width: int) -> list[str]:
    """Break one line at spaces so that each piece takes at most `width` columns."""
    pieces: list[str] = []
    current = ""
    for word in line.split(" "):
        joined = f"{current} {word}" if current or pieces else word
        if display_width(joined) <= width:
            current = joined
            continue
        if current:
            pieces.append(current)
        current = word
        while display_width(current) > width:
            head = ""
            for char in current:
                if display_width(head) + display_width(char) > width:
                    break
                head += char
            pieces.append(head)
            current = current[len(head) :]
    return [*pieces, current]


def wrap(text: str, width: int) -> str:
    """Fold the long lines of prose; fenced code, tables and indented lines stay as they are."""
    lines: list[str] = []
    fenced = False
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        as_is = fenced or line.startswith(("    ", "\t", "|"))
        lines += [line] if as_is else fold(line, width)
    return "\n".join(lines)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> list[str]:
    """Aligned columns, as wide as their texts. `right` has an `r` for each that is set right."""
    grid = [header, *rows]
    widths = [max(display_width(row[at]) for row in grid) for at in range(len(header))]
    lines = []
    for row in grid:
        cells = []
        for at, (text, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - display_width(text))
            cells.append(blank + text if right[at : at + 1] == "r" else text + blank)
        lines.append("  ".join(cells).rstrip())
    return lines
