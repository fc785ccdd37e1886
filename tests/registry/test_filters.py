"""What `--filter` and `--key` let through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmstrix.errors import FilterError
from lmstrix.registry import FILTER_KEYS, matches_keywords, parse_filter
from lmstrix.results import TestStatus
from lmstrix.types import ModelType

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmstrix.store import Entry

NOW = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)


def passes(text: str, entry: Entry) -> bool:
    return parse_filter(text, now=NOW).matches(entry)


def at(*day: int) -> float:
    return datetime(*day, tzinfo=UTC).timestamp()


def test_an_empty_filter_lets_everything_through(make_entry: Callable[..., Entry]) -> None:
    assert passes("", make_entry())
    assert passes("   ", make_entry())


def test_the_documented_example_is_read_whole(make_entry: Callable[..., Entry]) -> None:
    text = (
        "status:tested,size:>5GB,ctx:16384-65536,name:*instruct*,date:>2026-01-01,"
        "type:vlm,tag:llama,chat,provider:ollama"
    )
    right = {
        "key": "x-instruct-q4",
        "size_bytes": 6 * 10**9,
        "ctx": 32768,
        "tested_at": at(2026, 2, 1),
        "type": ModelType.VLM,
        "tags": ("llama", "chat"),
        "provider": "ollama",
    }
    assert passes(text, make_entry(**right))
    wrong = {
        "key": "x-base-q4",
        "size_bytes": 5 * 10**9,
        "ctx": 65537,
        "status": TestStatus.FAILED,
        "tested_at": at(2026, 1, 1, 23, 59),
        "type": ModelType.LLM,
        "tags": ("llama",),
        "provider": "embedded",
    }
    for name, value in wrong.items():
        assert not passes(text, make_entry(**{**right, name: value})), name


def test_a_first_word_alone_looks_in_names(make_entry: Callable[..., Entry]) -> None:
    assert passes("LLAMA", make_entry("meta/llama-3"))
    assert passes("best", make_entry("meta/llama-3", name="The Best"))
    assert not passes("qwen", make_entry("meta/llama-3"))
    assert passes("lla?a*", make_entry("meta/llama-3"))


def test_a_name_with_a_colon_can_be_looked_for(make_entry: Callable[..., Entry]) -> None:
    assert passes("name:llama3:8b", make_entry("llama3:8b"))


def test_a_piece_without_a_colon_continues_the_key_before_it(
    make_entry: Callable[..., Entry],
) -> None:
    entry = make_entry(size_bytes=7 * 10**9)
    assert passes("size:>5GB,<10GB", entry)
    assert not passes("size:>5GB,<6GB", entry)


def test_a_bar_means_either(make_entry: Callable[..., Entry]) -> None:
    failed = make_entry(status=TestStatus.FAILED)
    assert passes("status:tested|failed", failed)
    assert not passes("status:tested|untested", failed)


@pytest.mark.parametrize("text", ["status:tested,failed", "type:llm,type:vlm"])
def test_two_statuses_or_types_at_once_are_refused_with_the_way_to_say_either(text: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text)
    assert "|" in caught.value.hint


def test_missing_goes_together_with_a_test_status(make_entry: Callable[..., Entry]) -> None:
    gone = make_entry(ctx=4096, missing_since=5.0)
    assert passes("status:tested,missing", gone)
    assert passes("status:missing", gone)
    assert not passes("status:missing", make_entry(ctx=4096))
    assert not passes("status:untested", gone)


def test_a_model_only_known_from_an_import_is_unseen(make_entry: Callable[..., Entry]) -> None:
    assert passes("status:unseen,untested", make_entry(seen_at=None))
    assert not passes("status:unseen", make_entry())


@pytest.mark.parametrize("status", list(TestStatus))
def test_every_status_can_be_asked_for(
    make_entry: Callable[..., Entry], status: TestStatus
) -> None:
    entry = make_entry(status=status)
    assert passes(f"status:{status.value.upper()}", entry)
    others = "|".join(other.value for other in TestStatus if other is not status)
    assert not passes(f"status:{others}", entry)


def test_what_is_unknown_meets_no_bound(make_entry: Callable[..., Entry]) -> None:
    bare = make_entry()
    for key in ("size", "params", "ctx", "dtx", "eff", "ttft", "tps"):
        unit = "B" if key == "size" else ""
        assert not passes(f"{key}:>=0{unit}", bare)
        assert not passes(f"{key}:<999{unit}", bare)
    assert not passes("date:<2100-01-01", bare)
    assert not passes("arch:*", bare)


@pytest.mark.parametrize(
    ("text", "size", "result"),
    [
        ("size:5GB", 5_400_000_000, True),
        ("size:5GB", 5_500_000_000, False),
        ("size:4.7GB", 4_700_000_000, True),
        ("size:4.7GB", 4_800_000_000, False),
        ("size:>1GiB", 1024**3, False),
        ("size:>=1GiB", 1024**3, True),
        ("size:>=1 G", 1024**3 - 1, False),
        ("size:<=1.5kb", 1500, True),
        ("size:1MB..2MB", 2_000_000, True),
        ("size:1MB-2MB", 2_000_001, False),
    ],
)
def test_sizes_are_read_with_their_units(
    make_entry: Callable[..., Entry], text: str, size: int, *, result: bool
) -> None:
    assert passes(text, make_entry(size_bytes=size)) is result


def test_contexts_may_be_written_in_k(make_entry: Callable[..., Entry]) -> None:
    assert passes("ctx:16k", make_entry(ctx=16384))
    assert not passes("ctx:16k", make_entry(ctx=16385))
    assert passes("dtx:>=1M", make_entry(declared_context_tokens=1048576))


def test_shares_times_speeds_and_parameters_are_compared(make_entry: Callable[..., Entry]) -> None:
    entry = make_entry(
        ctx=4096, declared_context_tokens=8192, ttft=0.75, tps=12.0, parameters=7_240_000_000
    )
    assert passes("eff:50%,ttft:500ms-1s,tps:>10,params:7B", entry)
    assert passes("eff:0.5", entry)
    assert not passes("eff:>50%", entry)
    assert not passes("params:8B", entry)


@pytest.mark.parametrize(
    ("text", "moment", "result"),
    [
        ("date:2026-03", at(2026, 3, 31, 23, 59), True),
        ("date:2026-03", at(2026, 4, 1), False),
        ("date:2026", at(2026, 12, 31), True),
        ("date:2025-12", at(2026, 1, 1), False),
        ("date:today", at(2026, 3, 10, 1), True),
        ("date:today", at(2026, 3, 9, 23), False),
        ("date:yesterday", at(2026, 3, 9, 23), True),
        ("date:>2026-03-10", at(2026, 3, 10, 23), False),
        ("date:>2026-03-10", at(2026, 3, 11), True),
        ("date:<=2026-03-10", at(2026, 3, 10, 23), True),
        ("date:<=2026-03-10", at(2026, 3, 11), False),
        ("date:2026-03-01-2026-03-10", at(2026, 3, 10, 12), True),
        ("date:2026-01..2026-02", at(2026, 2, 28, 12), True),
        ("date:2026-01..yesterday", at(2026, 3, 10), False),
    ],
)
def test_dates_stand_for_all_of_their_hours(
    make_entry: Callable[..., Entry], text: str, moment: float, *, result: bool
) -> None:
    assert passes(text, make_entry(ctx=1, tested_at=moment)) is result


def test_days_begin_in_the_users_zone(make_entry: Callable[..., Entry]) -> None:
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))  # there it is the 11th already
    entry = make_entry(ctx=1, tested_at=at(2026, 3, 10, 16))
    assert parse_filter("date:today", now=tokyo).matches(entry)
    assert parse_filter("date:2026-03-11", now=tokyo).matches(entry)
    assert not parse_filter("date:2026-03-10", now=tokyo).matches(entry)


@pytest.mark.parametrize(
    ("text", "piece", "words"),
    [
        ("status:done", "status:done", "interrupted"),
        ("name:x,size:>five", "size:>five", "5GB"),
        ("size:5", "size:5", "5GB"),
        ("size:9GB-3GB", "size:9GB-3GB", "3GB-10GB"),
        ("ctx:lots", "ctx:lots", "16384-65536"),
        ("ctx:1e9", "ctx:1e9", "tokens"),
        ("ctx:-5", "ctx:-5", "tokens"),
        ("date:2026-02-30", "date:2026-02-30", "2026-01-01"),
        ("date:>9999-12-31", "date:>9999-12-31", "2026-01-01"),
        ("date:0000", "date:0000", "2026-01-01"),
        ("type:chat", "type:chat", "embedding"),
        ("colour:red", "colour:red", "colour"),
        ("llama3:8b", "llama3:8b", "llama3"),
        ("name:x,,y", "", "a value for name"),
        ("tag:", "tag:", "a value for tag"),
        ("tag:a|", "tag:a|", "a value for tag"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_is_expected(
    text: str, piece: str, words: str
) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text, now=NOW)
    assert caught.value.piece == piece
    assert words in caught.value.message
    assert caught.value.hint


def test_an_unknown_key_is_answered_with_the_keys() -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter("colour:red")
    assert all(key in caught.value.hint for key in FILTER_KEYS)


SIZES = st.integers(1, 10**15)
COMPARED = {
    ">": int.__gt__,
    ">=": int.__ge__,
    "<": int.__lt__,
    "<=": int.__le__,
}


@settings(deadline=None)
@given(size=SIZES, bound=SIZES, sign=st.sampled_from(sorted(COMPARED)))
def test_a_bound_means_what_its_sign_says(
    make_entry: Callable[..., Entry], size: int, bound: int, sign: str
) -> None:
    entry = make_entry(size_bytes=size)
    assert passes(f"size:{sign}{bound}B", entry) is COMPARED[sign](size, bound)


@settings(deadline=None)
@given(ctx=st.integers(1, 2**21), low=st.integers(0, 2**21), high=st.integers(0, 2**21))
def test_a_range_holds_both_of_its_ends(
    make_entry: Callable[..., Entry], ctx: int, low: int, high: int
) -> None:
    low, high = sorted((low, high))
    assert passes(f"ctx:{low}-{high}", make_entry(ctx=ctx)) is (low <= ctx <= high)


PIECES = st.one_of(
    st.sampled_from(["status:tested", "status:failed|missing", "type:llm", "can:tools"]),
    st.builds(
        "{}:{}{}".format,
        st.sampled_from(["ctx", "dtx", "tps", "params"]),
        st.sampled_from(["", ">", ">=", "<", "<=", "="]),
        st.integers(0, 10**7),
    ),
    st.builds(
        "{}:{}".format,
        st.sampled_from(["name", "tag", "path", "quant", "provider"]),
        st.text("abcXYZ0189-_./*?[]:", min_size=1),
    ),
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=5))
def test_a_filter_written_out_reads_the_same_again(pieces: list[str]) -> None:
    try:
        first = parse_filter(",".join(pieces), now=NOW)
    except FilterError as error:
        if "No model has both" not in error.message:  # all that can be wrong with such pieces
            raise
        return
    assert parse_filter(str(first), now=NOW) == first


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_filter_or_a_filter_error(
    make_entry: Callable[..., Entry], text: str
) -> None:
    try:
        result = parse_filter(text, now=NOW).matches(make_entry())
    except FilterError as error:
        result = error.piece in text
    assert result in (True, False)


def test_every_keyword_must_be_somewhere(make_entry: Callable[..., Entry]) -> None:
    entry = make_entry(
        "meta/llama-3-INSTRUCT",
        name="Llama",
        architecture="gqa-decoder",
        tags=("chat",),
        description="Answers in verse",
    )
    assert matches_keywords(entry, [])
    assert matches_keywords(entry, ["instruct", "GQA", "chat", "verse"])
    assert not matches_keywords(entry, ["instruct", "prose"])
