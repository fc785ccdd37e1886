"""A server on a real socket that does exactly what a test tells it, wrong things above all."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Respond: TypeAlias = Callable[["Asked", "Wire"], Awaitable[None]]


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return json.loads(self.body)


class Wire:
    """The way back to the client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def raw(self, data: bytes) -> None:
        """Send bytes, and wait until they are out."""
        self._writer.write(data)
        await self._writer.drain()

    async def head(
        self, status: int = 200, content_type: str = "text/event-stream", **fields: str
    ) -> None:
        """Begin an answer whose body ends with the connection."""
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        await self.raw("\r\n".join([*lines, "", ""]).encode())

    async def json(self, content: object, status: int = 200, **fields: str) -> None:
        """A whole answer."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        await self.head(status, "application/json", content_length=str(len(body)), **fields)
        await self.raw(body)

    def reset(self) -> None:
        """Break the connection so that the client's system reports it as reset."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Return when the client has closed the connection."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            pass


class Scripted:
    """A running server. `asked` are the requests so far."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.asked: list[Asked] = []
        self.problems: list[BaseException] = []
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def die(self) -> None:
        """End as a process does that is killed: no more connections, and those there are break."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()

    def paths(self, method: str = "POST") -> list[str]:
        """The paths that were asked with that method."""
        return [one.path for one in self.asked if one.method == method]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            asked = await _read(reader)
            if asked is not None:
                self.asked.append(asked)
                await self.respond(asked, Wire(reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception as problem:  # noqa: BLE001  # raised where the server is ended
            self.problems.append(problem)
        finally:
            self._tasks.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").splitlines()
    method, path, _ = first.split(" ")
    fields = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return Asked(method, path, fields, body)


@asynccontextmanager
async def scripted(respond: Respond) -> AsyncIterator[Scripted]:
    """Serve on a free port while the block runs; raises what `respond` raised."""
    one = Scripted(respond)
    one._server = server = await asyncio.start_server(one._serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield one
    finally:
        server.close()
        tasks = list(one._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for problem in one.problems:
        raise problem


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
