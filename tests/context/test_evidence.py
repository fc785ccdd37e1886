from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmstrix.context.evidence import EffectiveSearch, LengthEvidence
from lmstrix.results import Score, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lmstrix.context.evidence import Ask


def score(value: float, cluster: int = 0, family: str = "keyed") -> Score:
    return Score(family=family, cluster=cluster, depth=0.5, score=value)


def haystacks(values: Sequence[Sequence[float]]) -> list[Score]:
    return [score(value, cluster) for cluster, row in enumerate(values) for value in row]


def play(search: EffectiveSearch, answer: Callable[[int, str], float]) -> list[Ask]:
    """Let a model answer until the search is over; what was asked."""
    asks: list[Ask] = []
    numbers = itertools.count()
    while (ask := search.next()) is not None:
        assert search.next() == ask
        asks.append(ask)
        families = ask.families or ("keyed", "latent")
        search.record(
            ask.length_tokens,
            [
                score(answer(ask.length_tokens, family), cluster, family)
                for cluster in itertools.islice(numbers, ask.haystacks)
                for _, family in zip(range(ask.questions), itertools.cycle(families), strict=False)
            ],
        )
        assert len(asks) < 500, asks[-5:]
    return asks


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=8), min_size=1, max_size=12))
def test_the_mean_lies_between_its_bounds_and_clusters_never_add_evidence(
    values: list[list[float]],
) -> None:
    known = LengthEvidence(haystacks(values))
    assert 0 <= known.low <= known.mean + 1e-9
    assert known.mean - 1e-9 <= known.high <= 1
    assert 0 <= known.correlation <= 1
    assert known.n_effective <= len(known.samples) + 1e-9


def test_nothing_asked_is_nothing_known() -> None:
    known = LengthEvidence([])
    assert (known.low, known.high, known.n_effective) == (0.0, 1.0, 0.0)


def test_all_right_on_four_haystacks_of_six_is_enough_for_the_threshold() -> None:
    assert LengthEvidence(haystacks([[1.0] * 6] * 4)).low >= 0.85


def test_answers_that_go_together_count_for_less() -> None:
    together = LengthEvidence(haystacks([[1.0] * 6, [0.0] * 6] * 6))
    mixed = LengthEvidence(haystacks([[1.0, 0.0] * 3] * 12))
    assert together.mean == mixed.mean
    assert together.n_effective < 0.6 * mixed.n_effective
    assert together.high - together.low > mixed.high - mixed.low


def test_bounds_of_clustered_answers_hold_about_as_often_as_they_say() -> None:
    """Of 600 lower bounds 95 % should hold; fewer than 88 % is out of reach by chance."""
    rng = random.Random()
    right = 0
    for _ in range(600):
        rows = [
            [float(rng.random() < chance) for _ in range(6)]
            for chance in (rng.betavariate(0.85 * 9, 0.15 * 9) for _ in range(8))
        ]
        right += LengthEvidence(haystacks(rows)).low <= 0.85
    assert right >= 528


def test_a_model_that_is_always_right_needs_one_batch_a_length() -> None:
    search = EffectiveSearch(base_tokens=1024, ceiling_tokens=10_000)
    asks = play(search, lambda _, __: 1.0)
    assert [ask.length_tokens for ask in asks] == [1024, 2048, 4096, 8192, 10_000]
    assert search.limit.verdict is Verdict.FOUND
    assert (search.limit.tokens, search.limit.below_tokens) == (10_000, None)


@given(st.integers(1_024, 262_144), st.integers(1_024, 262_144))
@settings(max_examples=60)
def test_a_cliff_is_found_to_a_step(true: int, ceiling: int) -> None:
    search = EffectiveSearch(base_tokens=1024, ceiling_tokens=ceiling)
    play(search, lambda length, _: float(length <= true))
    limit = search.limit
    assert limit.verdict is Verdict.FOUND
    assert limit.tokens is not None
    assert limit.tokens <= true
    if ceiling <= true:
        assert limit.tokens == ceiling
    else:
        assert limit.below_tokens is not None
        assert true < limit.below_tokens <= ceiling
        assert limit.below_tokens - limit.tokens <= max(256, 0.12 * limit.tokens)


@given(seed=st.integers(), ceiling=st.integers(1_024, 65_536))
@settings(max_examples=40)
def test_ends_whatever_the_answers_are(seed: int, ceiling: int) -> None:
    rng = random.Random(seed)
    chances: dict[int, float] = {}
    search = EffectiveSearch(base_tokens=1024, ceiling_tokens=ceiling)

    def answer(length: int, _: str) -> float:
        return float(rng.random() < chances.setdefault(length, rng.uniform(0.5, 1)))

    play(search, answer)
    limit = search.limit
    assert limit.tokens is not None
    points = {point.tokens: point for point in search.curve}
    wanted = 0.85 * search.base.mean
    for tokens, point in points.items():
        if 1024 < tokens <= limit.tokens:
            assert point.low is not None
            assert point.low >= wanted


def test_a_model_near_the_threshold_everywhere_stays_undecided() -> None:
    search = EffectiveSearch(base_tokens=1024, ceiling_tokens=4096)
    turns = itertools.cycle([1.0] * 17 + [0.0] * 3)
    asks = play(search, lambda length, _: 1.0 if length == 1024 else next(turns))
    assert search.limit.verdict is Verdict.AT_LEAST
    assert search.limit.tokens == 1024
    assert any("undecided" in sentence for sentence in search.limit.evidence)
    assert sum(ask.length_tokens == 2048 for ask in asks) <= 9


def test_a_family_the_model_cannot_do_at_base_is_left_out_and_said() -> None:
    search = EffectiveSearch(base_tokens=1024, ceiling_tokens=4096)
    asks = play(search, lambda _, family: float(family == "keyed"))
    assert search.families == ("keyed",)
    assert asks[-1].families == ("keyed",)
    assert search.limit.tokens == 4096
    assert "latent" in search.limit.evidence[-1]


def test_a_family_at_chance_is_left_out() -> None:
    search = EffectiveSearch(base_tokens=1024, ceiling_tokens=4096, chance={"latent": 0.5})
    turns = itertools.cycle([0.0, 1.0])
    play(search, lambda _, family: 1.0 if family == "keyed" else next(turns))
    assert search.families == ("keyed",)


def test_a_model_that_can_do_nothing_at_base_is_not_tested_further() -> None:
    search = EffectiveSearch(base_tokens=1024, ceiling_tokens=65536)
    asks = play(search, lambda _, __: 0.0)
    assert {ask.length_tokens for ask in asks} == {1024}
    assert search.limit.verdict is Verdict.NOT_TESTED
    assert "none of the tasks" in search.limit.evidence[0]


def test_before_the_base_is_known_nothing_is_claimed() -> None:
    search = EffectiveSearch(base_tokens=1024, ceiling_tokens=65536)
    assert search.limit.verdict is Verdict.NOT_TESTED
    assert search.limit.tokens is None


def test_a_search_broken_off_says_at_least_what_it_knows() -> None:
    search = EffectiveSearch(base_tokens=1024, ceiling_tokens=65536)
    for length in (1024, 2048):
        search.record(length, haystacks([[1.0] * 6] * 4))
    assert search.limit.verdict is Verdict.AT_LEAST
    assert search.limit.tokens == 2048


def test_refuses_a_base_beyond_the_ceiling() -> None:
    with pytest.raises(ValueError, match="base"):
        EffectiveSearch(base_tokens=2048, ceiling_tokens=1024)
