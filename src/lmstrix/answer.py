"""An answer on its way: fragments as they arrive, then what it took.

`AnswerFlow` is filled by one pump task on the event loop; `Answer` and `SyncAnswer` read it.
The pump never waits for the reader, so a slow reader is handed everything that has arrived
meanwhile, and times are those of arrival.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Self, TypeAlias

from msgspec.structs import replace

from lmstrix.errors import GenerationError
from lmstrix.types import (
    Completion,
    Fragment,
    FragmentKind,
    Stats,
    StopReason,
    Timeline,
    ToolCall,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType

    from lmstrix.types import Instance

Pump: TypeAlias = Callable[[], Coroutine[None, None, None]]

# Windows delivers Ctrl-C to a waiting main thread only when the wait ends.
_INTERRUPTIBLE_S = 0.5


class AnswerFlow:
    """What has arrived of one answer. Written on the event loop, read from anywhere."""

    def __init__(self) -> None:
        self.arrived: deque[Fragment] = deque()
        self.fragments: list[Fragment] = []
        self.notes: list[str] = []
        self.model = ""
        self.instance: Instance | None = None
        self.stats: Stats | None = None
        self.error: BaseException | None = None
        self.done = False
        self.wake: Callable[[], None] = _nobody
        self._requested_at = time.time()
        self._zero = time.perf_counter()
        self._sent = 0.0
        self._prompt_done: float | None = None
        self._times: list[float] = []

    def sending(self) -> None:
        """The request goes out now: time to first token counts from here."""
        self._sent = time.perf_counter() - self._zero

    def prompt_done(self) -> None:
        """The server has processed the whole prompt."""
        if self._prompt_done is None:
            self._prompt_done = time.perf_counter() - self._zero

    def add(self, fragment: Fragment) -> None:
        """A fragment arrived."""
        self._times.append(time.perf_counter() - self._zero)
        self.fragments.append(fragment)
        self.arrived.append(fragment)
        self.wake()

    def finish(self, stats: Stats | None = None, error: BaseException | None = None) -> None:
        """Nothing more will come."""
        if stats is None:
            reason = StopReason.CANCELLED if error is None else StopReason.FAILED
            tokens = sum(fragment.tokens for fragment in self.fragments)
            stats = Stats(stop_reason=reason, predicted_tokens=tokens)
        self.stats = replace(stats, timeline=self._timeline())
        if isinstance(error, GenerationError) and not error.partial:
            error.partial = self.text
        self.error = error
        self.done = True
        self.wake()

    @property
    def text(self) -> str:
        """The answer so far, reasoning apart."""
        return "".join(f.text for f in self.fragments if f.kind is FragmentKind.ANSWER)

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(f.text for f in self.fragments if f.kind is FragmentKind.REASONING)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls so far, their pieces joined, in the order the model made them."""
        calls: dict[int, ToolCall] = {}
        for fragment in self.fragments:
            if (part := fragment.call) is not None:
                known = calls.get(part.index, ToolCall(id="", name="", arguments=""))
                calls[part.index] = ToolCall(
                    id=known.id or part.id,
                    name=known.name or part.name,
                    arguments=known.arguments + fragment.text,
                )
        return tuple(calls[index] for index in sorted(calls))

    def completion(self) -> Completion:
        """The whole answer. Only when `done` and without `error`.

        Raises `GenerationError` for one that was cancelled before an instance was there.
        """
        if self.instance is None:
            raise GenerationError("The answer was cancelled before it began.", hint="Ask again.")
        assert self.stats is not None
        return Completion(
            text=self.text,
            reasoning=self.reasoning,
            model=self.model,
            instance=self.instance,
            stats=self.stats,
            tool_calls=self.tool_calls,
            logprobs=tuple(chance for f in self.fragments for chance in f.logprobs),
            notes=tuple(self.notes),
        )

    def _timeline(self) -> Timeline:
        times = tuple(self._times)
        return Timeline(
            requested_at=self._requested_at,
            sent_s=self._sent,
            prompt_done_s=self._prompt_done,
            first_token_s=times[0] if times else None,
            finished_s=time.perf_counter() - self._zero,
            fragments_s=times,
        )


class _AnswerView:
    """What both kinds of answer show of their flow."""

    def __init__(self, flow: AnswerFlow) -> None:
        self._flow = flow

    @property
    def text(self) -> str:
        """The answer so far, reasoning apart."""
        return self._flow.text

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return self._flow.reasoning

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls so far, their pieces joined, in the order the model made them."""
        return self._flow.tool_calls

    @property
    def stats(self) -> Stats | None:
        """What the answer took; `None` until it has ended."""
        return self._flow.stats

    @property
    def instance(self) -> Instance | None:
        """Where the answer comes from; `None` until an instance is there."""
        return self._flow.instance

    @property
    def model(self) -> str:
        """The key of the model that answers; empty until it is chosen."""
        return self._flow.model

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what was decided for the user, such as a smaller context."""
        return tuple(self._flow.notes)


