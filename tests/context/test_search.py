from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.context.search import Estimate, LoadSearch, MemoryLine, NoPrior, Prior


def run(search: LoadSearch, true: int, *, per_token: float | None = None) -> list[int]:
    """Play the machine on which exactly `true` tokens load; the sizes asked."""
    asked: list[int] = []
    while (size := search.next()) is not None:
        asked.append(size)
        taken = None if per_token is None else int(1e9 + per_token * size)
        search.record(size, size <= true, memory_bytes=taken if size <= true else None)
        assert len(asked) < 200, asked
    return asked


sizes = st.integers(1, 2_000_000)


@st.composite
def priors(draw: st.DrawFn) -> Prior | None:
    kind = draw(st.sampled_from(["none", "estimate", "memory"]))
    if kind == "estimate":
        return Estimate(draw(st.floats(1, 1e7)), draw(st.floats(0.01, 0.9)))
    if kind == "memory":
        per_token = draw(st.floats(10, 1e6))
        return MemoryLine(
            fixed_bytes=draw(st.floats(1e6, 1e11)),
            context_bytes=lambda tokens: tokens * per_token,
            budget_bytes=draw(st.floats(1e6, 2e11)),
        )
    return None


@given(ceiling=sizes, true=sizes, prior=priors(), economical=st.booleans())
def test_ends_within_the_tolerance_and_never_above_the_truth(
    ceiling: int, true: int, prior: Prior | None, *, economical: bool
) -> None:
    search = LoadSearch(ceiling_tokens=ceiling, prior=prior, economical=economical)
    asked = run(search, true, per_token=1e4)
    good, bad = search.bracket
    limit = min(true, ceiling)
    assert good <= limit
    assert good == 0 or good in asked
    assert len(set(asked)) == len(asked)
    assert max(asked) <= ceiling
    assert min(asked) >= min(search.floor_tokens, ceiling)
    if limit < search.floor_tokens:
        assert good == 0
    else:
        part = 0.0441 if economical else 0.0101
        assert limit - good <= max(32, part * limit + 1)
    assert search.settled
    assert (bad is None) == (good == ceiling)


@given(ceiling=sizes, true=sizes, bad=sizes, good=sizes, prior=priors())
def test_never_asks_at_or_above_a_known_bad_size_nor_below_a_known_good_one(
    ceiling: int, true: int, bad: int, good: int, prior: Prior | None
) -> None:
    search = LoadSearch(ceiling_tokens=ceiling, prior=prior, known_bad=bad, known_good=good)
    asked = run(search, true)
    assert all(good < size < bad for size in asked)


@given(data=st.data(), ceiling=sizes, prior=priors())
def test_ends_and_claims_only_what_loaded_whatever_the_answers_are(
    data: st.DataObject, ceiling: int, prior: Prior | None
) -> None:
    search = LoadSearch(ceiling_tokens=ceiling, prior=prior)
    held = [0]
    for _ in range(100):
        size = search.next()
        if size is None:
            break
        loaded = data.draw(st.booleans())
        real = data.draw(st.none() | st.integers(1, 2 * size))
        search.record(size, loaded, real_tokens=real, memory_bytes=data.draw(st.none() | sizes))
        if loaded:
            held.append(size if real is None else real)
        assert search.reason
    assert search.next() is None
    assert search.bracket[0] == max(held)


@given(prior=priors(), first=st.floats(1, 1e7), second=st.floats(1, 1e7))
def test_a_belief_is_a_probability_that_never_falls_with_size(
    prior: Prior | None, first: float, second: float
) -> None:
    belief = prior or NoPrior(128, 131072)
    if isinstance(belief, MemoryLine):
        belief = belief.learn(4096, 3_000_000_000)
    low, high = sorted((first, second))
    assert 0 <= belief.below(low) <= 1
    if not isinstance(belief, MemoryLine):  # its far tails are flattened by the scale's own error
        assert belief.below(low) <= belief.below(high)


