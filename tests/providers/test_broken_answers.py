"""Answers that are interrupted, stall or break off, through the command and whoever answers."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from servers.lone import KINDS, lone

from lmstrix import AsyncLMStrix
from lmstrix.errors import GenerationError
from lmstrix.types import StopReason

if TYPE_CHECKING:
    from pathlib import Path

    from servers.lone import Say

PATIENCE_S = 20
posix = pytest.mark.skipif(sys.platform == "win32", reason="sends Ctrl-C to one process")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


class Endless:
    """Begins an answer and never ends it; `left` is set when nobody wants it any more."""

    def __init__(self) -> None:
        self.left = threading.Event()

    async def __call__(self, say: Say) -> None:
        await say.piece("so far ")
        try:
            await say.gone()
        finally:
            self.left.set()

    async def was_left(self) -> bool:
        return await asyncio.to_thread(self.left.wait, PATIENCE_S)


@posix
async def test_ctrl_c_cancels_on_the_server_and_keeps_what_came(kind: str, tmp_path: Path):
    endless, file = Endless(), tmp_path / "kept.txt"
    async with lone(kind, endless) as one:
        process = await one.start("infer", "Hi", one.model, "--stream", "--save-response", file)
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            assert await process.stdout.readexactly(len("so far ")) == b"so far "
            process.send_signal(signal.SIGINT)
            rest, problem = await process.communicate()
        assert (process.returncode, rest) == (130, b"\n")
        assert re.search(r"interrupted: the answer so far \(1 tokens?\) is kept", problem.decode())
        assert b"Traceback" not in problem
        assert file.read_text(encoding="utf-8") == "so far \n"
        assert await endless.was_left()


async def test_an_answer_without_progress_is_given_up_and_what_came_is_kept(kind: str):
    endless = Endless()
    async with lone(kind, endless) as one:
        told = await one.run("infer", "Hi", one.model, "--stream-timeout", "300ms")
        assert (told.code, told.out) == (1, "so far \n")
        assert "stalled: nothing happened for 0.3 s (between tokens)" in told.problem
        assert await endless.was_left()


async def test_a_stream_that_cannot_be_had_is_an_answer_in_one_piece(kind: str):
    asked: list[bool] = []

    async def play(say: Say) -> None:
        asked.append(say.streams)
        if say.streams and kind != "lmstudio":  # whose protocol only streams
            await say.begin()
            say.drop()
        else:
            await say.whole("all at once")

    async with lone(kind, play) as one:
        told = await one.run("infer", "Hi", one.model, "--stream")
        assert (told.code, told.out) == (0, "all at once\n"), told.problem
    assert asked == [True] if kind == "lmstudio" else [True, False]


@pytest.mark.parametrize("form", ["text", "json"])
async def test_an_answer_that_breaks_off_is_kept_and_said_to_be_cut(kind: str, form: str):
    async def play(say: Say) -> None:
        await say.piece("so far ")
        await asyncio.to_thread(seen.wait, PATIENCE_S)
        say.drop()

    seen = threading.Event()
    async with lone(kind, play) as one:
        async with AsyncLMStrix(settings=one.settings) as client:
            answer = client.stream("Hi", one.model)
            with pytest.raises(GenerationError) as caught:  # noqa: PT012  # in the middle
                async for _ in answer:
                    seen.set()
            assert (answer.text, caught.value.partial) == ("so far ", "so far ")
            assert answer.stats is not None
            assert answer.stats.stop_reason is StopReason.FAILED
        told = await one.run("infer", "Hi", one.model, "--format", form)
        assert told.code == 1
        shown = told.out if form == "text" else json.loads(told.out)["text"] + "\n"
        assert shown == "so far \n"
        assert re.search("broke off|lost", told.problem)


async def test_reasoning_is_shown_apart_from_the_answer(kind: str):
    async def play(say: Say) -> None:
        await say.think("Let me see.")
        await say.piece("42")
        await say.end()

    async with lone(kind, play) as one:
        for extra in ((), ("--stream",)):
            told = await one.run("infer", "Hi", one.model, "--verbose", *extra)
            assert (told.code, told.out) == (0, "42\n")
            assert "Reasoning:\nLet me see.\n\n" in told.problem
        quiet = await one.run("infer", "Hi", one.model)
        assert (quiet.out, quiet.problem) == ("42\n", "")
        data = json.loads((await one.run("infer", "Hi", one.model, "--format", "json")).out)
        assert (data["text"], data["reasoning"]) == ("42", "Let me see.")
