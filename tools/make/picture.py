"""Draw what a command really prints as an SVG, for the README.

    python tools/make/picture.py [--columns 88] docs/terminal.svg -- COMMAND [ARGUMENT ...]

The command runs in a pseudo-terminal of its own, so colours and live tables are those a user
sees; of a live table only its last state is drawn. POSIX only, as pseudo-terminals are.
"""

from __future__ import annotations

import argparse
import fcntl
import html
import io
import os
import pty
import re
import struct
import termios
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_FONT_FACE = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)
_CURSOR_UP = re.compile(r"\x1b\[(\d*)A")
_OTHER_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-LN-Za-ln-z]")
_TEXT = re.compile(
    r'<text class="(?P<style>[^"]*)" x="(?P<x>[0-9.]+)" y="(?P<y>[0-9.]+)"'
    r' textLength="(?P<length>[0-9.]+)" (?P<clip>clip-path="[^"]*")>(?P<text>[^<]*)</text>'
)
_GAP = re.compile(r"(?:\xa0| ){2,}")


def record(command: list[str], columns: int) -> str:
    """Everything the command writes to a terminal that is `columns` wide."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(columns), LINES="60")
        os.environ.pop("NO_COLOR", None)
        os.execvp(command[0], command)  # noqa: S606  # the very command to draw
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
    pieces = []
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the last writer is gone
            break
        if not piece:
            break
        pieces.append(piece)
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"the command failed: {os.waitstatus_to_exitcode(status)}")
    return b"".join(pieces).decode()


def settle(output: str) -> list[str]:
    """The lines that stay on the screen once live parts have been redrawn in place."""
    lines: list[str] = [""]
    at = 0
    for raw in output.replace("\r\n", "\n").split("\n"):
        line = raw
        for match in _CURSOR_UP.finditer(line):
            at = max(0, at - int(match[1] or 1))
        redrawn = "\r" in line or _CURSOR_UP.search(line) is not None
        line = _OTHER_CONTROL.sub("", _CURSOR_UP.sub("", line.split("\r")[-1]))
        while len(lines) <= at:
            lines.append("")
        lines[at] = line if redrawn else lines[at] + line
        at += 1
        if at < len(lines):
            lines[at] = ""
        else:
            lines.append("")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def draw(lines: list[str], *, columns: int, title: str) -> str:
    """The lines, with their colours, as an SVG."""
    # Recorded alone: what is drawn must not be printed as well.
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    drawing = _FONT_FACE.sub("", console.export_svg(title=title))
    return _TEXT.sub(_place, drawing)


def _place(found: re.Match[str]) -> str:
    """A text in pieces that hold no run of spaces, each where it belongs.

    What is drawn of spaces at its beginning, and of several, differs among viewers.
    """
    whole = html.unescape(found["text"])
    text = whole.rstrip("\xa0 \n")
    if not text:
        return ""
    cell = float(found["length"]) / len(whole)  # which takes wide letters for narrow ones
    pieces, at = [], 0
    for gap in [*_GAP.finditer(text), None]:
        end = len(text) if gap is None else gap.start()
        piece = text[at:end].lstrip("\xa0 ")
        if piece:
            x = float(found["x"]) + cell * cell_len(text[: end - len(piece)])
            pieces.append(
                f'<text class="{found["style"]}" x="{x:.6g}" y="{found["y"]}"'
                f' textLength="{cell * cell_len(piece):.6g}" {found["clip"]}>'
                f"{html.escape(piece, quote=False).replace(chr(0xA0), '&#160;')}</text>"
            )
        at = end if gap is None else gap.end()
    return "".join(pieces)


def main() -> None:
    """Run, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--columns", type=int, default=88)
    parser.add_argument("--title", default="lmstrix")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    command = [part for part in arguments.command if part != "--"]
    lines = settle(record(command, arguments.columns))
    drawing = draw(lines, columns=arguments.columns, title=arguments.title)
    arguments.target.write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main()
