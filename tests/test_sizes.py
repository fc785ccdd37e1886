"""What users write for sizes becomes the right numbers, or a clear refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.errors import ContextOverflowError, UsageError
from lmstrix.results import Limit, TestKey, TestResult, TestStatus, Verdict
from lmstrix.sizes import (
    ANSWER_TOKENS,
    Strategy,
    answer_limit,
    divide_context,
    estimate_tokens,
    load_size,
    needed_context,
    parse_strategy,
)


def tested(tokens: int) -> TestResult:
    return TestResult(
        key=TestKey(identity="i", provider="p", machine="m"),
        model_key="k",
        status=TestStatus.COMPLETED,
        started_at=0.0,
        effective=Limit(verdict=Verdict.FOUND, tokens=tokens),
    )


def test_without_a_wish_the_tested_limit_is_loaded_and_the_reduction_said():
    size = load_size(None, declared_tokens=8192, result=tested(3072), safe_tokens=8192)
    assert (size.tokens, size.explicit) == (3072, False)
    assert "3,072 of the declared 8,192" in size.note


def test_without_a_test_the_safe_size_is_loaded_and_the_reduction_said():
    size = load_size(None, declared_tokens=131072, safe_tokens=20000)
    assert size.tokens == 20000
    assert "memory" in size.note


def test_a_model_that_fits_whole_is_loaded_whole_without_a_word():
    assert load_size(None, declared_tokens=8192, safe_tokens=90000).note == ""
    assert load_size(None, declared_tokens=8192, safe_tokens=90000).tokens == 8192


def test_zero_leaves_the_size_to_the_provider():
    size = load_size(0, declared_tokens=8192, result=tested(3072))
    assert (size.tokens, size.explicit) == (None, False)


@pytest.mark.parametrize(("wish", "tokens"), [("50%", 4096), (4000, 4000), ("12000", 12000)])
def test_a_wish_is_taken_as_it_is(wish: int | str, tokens: int):
    size = load_size(wish, declared_tokens=8192, result=tested(3072))
    assert (size.tokens, size.explicit) == (tokens, True)


@pytest.mark.parametrize("wish", ["0%", "150%", "-3", "many", "1.5", ""])
def test_a_load_size_that_makes_no_sense_is_refused(wish: str):
    with pytest.raises(UsageError, match="--in_ctx"):
        load_size(wish, declared_tokens=8192)


def test_a_percentage_of_an_undeclared_context_is_refused():
    with pytest.raises(UsageError, match="declares no context"):
        load_size("50%", declared_tokens=None)


@pytest.mark.parametrize(
    ("wish", "limit"),
    [(None, None), ("auto", None), (-1, None), ("-1", None), (7, 7), ("25%", 1000), ("max", 3900)],
)
def test_an_answer_limit_means_what_it_says(wish: int | str | None, limit: int | None):
    assert answer_limit(wish, context_tokens=4000, prompt_tokens=100) == limit


@pytest.mark.parametrize("wish", ["150%", "0", "-2", "half", "0%"])
def test_an_answer_limit_that_makes_no_sense_is_refused(wish: str):
    with pytest.raises(UsageError, match="--out_ctx"):
        answer_limit(wish, context_tokens=4000)


@given(st.integers(1, 2**31), st.floats(0.01, 100))
def test_a_percentage_never_exceeds_its_whole(context: int, share: float):
    limit = answer_limit(f"{share:.4f}%", context_tokens=context)
    assert limit is not None
    assert 1 <= limit <= context


def test_an_estimate_counts_two_bytes_a_token_but_never_fewer_than_the_words():
    assert estimate_tokens(["abcdefg"]) == 4
    assert estimate_tokens(["a b c d"]) == 4
    assert estimate_tokens(["a " * 10, "é"]) == 11
    assert estimate_tokens([]) == 0


def test_what_a_prompt_needs_includes_the_answer_that_is_wanted():
    assert needed_context(1000, "200") == 1200
    assert needed_context(1000, "75%") == 4000
    assert needed_context(1000, "100%") == 1000 + ANSWER_TOKENS
    for open_end in (None, "auto", "max", -1):
        assert needed_context(1000, open_end) == 1000 + ANSWER_TOKENS
    with pytest.raises(UsageError):
        needed_context(1000, "much")


@given(st.sampled_from(Strategy), st.integers(1, 10**6), st.floats(0, 1))
def test_a_divided_context_is_used_up_and_every_part_keeps_its_share(
    strategy: Strategy, context: int, filled: float
):
    plan = divide_context(strategy, context_tokens=context, prompt_tokens=int(context * filled / 2))
    parts = (plan.prompt_tokens, plan.answer_tokens, plan.reserve_tokens)
    assert sum(parts) == context
    assert min(parts) >= 0
    assert plan.prompt_tokens <= plan.prompt_limit_tokens
    assert plan.answer_tokens >= context * 15 // 100


def test_a_bolder_strategy_leaves_more_to_the_prompt_and_keeps_less_free():
    plans = [divide_context(s, context_tokens=1000, prompt_tokens=100) for s in Strategy]
    assert [plan.prompt_limit_tokens for plan in plans] == [500, 650, 800]
    assert [plan.reserve_tokens for plan in plans] == [200, 100, 50]
    assert [plan.answer_tokens for plan in plans] == [700, 800, 850]


def test_a_prompt_beyond_its_share_is_refused_naming_the_strategy_that_holds_it():
    with pytest.raises(ContextOverflowError, match="600 tokens; conservative leaves") as caught:
        divide_context(Strategy.CONSERVATIVE, context_tokens=1000, prompt_tokens=600)
    assert "balanced" in caught.value.hint
    assert (caught.value.prompt_tokens, caught.value.context_tokens) == (600, 1000)
    with pytest.raises(ContextOverflowError) as caught:
        divide_context(Strategy.AGGRESSIVE, context_tokens=1000, prompt_tokens=801)
    assert "larger context" in caught.value.hint


def test_an_unknown_strategy_is_refused_with_the_known_ones():
    with pytest.raises(UsageError) as caught:
        parse_strategy("bold")
    assert "conservative, balanced, aggressive" in caught.value.hint