class Answer(_AnswerView):
    """An answer read with `async for`. Starts when first awaited or entered.

    Leaving the `async with` block, or `cancel()`, stops the generation on the server. Errors
    raise where fragments are awaited; what came before stays in `text`.
    """

    def __init__(self, flow: AnswerFlow, pump: Pump) -> None:
        super().__init__(flow)
        self._pump = pump
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def _start(self) -> None:
        if self._task is None and not self._flow.done:
            self._flow.wake = self._wake
            self._task = _begin(asyncio.get_running_loop(), self._pump, self._flow)

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.cancel()

    def __aiter__(self) -> AsyncIterator[Fragment]:
        return self

    async def __anext__(self) -> Fragment:
        self._start()
        flow = self._flow
        while not flow.arrived:
            if flow.done:
                if flow.error is not None:
                    raise flow.error
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                await self.cancel()
                raise
            finally:
                self._waiter = None
        return flow.arrived.popleft()

    async def completion(self) -> Completion:
        """Read to the end and give the whole answer, or what came before `cancel()`."""
        async for _ in self:
            pass
        return self._flow.completion()

    async def cancel(self) -> None:
        """Stop the generation; what came stays. Does nothing once the answer has ended.

        Waits for the bookkeeping of an answer that is whole. One that never began never will.
        """
        task = self._task
        if task is None:
            _finished(self._flow)
        elif not task.done():
            if not self._flow.done:
                task.cancel()
            await asyncio.wait([task])


class SyncAnswer(_AnswerView):
    """An answer read with `for`: the twin of `Answer` for programs without an event loop."""

    def __init__(
        self,
        flow: AnswerFlow,
        pump: Pump,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(flow)
        self._pump = pump
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._started = False
        self._news = threading.Event()

    def _start(self) -> None:
        if not self._started and not self._flow.done:
            self._started = True
            self._flow.wake = self._news.set
            with suppress(RuntimeError):  # closed; whoever reads is told
                self._loop.call_soon_threadsafe(self._spawn)

    def _spawn(self) -> None:
        self._task = _begin(self._loop, self._pump, self._flow)

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()

    def __iter__(self) -> Iterator[Fragment]:
        self._start()
        flow = self._flow
        try:
            while True:
                while flow.arrived:
                    yield flow.arrived.popleft()
                if flow.done and not flow.arrived:
                    break
                self._wait()
        except BaseException:  # leaving early, Ctrl-C included, stops the generation
            self.cancel()
            raise
        if flow.error is not None:
            raise flow.error

    def completion(self) -> Completion:
        """Read to the end and give the whole answer, or what came before `cancel()`."""
        for _ in self:
            pass
        return self._flow.completion()

    def cancel(self) -> None:
        """Stop the generation; what came stays. Does nothing once the answer has ended.

        Waits for the bookkeeping of an answer that is whole. One that never began never will.
        """
        if self._started:
            ended = threading.Event()
            with suppress(RuntimeError):  # closed: nothing is under way any more
                self._loop.call_soon_threadsafe(self._end, ended)
                while not ended.wait(_INTERRUPTIBLE_S) and self._loop.is_running():
                    pass
        _finished(self._flow)

    def _end(self, ended: threading.Event) -> None:
        """On the loop: cancel the pump unless the answer is whole, and tell when it is over."""
        assert self._task is not None
        if not self._flow.done:
            self._task.cancel()
        self._task.add_done_callback(lambda _: ended.set())

    def _wait(self) -> None:
        """Wait for news, which cannot come once the client is closed."""
        news = not self._loop.is_closed() and self._news.wait(_INTERRUPTIBLE_S)
        self._news.clear()
        if not news and not self._flow.done and not self._loop.is_running():
            self._flow.finish(
                error=GenerationError(
                    "The client was closed before the answer had ended.",
                    hint="Read answers to their end, or cancel them, before closing the client.",
                )
            )


def _begin(loop: asyncio.AbstractEventLoop, pump: Pump, flow: AnswerFlow) -> asyncio.Task[None]:
    task = loop.create_task(_run(pump, flow))
    # A task that is cancelled before its first step never runs a line.
    task.add_done_callback(lambda _: _finished(flow))
    return task


async def _run(pump: Pump, flow: AnswerFlow) -> None:
    """Run the pump so that every ending, good or bad, reaches the reader through the flow."""
    try:
        await pump()
    except Exception as error:  # noqa: BLE001  # raised again where the answer is read
        if flow.done:
            flow.notes.append(f"The answer is whole, but: {error}")
        else:
            flow.finish(error=error)


def _finished(flow: AnswerFlow) -> None:
    if not flow.done:
        flow.finish()


def _nobody() -> None:
    """Nobody waits yet."""
