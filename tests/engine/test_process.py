from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import psutil
import pytest

from lmstrix.engine.process import Engine, EngineSpec
from lmstrix.errors import LoadError, OutOfMemoryError
from lmstrix.types import Phase, Progress

if TYPE_CHECKING:
    from pathlib import Path

Start = Callable[..., Awaitable[Engine]]
Spec = Callable[..., EngineSpec]

_HEAD_COUNT = b"llama.attention.head_count"


async def test_an_engine_tells_what_it_really_holds(start: Start) -> None:
    engine = await start(context_tokens=1024, parallel=2)
    assert engine.context_tokens == 1024
    assert engine.parallel == 2
    assert engine.memory is not None
    assert engine.memory.kv_bytes == 2 * 1024 * 1280  # 1,280 bytes a token, two slots
    assert engine.memory.weights_bytes > 900_000
    assert engine.memory.compute_bytes > 0
    assert engine.memory.resident_bytes > engine.memory.kv_bytes
    assert engine.load_s > 0


async def test_a_context_above_the_models_own_is_told_as_it_is(start: Start) -> None:
    engine = await start(context_tokens=9000)
    assert engine.context_tokens == 8192


async def test_a_load_tells_its_stages(spec: Spec) -> None:
    seen: list[Progress] = []
    engine = await Engine.start(spec(), on_progress=seen.append)
    await engine.stop()
    assert {progress.phase for progress in seen} == {Phase.LOAD}
    assert [progress.note for progress in seen] == [
        "reading weights",
        "making the KV cache",
        "warming up",
        "ready",
    ]


async def test_nobody_gets_in_without_the_key_and_no_page_of_another_origin(start: Start) -> None:
    engine = await start()
    client = engine.client
    client._key = "wrong"
    status, _ = await client.call("GET", "/slots")
    assert status == 401

    def ask() -> tuple[str | None, str | None]:
        request = Request(engine.url + "/health", headers={"Origin": "http://evil.example"})
        with urlopen(request) as answer:
            headers = answer.headers
            return headers["Access-Control-Allow-Origin"], headers[
                "Access-Control-Allow-Credentials"
            ]

    origin, credentials = await asyncio.to_thread(ask)
    assert origin not in ("*", "http://evil.example")
    assert credentials != "true"
    status, page = await engine.client.call("GET", "/")
    assert b"<html" not in page


async def test_the_log_holds_no_text_of_prompts_or_answers(start: Start) -> None:
    engine = await start()
    body = {"prompt": "Capital of Poland?", "max_tokens": 8, "temperature": 0}
    _, answer = await engine.client.call("POST", "/v1/completions", json.dumps(body).encode())
    assert b"Warsaw" in answer
    await engine.stop()
    log = "\n".join(engine.log)
    assert "slot" in log
    assert "Poland" not in log
    assert "Warsaw" not in log
    assert engine.key not in log


def damage(shipped: Path, how: str, into: Path) -> None:
    good = (shipped / "tiny-chat.gguf").read_bytes()
    if how == "text":
        into.write_text("This is no model, it only has the name of one.")
    elif how == "empty":
        into.write_bytes(b"")
    elif how == "cut in the header":
        into.write_bytes(good[:5000])
    elif how == "cut in the weights":
        into.write_bytes(good[: len(good) * 2 // 3])
    elif how == "no heads":
        at = good.index(_HEAD_COUNT) + len(_HEAD_COUNT) + 4
        into.write_bytes(good[:at] + bytes(4) + good[at + 4 :])


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("missing", "No such file"),
        ("text", "magic"),
        ("empty", "magic"),
        ("cut in the header", "key-value"),
        ("cut in the weights", "not within the file bounds"),
        ("no heads", "wrong shape"),
    ],
)
async def test_a_file_that_does_not_load_says_why(
    start: Start, shipped: Path, tmp_path: Path, how: str, reason: str
) -> None:
    path = tmp_path / "bad.gguf"
    damage(shipped, how, path)
    with pytest.raises(LoadError, match=reason) as caught:
        await start(path=str(path))
    assert not isinstance(caught.value, OutOfMemoryError)
    assert caught.value.context_tokens == 1024
    assert "Traceback" not in "\n".join(caught.value.log)


async def test_an_unknown_kv_type_is_named(start: Start) -> None:
    with pytest.raises(LoadError, match="'q9_9'"):
        await start(kv_type_k="q9_9")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the limit is Linux's")
async def test_an_allocation_beyond_the_limit_fails_for_real(start: Start) -> None:
    with pytest.raises(OutOfMemoryError, match="insufficient memory") as caught:
        await start(context_tokens=2**20, memory_limit_bytes=300 * 2**20)
    assert caught.value.context_tokens == 2**20


