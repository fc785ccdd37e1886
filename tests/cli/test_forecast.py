"""How long a fleet of tests still takes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.cli.forecast import Forecast, together_s

AMOUNT = st.floats(0.01, 1e13)


def test_nothing_is_said_before_a_test_is_done():
    forecast = Forecast()
    assert forecast.expected_s(5) is None
    assert forecast.left_s(5, passed_s=1, own_s=None) is None
    assert forecast.left_s(5, passed_s=1, own_s=7) == 7


def test_one_test_tells_what_another_of_twice_its_cost_takes():
    forecast = Forecast()
    forecast.record(10, 60)
    assert forecast.expected_s(20) == pytest.approx(120)


def test_what_every_test_takes_besides_is_found_from_several():
    forecast = Forecast()
    for cost in (1, 10, 100):
        forecast.record(cost, 30 + 2 * cost)
    assert forecast.expected_s(1000) == pytest.approx(2030)
    assert forecast.expected_s(0) == pytest.approx(30)


def test_a_running_test_is_judged_by_the_others_and_by_itself():
    forecast = Forecast()
    for _ in range(5):
        forecast.record(10, 100)
    assert forecast.left_s(10, passed_s=40, own_s=None) == pytest.approx(60)
    assert 60 < forecast.left_s(10, passed_s=40, own_s=80) < 80
    assert forecast.left_s(10, passed_s=500, own_s=None) == 0


@given(st.lists(st.tuples(AMOUNT, AMOUNT), min_size=1, max_size=20), AMOUNT)
def test_no_forecast_is_below_zero(known: list[tuple[float, float]], cost: float):
    forecast = Forecast()
    for done in known:
        forecast.record(*done)
    assert forecast.expected_s(cost) >= 0


def test_after_a_third_of_a_fleet_the_rest_is_told_within_a_factor_of_two():
    chance = random.Random(5)
    within = 0
    for _ in range(300):
        costs = sorted(chance.lognormvariate(0, 1.5) for _ in range(30))
        took = [20 + 15 * cost * chance.lognormvariate(0, 0.4) for cost in costs]
        forecast = Forecast()
        for cost, seconds in zip(costs[:10], took[:10], strict=True):
            forecast.record(cost, seconds)
        told = sum(forecast.expected_s(cost) for cost in costs[10:])
        within += 0.5 < told / sum(took[10:]) < 2
    assert within >= 0.8 * 300


def test_servers_at_work_together_take_as_long_as_the_longest_or_their_share():
    waiting = {"a": 100.0, "b": 10.0, "c": 10.0}
    assert together_s(waiting, {"a": 20.0}, parallel=3) == 120
    assert together_s(waiting, {}, parallel=1) == 120
    assert together_s({"a": 60.0, "b": 60.0, "c": 60.0}, {}, parallel=2) == 90
    assert together_s({}, {}, parallel=2) == 0
