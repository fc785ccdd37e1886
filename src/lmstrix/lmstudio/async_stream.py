"""An answer on its way, for asyncio."""

from __future__ import annotations

from contextlib import ExitStack, aclosing
from copy import copy
from typing import TYPE_CHECKING, Self

from lmstrix.lmstudio.errors import LMStudioCancelledError, LMStudioRuntimeError
from lmstrix.lmstudio.stalling import limit_of
from lmstrix.protocol.lmstudio.endpoints import PREDICT
from lmstrix.protocol.lmstudio.parameters import CANCEL
from lmstrix.protocol.lmstudio.predictions import LlmPredictionFragment

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lmstrix.lmstudio.async_session import AsyncSession
    from lmstrix.lmstudio.async_socket import AsyncSocket
    from lmstrix.lmstudio.link import Inbox
    from lmstrix.lmstudio.predicting import Prediction
    from lmstrix.lmstudio.results import PredictionEvent, PredictionResult
    from lmstrix.protocol.lmstudio.models import LlmInfo, ModelSpecifier
    from lmstrix.protocol.lmstudio.predictions import LlmPredictionStats


class AsyncPredictionStream:
    """An answer, piece by piece. Leaving it before its end cancels it on the server."""

    def __init__(
        self, session: AsyncSession, specifier: ModelSpecifier, prediction: Prediction
    ) -> None:
        self._session = session
        self._specifier = specifier
        self._prediction = prediction
        self._resources = ExitStack()
        self._socket: AsyncSocket | None = None
        self._inbox: Inbox | None = None
        self._started = False
        self._closed = False
        self._error: BaseException | None = None

    @property
    def stats(self) -> LlmPredictionStats | None:
        """How the answer went, once it is whole."""
        result = self._prediction.result
        return None if result is None else result.stats

    @property
    def model_info(self) -> LlmInfo | None:
        """Which model answered, once the answer is whole."""
        result = self._prediction.result
        return None if result is None else result.model_info

    async def start(self) -> None:
        """Send the request."""
        if self._closed:
            raise LMStudioRuntimeError("Prediction result has already been received.")
        if self._started:
            raise LMStudioRuntimeError("Prediction request has already been sent.")
        prediction = self._prediction
        cancel = prediction.wishes.cancel
        if cancel is not None:
            cancel.check()
        self._socket, self._inbox = await self._session.open(
            PREDICT, prediction.request(self._specifier), prediction.notice
        )
        self._started = True
        if cancel is not None:
            self._resources.enter_context(cancel.during(self._cancel_from_elsewhere))

    async def aclose(self) -> None:
        """End the answer; where it is not whole it is cancelled on the server."""
        if self._closed:
            return
        self._closed = True
        self._resources.close()
        socket, inbox = self._socket, self._inbox
        if socket is None or inbox is None:
            return
        if not self._prediction.finished:
            if not inbox.closed and not self._prediction.cancelled:
                socket.send(inbox, CANCEL)
            if self._error is None:
                self._error = LMStudioCancelledError(
                    "Prediction cancelled unexpectedly: please use .cancel()"
                )
        socket.release(inbox)

    async def __aenter__(self) -> Self:
        if not self._started:
            await self.start()
        return self

    async def __aexit__(self, _kind: object, problem: BaseException | None, _trace: object) -> None:
        if problem is not None and not isinstance(problem, GeneratorExit):
            self._fail(problem)
        await self.aclose()

    async def __aiter__(self) -> AsyncGenerator[LlmPredictionFragment, None]:
        async with aclosing(self.events()) as events:
            async for event in events:
                if type(event) is LlmPredictionFragment:
                    yield event

    async def events(self) -> AsyncGenerator[PredictionEvent, None]:
        """Everything that happens: pieces, progress of the prompt, tool calls as they are written.

        Raises `LMStudioTimeoutError` when the server says nothing for too long.
        """
        prediction = self._prediction
        async with self:
            socket, inbox = self._socket, self._inbox
            assert socket is not None
            assert inbox is not None
            limits = prediction.wishes.timeouts or self._session.client.timeouts
            take, items = prediction.take, inbox.items
            while not prediction.finished:
                while items:
                    event = take(items.popleft())
                    if event is not None:
                        yield event
                if prediction.finished:
                    break
                if inbox.closed and not items:
                    raise copy(inbox.error) if inbox.error is not None else prediction.closed()
                await socket.wait(inbox, limit_of(limits, started=prediction.started))

    def result(self) -> PredictionResult:
        """The whole answer. Raises `LMStudioRuntimeError` where it is not whole yet.

        What ended it before that is raised again.
        """
        if not self._started:
            raise LMStudioRuntimeError("Prediction processing has not been initiated.")
        if self._prediction.result is not None:
            return self._prediction.result
        if self._error is not None:
            raise self._error
        raise LMStudioRuntimeError("Prediction processing has not yet been completed.")

    async def wait_for_result(self) -> PredictionResult:
        """The whole answer, waited for."""
        if not self._closed:
            async for _ in self.events():
                pass
        return self.result()

    async def cancel(self) -> None:
        """Have the server end the answer. What it has until then becomes the result.

        The stream ends when the server has confirmed it.
        """
        self._send_cancel()

    def _cancel_from_elsewhere(self) -> None:
        """For any thread."""
        socket = self._socket
        if socket is not None and not socket.loop.is_closed():
            socket.loop.call_soon_threadsafe(self._send_cancel)

    def _send_cancel(self) -> None:
        socket, inbox = self._socket, self._inbox
        if socket is not None and inbox is not None and not self._prediction.finished:
            self._prediction.cancelled = True
            socket.send(inbox, CANCEL)

    def _fail(self, problem: BaseException) -> None:
        if not self._closed and not self._prediction.finished:
            self._error = problem
