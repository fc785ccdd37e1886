"""Is it LM Studio that listens there? Asked over HTTP, at one address or at the usual ones."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import ProtocolError
from lmstrix.lmstudio.addresses import Access, Address, tls_context
from lmstrix.protocol.http1 import ResponseDecoder
from lmstrix.protocol.lmstudio import DISCOVERY_PORTS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

LIMIT_S = 1.0
GATEWAY_HEADER = "x-lmstrix-gateway"
_CHUNK_BYTES = 64 * 2**10
_LIMIT_BYTES = 64 * 2**10
USUAL_ADDRESSES = tuple(Address("127.0.0.1", port) for port in DISCOVERY_PORTS)


class Greeting:
    """One question and its answer, sans I/O.

    `gateway` is the version of LMStrix where it is LMStrix's own gateway that answers.
    """

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self.gateway: str | None = None
        self._address = address
        self._headers = headers
        self._decoder = ResponseDecoder()
        self._seen = b""
        self._body = b""

    def request(self) -> bytes:
        """What is to be sent."""
        fields = {"Host": self._address.authority, **self._headers, "Connection": "close"}
        lines = [f"GET {self._address.greeting_path} HTTP/1.1"]
        lines += (f"{name}: {value}" for name, value in fields.items())
        return "\r\n".join((*lines, "", "")).encode("latin-1")

    def feed(self, data: bytes) -> bool:
        """Take what came, nothing at the end of the connection; whether that was the last."""
        if not data:
            self._decoder.close()
            return True
        self._seen += data
        try:
            self._body += self._decoder.feed(data)
        except ProtocolError:
            return True  # it does not even speak HTTP
        return self._decoder.done or len(self._seen) > _LIMIT_BYTES

    def friendly(self) -> bool:
        """Whether it is LM Studio, or what answers like it."""
        for line in self._seen.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() == GATEWAY_HEADER:
                self.gateway = value.strip()
        if self._decoder.status != 200 or not self._decoder.done:
            return False
        try:
            answer = msgspec.json.decode(self._body)
        except msgspec.DecodeError:
            return False
        return isinstance(answer, dict) and bool(answer.get("lmstudio"))


def greet(address: Address, access: Access, *, limit_s: float = LIMIT_S) -> Greeting | None:
    """Ask once; `None` where nothing answers as LM Studio does."""
    greeting = Greeting(address, access.headers)
    try:
        with socket.create_connection((address.host, address.port), limit_s) as plain:
            context = tls_context(address, access)
            sock = (
                plain
                if context is None
                else context.wrap_socket(plain, server_hostname=address.host)
            )
            with sock:
                sock.sendall(greeting.request())
                while not greeting.feed(sock.recv(_CHUNK_BYTES)):
                    pass
    except OSError:
        return None
    return greeting if greeting.friendly() else None


async def greet_async(
    address: Address, access: Access, *, limit_s: float = LIMIT_S
) -> Greeting | None:
    """Ask once; `None` where nothing answers as LM Studio does."""
    greeting = Greeting(address, access.headers)
    try:
        async with asyncio.timeout(limit_s):
            await _ask(greeting, address, access)
    except (OSError, TimeoutError):
        return None
    return greeting if greeting.friendly() else None


def find_usual(addresses: Sequence[Address] = USUAL_ADDRESSES) -> Address | None:
    """The first of the usual addresses at which LM Studio answers; all are asked at once."""
    found: dict[Address, Greeting | None] = {}

    def ask(address: Address) -> None:
        found[address] = greet(address, Access())

    threads = [threading.Thread(target=ask, args=(one,), daemon=True) for one in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return next((one for one in addresses if found[one] is not None), None)


async def find_usual_async(addresses: Sequence[Address] = USUAL_ADDRESSES) -> Address | None:
    """The first of the usual addresses at which LM Studio answers; all are asked at once."""
    answers = await asyncio.gather(*(greet_async(one, Access()) for one in addresses))
    found = zip(addresses, answers, strict=True)
    return next((one for one, answer in found if answer is not None), None)


async def _ask(greeting: Greeting, address: Address, access: Access) -> None:
    context: ssl.SSLContext | None = tls_context(address, access)
    reader, writer = await asyncio.open_connection(
        address.host,
        address.port,
        ssl=context,
        server_hostname=address.host if context is not None else None,
    )
    try:
        writer.write(greeting.request())
        while not greeting.feed(await reader.read(_CHUNK_BYTES)):
            pass
    finally:
        writer.close()
