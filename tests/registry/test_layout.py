"""Tables that keep within their width."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmstrix.registry.layout import Layout, column_widths, display_width, one_line, shorten

TEXTS = st.text("aZ09-_./漢字\uff57é\u0301", max_size=30)


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("abc", 3),
        ("漢字", 4),
        ("\uff57", 2),
        ("é", 1),
        ("e\u0301", 1),
        ("한", 2),
        ("…", 1),
    ],
)
def test_wide_characters_take_two_columns_and_combining_ones_none(text: str, width: int) -> None:
    assert display_width(text) == width


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "ab…ef"),
        ("abcdef", 4, "ab…f"),
        ("abcdef", 2, "a…"),
        ("abcdef", 1, "…"),
        ("abcdef", 0, ""),
        ("漢字漢字", 7, "漢字…字"),
        ("漢字漢字", 6, "漢…字"),
        ("publisher/model-q4", 16, "publis…/model-q4"),
        ("publisher/model-q4", 10, "…/model-q4"),
        ("publisher/model-q4", 9, "model-q4"),
        ("publisher/model-q4", 7, "mod…-q4"),
    ],
)
def test_what_is_too_long_keeps_its_telling_parts(text: str, width: int, short: str) -> None:
    assert shorten(text, width) == short


@settings(deadline=None)
@given(TEXTS, st.integers(0, 40))
def test_a_shortened_text_never_exceeds_its_width(text: str, width: int) -> None:
    short = shorten(text, width)
    assert display_width(short) <= width
    if display_width(text) <= width:
        assert short == text


def test_control_characters_cannot_steer_the_terminal() -> None:
    assert one_line("a\x1b[2Jb\nc\u202ed") == "a?[2Jb?c?d"
    assert one_line("漢 é") == "漢 é"


@settings(deadline=None)
@given(
    rows=st.integers(1, 5).flatmap(
        lambda n: st.lists(st.lists(TEXTS, min_size=n, max_size=n), min_size=1, max_size=4)
    ),
    room=st.integers(1, 60),
    data=st.data(),
)
def test_no_line_of_a_table_is_wider_than_its_room(
    rows: Any, room: int, data: st.DataObject
) -> None:
    count = len(rows[0])
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    natural = [max(display_width(row[i]) for row in rows) for i in range(count)]
    layout = Layout(column_widths(natural, data.draw(flags), room), data.draw(flags), room)
    for row in rows:
        assert display_width(layout.line(row)) <= room


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(1, 200))
def test_columns_are_as_wide_as_their_texts_where_there_is_room(
    natural: list[int], room: int
) -> None:
    widths = column_widths(natural, [True] * len(natural), room)
    needed = sum(natural) + 2 * (len(natural) - 1)
    assert (widths == natural) is (needed <= room or max(natural) <= 1)
    assert all(one <= other for one, other in zip(widths, natural, strict=True))


def test_texts_give_way_before_numbers() -> None:
    assert column_widths([40, 9, 9], [True, False, False], 32) == [10, 9, 9]
    assert column_widths([40, 9, 9], [True, False, False], 24) == [6, 6, 6]
