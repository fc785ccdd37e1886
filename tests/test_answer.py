"""An answer's life: begun, read, left, cancelled, and the client closed under it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from lmstrix.answer import Answer, AnswerFlow, SyncAnswer
from lmstrix.errors import GenerationError, LMStrixError
from lmstrix.types import Fragment, Instance, Stats, StopReason

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Instance(id="a", model_key="a", provider="p", server="s", context_tokens=512)


class Pump:
    """Fills a flow with two fragments, then waits to be let go or cancelled."""

    def __init__(self) -> None:
        self.flow = AnswerFlow()
        self.begun = 0
        self.cancelled = False
        self.go_on = asyncio.Event()

    async def __call__(self) -> None:
        self.begun += 1
        self.flow.instance = HERE
        self.flow.add(Fragment("one "))
        self.flow.add(Fragment("two"))
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        self.flow.finish(Stats(stop_reason=StopReason.END, predicted_tokens=2))

    def answer(self) -> Answer:
        return Answer(self.flow, self)


async def test_an_answer_left_at_once_has_ended():
    pump = Pump()
    async with pump.answer() as answer:
        pass
    assert answer.stats is not None
    assert answer.stats.stop_reason is StopReason.CANCELLED
    assert [fragment async for fragment in answer] == []


async def test_an_answer_cancelled_before_it_began_never_begins():
    pump = Pump()
    answer = pump.answer()
    await answer.cancel()
    assert pump.begun == 0
    with pytest.raises(GenerationError, match="cancelled"):
        await answer.completion()


async def test_what_came_before_a_cancel_is_a_completion():
    pump = Pump()
    async with pump.answer() as answer:
        await anext(answer)
    whole = await answer.completion()
    assert pump.cancelled
    assert (whole.text, whole.stats.stop_reason) == ("one two", StopReason.CANCELLED)


async def test_an_answer_read_to_its_end_can_be_left_cancelled_and_read_again():
    pump = Pump()
    pump.go_on.set()
    answer = pump.answer()
    first = await answer.completion()
    await answer.cancel()
    assert await answer.completion() == first
    assert pump.begun == 1


async def test_bookkeeping_that_fails_leaves_a_whole_answer_whole():
    pump = Pump()
    pump.go_on.set()

    async def forgetful() -> None:
        await pump()
        raise LMStrixError("The disk is full.")

    answer = Answer(pump.flow, forgetful)
    async with answer:
        whole = await answer.completion()
    assert whole.stats.stop_reason is StopReason.END
    assert answer.stats == whole.stats
    assert answer.notes == ("The answer is whole, but: The disk is full.",)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    if thread.is_alive():
        stop(loop)
    thread.join()
    for task in asyncio.all_tasks(loop):  # what stopping the loop left in the air
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
    loop.close()


def stop(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon_threadsafe(loop.stop)


def test_a_sync_answer_left_at_once_has_ended(loop: asyncio.AbstractEventLoop):
    pump = Pump()
    with SyncAnswer(pump.flow, pump, loop) as answer:
        pass
    assert answer.stats is not None
    assert list(answer) in ([], [Fragment("one "), Fragment("two")])


def test_breaking_out_of_a_sync_answer_cancels_it(loop: asyncio.AbstractEventLoop):
    pump = Pump()
    answer = SyncAnswer(pump.flow, pump, loop)
    for _ in answer:
        break
    assert pump.cancelled
    assert answer.text == "one two"


def test_a_sync_answer_of_a_closed_client_says_so(loop: asyncio.AbstractEventLoop):
    pump = Pump()
    answer = SyncAnswer(pump.flow, pump, loop)
    stop(loop)
    with pytest.raises(LMStrixError, match="closed"):
        list(answer)
    answer.cancel()
    assert pump.begun == 0


def test_closing_the_client_ends_the_wait_of_a_reader(loop: asyncio.AbstractEventLoop):
    pump = Pump()
    with SyncAnswer(pump.flow, pump, loop) as answer:
        reader = iter(answer)
        assert next(reader).text == "one "
        assert next(reader).text == "two"
        stop(loop)
        with pytest.raises(LMStrixError, match="closed"):
            next(reader)
