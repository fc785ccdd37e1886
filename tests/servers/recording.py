"""A proxy on a real socket that passes everything on and keeps what was sent to the server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_HEAD_END = b"\r\n\r\n"
_TEXT, _CONTINUED = 1, 0


class Sent(NamedTuple):
    """A request as it was on the wire."""

    method: str
    path: str
    body: bytes


class Recording:
    """What clients sent, one connection after another."""

    def __init__(self) -> None:
        self.port = 0
        self._connections: list[bytearray] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def requests(self) -> list[Sent]:
        """The HTTP requests, each connection's in turn."""
        return [sent for data in self._connections for sent in _requests(bytes(data))]

    def frames(self) -> list[bytes]:
        """The texts that went over WebSockets."""
        return [text for data in self._connections for text in _texts(bytes(data))]

    async def pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        """Be the client of the server at `port` for one connection."""
        kept = bytearray()
        self._connections.append(kept)
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, back, kept))
                both.create_task(_pump(there, writer, bytearray()))
        finally:
            writer.close()
            back.close()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray
) -> None:
    try:
        while data := await reader.read(65536):
            kept += data
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:  # whoever left first has what it wanted
        writer.close()


def _requests(data: bytes) -> list[Sent]:
    """What one connection asked; nothing of what comes after an upgrade to WebSockets."""
    found = []
    while _HEAD_END in data:
        head, _, rest = data.partition(_HEAD_END)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        if fields.get("upgrade"):
            break
        length = int(fields.get("content-length", "0"))
        found.append(Sent(method, path, rest[:length]))
        data = rest[length:]
    return found


def _texts(data: bytes) -> list[bytes]:
    """The text messages of a WebSocket connection's client (RFC 6455, section 5.2)."""
    head, _, data = data.partition(_HEAD_END)
    found: list[bytes] = []
    if b"upgrade: websocket" not in head.lower():
        return found
    while len(data) >= 2:
        code, length, at = data[0] & 0x0F, data[1] & 0x7F, 2
        assert data[1] & 0x80, "a client's frames are masked"
        assert not data[0] & 0x70, "a frame is compressed"
        if length >= 126:
            width = 2 if length == 126 else 8
            length, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
        mask = data[at : at + 4]
        body = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data[at + 4 : at + 4 + length]))
        if code == _TEXT:
            found.append(body)
        elif code == _CONTINUED:
            found[-1] += body
        data = data[at + 4 + length :]
    return found


@asynccontextmanager
async def recording(port: int) -> AsyncIterator[Recording]:
    """Stand before the server at `port` of this machine while the block runs."""
    one = Recording()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await one.pass_on(reader, writer, port)
        except asyncio.CancelledError:
            pass  # the block is left
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        left = list(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
