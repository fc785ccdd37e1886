"""An HTTP proxy's tunnel, sans I/O: what is asked of it, and what it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.lmstudio.errors import LMStudioWebsocketError

if TYPE_CHECKING:
    from lmstrix.lmstudio.addresses import Address

_HEAD_LIMIT_BYTES = 64 * 2**10


class Tunnel:
    """A `CONNECT` through a proxy. `open` is whether bytes go through to the server now."""

    def __init__(self, address: Address, proxy: Address) -> None:
        self.open = False
        self._address = address
        self._proxy = proxy
        self._head = b""

    def request(self) -> bytes:
        """What is to be sent to the proxy."""
        authority = self._address.authority
        return f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("ascii")

    def feed(self, data: bytes) -> None:
        """Take what the proxy answers. Raises `LMStudioWebsocketError` where it refuses."""
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0 and data and len(self._head) < _HEAD_LIMIT_BYTES:
            return
        line = self._head.partition(b"\r\n")[0].decode("latin-1")
        words = line.split(" ", 2)
        # A server speaks after its client; what came with the head is none of its.
        if end < 0 or len(words) < 2 or words[1] != "200":
            raise LMStudioWebsocketError(
                f"The proxy {self._proxy.authority} opened no way to {self._address.authority}: "
                f"{line[:80]!r}.",
                server=self._address.http_url,
                hint="Check the proxy's address and what it permits.",
            )
        self.open = True
