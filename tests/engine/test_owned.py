from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import psutil
import pytest

from lmstrix.engine.owned import Owned
from lmstrix.engine.process import Engine
from lmstrix.errors import EngineDiedError
from lmstrix.types import Instance

Start = Callable[..., Awaitable[Engine]]


def freeze(one: Owned) -> None:
    """Stop its process, as if stuck in a batch, and see that it stands still."""
    pid = one.instance.pid or 0
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)


async def owned(start: Start, **changes: object) -> Owned:
    engine = await start(**changes)
    about = Instance(
        id="tiny",
        model_key="tiny",
        provider="embedded",
        server="embedded",
        context_tokens=1024,
        pid=engine.pid,
        memory=engine.memory,
    )
    return Owned(about, engine)


async def test_an_engine_that_does_not_let_go_is_replaced_by_a_fresh_one(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmstrix.engine.owned._UNKNOWN_BATCH_S", 0.2)
    one = await owned(start)
    first = one.instance.pid
    freeze(one)
    one.begin()
    one.finish(cancelled=True)
    assert one._tidying is not None
    await one._tidying
    await one.ready()
    assert one.instance.pid != first
    assert not psutil.pid_exists(first or 0)
    status, _ = await one.client.call("GET", "/health")
    assert status == 200
    await one.close()


async def test_an_engine_that_others_are_using_is_not_replaced(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmstrix.engine.owned._UNKNOWN_BATCH_S", 0.2)
    one = await owned(start)
    freeze(one)
    one.begin()
    one.begin()
    one.finish(cancelled=True)
    assert one._tidying is not None
    await one._tidying
    os.kill(one.instance.pid or 0, signal.SIGCONT)
    assert not one.dead
    await one.ready()
    await one.close()


async def test_a_replacement_that_fails_is_the_engines_death(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmstrix.engine.owned._UNKNOWN_BATCH_S", 0.2)
    one = await owned(start)
    one._engine.spec = type(one._engine.spec)(model="tiny", path="gone.gguf", context_tokens=9)
    freeze(one)
    one.begin()
    one.finish(cancelled=True)
    assert one._tidying is not None
    await one._tidying
    with pytest.raises(EngineDiedError):
        await one.ready()
    assert one.dead


async def test_closing_ends_what_runs_in_the_background(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmstrix.engine.process._STOP_S", 0.2)
    one = await owned(start)
    freeze(one)
    one.begin()
    one.finish(cancelled=True)
    await asyncio.wait_for(one.close(), 10)
    assert not psutil.pid_exists(one.instance.pid or 0)
