"""The way to one engine: loopback HTTP, one connection per request.

The engine closes a connection after each streamed answer (measured: 15 to 25 % of the requests
sent over a kept connection are dropped), and to close it is the way to cancel.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lmstrix.protocol.http1 import ResponseDecoder, request_bytes

if TYPE_CHECKING:
    from collections.abc import Callable


_AHEAD_BYTES = 4 * 2**20  # what may wait to be read before the sender has to


class Reply(asyncio.Protocol):
    """One response as it comes. `read` never waits for more than the next piece."""

    def __init__(self, request: bytes, *, bodiless: bool = False) -> None:
        self._request = request
        self._decoder = ResponseDecoder(bodiless=bodiless)
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._lost = False
        self._broken: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def status(self) -> int:
        """The status; known once `wait_for_head` has returned."""
        assert self._decoder.status is not None
        return self._decoder.status

    @property
    def fields(self) -> dict[str, str]:
        """The fields of the head, by lower-case name."""
        return self._decoder.fields

    async def wait_for_head(self) -> None:
        """Return when the status is known. Raises `OSError` when the connection breaks off."""
        await self._wait_until(lambda: self._decoder.status is not None)

    async def read(self) -> bytes:
        """Everything of the body that has come and was not read; `b""` at its end."""
        await self._wait_until(lambda: bool(self._pieces) or self._decoder.done)
        pieces, self._pieces = self._pieces, []
        if self._waiting_bytes > _AHEAD_BYTES and self._transport is not None:
            self._transport.resume_reading()
        self._waiting_bytes = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read_all(self) -> bytes:
        """The rest of the body."""
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    def abort(self) -> None:
        """Close at once, without waiting for anything."""
        if self._transport is not None:
            self._transport.abort()

    async def _wait_until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            if self._broken is not None:
                raise self._broken
            if self._lost:
                raise ConnectionResetError("the engine closed the connection before the end")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Keep what the decoder makes of `data`."""
        try:
            body = self._decoder.feed(data)
        except Exception as problem:  # noqa: BLE001  # handed to whoever reads
            self._broken = problem
            self.abort()
        else:
            if body:
                self._pieces.append(body)
                self._waiting_bytes += len(body)
                if self._waiting_bytes > _AHEAD_BYTES and self._transport is not None:
                    self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits for more."""
        self._broken = self._broken or exc
        self._decoder.close()
        self._lost = True
        self._wake()


class EngineClient:
    """Requests to one engine at `url`, authorised by `key`."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._key = key

    async def open(self, method: str, path: str, body: bytes = b"") -> Reply:
        """Send a request and return when its status has come. Raises `OSError`."""
        request = request_bytes(
            method, path, body, host=f"{self._host}:{self._port}", key=self._key
        )
        _, reply = await asyncio.get_running_loop().create_connection(
            lambda: Reply(request), self._host, self._port
        )
        try:
            await reply.wait_for_head()
        except BaseException:
            reply.abort()
            raise
        return reply

    async def call(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request and return status and body. Raises `OSError`."""
        reply = await self.open(method, path, body)
        try:
            return reply.status, await reply.read_all()
        finally:
            reply.abort()
