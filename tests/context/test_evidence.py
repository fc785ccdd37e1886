from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmstrix.context.clusters import LEAST_DEFF, LengthEvidence
from lmstrix.context.evidence import LENGTH_STEP, EffectiveSearch
from lmstrix.results import Score, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lmstrix.context.evidence import Ask

CEILINGS = (1_100, 5_000, 8_192, 40_000, 262_144)  # some: the tables of each take a moment


def score(value: float, cluster: int = 0, family: str = "keyed") -> Score:
    return Score(family=family, cluster=cluster, depth=0.5, score=value)


def haystacks(values: Sequence[Sequence[float]]) -> list[Score]:
    return [score(value, cluster) for cluster, row in enumerate(values) for value in row]


def search_of(
    ceiling: int, *groups: tuple[str, ...], base: int = 1024, **options: Any
) -> EffectiveSearch:
    return EffectiveSearch(
        base_tokens=base,
        ceiling_tokens=ceiling,
        groups=groups or (("keyed", "latent"),),
        **options,
    )


def play(search: EffectiveSearch, answer: Callable[[int, str], float]) -> list[Ask]:
    """Let a model answer until the search is over; what was asked."""
    asks: list[Ask] = []
    while (ask := search.next()) is not None:
        assert search.next() == ask
        search.record(
            ask.length_tokens,
            [
                score(answer(ask.length_tokens, family), len(asks), family)
                for _, family in zip(
                    range(ask.questions), itertools.cycle(ask.families), strict=False
                )
            ],
        )
        asks.append(ask)
        assert len(asks) < 500, asks[-5:]
    return asks


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=8), min_size=1, max_size=12))
def test_the_mean_lies_between_its_bounds_and_clusters_add_hardly_any_evidence(
    values: list[list[float]],
) -> None:
    known = LengthEvidence(haystacks(values))
    assert 0 <= known.low <= known.mean + 1e-9
    assert known.mean - 1e-9 <= known.high <= 1
    assert known.correlation <= 1
    assert known.n_effective <= len(known.samples) / LEAST_DEFF + 1e-9


def test_nothing_asked_is_nothing_known() -> None:
    known = LengthEvidence([])
    assert (known.low, known.high, known.n_effective) == (0.0, 1.0, 0.0)


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


def test_a_model_that_is_always_right_is_found_to_hold_at_the_ceiling_with_few_prompts() -> None:
    search = search_of(10_000)
    asks = play(search, lambda _, __: 1.0)
    assert asks[-1].length_tokens == 10_000
    assert sum(ask.length_tokens > 1024 for ask in asks) <= 5
    assert search.limit.verdict is Verdict.FOUND
    assert (search.limit.tokens, search.limit.below_tokens) == (10_000, None)


@given(st.integers(1_100, 262_144), st.sampled_from(CEILINGS))
@settings(max_examples=30, deadline=None)
def test_a_cliff_is_found_to_a_step(true: int, ceiling: int) -> None:
    search = search_of(ceiling)
    asks = play(search, lambda length, _: float(length <= true))
    limit = search.limit
    assert limit.verdict is Verdict.FOUND
    assert limit.tokens is not None
    assert limit.tokens <= true
    if ceiling <= true:
        assert limit.tokens == ceiling
    else:
        assert limit.below_tokens is not None
        assert true < limit.below_tokens <= ceiling
        assert limit.below_tokens <= limit.tokens * LENGTH_STEP * 1.01
    assert len(asks) < 30


@given(
    middle=st.floats(1_500, 60_000),
    slope=st.floats(4, 30),
    ceiling=st.sampled_from(CEILINGS),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=15, deadline=None)
def test_what_is_said_to_hold_was_tested_and_its_bound_keeps_the_threshold(
    middle: float, slope: float, ceiling: int, seed: int
) -> None:
    rng = random.Random(seed)
    search = search_of(ceiling, most_questions=600)

    def answer(length: int, _: str) -> float:
        return float(rng.random() < 0.95 / (1 + (length / middle) ** slope))

    play(search, answer)
    limit = search.limit
    if limit.tokens is None:
        assert not search.able
        return
    points = {point.tokens: point for point in search.curve}
    assert limit.tokens in points
    assert limit.below_tokens is None or limit.tokens < limit.below_tokens <= ceiling
    for tokens, point in points.items():
        assert point.low is not None
        assert point.mean is not None
        assert point.low <= point.mean <= (point.high or 0)
        if 1024 < tokens <= limit.tokens:
            assert search._weights is not None
            bounds = search._weights.kept_bounds(search._grid.cell(tokens), risk=0.05)
            assert bounds[0] >= 0.85 - 1 / 128, "as finely as parts are known"


