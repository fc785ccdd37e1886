"""Scales, ticks and lines of plots."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lmstrix.report import drawing
from lmstrix.report.drawing import BOTTOM, LEFT, RIGHT, TOP, Point

COUNTS = some.lists(some.integers(min_value=1, max_value=2**24), max_size=6)
AMOUNTS = some.lists(some.floats(min_value=1e-4, max_value=1e12), max_size=6)


def numbers(markup: str, *names: str) -> list[float]:
    found = [re.findall(rf' {name}="(-?[\d.]+)"', markup) for name in names]
    return [float(value) for values in found for value in values]


@given(COUNTS)
def test_every_length_lies_on_its_axis_with_a_few_ticks(values: list[int]):
    x = drawing.lengths(values)
    assert all(LEFT <= x.at(value) <= RIGHT for value in values)
    ticks = drawing.length_ticks(x)
    assert 1 <= len(ticks) <= 7
    assert [x.at(value) for value, _ in ticks] == sorted(x.at(value) for value, _ in ticks)


@given(AMOUNTS, some.booleans())
def test_every_amount_lies_on_its_axis_with_a_few_ticks(values: list[float], log: bool):  # noqa: FBT001  # drawn
    y = drawing.upwards(values, log=log)
    assert all(TOP <= y.at(value) <= BOTTOM for value in values)
    ticks = drawing.value_ticks(y, str)
    assert 2 <= len(ticks) <= 16
    assert all(TOP - 1e-6 <= y.at(value) <= BOTTOM + 1e-6 for value, _ in ticks)


def test_equal_factors_are_equal_distances_where_the_axis_is_logarithmic():
    x = drawing.lengths([1024, 8192])
    assert x.at(2048) - x.at(1024) == pytest.approx(x.at(8192) - x.at(4096))


def test_amounts_begin_at_nothing():
    y = drawing.upwards([3.0, 7.0])
    assert (y.low, y.at(0)) == (0.0, BOTTOM)
    assert y.high >= 7.0


def test_tokens_are_written_as_on_a_ruler():
    assert [drawing.short_tokens(n) for n in (512, 1000, 1024, 12288, 2**20)] == [
        "512", "1,000", "1k", "12k", "1M",
    ]  # fmt: skip


def test_a_point_has_a_whisker_as_long_as_its_interval_and_says_its_value():
    x, y = drawing.lengths([1024, 4096]), drawing.Scale(0.0, 1.0, BOTTOM, TOP)
    drawn = drawing.line([Point(1024, 0.5, "half", 0.25, 0.75)], x, y, "c0")
    assert sorted(numbers(drawn, "y1", "y2")) == [round(y.at(0.75), 2), round(y.at(0.25), 2)]
    assert "<title>half</title>" in drawn
    assert "polyline" not in drawn  # one point makes no line


def test_a_band_needs_two_intervals():
    x, y = drawing.lengths([1024, 4096]), drawing.Scale(0.0, 1.0, BOTTOM, TOP)
    one, two = Point(1024, 0.5, "", 0.4, 0.6), Point(2048, 0.5, "", 0.4, 0.6)
    assert drawing.band([one, Point(4096, 0.1)], x, y, "c0") == ""
    assert drawing.band([one, two], x, y, "c0").count(",") == 4
