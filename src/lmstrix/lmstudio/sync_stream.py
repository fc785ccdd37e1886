"""An answer on its way, for threads."""

from __future__ import annotations

from contextlib import ExitStack
from copy import copy
from typing import TYPE_CHECKING, Self

from lmstrix.lmstudio.errors import LMStudioCancelledError, LMStudioRuntimeError
from lmstrix.lmstudio.stalling import limit_of
from lmstrix.protocol.lmstudio.endpoints import PREDICT
from lmstrix.protocol.lmstudio.parameters import CANCEL
from lmstrix.protocol.lmstudio.predictions import LlmPredictionFragment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmstrix.lmstudio.link import Inbox
    from lmstrix.lmstudio.predicting import Prediction
    from lmstrix.lmstudio.results import PredictionEvent, PredictionResult
    from lmstrix.lmstudio.sync_session import SyncSession
    from lmstrix.lmstudio.sync_socket import SyncSocket
    from lmstrix.protocol.lmstudio.models import LlmInfo, ModelSpecifier
    from lmstrix.protocol.lmstudio.predictions import LlmPredictionStats


class PredictionStream:
    """An answer, piece by piece. Leaving it before its end cancels it on the server."""

    def __init__(
        self, session: SyncSession, specifier: ModelSpecifier, prediction: Prediction
    ) -> None:
        self._session = session
        self._specifier = specifier
        self._prediction = prediction
        self._resources = ExitStack()
        self._socket: SyncSocket | None = None
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

    def start(self) -> None:
        """Send the request."""
        if self._closed:
            raise LMStudioRuntimeError("Prediction result has already been received.")
        if self._started:
            raise LMStudioRuntimeError("Prediction request has already been sent.")
        prediction = self._prediction
        cancel = prediction.wishes.cancel
        if cancel is not None:
            cancel.check()
        self._socket, self._inbox = self._session.open(
            PREDICT, prediction.request(self._specifier), prediction.notice
        )
        self._started = True
        if cancel is not None:
            self._resources.enter_context(cancel.during(self.cancel))

    def close(self) -> None:
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

    def __enter__(self) -> Self:
        if not self._started:
            self.start()
        return self

    def __exit__(self, _kind: object, problem: BaseException | None, _trace: object) -> None:
        if problem is not None and not isinstance(problem, GeneratorExit):
            self._fail(problem)
        self.close()

    def __iter__(self) -> Iterator[LlmPredictionFragment]:
        for event in self.events():
            if type(event) is LlmPredictionFragment:
                yield event

    def events(self) -> Iterator[PredictionEvent]:
        """Everything that happens: pieces, progress of the prompt, tool calls as they are written.

        Raises `LMStudioTimeoutError` when the server says nothing for too long.
        """
        prediction = self._prediction
        with self:
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
                socket.wait(inbox, limit_of(limits, started=prediction.started))

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

    def wait_for_result(self) -> PredictionResult:
        """The whole answer, waited for."""
        if not self._closed:
            for _ in self.events():
                pass
        return self.result()

    def cancel(self) -> None:
        """Have the server end the answer. What it has until then becomes the result.

        May be called from any thread; the stream ends when the server has confirmed it.
        """
        socket, inbox = self._socket, self._inbox
        if socket is not None and inbox is not None and not self._prediction.finished:
            self._prediction.cancelled = True
            socket.send(inbox, CANCEL)

    def _fail(self, problem: BaseException) -> None:
        if not self._closed and not self._prediction.finished:
            self._error = problem
