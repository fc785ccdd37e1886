"""Many models on several servers: what runs beside what, and what is left out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix import AsyncLMStrix
from lmstrix.config import ServerSettings, Settings
from lmstrix.context.fleet import Fleet, Post, Report, run_fleet
from lmstrix.context.options import Stage, TestEvent, TestOptions
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving
from lmstrix.results import FailureKind, TestKey, TestResult, TestStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMAND = str(Path(sys.executable).with_name("lmstrix"))
OPTIONS = TestOptions(fast=True, threshold_tokens=512)
BEHIND = Settings(shipped_models=True, discover=False)
GATEWAY = GatewayOptions(port=0, drain_s=1)


def posts(*servers: str) -> list[Post]:
    return [Post(server, f"{number}") for number, server in enumerate(servers)]


def result(number: int) -> TestResult:
    key = TestKey(identity=str(number), provider="p", machine="m")
    return TestResult(key=key, model_key=str(number), status=TestStatus.COMPLETED, started_at=0.0)


def test_one_test_at_a_time_runs_on_a_server_and_so_many_servers_at_once():
    fleet = Fleet(posts("a", "a", "b", "c"), parallel=2)
    assert (fleet.next(), fleet.next(), fleet.next()) == (0, 2, None)
    fleet.finished(2)
    assert (fleet.next(), fleet.next()) == (3, None)
    fleet.finished(0)
    assert fleet.next() == 1


def test_the_same_file_on_two_servers_is_not_tested_on_both_at_once():
    fleet = Fleet([Post("a", "same"), Post("b", "same"), Post("c", "other")], parallel=3)
    assert (fleet.next(), fleet.next(), fleet.next()) == (0, 2, None)


def test_what_waits_for_a_silent_server_is_left_out_and_nothing_else():
    fleet = Fleet(posts("a", "b", "a", "a"), parallel=1)
    assert fleet.next() == 0
    fleet.finished(0)
    fleet.fell_silent(0, "why")
    assert fleet.skipped() == [(2, "why"), (3, "why")]
    assert fleet.next() == 1
    fleet.finished(1)
    assert fleet.done


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12),
    st.integers(1, 4),
)
def test_every_test_runs_once_or_is_left_out_and_the_order_is_kept(
    given: list[tuple[str, bool]], parallel: int
):
    most: Counter[str] = Counter()
    running: Counter[str] = Counter()

    async def test(number: int) -> Report:
        server, silent = given[number]
        running[server] += 1
        most[server] = max(most[server], running[server])
        most["all"] = max(most["all"], running.total())
        await asyncio.sleep(0)
        running[server] -= 1
        return Report(result(number), silent="nobody there" if silent else "")

    def skip(number: int, why: str) -> TestResult:
        assert why == "nobody there"
        return result(number)

    async def run() -> list[TestResult]:
        return await run_fleet(
            posts(*(server for server, _ in given)), test, skip, parallel=parallel
        )

    found = asyncio.run(run())
    assert [int(one.model_key) for one in found] == list(range(len(given)))
    assert all(most[server] <= 1 for server in "abc")
    assert most["all"] <= parallel


@asynccontextmanager
async def two_gateways(tmp_path: Path) -> AsyncIterator[Settings]:
    """Two LM Studios with the same models."""
    async with AsyncExitStack() as running:
        servers = {}
        for name in ("one", "two"):
            client = await running.enter_async_context(
                AsyncLMStrix(settings=BEHIND, store_path=tmp_path / f"{name}.db")
            )
            gateway = await running.enter_async_context(serving(client, GATEWAY))
            servers[name] = ServerSettings(url=gateway.url, provider="lmstudio")
        yield Settings(servers=servers, discover=False, provider="lmstudio")


async def test_two_servers_are_at_work_at_once(tmp_path: Path):
    at_work: list[frozenset[str]] = []
    busy: set[str] = set()

    def listen(event: TestEvent) -> None:
        (busy.discard if event.stage is Stage.DONE else busy.add)(event.server)
        at_work.append(frozenset(busy))

    async with (
        two_gateways(tmp_path) as settings,
        AsyncLMStrix(settings=settings) as client,
    ):
        await client.scan()
        assert len(await client.list_models()) == 6
        results = await client.test_models(options=OPTIONS, parallel=2, on_event=listen)
    assert [one.status for one in results] == [TestStatus.COMPLETED] * 6
    assert max(map(len, at_work)) == 2


async def test_a_server_that_is_gone_is_named_and_its_models_are_not_tried(tmp_path: Path):
    async with AsyncExitStack() as running:
        behind = await running.enter_async_context(
            AsyncLMStrix(settings=BEHIND, store_path=tmp_path / "behind.db")
        )
        gateway = await running.enter_async_context(serving(behind, GATEWAY))
        servers = {"gone": ServerSettings(url=gateway.url, provider="ollama")}
        settings = Settings(servers=servers, discover=False, shipped_models=True)
        client = await running.enter_async_context(AsyncLMStrix(settings=settings))
        await client.scan()
        await running.pop_all().aclose()
    async with AsyncLMStrix(settings=settings) as client:
        results = await client.test_models(options=OPTIONS)
    silent = [one for one in results if one.failure is FailureKind.UNREACHABLE]
    assert len(silent) == 3
    assert all(gateway.url in one.notes[0] for one in silent)
    assert sum(one.status is TestStatus.COMPLETED for one in results) == 3


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_fleet_that_was_stopped_goes_on_where_it_was(home: Path, number: int):
    environ = {
        **os.environ,
        "LMSTRIX_SHIPPED_MODELS": "true",
        "LMSTRIX_DISCOVER": "false",
        "LMSTRIX_EMBEDDED__THREADS": "1",
    }
    words = (COMMAND, "test", "--all", "--fast", "--threshold", "4096", "--format", "json")
    subprocess.run([COMMAND, "scan"], env=environ, check=True, capture_output=True)
    tool = subprocess.Popen(
        words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    for line in tool.stderr:
        if "chat" in line and "processing" in line:
            break
    tool.send_signal(number)
    tool.communicate(timeout=60)
    done = subprocess.run(words, env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert {one["status"] for one in results} == {"completed"}
    assert len(results) == 3
    (first,) = [one for one in results if one["model_key"] == "tiny-embed"]
    assert "Tested before" in done.stderr
    assert first["probes"] <= 3
