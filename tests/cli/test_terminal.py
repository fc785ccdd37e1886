from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.cli.terminal import Terminal, fold, table, wrap
from lmstrix.registry.layout import display_width


class Screen(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> str:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode(self.encoding)


@given(st.text(st.characters(categories=("L", "N", "P", "Zs"))), st.integers(4, 40))
def test_folded_lines_fit_and_lose_nothing_but_spaces(text: str, width: int) -> None:
    pieces = fold(text, width)
    assert all(display_width(piece) <= width for piece in pieces)
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")


def test_code_and_tables_are_never_wrapped() -> None:
    long = "word " * 30
    text = f"{long}\n```\n{long}\n```\n| {long}|\n    {long}"
    lines = wrap(text, 40).split("\n")
    assert lines.count(long) == 1
    assert f"| {long}|" in lines
    assert f"    {long}" in lines
    assert display_width(lines[0]) <= 40


def test_columns_are_aligned_by_width_and_not_by_length() -> None:
    lines = table(("NAME", "N"), [("日本", "1"), ("abcde", "10")], right="lr")
    assert lines == ["NAME    N", "日本    1", "abcde  10"]


@pytest.mark.parametrize("columns", [60, 80])
def test_a_box_is_exactly_as_wide_as_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal(Screen(), Screen())
    box = terminal.box("Title", ["short", "long " * 40, "日本語" * 20])
    assert {display_width(line) for line in box} == {columns}
    assert box[0].startswith("╭─ Title ─")


def test_a_terminal_that_cannot_show_boxes_gets_ascii() -> None:
    terminal = Terminal(Screen("ascii"), Screen("ascii"))
    assert all(line.isascii() for line in terminal.box("Title", ["text"]))
    assert not terminal.symbols


def test_escape_sequences_in_a_box_or_status_are_not_obeyed() -> None:
    err = Screen()
    terminal = Terminal(Screen(), err)
    terminal.status("a\x1b[31mb\r")
    assert err.shown == "\ra?[31mb?"
    assert "\x1b" not in "".join(terminal.box("Title", ["a\x1b[31mb"]))


def test_a_status_line_is_gone_before_anything_else_is_written() -> None:
    err = Screen()
    terminal = Terminal(Screen(), err)
    terminal.status("working")
    terminal.note("done")
    assert err.shown == "\rworking\r       \rdone\n"


def test_status_and_notes_are_silent_when_asked() -> None:
    err = Screen()
    terminal = Terminal(Screen(), err, quiet=True)
    terminal.status("working")
    terminal.note("done")
    assert err.shown == ""


def test_notes_and_findings_fit_a_terminal_and_later_lines_stand_below_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    out, err = Screen(), Screen()
    terminal = Terminal(out, err, color=False)
    terminal.note("note: " + "word " * 20)
    assert max(map(display_width, err.shown.splitlines())) <= 30
    assert err.shown.split() == ["note:", *["word"] * 20]
    terminal.hang("word " * 12, mark="FAIL")
    terminal.hang("word " * 12, indent=5)
    first, *rest = out.shown.splitlines()
    assert first.startswith("FAIL word")
    assert {line[:6] for line in rest} == {"     w"}
    assert max(map(display_width, (first, *rest))) <= 30


def test_there_is_no_status_line_without_a_terminal() -> None:
    err = io.StringIO()
    Terminal(io.StringIO(), err).status("working")
    assert err.getvalue() == ""


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Terminal(Screen(), Screen()).color
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Terminal(Screen(), Screen()).color
    monkeypatch.delenv("NO_COLOR")
    assert not Terminal(Screen(), Screen(), color=False).color
    assert not Terminal(io.StringIO(), Screen()).color
