"""What several processes want of one model: loaded once, and nobody's answer cut off."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from lmstrix import AsyncLMStrix
from lmstrix.claims import Claims
from lmstrix.config import Places, Settings, Timeouts
from lmstrix.errors import BusyError
from lmstrix.types import Instance, Model, Progress

if TYPE_CHECKING:
    from pathlib import Path

Other = asyncio.subprocess.Process
Start = Callable[..., Awaitable[Other]]

MODEL = Model(key="m", provider="p", server="s")
INSTANCE = Instance(id="m", model_key="m", provider="p", server="s", context_tokens=512, pid=1)

# Asks when told to, tells of the first fragment and of the end, or of what became of it.
ASKS = """
import asyncio, sys
from lmstrix import AsyncLMStrix, LoadConfig, Sampling
from lmstrix.errors import LMStrixError

async def main(model, tokens, load):
    async with AsyncLMStrix() as client:
        await client.find(model)
        print("ready", flush=True)
        sys.stdin.readline()
        sampling = Sampling(max_tokens=int(tokens), temperature=0)
        options = dict(raw=True, resident=True, load=LoadConfig(threads=1), sampling=sampling)
        async with client.stream("one", model, in_ctx=256, **options) as answer:
            await anext(answer)
            print("answering", answer.instance.pid, flush=True)
            try:
                whole = await answer.completion()
                print("whole", whole.stats.stop_reason.value, flush=True)
            except LMStrixError as error:
                print("broken", type(error).__name__, flush=True)

asyncio.run(main(*sys.argv[1:], None))
"""
CLAIMS = """
import asyncio, sys
from pathlib import Path
from lmstrix.claims import Claims
from lmstrix.types import Instance, Model

