"""Requests through a proxy, which httpx2 makes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import httpx2

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable, Mapping

    from lmstrix.errors import UnreachableError

    Asked: TypeAlias = tuple[str, str, bytes, Mapping[str, str]]


class Proxied:
    """A response on its way through a proxy; see `lmstrix.providers.http.Incoming`."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.fields: Mapping[str, str] = dict(response.headers)
        self._pieces = response.aiter_raw()

    async def read(self) -> bytes:
        """What has come of the body; `b""` at its end. Raises `OSError`."""
        try:
            return await anext(self._pieces, b"")
        except httpx2.TransportError as problem:
            raise ConnectionResetError(str(problem) or "the connection broke off") from None

    async def read_all(self) -> bytes:
        """The rest of the body. Raises `OSError`."""
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)


@asynccontextmanager
async def request_through(
    proxy: str,
    asked: Asked,
    *,
    context: ssl.SSLContext | None,
    connect_s: float,
    unreachable: Callable[[str], UnreachableError],
) -> AsyncGenerator[Proxied, None]:
    """The answer to `asked` (method, address, body, fields), once its head has come.

    Leaving the block closes the connection. Raises what `unreachable` makes of a reason.
    """
    method, address, body, fields = asked
    own = {"Content-Type": "application/json", "Accept-Encoding": "identity", **fields}
    timeout = httpx2.Timeout(None, connect=connect_s)
    try:
        async with (
            httpx2.AsyncClient(proxy=proxy, verify=context or True, timeout=timeout) as client,
            client.stream(method, address, content=body, headers=own) as response,
        ):
            yield Proxied(response)
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as problem:
        raise unreachable(f"cannot be reached through the proxy ({problem})") from None
    except httpx2.TransportError as problem:
        raise unreachable(f"broke off the connection ({problem})") from None