@given(seed=st.integers(), ceiling=st.sampled_from(CEILINGS))
@settings(max_examples=15, deadline=None)
def test_ends_whatever_the_answers_are(seed: int, ceiling: int) -> None:
    rng = random.Random(seed)
    chances: dict[int, float] = {}
    search = search_of(ceiling, most_questions=400)

    def answer(length: int, _: str) -> float:
        return float(
            rng.random() < chances.setdefault(length, rng.uniform(0.5, 1) if length > 1024 else 1.0)
        )

    asks = play(search, answer)
    assert sum(ask.questions for ask in asks) <= 480, "the most, a last look and a begun haystack"
    assert search.limit.tokens is not None


def test_answers_that_stay_near_the_threshold_end_undecided_and_claim_nothing_above() -> None:
    """Of the base 0.83 is kept everywhere above it."""
    search = search_of(65_536, most_questions=600)
    turns = itertools.cycle([1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0])
    play(search, lambda length, _: 1.0 if length == 1024 else next(turns))
    limit = search.limit
    assert limit.verdict is Verdict.AT_LEAST
    assert limit.tokens is not None
    assert limit.tokens < 65_536
    assert any("undecided" in sentence for sentence in limit.evidence)


def test_a_length_that_fails_is_not_held_by_those_above_it() -> None:
    """A model that never sees what stands around 4 K is right again beyond: the limit is below."""
    search = search_of(16_384, most_questions=800)
    play(search, lambda length, _: float(not 3_500 < length < 6_000))
    for length in (4_096, 4_467):
        search.record(length, haystacks([[0.0] * 10] * 4))
    assert search.limit.tokens is not None
    assert search.limit.tokens < 4_096
    assert search.limit.below_tokens is not None
    assert search.limit.below_tokens <= 4_096


