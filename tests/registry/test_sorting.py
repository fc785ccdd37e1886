"""The order of a listing."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmstrix.errors import FilterError
from lmstrix.registry import SORT_KEYS, facts, sort_entries
from lmstrix.results import TestStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lmstrix.store import Entry


def keys(entries: Iterable[Entry]) -> list[str]:
    return [entry.model.key for entry in entries]


def test_ids_sort_regardless_of_case(make_entry: Callable[..., Entry]) -> None:
    entries = [make_entry(key) for key in ("b", "A", "c")]
    assert keys(sort_entries(entries)) == ["A", "b", "c"]
    assert keys(sort_entries(entries, "idd")) == ["c", "b", "A"]


@pytest.mark.parametrize(
    ("by", "first", "second"),
    [
        ("name", {"name": "alpha"}, {"name": "Beta"}),
        ("ctx", {"ctx": 4096}, {"ctx": 8192}),
        ("dtx", {"declared_context_tokens": 4096}, {"declared_context_tokens": 8192}),
        ("size", {"size_bytes": 1}, {"size_bytes": 2}),
        ("status", {"status": TestStatus.UNTESTED}, {"status": TestStatus.COMPLETED}),
        ("date", {"ctx": 1, "tested_at": 1.0}, {"ctx": 1, "tested_at": 2.0}),
        (
            "eff",
            {"ctx": 9, "declared_context_tokens": 100},
            {"ctx": 8, "declared_context_tokens": 10},
        ),
        ("ttft", {"ctx": 1, "ttft": 0.1}, {"ctx": 1, "ttft": 0.2}),
        ("tps", {"ctx": 1, "tps": 5.0}, {"ctx": 1, "tps": 50.0}),
        (
            "smart",
            {"size_bytes": 2, "declared_context_tokens": 4096},
            {"size_bytes": 1, "declared_context_tokens": 131072},
        ),
    ],
)
def test_each_key_puts_the_smaller_first_and_d_the_larger(
    make_entry: Callable[..., Entry], by: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    low, high = make_entry("z-low", **first), make_entry("a-high", **second)
    assert sort_entries([high, low], by) == [low, high]
    assert sort_entries([low, high], f"{by}d") == [high, low]
    assert sort_entries([low, high], by, reverse=True) == [high, low]
    assert sort_entries([low, high], f"{by}d", reverse=True) == [high, low]


def test_an_unknown_key_is_answered_with_the_keys() -> None:
    with pytest.raises(FilterError) as caught:
        sort_entries([], "weight")
    assert caught.value.piece == "weight"
    assert "smart" in caught.value.hint


VALUES = {
    "ctx": facts.usable_tokens,
    "dtx": facts.declared_tokens,
    "size": facts.size_bytes,
    "eff": facts.usable_share,
    "tps": facts.tokens_per_s,
    "smart": facts.test_cost,
}
SOME = st.none() | st.integers(1, 3)


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(SOME, SOME, SOME, SOME), max_size=12),
    by=st.sampled_from(sorted(VALUES)),
    reverse=st.booleans(),
)
def test_the_order_is_total_stable_and_ends_with_the_unknown(
    make_entry: Callable[..., Entry], rows: Any, by: str, *, reverse: bool
) -> None:
    entries = [
        make_entry(str(i), ctx=ctx, declared_context_tokens=dtx, size_bytes=size or 0, tps=tps)
        for i, (ctx, dtx, size, tps) in enumerate(rows)
    ]
    values = {entry.model.key: VALUES[by](entry) for entry in entries}
    ordered = keys(sort_entries(entries, by, reverse=reverse))
    assert sorted(ordered, key=int) == keys(entries)
    for one, other in pairwise(ordered):
        if values[one] is None:
            assert values[other] is None
        elif values[other] is not None:
            assert values[one] >= values[other] if reverse else values[one] <= values[other]
        if values[one] == values[other]:
            assert int(one) < int(other)


@settings(deadline=None)
@given(by=st.sampled_from(SORT_KEYS), swap=st.booleans())
def test_every_key_sorts_entries_of_which_nothing_is_known(
    make_entry: Callable[..., Entry], by: str, *, swap: bool
) -> None:
    entries = [make_entry("a"), make_entry("b", ctx=5, size_bytes=3)]
    assert len(sort_entries(entries[::-1] if swap else entries, by)) == 2
