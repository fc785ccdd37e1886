from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.context import fit as fitting
from lmstrix.context.fit import LimitedBy, MemoryBudget, fit, largest, machine_memory, memory_prior
from lmstrix.errors import UsageError
from lmstrix.gguf import Header, MemoryModel, read_header
from lmstrix.types import LoadConfig

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20


@pytest.fixture(scope="module")
def header(shipped: Path) -> Header:
    return read_header(shipped / "tiny-chat.gguf")


def test_with_memory_to_spare_the_declared_context_fits(header: Header) -> None:
    found = fit(header, memory=MemoryBudget(free_bytes=2**34))
    assert [row.kv_type for row in found.rows] == ["f16", "q8_0", "q4_0"]
    assert {row.context_tokens for row in found.rows} == {8192}
    assert {row.limited_by for row in found.rows} == {LimitedBy.DECLARED}
    needs = [row.need_bytes for row in found.rows]
    assert needs == sorted(needs, reverse=True)
    assert found.declared_tokens == 8192


def test_a_cap_bounds_the_buffers_and_names_itself(header: Header) -> None:
    memory = MemoryBudget(free_bytes=2**34, cap_bytes=12 * MIB)
    found = fit(header, memory=memory)
    sizes = [row.context_tokens for row in found.rows]
    assert sizes == sorted(sizes)
    assert 256 <= sizes[0] < sizes[1]
    assert found.rows[0].limited_by is LimitedBy.CAP
    for row in found.rows:
        assert row.need_bytes <= 12 * MIB
        assert row.context_tokens == 8192 or row.context_tokens % 256 == 0


def test_free_memory_has_to_hold_the_process_too(header: Header) -> None:
    capped = fit(header, memory=MemoryBudget(free_bytes=2**34, cap_bytes=60 * MIB))
    free = fit(header, memory=MemoryBudget(free_bytes=60 * MIB, reserve_bytes=20 * MIB))
    assert capped.rows[0].context_tokens == 8192
    assert free.rows[0].context_tokens is None or free.rows[0].context_tokens < 8192
    assert free.rows[0].limited_by is LimitedBy.MEMORY


def test_where_nothing_fits_the_need_of_the_smallest_is_told(header: Header) -> None:
    row = fit(header, memory=MemoryBudget(free_bytes=MIB)).rows[0]
    assert row.context_tokens is None
    assert row.need_bytes > MIB


def test_a_kv_type_that_does_not_exist_is_refused(header: Header) -> None:
    with pytest.raises(UsageError, match="f17"):
        fit(header, memory=MemoryBudget(free_bytes=MIB), kv_types=("f17",))


def test_the_budget_leaves_the_reserve_and_keeps_the_cap() -> None:
    assert MemoryBudget(free_bytes=10, reserve_bytes=3).budget_bytes == 7
    assert MemoryBudget(free_bytes=10, reserve_bytes=3, cap_bytes=5).budget_bytes == 5
    assert MemoryBudget(free_bytes=10, reserve_bytes=3, cap_bytes=50).budget_bytes == 7
    assert MemoryBudget(free_bytes=1, reserve_bytes=3).budget_bytes == 0
    assert not MemoryBudget(free_bytes=10, reserve_bytes=3, cap_bytes=8).capped


def test_the_prior_believes_what_fit_says(header: Header) -> None:
    memory = MemoryBudget(free_bytes=2**34, cap_bytes=15_000_000)
    prior = memory_prior(MemoryModel(header), LoadConfig(), memory)
    said = fit(header, memory=memory, kv_types=("f16",)).rows[0].context_tokens
    assert said is not None
    assert prior.below(said * 0.7) < 0.1
    assert prior.below(said * 1.5) > 0.9


@given(limit=st.integers(0, 20_000), ceiling=st.integers(1, 20_000))
def test_the_largest_that_fits_is_the_ceiling_or_a_multiple_of_256(
    limit: int, ceiling: int
) -> None:
    found = largest(lambda tokens: tokens <= limit, ceiling)
    expected = ceiling if ceiling <= limit else limit // 256 * 256
    assert found == expected


def test_this_machine_has_memory_and_leaves_some() -> None:
    memory = machine_memory(5 * MIB)
    assert memory.cap_bytes == memory.budget_bytes == 5 * MIB
    assert memory.free_bytes > 100 * MIB
    assert 0 < memory.reserve_bytes <= 2**30
    assert machine_memory(reserve_bytes=7).reserve_bytes == 7


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("400000000\n")
    (tmp_path / "memory.current").write_text("100000000\n")
    old = tmp_path / "memory"
    old.mkdir()
    (old / "memory.limit_in_bytes").write_text("400000000\n")
    (old / "memory.usage_in_bytes").write_text("100000000\n")
    monkeypatch.setattr(fitting, "_CGROUPS", tmp_path)
    monkeypatch.setattr("sys.platform", "linux")
    groups = fitting._container_memory(tmp_path)
    assert set(groups) <= {(400_000_000, 100_000_000)}
    if groups:  # this system has control groups
        memory = machine_memory()
        assert memory.free_bytes <= 300_000_000
        assert memory.reserve_bytes == 40_000_000


def test_files_that_a_container_has_merely_read_are_no_use_of_its_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("400000000\n")
    (tmp_path / "memory.current").write_text("100000000\n")
    stat = "anon 10000000\nfile 90000000\ninactive_file 30000000\nactive_file 50000000\n"
    (tmp_path / "memory.stat").write_text(stat)
    groups = fitting._container_memory(tmp_path)
    assert set(groups) <= {(400_000_000, 20_000_000)}


def test_a_container_without_a_limit_has_none(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1\n")
    assert fitting._container_memory(tmp_path) == []
