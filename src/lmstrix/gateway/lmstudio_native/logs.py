"""What goes on, told to those who follow it while they do; nothing of it is kept or written."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from lmstrix.gateway.lmstudio_facts import path_of
from lmstrix.protocol.lmstudio import endpoints
from lmstrix.protocol.lmstudio.parameters import LogEvent, LogMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lmstrix.gateway.lmstudio_native.clients import Clients
    from lmstrix.gateway.lmstudio_native.connection import Handlers, OpenChannel
    from lmstrix.gateway.lmstudio_native.infos import Loaded
    from lmstrix.protocol.lmstudio.envelopes import Auth
    from lmstrix.protocol.lmstudio.predictions import LlmPredictionStats
    from lmstrix.types import Request

_MOST_WAITING = 1000


class Logs:
    """Prompts and answers for whoever follows them with the same right to be here.

    On a gateway without tokens that is everybody, since everybody is one user; where tokens are
    needed, who came with the same token. A follower that does not keep up misses lines.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._followers: dict[asyncio.Queue[LogMessage], str] = {}

    def register(self, handlers: Handlers) -> None:
        """Serve the namespace `diagnostics`."""
        handlers.serve(endpoints.STREAM_LOGS, self._stream)

    def asked(self, auth: Auth, loaded: Loaded, request: Request) -> None:
        """A model was asked."""
        if not self._followers:
            return
        text = request.prompt
        if text is None:
            text = "\n".join(f"{one.role}: {one.content}" for one in request.messages)
        told = {"type": "llm.prediction.input", "input": text, "modelPath": path_of(loaded.model)}
        self._tell(auth, loaded, told)

    def answered(self, auth: Auth, loaded: Loaded, text: str, stats: LlmPredictionStats) -> None:
        """A model has answered."""
        if self._followers:
            told = {"type": "llm.prediction.output", "output": text, "stats": stats.to_dict()}
            self._tell(auth, loaded, told)

    def _tell(self, auth: Auth, loaded: Loaded, data: Mapping[str, object]) -> None:
        told = {**data, "modelIdentifier": loaded.instance.id}
        event = LogEvent(timestamp=time.time() * 1000, data=told)
        right = self._clients.right_of(auth)
        for lines, theirs in self._followers.items():
            if theirs == right:
                with suppress(asyncio.QueueFull):
                    lines.put_nowait(LogMessage(type="log", log=event))

    async def _stream(self, auth: Auth, parameter: None, channel: OpenChannel) -> None:
        lines: asyncio.Queue[LogMessage] = asyncio.Queue(_MOST_WAITING)
        self._followers[lines] = self._clients.right_of(auth)

        async def follow() -> None:
            while True:
                await channel.send(await lines.get())

        try:
            await channel.until("stop", follow())
        finally:
            del self._followers[lines]
