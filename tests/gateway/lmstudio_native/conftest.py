from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from gateway.lmstudio_native.lines import GUEST, Line
from websockets.asyncio.client import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.lmstudio_native.lines import Connect

    from lmstrix.gateway.server import Serving


@pytest.fixture
async def connect_to(gateway: Serving) -> AsyncIterator[Connect]:
    """`await connect_to("llm")`: a socket of that namespace, already let in."""
    async with AsyncExitStack() as opened:

        async def open_line(
            namespace: str, *, at: Serving | None = None, auth: dict[str, Any] | None = None
        ) -> Line:
            url = (at or gateway).url.replace("http", "ws", 1)
            line = Line(await opened.enter_async_context(connect(f"{url}/{namespace}")))
            await line.send(auth or GUEST)
            greeting = await line.read()
            assert greeting == {"success": True}, greeting
            return line

        yield open_line