async def main(what, folder):
    claims = Claims(Path(folder), wait_s=9)
    model = Model(key="m", provider="p", server="s")
    one = Instance(id="m", model_key="m", provider="p", server="s", context_tokens=512, pid=1)
    async with claims.loading(model, print):
        if what == "ending":
            async with claims.ending(one, print):
                print("there", flush=True)
                sys.stdin.read()
        if what == "loading":
            print("there", flush=True)
            sys.stdin.read()
    with claims.using(one):
        print("there", flush=True)
        sys.stdin.read()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts processes that run a script, and ends them after the test."""
    started: list[Other] = []

    async def start(script: str, *arguments: object) -> Other:
        pipe = asyncio.subprocess.PIPE
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, *map(str, arguments), stdin=pipe, stdout=pipe
        )
        started.append(other)
        return other

    yield start
    for other in started:
        with suppress(ProcessLookupError):
            other.kill()
        await other.wait()
        assert other.stdin is not None
        other.stdin.close()


@pytest.fixture
async def client(shipped: Path) -> AsyncIterator[AsyncLMStrix]:
    settings = Settings(model_folders=(str(shipped),))
    async with AsyncLMStrix(settings=settings) as client:
        yield client
        await client.unload(all=True)


async def heard(other: Other) -> list[str]:
    assert other.stdout is not None
    return (await other.stdout.readline()).decode().split()


def tell(other: Other) -> None:
    assert other.stdin is not None
    other.stdin.write(b"go\n")


async def test_processes_that_ask_at_once_load_the_model_once(
    client: AsyncLMStrix, start: Start, slow_file: Path
):
    others = await asyncio.gather(*(start(ASKS, slow_file, 4) for _ in range(3)))
    for other in others:
        assert await heard(other) == ["ready"]
    for other in others:
        tell(other)
    pids = {(await heard(other))[1] for other in others}
    assert len(pids) == 1
    assert len(await client.instances()) == 1


async def test_a_load_with_another_context_waits_for_the_answer_of_another_process(
    client: AsyncLMStrix, start: Start, slow_file: Path
):
    other = await start(ASKS, slow_file, 150)
    tell(other)
    assert await heard(other) == ["ready"]
    _, pid = await heard(other)
    signs: list[Progress] = []
    mine = await client.infer(
        "two", str(slow_file), in_ctx=512, raw=True, out_ctx=1, on_progress=signs.append
    )
    assert f"process {other.pid}" in signs[0].note
    assert str(mine.instance.pid) != pid
    assert mine.instance.context_tokens == 512
    # Random weights may end by themselves; what counts is that nobody cut them off.
    assert await heard(other) in (["whole", "length"], ["whole", "end"])
    assert [one.pid for one in await client.instances()] == [mine.instance.pid]


async def test_a_wait_longer_than_a_load_may_take_ends_in_busy_and_kills_nothing(
    client: AsyncLMStrix, start: Start, slow_file: Path
):
    other = await start(ASKS, slow_file, 200)
    tell(other)
    assert await heard(other) == ["ready"]
    assert (await heard(other))[0] == "answering"
    hasty = Settings(timeouts=Timeouts(load_s=0.1))
    async with AsyncLMStrix(settings=hasty) as impatient:
        with pytest.raises(BusyError, match=f"process {other.pid}") as caught:
            await impatient.infer("two", str(slow_file), in_ctx=512, raw=True, out_ctx=1)
        assert caught.value.pid == other.pid
        assert "lmstrix unload" in caught.value.hint
        # What will do is not waited for, nor kept from others by who gave up.
        same = await impatient.infer("two", str(slow_file), in_ctx=256, raw=True, out_ctx=1)
        assert same.instance.context_tokens == 256
    assert (await heard(other))[0] == "whole"


async def test_unloading_ends_an_answer_at_once(
    client: AsyncLMStrix, start: Start, slow_file: Path
):
    other = await start(ASKS, slow_file, 200)
    tell(other)
    assert await heard(other) == ["ready"]
    assert (await heard(other))[0] == "answering"
    assert len(await client.unload(all=True)) == 1
    assert await heard(other) == ["broken", "EngineDiedError"]


async def test_who_dies_while_loading_keeps_nobody_waiting(places: Places, start: Start):
    claims = Claims(places.locks, wait_s=20)
    other = await start(CLAIMS, "loading", places.locks)
    assert await heard(other) == ["there"]
    waits: list[str] = []
    other.send_signal(signal.SIGTERM)
    async with claims.loading(MODEL, waits.append):
        pass
    with pytest.raises(BusyError, match="this very process"):
        async with (
            claims.loading(MODEL, waits.append),
            Claims(places.locks, wait_s=0.05).loading(MODEL, waits.append),
        ):
            pass


async def test_who_dies_while_answering_keeps_nobody_waiting(places: Places, start: Start):
    other = await start(CLAIMS, "using", places.locks)
    assert await heard(other) == ["there"]
    claims = Claims(places.locks, wait_s=20)
    waits: list[str] = []

    def end(wait: str) -> None:
        waits.append(wait)
        other.kill()

    async with claims.loading(MODEL, waits.append), claims.ending(INSTANCE, end):
        assert waits == [f"after the answer that process {other.pid} is getting"]
    assert list(places.locks.glob("use-*")) == []


async def test_an_instance_about_to_end_is_joined_only_by_who_is_alone_at_it(
    places: Places, start: Start
):
    claims = Claims(places.locks, wait_s=20)
    other = await start(CLAIMS, "ending", places.locks)
    assert await heard(other) == ["there"]
    assert claims.ends(INSTANCE)
    other.kill()
    await other.wait()
    assert claims.ends(INSTANCE), "nobody can know yet"
    async with claims.loading(MODEL, print):
        claims.spare(INSTANCE)
        assert not claims.ends(INSTANCE)


async def test_what_dead_processes_left_is_swept_with_the_next_load(places: Places, start: Start):
    other = await start(CLAIMS, "using", places.locks)
    assert await heard(other) == ["there"]
    claims = Claims(places.locks, wait_s=20)
    with claims.using(INSTANCE):
        other.kill()
        await other.wait()
        assert len(list(places.locks.glob("use-*"))) == 2
        async with claims.loading(MODEL, print):
            (left,) = places.locks.glob("use-*")
            assert f"-{os.getpid()}-" in left.name
    assert list(places.locks.glob("use-*")) == []
