"""A server of OpenAI's API whose every byte is written by the test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import TypeAlias

    Script: TypeAlias = Callable[["Call"], Awaitable[None]]

MODELS = b'{"object":"list","data":[{"id":"scripted","object":"model","owned_by":"test"}]}'


class Call:
    """One request, and the way to answer it. `gone` is set when the caller has closed."""

    def __init__(self, path: str, fields: dict[str, str], body: bytes, writer: object) -> None:
        self.path = path
        self.fields = fields
        self.body = body
        self.gone = asyncio.Event()
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int = 200, kind: str = "text/event-stream") -> None:
        await self.send(
            b"HTTP/1.1 %d OK\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n\r\n"
            % (status, kind.encode())
        )

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def whole(self, data: bytes, status: int = 200, kind: str = "application/json") -> None:
        await self.head(status, kind)
        await self.chunk(data)
        await self.end()


class Upstream:
    """Answers `GET /v1/models` and hands every other call to `script`. `calls` has all of them."""

    def __init__(self, script: Script) -> None:
        self.calls: list[Call] = []
        self._script = script

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.split(": ", 1) for line in head[1:] if line)
            fields = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            call = Call(head[0].split(" ")[1], fields, body, writer)
            if call.path == "/v1/models":
                await call.whole(MODELS)
                return
            if not call.path.startswith("/v1/"):
                await call.whole(b'{"error":{"message":"no such path"}}', 404)
                return
            self.calls.append(call)
            watch = asyncio.create_task(self._watch(reader, call))
            try:
                await self._script(call)
            finally:
                watch.cancel()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _watch(self, reader: asyncio.StreamReader, call: Call) -> None:
        try:
            await reader.read()
        finally:
            call.gone.set()
