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
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from lmstrix.errors import GenerationError
from lmstrix.types import Completion, Fragment, FragmentKind, Stats, StopReason, Timeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from types import TracebackType

    from lmstrix.types import Instance

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

    def completion(self) -> Completion:
        """The whole answer. Only when `done` and without `error`."""
        assert self.instance is not None
        assert self.stats is not None
        return Completion(
            text=self.text,
            reasoning=self.reasoning,
            model=self.model,
            instance=self.instance,
            stats=self.stats,
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

    def __init__(self, flow: AnswerFlow, pump: Callable[[], Coroutine[None, None, None]]) -> None:
        super().__init__(flow)
        self._pump = pump
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def _start(self) -> None:
        if self._task is None and not self._flow.done:
            self._flow.wake = self._wake
            self._task = asyncio.get_running_loop().create_task(_run(self._pump(), self._flow))

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
        """Read to the end and give the whole answer."""
        async for _ in self:
            pass
        return self._flow.completion()

    async def cancel(self) -> None:
        """Stop the generation; what came stays. Does nothing once the answer has ended."""
        self._start()
        await _end(self._task, self._flow)


class SyncAnswer(_AnswerView):
    """An answer read with `for`: the twin of `Answer` for programs without an event loop."""

    def __init__(
        self,
        flow: AnswerFlow,
        pump: Callable[[], Coroutine[None, None, None]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(flow)
        self._pump = pump
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._started = False
        self._news = threading.Event()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._flow.wake = self._news.set
            self._loop.call_soon_threadsafe(self._spawn)

    def _spawn(self) -> None:
        self._task = self._loop.create_task(_run(self._pump(), self._flow))

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
                self._news.wait(_INTERRUPTIBLE_S)
                self._news.clear()
        except BaseException:  # leaving early, Ctrl-C included, stops the generation
            self.cancel()
            raise
        if flow.error is not None:
            raise flow.error

    def completion(self) -> Completion:
        """Read to the end and give the whole answer."""
        for _ in self:
            pass
        return self._flow.completion()

    def cancel(self) -> None:
        """Stop the generation; what came stays. Does nothing once the answer has ended."""
        self._start()
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()

    async def _stop(self) -> None:
        await _end(self._task, self._flow)


async def _run(pump: Coroutine[None, None, None], flow: AnswerFlow) -> None:
    """Run the pump so that every ending, good or bad, reaches the reader through the flow."""
    try:
        await pump
    except asyncio.CancelledError:
        flow.finish()
    except Exception as error:  # noqa: BLE001  # raised again where the answer is read
        flow.finish(error=error)
    else:
        if not flow.done:
            flow.finish()


async def _end(task: asyncio.Task[None] | None, flow: AnswerFlow) -> None:
    """Wait for the pump; cancel it first unless the answer is whole and it is only tidying up."""
    if task is not None and not task.done():
        if not flow.done:
            task.cancel()
        await asyncio.wait([task])


def _nobody() -> None:
    """Nobody waits yet."""
