"""A namespace of a server, for threads: its calls and channels over a connection of its own."""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from lmstrix.lmstudio.errors import LMStudioWebsocketError
from lmstrix.lmstudio.specifying import read_result
from lmstrix.protocol.lmstudio.endpoints import Rpc
from lmstrix.protocol.lmstudio.parameters import CANCEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lmstrix.lmstudio.cancelling import Cancellation
    from lmstrix.lmstudio.link import Inbox
    from lmstrix.lmstudio.loading import Downloading, Loading
    from lmstrix.lmstudio.sync_client import Client
    from lmstrix.lmstudio.sync_socket import SyncSocket
    from lmstrix.lmstudio.timeouts import Timeouts
    from lmstrix.protocol.lmstudio.endpoints import Channel

# How many calls of a list are under way at once.
WINDOW_CALLS = 64


class SyncSession:
    """One namespace. The connection is opened when it is first needed, and again when it was lost.

    A call that only reads is asked again, once, when the connection is lost on its way; nothing
    else ever is: whether it was done nobody knows.
    """

    namespace: ClassVar[str]

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._socket: SyncSocket | None = None

    @property
    def client(self) -> Client:
        """The client it belongs to."""
        return self._client

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._socket is not None and self._socket.alive

    def connect(self) -> None:
        """Open the connection now. Raises `LMStudioWebsocketError` where there is one already."""
        with self._lock:
            if self.connected:
                raise LMStudioWebsocketError("Session is already connected.")
            self._socket = self._client.open_socket(self.namespace)

    def close(self) -> None:
        """End the connection. The next call opens another."""
        with self._lock:
            socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()

    disconnect = close

    def __enter__(self) -> Self:
        self.socket()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def remote_call(
        self,
        endpoint: str,
        params: Any = None,
        notice_prefix: str = "RPC",
        *,
        timeouts: Timeouts | None = None,
    ) -> Any:
        """Call any endpoint by its name; what it answers, as JSON has it."""
        rpc = Rpc(endpoint, (self.namespace,), result=Any, repeatable=False)
        parameter = msgspec.UNSET if params is None else params
        return self.ask(rpc, parameter, notice=notice_prefix, timeouts=timeouts)

    def ask(
        self,
        rpc: Rpc,
        parameter: Any = msgspec.UNSET,
        *,
        notice: str = "RPC",
        timeouts: Timeouts | None = None,
    ) -> Any:
        """Call an endpoint that is known."""
        return self.ask_all(rpc, [parameter], notice=notice, timeouts=timeouts)[0]

    def ask_all(
        self,
        rpc: Rpc,
        parameters: Sequence[Any],
        *,
        notice: str = "RPC",
        timeouts: Timeouts | None = None,
    ) -> list[Any]:
        """Call an endpoint for each of many parameters, many at once; answers in their order."""
        limit_s = (timeouts or self._client.timeouts).call_s
        answers: list[Any] = [msgspec.UNSET] * len(parameters)
        try:
            self._ask_missing(rpc, parameters, answers, notice, limit_s)
        except LMStudioWebsocketError:
            if not rpc.repeatable or self._client.closed:
                raise
            self._ask_missing(rpc, parameters, answers, notice, limit_s)
        return answers

    def open(self, channel: Channel, parameter: Any, notice: str) -> tuple[SyncSocket, Inbox]:
        """Open a channel; on which connection, and where its messages come."""
        socket = self.socket()
        return socket, socket.open(channel.name, parameter, notice)

    def run(
        self,
        work: Loading | Downloading,
        channel: Channel,
        parameter: Any,
        *,
        timeouts: Timeouts | None = None,
        cancel: Cancellation | None = None,
    ) -> Any:
        """Follow a load or a download to its end. Interrupted, it is cancelled on the server."""
        limit_s = (timeouts or self._client.timeouts).load_s
        if cancel is not None:
            cancel.check()
        socket, inbox = self.open(channel, parameter, work.notice)
        with _cancelling(work, socket, inbox, cancel):
            while not work.finished:
                socket.wait(inbox, limit_s)
                while inbox.items:
                    work.take(inbox.items.popleft())
                if inbox.closed and not work.finished:
                    raise copy(inbox.error) if inbox.error is not None else work.closed()
        return work.result

    def socket(self) -> SyncSocket:
        """A connection that is there; looked at, and opened where it is not."""
        with self._lock:
            if self._socket is None or not self._socket.check():
                if self._socket is not None:
                    self._socket.close()
                self._socket = None  # until the new one is open
                self._socket = self._client.open_socket(self.namespace)
            return self._socket

    def _ask_missing(
        self,
        rpc: Rpc,
        parameters: Sequence[Any],
        answers: list[Any],
        notice: str,
        limit_s: float | None,
    ) -> None:
        missing = [at for at, answer in enumerate(answers) if answer is msgspec.UNSET]
        socket = self.socket()
        waiting: dict[int, Inbox] = {}
        try:
            for number, at in enumerate(missing):
                waiting[at] = socket.call(rpc.name, parameters[at], notice)
                if number >= WINDOW_CALLS:
                    _collect(rpc, socket, waiting, answers, limit_s)
            while waiting:
                _collect(rpc, socket, waiting, answers, limit_s)
        finally:
            for inbox in waiting.values():
                socket.release(inbox)


def _collect(
    rpc: Rpc,
    socket: SyncSocket,
    waiting: dict[int, Inbox],
    answers: list[Any],
    limit_s: float | None,
) -> None:
    """Wait for the oldest of the calls."""
    at, inbox = next(iter(waiting.items()))
    socket.wait(inbox, limit_s)
    del waiting[at]
    if inbox.error is not None:
        raise copy(inbox.error)
    answers[at] = read_result(rpc, inbox.items.popleft())


@contextmanager
def _cancelling(
    work: Loading | Downloading, socket: SyncSocket, inbox: Inbox, cancel: Cancellation | None
) -> Iterator[None]:
    """Within the block, cancel on the server what is wished or left unfinished."""

    def send_cancel() -> None:
        work.cancelled = True
        socket.send(inbox, CANCEL)

    with nullcontext() if cancel is None else cancel.during(send_cancel):
        try:
            yield
        finally:
            if not work.finished and not inbox.closed and not work.cancelled:
                send_cancel()
            socket.release(inbox)
