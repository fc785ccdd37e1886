"""A connection for asyncio: what comes is handed out where it arrives, by no task of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from lmstrix.lmstudio.addresses import Address, tls_context
from lmstrix.lmstudio.errors import LMStudioTimeoutError, LMStudioWebsocketError
from lmstrix.lmstudio.link import Link
from lmstrix.lmstudio.silence import Silence, lost, unreachable
from lmstrix.lmstudio.tunnel import Tunnel

if TYPE_CHECKING:
    from lmstrix.lmstudio.addresses import Access
    from lmstrix.lmstudio.link import Inbox
    from lmstrix.protocol.lmstudio.envelopes import Auth


class _Traffic(asyncio.Protocol):
    """What the event loop calls when something comes."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.silence = Silence()
        self.tunnel: Tunnel | None = None  # while a proxy is asked for a way
        self.refusal: LMStudioWebsocketError | None = None  # what the proxy said instead
        self.transport: asyncio.Transport | None = None
        self._changed: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self._ask_way(data)
            return
        self.silence.broken()
        self.link.feed(data)
        self.flush()
        self.note()

    def _ask_way(self, data: bytes) -> None:
        assert self.tunnel is not None
        try:
            self.tunnel.feed(data)
        except LMStudioWebsocketError as problem:
            self.refusal = problem
        self.note()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.tunnel is not None:
            self._ask_way(b"")
            return
        if exc is None and self.link.lost is None:
            self.link.feed_end()
        self.link.lose(lost(self.link.url, exc or EOFError("the server went away")))
        self.note()

    def flush(self) -> None:
        """Write what the link has to say."""
        transport = self.transport
        if transport is None:
            return
        for piece in self.link.outgoing():
            if piece:
                transport.write(piece)
            elif transport.can_write_eof():
                transport.write_eof()
        if self.link.lost is not None and not transport.is_closing():
            transport.close()

    def note(self) -> None:
        """Wake who waits for the connection itself: a handshake, a sign of life."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def wait_for_change(self) -> None:
        """Wait until something has come, or the connection is gone."""
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed

    def close(self) -> None:
        """End the connection. A loop that is closed already cannot be told; its socket is."""
        self.link.close()
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self.flush()
        transport.close()


class AsyncSocket:
    """A connection to one namespace, for the event loop in which it was opened."""

    def __init__(self, traffic: _Traffic, loop: asyncio.AbstractEventLoop) -> None:
        self.link = traffic.link
        self.loop = loop
        self._traffic = traffic

    @classmethod
    async def connect(
        cls,
        address: Address,
        namespace: str,
        auth: Auth,
        access: Access,
        *,
        limit_s: float | None,
        limit_bytes: int,
    ) -> AsyncSocket:
        """Open a connection, both handshakes included.

        Raises `LMStudioWebsocketError`; `LMStudioServerError` where the server refuses the client.
        """
        url = address.websocket_url(namespace)
        loop = asyncio.get_running_loop()
        traffic = _Traffic(Link(url, auth, access.headers, limit_bytes=limit_bytes))
        opened = cls(traffic, loop)
        try:
            async with asyncio.timeout(limit_s):
                await _connect(traffic, address, access)
                traffic.link.start()
                traffic.flush()
                while not traffic.link.ready and traffic.link.lost is None:
                    await traffic.wait_for_change()
        except TimeoutError:
            opened.close()
            raise unreachable(url, TimeoutError(f"it said nothing for {limit_s:g} s")) from None
        except OSError as problem:
            opened.close()
            raise unreachable(url, problem) from None
        except BaseException:
            opened.close()
            raise
        if traffic.link.lost is not None:
            opened.close()
            raise traffic.link.lost
        return opened

    @property
    def alive(self) -> bool:
        """Whether calls may be made, as far as is known."""
        return self.link.lost is None and not self.loop.is_closed()

    async def check(self) -> bool:
        """Whether calls may be made from here; after a long silence a sign of life is asked for."""
        if self.loop is not asyncio.get_running_loop():
            return False
        if self.alive and self._traffic.silence.long():
            before = self.link.pongs
            self.link.ping()
            self._traffic.flush()
            try:
                async with asyncio.timeout(Silence.ANSWER_S):
                    while self.alive and self.link.pongs == before:
                        await self._traffic.wait_for_change()
            except TimeoutError:
                self.link.lose(lost(self.link.url, TimeoutError("no sign of life")))
        return self.alive

    def call(self, endpoint: str, parameter: Any, notice: str) -> Inbox:
        """Send a remote call."""
        self._raise_if_lost()
        inbox = self.link.call(endpoint, parameter, notice)
        self._traffic.flush()
        return inbox

    def open(self, endpoint: str, parameter: Any, notice: str) -> Inbox:
        """Open a channel."""
        self._raise_if_lost()
        inbox = self.link.open(endpoint, parameter, notice)
        self._traffic.flush()
        return inbox

    def send(self, inbox: Inbox, message: Any) -> None:
        """Send a message on a channel."""
        if self.alive:
            self.link.send(inbox, message)
            self._traffic.flush()

    def release(self, inbox: Inbox) -> None:
        """Nobody reads that inbox any more."""
        self.link.release(inbox)

    async def wait(self, inbox: Inbox, limit_s: float | None) -> None:
        """Wait until there is something in the inbox.

        Raises `LMStudioTimeoutError` when nothing came in time.
        """
        if inbox.ready:
            return
        waiter: asyncio.Future[None] = self.loop.create_future()

        def wake() -> None:
            if not waiter.done():
                waiter.set_result(None)

        inbox.wake = wake
        timer = None if limit_s is None else self.loop.call_later(limit_s, wake)
        try:
            await waiter
        finally:
            inbox.wake = None
            if timer is not None:
                timer.cancel()
        if not inbox.ready:
            raise LMStudioTimeoutError(
                f"{inbox.notice}: the server said nothing for {limit_s:g} s.",
                hint="Allow more with `timeouts`, or see what the server is doing.",
            )

    def close(self) -> None:
        """End the connection; whatever waits on it ends with an error."""
        if self.loop.is_closed():
            self.link.lose(lost(self.link.url, RuntimeError("its event loop was closed")))
        else:
            self._traffic.close()

    def _raise_if_lost(self) -> None:
        if self.link.lost is not None:
            raise self.link.lost


async def _connect(traffic: _Traffic, address: Address, access: Access) -> None:
    loop = asyncio.get_running_loop()
    context = tls_context(address, access)
    name = address.host if context is not None else None
    if access.proxy is None:
        await loop.create_connection(
            lambda: traffic, address.host, address.port, ssl=context, server_hostname=name
        )
        return
    proxy = Address.parse(access.proxy)
    tunnel = traffic.tunnel = Tunnel(address, proxy)
    await loop.create_connection(lambda: traffic, proxy.host, proxy.port)
    transport = traffic.transport
    assert transport is not None
    transport.write(tunnel.request())
    while not tunnel.open:
        await traffic.wait_for_change()
        if traffic.refusal is not None:
            raise traffic.refusal
    traffic.tunnel = None
    if context is not None:
        traffic.transport = await loop.start_tls(transport, traffic, context, server_hostname=name)
