from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from servers.scripted import Asked, Scripted, Wire, scripted

from lmstrix import AsyncLMStrix
from lmstrix.config import Places, Settings
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving
from lmstrix.providers.ollama import OllamaProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from lmstrix.gateway.server import Serving

    Start = Callable[..., AbstractAsyncContextManager[tuple[Scripted, OllamaProvider]]]

SETTINGS = Settings(discover=False)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Serving]:
    """A gateway before the shipped models, with files of its own."""
    there = Places.locate({"LMSTRIX_HOME": str(tmp_path / "gateway")})
    settings = Settings(shipped_models=True, discover=False)
    async with (
        AsyncLMStrix(settings=settings, places=there) as client,
        serving(client, GatewayOptions(port=0, drain_s=1)) as running,
    ):
        yield running


@pytest.fixture
async def provider(gateway: Serving, places: Places) -> AsyncIterator[OllamaProvider]:
    """Towards the gateway's Ollama side."""
    found = OllamaProvider.at(gateway.url, SETTINGS, places)
    yield found
    await found.aclose()


@pytest.fixture
def ollama(places: Places) -> Start:
    """`async with ollama(facts) as (server, provider)`: a scripted server by path.

    A fact is a body, or a function of the request that gives one or a status with one.
    """

    @asynccontextmanager
    async def start(**facts: Any) -> AsyncIterator[tuple[Scripted, OllamaProvider]]:
        known = {"version": {"version": "0.12.6"}, **facts}

        async def respond(asked: Asked, wire: Wire) -> None:
            fact = known.get(asked.path.removeprefix("/api/"), (404, {"error": "404"}))
            if callable(fact):
                fact = fact(asked)
            status, body = fact if isinstance(fact, tuple) else (200, fact)
            await wire.json(body, status)

        async with scripted(respond) as server:
            provider = OllamaProvider.at(server.url, SETTINGS, places)
            yield server, provider
            await provider.aclose()

    return start
