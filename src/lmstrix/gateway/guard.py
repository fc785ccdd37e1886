"""Who may come in and how much they may ask: the outermost layer of the gateway."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from lmstrix import __version__
from lmstrix.gateway.responding import ClientGoneError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from lmstrix.gateway.options import GatewayOptions

IDENTITY_HEADER = b"x-lmstrix-gateway"
_IDENTITY = (IDENTITY_HEADER, __version__.encode())


class Guard:
    """Lets through what `options` allow; says in every response who answers."""

    def __init__(self, app: ASGIApp, options: GatewayOptions) -> None:
        self._app = app
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def identify(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                message["headers"] = [*message.get("headers", ()), _IDENTITY]
            await send(message)

        with suppress(ClientGoneError):  # nobody is left to be told
            await self._app(scope, receive, identify)
