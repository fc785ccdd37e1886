"""One connection to the gateway: uvicorn's HTTP/1.1, with limits and fewer writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio
    from typing import Any

_HEAD_BYTES = 64 * 1024
_HEAD_S = 30.0


class Connection(HttpToolsProtocol):
    """Refuses a head that is too long, and closes on one that takes too long.

    The head of an answer goes out together with the body that follows at once.
    """

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _outgoing: _Outgoing

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its parent
        """A client has connected."""
        self._outgoing = _Outgoing(transport, self.loop)
        super().connection_made(self._outgoing)  # type: ignore[arg-type]  # it has all that is asked
        self._expect_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._outgoing.expect_head()
        self._head_bytes = 0
        if self._head_timer is None:
            self._expect_head()

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._forget_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._forget_head()
        super().connection_lost(exc)

    def _count(self, more_bytes: int) -> None:
        self._head_bytes += more_bytes
        if self._head_bytes > _HEAD_BYTES:
            raise ValueError("the head of the request is too long")  # answered with 400

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_S, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _Outgoing:
    """A transport that keeps the first write of an answer for the one that follows it at once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._expects_head = False
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def expect_head(self) -> None:
        """The next write is the head of an answer."""
        self._expects_head = True

    def write(self, data: bytes) -> None:
        """Send, or keep until the loop's next turn at the latest."""
        if self._expects_head:
            self._expects_head = False
            self._head += data
            self._loop.call_soon(self._flush)
            return
        if self._head:
            data, self._head = self._head + data, b""
        self._transport.write(data)

    def close(self) -> None:
        """Close once everything is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)