async def test_the_limit_is_what_the_buffers_may_take_together(start: Start) -> None:
    engine = await start(context_tokens=8192)
    memory = engine.memory
    assert memory is not None
    taken = memory.weights_bytes + memory.kv_bytes + memory.compute_bytes
    assert await start(context_tokens=8192, memory_limit_bytes=taken)
    with pytest.raises(OutOfMemoryError, match="may take"):
        await start(context_tokens=8192, memory_limit_bytes=taken - 2**16)


async def test_an_engine_with_a_limit_answers_a_prompt_that_fills_it(start: Start) -> None:
    engine = await start(context_tokens=2048, memory_limit_bytes=12 * 2**20)
    body = {"prompt": [5] * 2040, "max_tokens": 5}
    status, _ = await engine.client.call("POST", "/v1/completions", json.dumps(body).encode())
    assert status == 200


async def test_the_watchdog_ends_what_takes_too_much(start: Start) -> None:
    engine = await start(context_tokens=2**17)
    await asyncio.to_thread(engine._watch_memory, 32 * 2**20)
    death = await asyncio.wait_for(engine.died, 10)
    assert death.out_of_memory
    assert not death.expected


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "killed"), (signal.SIGABRT, "aborted")]
)
async def test_any_death_is_an_event_with_a_reason(start: Start, number: int, words: str) -> None:
    engine = await start()
    os.kill(engine.pid, number)
    death = await asyncio.wait_for(asyncio.shield(engine.died), 10)
    assert death.exit_status == -number
    assert words in death.reason
    assert not death.expected


async def test_stopping_leaves_no_process(start: Start) -> None:
    engine = await start()
    await engine.stop()
    assert engine.died.result().expected
    assert not psutil.pid_exists(engine.pid)


async def test_an_engine_that_hangs_is_stopped_all_the_same(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmstrix.engine.process._STOP_S", 0.2)
    engine = await start()
    os.kill(engine.pid, signal.SIGSTOP)
    await engine.stop()
    assert not psutil.pid_exists(engine.pid)


async def test_a_cancelled_load_is_over_at_once_and_leaves_no_process(spec: Spec) -> None:
    loading = asyncio.Event()
    task = asyncio.create_task(
        Engine.start(spec(context_tokens=10**6), on_progress=lambda _: loading.set())
    )
    await asyncio.wait_for(loading.wait(), 10)
    (child,) = psutil.Process().children()
    at = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - at < 1.0
    assert not psutil.pid_exists(child.pid)


async def test_an_engine_killed_while_it_loads_is_a_failed_load(spec: Spec) -> None:
    def kill(_progress: Progress) -> None:
        for child in psutil.Process().children():
            child.kill()

    with pytest.raises(LoadError, match="killed") as caught:
        await Engine.start(spec(context_tokens=10**6), on_progress=kill)
    assert caught.value.context_tokens == 10**6


async def test_ctrl_c_in_the_terminal_does_not_reach_the_engine(start: Start) -> None:
    engine = await start()
    assert os.getpgid(engine.pid) != os.getpgid(0)
    os.kill(engine.pid, signal.SIGINT)
    status, _ = await engine.client.call("GET", "/health")
    assert status == 200


@pytest.mark.parametrize("says", ["", '{"url": "ht', "[1]\n", "no JSON at all\n", "\0\xff\n"])
async def test_an_engine_that_talks_nonsense_is_a_failed_load(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    child = tmp_path / "child.py"
    child.write_text(f"import sys; sys.stdin.readline(); sys.stdout.write({says!r})")
    monkeypatch.setattr("lmstrix.engine.process._CHILD", child)
    with pytest.raises(LoadError, match="tiny-chat did not load"):
        await Engine.start(spec())


async def test_an_engine_that_does_not_say_what_it_holds_is_a_failed_load(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        'import sys; sys.stdin.readline(); print(\'{"url": "http://127.0.0.1:1"}\', flush=True);'
        "sys.stdin.readline()"
    )
    monkeypatch.setattr("lmstrix.engine.process._CHILD", child)
    with pytest.raises(LoadError, match="did not say what it holds"):
        await Engine.start(spec())


async def test_a_flood_on_standard_error_is_kept_within_bounds(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        "import sys; sys.stdin.readline();"
        "[sys.stderr.write('x' * 2**20) for _ in range(64)];"
        "[sys.stderr.write('line\\n') for _ in range(10**5)]"
    )
    monkeypatch.setattr("lmstrix.engine.process._CHILD", child)
    with pytest.raises(LoadError) as caught:
        await Engine.start(spec())
    assert 0 < sum(map(len, caught.value.log)) < 40 * 501


async def test_a_machine_without_room_for_a_process_is_a_failed_load(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("subprocess.Popen", full)
    with pytest.raises(LoadError, match="no process could be started"):
        await Engine.start(spec())
