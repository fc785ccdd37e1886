"""Whether a server's process is there at all, whatever it says."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

_WITHIN_S = 2.0
_PORTS = {"http": 80, "https": 443}


async def is_gone(server: str) -> bool:
    """Whether the machine of `server` says that nobody listens at its port.

    Silence is no such word: then it may be the network. A place without a network is never gone.
    """
    parts = urlsplit(server)
    port = parts.port or _PORTS.get(parts.scheme)
    if parts.hostname is None or port is None:
        return False
    try:
        async with asyncio.timeout(_WITHIN_S):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except ConnectionRefusedError:
        return True
    except OSError:  # a timeout is one, too
        return False
    writer.transport.abort()
    return False