def test_asking_twice_changes_nothing() -> None:
    search = LoadSearch(ceiling_tokens=32768)
    assert search.next() == search.next()


def test_a_model_believed_to_fit_easily_is_loaded_whole_at_once() -> None:
    search = LoadSearch(ceiling_tokens=32768, prior=Estimate(100_000))
    assert run(search, 32768) == [32768]
    assert "32,768" in search.reason


def test_a_wrong_prior_costs_loads_and_never_the_answer() -> None:
    for wrong in (3_000, 300_000):
        search = LoadSearch(ceiling_tokens=1_048_576, prior=Estimate(wrong, 0.1))
        asked = run(search, 50_000)
        assert 49_500 <= search.bracket[0] <= 50_000
        assert len(asked) <= 16


def test_what_loads_take_corrects_a_memory_line() -> None:
    def search() -> LoadSearch:
        line = MemoryLine(
            fixed_bytes=1e9,
            context_bytes=lambda tokens: tokens * 8e4,  # really 1e5
            budget_bytes=1e9 + 1e5 * 60_000,
            context_error=0.2,
            budget_error=0.005,
        )
        return LoadSearch(ceiling_tokens=1_048_576, prior=line)

    told, untold = search(), search()
    assert len(run(told, 60_000, per_token=1e5)) < len(run(untold, 60_000))
    assert told.bracket[0] >= 59_400


def test_a_size_that_failed_below_one_that_loaded_ends_the_search_and_is_said() -> None:
    search = LoadSearch(ceiling_tokens=65536, known_good=16384, known_bad=8192)
    assert search.settled
    assert search.bracket == (16384, None)
    assert "8,192" in search.reason


def test_the_smallest_failure_above_the_largest_success_counts() -> None:
    search = LoadSearch(ceiling_tokens=65536)
    for size, loaded in ((40_000, False), (20_000, True), (10_000, False), (30_000, False)):
        search.record(size, loaded)
    assert search.bracket == (20_000, 30_000)


def test_a_server_that_gives_less_than_asked_is_believed_what_it_gave() -> None:
    search = LoadSearch(ceiling_tokens=131072)
    asked = 0
    while (size := search.next()) is not None:
        search.record(size, True, real_tokens=min(size, 4096))
        asked += 1
    assert search.bracket[0] == 4096
    assert asked <= 4
    assert "whatever more" in search.reason


def test_a_server_that_rounds_down_is_not_taken_for_a_refusal() -> None:
    search = LoadSearch(ceiling_tokens=10_000)
    while (size := search.next()) is not None:
        search.record(size, True, real_tokens=size // 256 * 256)
    assert search.bracket == (9984, None)


def test_says_when_not_even_the_floor_loads() -> None:
    search = LoadSearch(ceiling_tokens=4096)
    asked = run(search, 0)
    assert search.bracket == (0, 128)
    assert asked[-1] == 128
    assert search.reason == "Not even 128 tokens load."


@pytest.mark.parametrize("wrong", [{"ceiling_tokens": 0}, {"ceiling_tokens": 10, "tolerance": 0.0}])
def test_refuses_a_search_without_room(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"token|tolerance"):
        LoadSearch(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "most_loads", "least_found"), [(None, 10.0, 0.98), (0.2, 4.2, 0.97)]
)
def test_needs_few_loads_on_average(
    error: float | None, most_loads: float, least_found: float
) -> None:
    """The margins are far beyond what 300 worlds of any seed can move; see benchmarks/."""
    rng = random.Random()
    loads, found = [], []
    for _ in range(300):
        declared = 4096 << rng.randrange(9)
        true = int(declared * rng.uniform(0.03, 1.0))
        prior = None if error is None else Estimate(true * rng.uniform(1 - error, 1 + error), error)
        search = LoadSearch(
            ceiling_tokens=declared,
            floor_tokens=64,
            prior=prior,
            economical=error is not None,
        )
        loads.append(len(run(search, true)))
        found.append(search.bracket[0] / true)
    assert statistics.mean(loads) <= most_loads
    assert statistics.mean(found) >= least_found
