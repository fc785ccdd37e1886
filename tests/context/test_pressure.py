"""The memory guard: when it stops a load, and that it does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import making

from lmstrix import AsyncLMStrix
from lmstrix.config import Settings
from lmstrix.config.settings import TestSettings as Reserve
from lmstrix.context.fit import machine_memory
from lmstrix.context.options import TestOptions
from lmstrix.context.pressure import MemoryGuard, Reading, guarded
from lmstrix.errors import OutOfMemoryError
from lmstrix.results import FailureKind
from lmstrix.store.machine import is_here
from lmstrix.types import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20
MODEL = Model(key="m", provider="p", server="s")


def readings(*available_mib: float, swap_mib: float = 0, step_s: float = 1.0) -> list[Reading]:
    return [
        Reading(at_s=i * step_s, available_bytes=int(mib * MIB), swap_used_bytes=int(swap_mib * i))
        for i, mib in enumerate(available_mib)
    ]


def objections(series: list[Reading], *, reserve_mib: int) -> list[str]:
    guard = MemoryGuard(series[0], reserve_bytes=reserve_mib * MIB)
    return [guard.objection(reading) for reading in series[1:]]


def test_a_load_that_leaves_the_reserve_is_let_alone():
    assert not any(objections(readings(8000, 6000, 4000, 2000, 2000), reserve_mib=1000))


def test_a_load_that_takes_of_the_reserve_is_stopped():
    *before, last = objections(readings(8000, 6000, 5500, 900), reserve_mib=1000)
    assert not any(before)
    assert "900 MiB are left" in last


def test_a_load_that_is_about_to_take_of_the_reserve_is_stopped_in_time():
    (last,) = objections(readings(8000, 1500, step_s=0.5), reserve_mib=1000)
    assert "1,500 MiB are left" in last
    assert "every second" in last


def test_where_less_than_the_reserve_was_there_half_of_that_may_be_taken():
    assert not any(objections(readings(800, 700, 500), reserve_mib=1000))
    assert objections(readings(800, 700, 300), reserve_mib=1000)[-1]


def test_swapping_out_is_a_reason_to_stop_while_memory_is_scarce():
    swapping = [
        Reading(at_s=float(i), available_bytes=mib * MIB, swap_used_bytes=i * 300 * MIB)
        for i, mib in enumerate((1600, 1500))
    ]
    (last,) = objections(swapping, reserve_mib=1000)
    assert "300 MiB have been swapped out" in last
    plenty = [
        Reading(at_s=float(i), available_bytes=8000 * MIB, swap_used_bytes=i * 300 * MIB)
        for i in range(3)
    ]
    assert not any(objections(plenty, reserve_mib=1000))


@given(
    st.lists(st.integers(0, 64_000), min_size=2, max_size=30),
    st.integers(0, 8000),
)
def test_nothing_below_the_floor_is_ever_let_pass(available: list[int], reserve_mib: int):
    series = readings(*available)
    floor = reserve_mib if available[0] > reserve_mib else available[0] / 2
    for mib, said in zip(available[1:], objections(series, reserve_mib=reserve_mib), strict=True):
        assert said or mib >= int(floor)


def test_only_what_is_loaded_here_is_guarded():
    assert is_here("embedded")
    assert is_here("http://127.0.0.1:1234")
    assert not is_here("http://10.0.0.7:1234")


async def test_the_work_is_cancelled_before_the_error_is_told():
    told: list[str] = []

    async def load() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    series: Iterator[Reading] = iter(readings(4000, 3000, 100))
    with pytest.raises(OutOfMemoryError, match="stopped before the machine ran out of memory"):
        await guarded(load(), MODEL, reserve_bytes=1000 * MIB, read=lambda: next(series))
    assert told == ["cancelled"]


async def test_work_that_is_done_is_what_comes_back_and_its_errors_too():
    async def work(*, fails: bool) -> int:
        if fails:
            raise ValueError("wrong")
        return 7

    series = readings(4000)
    assert await guarded(work(fails=False), MODEL, reserve_bytes=1, read=lambda: series[0]) == 7
    with pytest.raises(ValueError, match="wrong"):
        await guarded(work(fails=True), MODEL, reserve_bytes=1, read=lambda: series[0])


async def test_a_real_load_is_stopped_and_told_as_lack_of_memory(made: Any):
    path = made(
        making.make_llama, layers=8, heads=8, kv_heads=8, width=512, head=64, context_tokens=65536
    )
    size = 8 * 8 * 64 * 2 * 2 * 65536  # bytes of its KV cache: 1 GiB
    reserve = machine_memory(reserve_bytes=0).free_bytes - size // 4
    settings = Settings(discover=False, test=Reserve(reserve_bytes=reserve))
    async with AsyncLMStrix(settings=settings) as client:
        options = TestOptions(context_tokens=65536)
        result = await client.test_model(str(path), options=options)
        assert result.loadable.failure is FailureKind.OUT_OF_MEMORY
        said = " ".join(result.loadable.evidence)
        assert "stopped before the machine ran out of memory" in said
        assert not await client.instances()
