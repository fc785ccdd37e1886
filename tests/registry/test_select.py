"""The model for a prompt is chosen by what was measured, and the reasons are said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.errors import NotFoundError
from lmstrix.registry.select import select, value_at
from lmstrix.results import LengthPoint, Limit, TestKey, TestResult, TestStatus, Verdict
from lmstrix.store import Entry
from lmstrix.types import Instance, Model, ModelType

if TYPE_CHECKING:
    from collections.abc import Mapping


def measured(
    key: str,
    *,
    usable: int | None = 8192,
    scores: Mapping[int, float] | None = None,
    speed: float | None = None,
    parameters: int | None = None,
    status: TestStatus = TestStatus.COMPLETED,
    missing_since: float | None = None,
    kind: ModelType = ModelType.LLM,
) -> Entry:
    curve = [LengthPoint(tokens=at, mean=mean) for at, mean in (scores or {}).items()]
    limit = Limit() if usable is None else Limit(verdict=Verdict.FOUND, tokens=usable)
    return Entry(
        model=Model(key=key, provider="p", server="s", type=kind, parameters=parameters),
        added_at=0.0,
        seen_at=1.0,
        missing_since=missing_since,
        result=TestResult(
            key=TestKey(identity=key, provider="p", machine="m"),
            model_key=key,
            status=status,
            started_at=0.0,
            processable=limit,
            curve=tuple(curve),
            tokens_per_s=speed,
        ),
    )


def loaded(key: str, context_tokens: int) -> Instance:
    return Instance(id=key, model_key=key, provider="p", server="s", context_tokens=context_tokens)


def test_the_score_at_the_length_needed_decides_not_the_one_at_other_lengths():
    short = measured("short", scores={500: 0.95, 4000: 0.30}, speed=900)
    long = measured("long", scores={500: 0.80, 4000: 0.75})
    assert select([short, long], need_tokens=600).entry is short
    chosen = select([short, long], need_tokens=4000)
    assert chosen.entry is long
    assert chosen.score == pytest.approx(0.75)
    assert any("75%" in reason for reason in chosen.reasons)


def test_among_equally_good_ones_the_loaded_then_the_fast_then_the_large_comes_first():
    best = measured("a-best", scores={1000: 0.91}, speed=10)
    ready = measured("b-ready", scores={1000: 0.90}, speed=5)
    fast = measured("c-fast", scores={1000: 0.90}, speed=50, parameters=1)
    large = measured("d-large", scores={1000: 0.90}, speed=50, parameters=7)
    worse = measured("e-worse", scores={1000: 0.80}, speed=500, parameters=70)
    entries = [best, ready, fast, large, worse]
    here = [loaded("b-ready", 8192), loaded("e-worse", 8192)]
    chosen = select(entries, need_tokens=1000, loaded=here)
    assert chosen.entry is ready
    assert "It is loaded already." in chosen.reasons
    assert select(entries, need_tokens=1000).entry is large
    assert select([best, fast, worse], need_tokens=1000).entry is fast


def test_a_loaded_instance_without_room_is_no_advantage():
    small = measured("small", scores={1000: 0.9}, speed=5)
    other = measured("other", scores={1000: 0.9}, speed=9)
    chosen = select([small, other], need_tokens=1000, loaded=[loaded("small", 512)])
    assert chosen.entry is other


def test_a_model_that_was_scored_comes_before_one_that_was_not():
    scored, fast = measured("scored", scores={1000: 0.4}), measured("fast", speed=1e6)
    assert select([fast, scored], need_tokens=1000).entry is scored
    chosen = select([fast], need_tokens=1000)
    assert chosen.entry is fast
    assert any("not scored" in reason for reason in chosen.reasons)


def test_whoever_is_passed_over_is_named_with_the_reason():
    untested = Entry(model=Model(key="new", provider="p", server="s"), added_at=0, seen_at=1)
    others = [
        untested,
        measured("small", usable=900),
        measured("gone", missing_since=5.0),
        measured("half", status=TestStatus.INTERRUPTED),
        measured("vectors", kind=ModelType.EMBEDDING),
        measured("useless", usable=None),
    ]
    chosen = select([*others, measured("good")], need_tokens=1000)
    assert chosen.entry.model.key == "good"
    assert {one.model_key: one.reason for one in chosen.rejected} == {
        "new": "was not tested",
        "small": "holds 900 tokens",
        "gone": "is missing",
        "half": "has no completed test (interrupted)",
        "vectors": "makes embeddings, no text",
        "useless": "has no context that its test found usable",
    }


def test_without_a_measurement_nothing_is_chosen_and_the_test_is_named():
    with pytest.raises(NotFoundError, match="No model was tested") as caught:
        select([measured("half", status=TestStatus.INTERRUPTED)], need_tokens=10)
    assert caught.value.exit_code == 3
    assert "lmstrix test --all" in caught.value.hint


def test_when_none_holds_as_many_the_largest_is_named():
    entries = [measured("small", usable=900), measured("larger", usable=3000)]
    with pytest.raises(NotFoundError, match=r"the most is 3,000 \(larger\)"):
        select(entries, need_tokens=5000)


def test_a_measure_is_read_straight_between_points_and_level_beyond():
    curve = [(4000, 0.5), (1000, 0.8), (2000, None)]
    assert value_at(curve, 10) == 0.8
    assert value_at(curve, 2500) == pytest.approx(0.65)
    assert value_at(curve, 9000) == 0.5
    assert value_at([(1000, None)], 1000) is None


@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 1)), min_size=1), st.integers(1, 10**6)
)
def test_a_measure_read_off_lies_within_what_was_measured(
    curve: list[tuple[int, float]], tokens: int
):
    value = value_at(curve, tokens)
    assert value is not None
    values = [value for _, value in curve]
    assert min(values) - 1e-9 <= value <= max(values) + 1e-9