def test_a_gentle_fall_followed_by_a_cliff_is_not_taken_for_the_cliff() -> None:
    """Answers of a real model: a length far beyond the limit, lost at once, pulls nothing up."""
    search = search_of(8_192)
    known = {1024: (126, 140), 2543: (14, 20), 2656: (15, 20), 2896: (12, 20), 3025: (25, 40)}
    known |= {3158: (73, 120), 3597: (3, 20), 4096: (0, 20), 4277: (0, 20), 4871: (0, 20)}
    for length, (right, asked) in known.items():
        for start in range(0, asked, 20):
            row = [
                float(right * (start + n + 1) // asked - right * (start + n) // asked)
                for n in range(20)
            ]
            scores = [
                score(value, start, ("keyed", "latent")[n % 2]) for n, value in enumerate(row)
            ]
            search.record(length, scores)
    assert search.limit.tokens is not None
    assert search.limit.tokens < 2_300
    assert search.next() is not None


def test_where_gentle_falls_end_is_stated_truly_most_of_the_time() -> None:
    """Of 12 worlds one may be missed; five are out of reach by chance."""
    rng = random.Random()
    covered = 0
    for _ in range(12):
        true = rng.uniform(2_000, 7_000)
        middle = true / (0.15 / 0.85) ** (1 / 8)
        search = search_of(8_192, ("keyed",))

        def answer(length: int, _: str, middle: float = middle) -> float:
            return float(rng.random() < 0.97 / (1 + (length / middle) ** 8))

        play(search, answer)
        limit = search.limit
        assert limit.tokens is not None
        covered += limit.tokens <= true < (limit.below_tokens or 10**9)
    assert covered >= 8


def test_families_of_a_group_share_haystacks_and_groups_take_turns() -> None:
    search = search_of(8_192, ("keyed", "latent"), ("common",))
    asks = play(search, lambda length, _: float(length < 5_000))
    assert {ask.families for ask in asks} == {("keyed", "latent"), ("common",)}
    beyond = [ask.families for ask in asks if ask.length_tokens > 1024]
    assert abs(beyond.count(("common",)) - len(beyond) / 2) <= len(beyond) / 4
    assert {ask.questions for ask in asks} == {20, 10}


def test_a_family_that_is_harder_at_base_is_no_sign_of_a_limit() -> None:
    search = search_of(8_192, ("keyed",), ("latent",))
    turns = itertools.cycle([1.0, 0.0, 1.0])
    play(search, lambda _, family: 1.0 if family == "keyed" else next(turns))
    assert search.limit.tokens == 8_192


def test_a_family_the_model_cannot_do_at_base_is_left_out_and_said() -> None:
    search = search_of(4096)
    asks = play(search, lambda _, family: float(family == "keyed"))
    assert search.able == ("keyed",)
    assert asks[-1].families == ("keyed",)
    assert search.limit.tokens == 4096
    assert "latent" in search.limit.evidence[-2]
    assert "No absolute" in search.limit.evidence[-1]


def test_a_family_that_is_nearly_done_is_asked_more_before_it_is_left_out() -> None:
    search = search_of(4096, ("keyed",), ("latent",))
    search.record(1024, [score(1.0, 9) for _ in range(60)])
    for cluster, right in enumerate((3, 6, 6)):
        ask = search.next()
        assert ask is not None
        assert ask.families == ("latent",)
        search.record(1024, [score(float(n < right), cluster, "latent") for n in range(10)])
    assert search.able == ("keyed", "latent")


def test_the_absolute_length_does_not_depend_on_the_base() -> None:
    search = search_of(8_192)
    turns = itertools.cycle([1.0, 1.0, 1.0, 1.0, 0.0])
    play(search, lambda _, __: next(turns))
    assert search.limit.tokens == 8_192
    assert "85.6% of the whole task set is right at no length" in search.limit.evidence[-1]
    whole = search_of(8_192)
    play(whole, lambda length, _: float(length < 5_000))
    last = max(tokens for tokens in (point.tokens for point in whole.curve) if tokens < 5_000)
    assert whole.limit.evidence[-1].endswith(f"is right up to {last:,} tokens.")


def test_a_family_at_chance_is_left_out() -> None:
    search = search_of(4096, chance={"latent": 0.5})
    turns = itertools.cycle([0.0, 1.0])
    play(search, lambda _, family: 1.0 if family == "keyed" else next(turns))
    assert search.able == ("keyed",)


def test_a_model_that_can_do_nothing_at_base_is_not_tested_further() -> None:
    search = search_of(65536)
    asks = play(search, lambda _, __: 0.0)
    assert {ask.length_tokens for ask in asks} == {1024}
    assert search.limit.verdict is Verdict.NOT_TESTED
    assert "none of the tasks" in search.limit.evidence[0]


def test_before_the_base_is_known_nothing_is_claimed() -> None:
    search = search_of(65536)
    assert search.limit.verdict is Verdict.NOT_TESTED
    assert search.limit.tokens is None


def test_a_search_broken_off_says_at_least_what_it_knows() -> None:
    search = search_of(65536, ("keyed",))
    for length in (1024, 2048):
        search.record(length, haystacks([[1.0] * 10] * 6))
    assert search.limit.verdict is Verdict.AT_LEAST
    assert search.limit.tokens == 2048
    assert search.limit.evidence[0] == "Answers stay right up to 2,048 tokens or more."


def test_a_ceiling_at_the_base_needs_no_more_than_the_base() -> None:
    search = search_of(512, base=512)
    asks = play(search, lambda _, __: 1.0)
    assert {ask.length_tokens for ask in asks} == {512}
    assert (search.limit.verdict, search.limit.tokens) == (Verdict.FOUND, 512)


def test_the_first_sentence_names_the_interval() -> None:
    search = search_of(16_384)
    play(search, lambda length, _: float(length <= 5_000))
    limit = search.limit
    assert limit.evidence[0] == (
        f"Answers stay right up to a length between {limit.tokens:,} and {limit.below_tokens:,} "
        "tokens, with 95 % confidence."
    )
    assert any("holds" in sentence for sentence in limit.evidence)
    assert any("fails" in sentence for sentence in limit.evidence)


def test_the_same_records_lead_to_the_same_question() -> None:
    """What an interrupted test replays leads on to where it stopped."""
    rng = random.Random(5)
    one, other = search_of(32_768), search_of(32_768)
    for _ in range(12):
        ask = one.next()
        assert ask is not None
        scores = [
            score(float(rng.random() < (0.9 if ask.length_tokens < 9_000 else 0.5)), n // 20, name)
            for n, name in zip(range(ask.questions), itertools.cycle(ask.families), strict=False)
        ]
        one.record(ask.length_tokens, scores)
        assert one.limit.evidence
        assert other.next() == ask
        other.record(ask.length_tokens, scores)
    assert one.limit == other.limit


def test_refuses_a_base_beyond_the_ceiling() -> None:
    with pytest.raises(ValueError, match="base"):
        search_of(1024, base=2048)
