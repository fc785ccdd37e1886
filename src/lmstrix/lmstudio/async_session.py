"""A namespace of a server, for asyncio: its calls and channels over a connection of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from lmstrix.lmstudio.errors import LMStudioWebsocketError
from lmstrix.lmstudio.specifying import read_result
from lmstrix.protocol.lmstudio.endpoints import Rpc
from lmstrix.protocol.lmstudio.parameters import CANCEL

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Sequence

    from lmstrix.lmstudio.async_client import AsyncClient
    from lmstrix.lmstudio.async_socket import AsyncSocket
    from lmstrix.lmstudio.cancelling import Cancellation
    from lmstrix.lmstudio.link import Inbox
    from lmstrix.lmstudio.loading import Downloading, Loading
    from lmstrix.lmstudio.timeouts import Timeouts
    from lmstrix.protocol.lmstudio.endpoints import Channel

# How many calls of a list are under way at once.
WINDOW_CALLS = 64


class AsyncSession:
    """One namespace. The connection is opened when it is first needed, and again when it was lost.

    A call that only reads is asked again, once, when the connection is lost on its way; nothing
    else ever is: whether it was done nobody knows.
    """

    namespace: ClassVar[str]

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._opening: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._socket: AsyncSocket | None = None

    @property
    def client(self) -> AsyncClient:
        """The client it belongs to."""
        return self._client

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._socket is not None and self._socket.alive

    async def connect(self) -> None:
        """Open the connection now. Raises `LMStudioWebsocketError` where there is one already."""
        async with self._lock():
            if self.connected:
                raise LMStudioWebsocketError("Session is already connected.")
            self._socket = await self._client.open_socket(self.namespace)

    async def aclose(self) -> None:
        """End the connection. The next call opens another."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()

    disconnect = aclose

    async def __aenter__(self) -> Self:
        await self.socket()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def remote_call(
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
        return await self.ask(rpc, parameter, notice=notice_prefix, timeouts=timeouts)

    async def ask(
        self,
        rpc: Rpc,
        parameter: Any = msgspec.UNSET,
        *,
        notice: str = "RPC",
        timeouts: Timeouts | None = None,
    ) -> Any:
        """Call an endpoint that is known."""
        answers = await self.ask_all(rpc, [parameter], notice=notice, timeouts=timeouts)
        return answers[0]

    async def ask_all(
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
            await self._ask_missing(rpc, parameters, answers, notice, limit_s)
        except LMStudioWebsocketError:
            if not rpc.repeatable or self._client.closed:
                raise
            await self._ask_missing(rpc, parameters, answers, notice, limit_s)
        return answers

    async def open(
        self, channel: Channel, parameter: Any, notice: str
    ) -> tuple[AsyncSocket, Inbox]:
        """Open a channel; on which connection, and where its messages come."""
        socket = await self.socket()
        return socket, socket.open(channel.name, parameter, notice)

    async def run(
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
        socket, inbox = await self.open(channel, parameter, work.notice)
        async with _cancelling(work, socket, inbox, cancel):
            while not work.finished:
                await socket.wait(inbox, limit_s)
                while inbox.items:
                    work.take(inbox.items.popleft())
                if inbox.closed and not work.finished:
                    raise copy(inbox.error) if inbox.error is not None else work.closed()
        return work.result

    async def socket(self) -> AsyncSocket:
        """A connection that is there; looked at, and opened where it is not."""
        async with self._lock():
            if self._socket is None or not await self._socket.check():
                if self._socket is not None:
                    self._socket.close()
                self._socket = None  # until the new one is open
                self._socket = await self._client.open_socket(self.namespace)
            return self._socket

    def _lock(self) -> asyncio.Lock:
        """One for each event loop: a client may be used in several, one after the other."""
        import asyncio  # noqa: PLC0415  # whoever runs this has it imported

        loop = asyncio.get_running_loop()
        if self._opening is None or self._opening[0] is not loop:
            self._opening = (loop, asyncio.Lock())
        return self._opening[1]

    async def _ask_missing(
        self,
        rpc: Rpc,
        parameters: Sequence[Any],
        answers: list[Any],
        notice: str,
        limit_s: float | None,
    ) -> None:
        missing = [at for at, answer in enumerate(answers) if answer is msgspec.UNSET]
        socket = await self.socket()
        waiting: dict[int, Inbox] = {}
        try:
            for number, at in enumerate(missing):
                waiting[at] = socket.call(rpc.name, parameters[at], notice)
                if number >= WINDOW_CALLS:
                    await _collect(rpc, socket, waiting, answers, limit_s)
            while waiting:
                await _collect(rpc, socket, waiting, answers, limit_s)
        finally:
            for inbox in waiting.values():
                socket.release(inbox)


async def _collect(
    rpc: Rpc,
    socket: AsyncSocket,
    waiting: dict[int, Inbox],
    answers: list[Any],
    limit_s: float | None,
) -> None:
    """Wait for the oldest of the calls."""
    at, inbox = next(iter(waiting.items()))
    await socket.wait(inbox, limit_s)
    del waiting[at]
    if inbox.error is not None:
        raise copy(inbox.error)
    answers[at] = read_result(rpc, inbox.items.popleft())


@asynccontextmanager
async def _cancelling(
    work: Loading | Downloading, socket: AsyncSocket, inbox: Inbox, cancel: Cancellation | None
) -> AsyncIterator[None]:
    """Within the block, cancel on the server what is wished or left unfinished."""

    def send_cancel() -> None:
        work.cancelled = True
        socket.send(inbox, CANCEL)

    def send_from_elsewhere() -> None:
        if not socket.loop.is_closed():
            socket.loop.call_soon_threadsafe(send_cancel)

    with nullcontext() if cancel is None else cancel.during(send_from_elsewhere):
        try:
            yield
        finally:
            if not work.finished and not inbox.closed and not work.cancelled:
                send_cancel()
            socket.release(inbox)
