"""Each phase of a request has a limit of its own, restarted by any sign of life in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lmstrix.config import Timeouts
from lmstrix.stall import StallClock
from lmstrix.types import Fragment, Phase, Progress

LIMITS = Timeouts(load_s=600, prompt_s=300, first_token_s=120, tokens_s=10)


def test_the_limit_is_that_of_the_phase():
    clock = StallClock(LIMITS, now=100.0)
    assert clock.deadline == 400.0
    clock.saw(Progress(phase=Phase.PROMPT, fraction=0.5), 150.0)
    assert (clock.phase, clock.deadline) == (Phase.PROMPT, 450.0)
    clock.saw(Progress(phase=Phase.PROMPT, fraction=1.0), 160.0)
    assert (clock.phase, clock.deadline) == (Phase.FIRST_TOKEN, 280.0)
    clock.saw(Fragment("a"), 170.0)
    assert (clock.phase, clock.deadline) == (Phase.TOKENS, 180.0)


def test_the_readers_own_pause_is_not_the_servers():
    clock = StallClock(LIMITS, now=0.0)
    clock.saw(Fragment("a"), 1.0)
    clock.resume(500.0)
    assert clock.deadline == 510.0


@given(st.lists(st.floats(0, 9.9), max_size=50))
def test_a_stream_that_keeps_moving_never_stalls(gaps: list[float]):
    clock, now = StallClock(LIMITS, now=0.0), 0.0
    for gap in gaps:
        now += gap
        assert now < clock.deadline
        clock.saw(Fragment("x"), now)
