from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.cli.pace import Pace
from lmstrix.context.options import Stage, TestEvent


def event(stage: Stage, probe: int = 0, fraction: float | None = None) -> TestEvent:
    return TestEvent(model_key="m", stage=stage, probe=probe, fraction=fraction)


STEPS = st.tuples(
    st.sampled_from(Stage), st.integers(0, 50), st.none() | st.floats(0, 1), st.floats(0, 100)
)


@given(st.lists(STEPS, max_size=20))
def test_the_share_stays_between_0_and_1_and_never_falls(
    steps: list[tuple[Stage, int, float | None, float]],
) -> None:
    pace, now, before = Pace(), 0.0, 0.0
    for stage, probe, fraction, passed in steps:
        now += passed
        pace.saw(event(stage, probe, fraction), now)
        assert before <= pace.share <= 1
        before = pace.share
        assert (pace.left_s(now) or 0) >= 0


def test_every_probe_brings_it_further() -> None:
    pace = Pace()
    shares = []
    for probe in range(1, 5):
        for fraction in (0.0, 0.5, 1.0):
            pace.saw(event(Stage.LOAD, probe, fraction), 0)
            shares.append(pace.share)
    assert shares == sorted(shares)
    assert shares[0] < shares[-1] < 0.2


def test_what_is_left_follows_from_the_pace() -> None:
    pace = Pace()
    pace.saw(event(Stage.PLAN), 10)
    pace.saw(event(Stage.ANSWER, 5), 20)
    assert pace.share == 0.35
    assert pace.left_s(20) == pytest.approx(10 * 0.65 / 0.35)
    pace.saw(event(Stage.DONE), 25)
    assert pace.share == 1
    assert pace.took_s == 15
    assert pace.left_s(30) is None


def test_nothing_is_guessed_before_anything_was_done() -> None:
    pace = Pace()
    pace.saw(event(Stage.WAIT), 0)
    pace.saw(event(Stage.PLAN), 5)
    assert pace.left_s(500) is None
