from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeAlias

import ollama
import pytest

from lmstrix import AsyncLMStrix
from lmstrix.config import Places, Settings
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from lmstrix.gateway.server import Serving

    Serve: TypeAlias = Callable[..., Awaitable[Serving]]

# The names that the examples of Ollama's documentation use, and what is here for them.
ALIASES = {
    "llama3*": "tiny-chat",
    "gemma3": "tiny-chat",
    "mistral": "tiny-chat",
    "all-minilm": "tiny-embed",
}
SETTINGS = Settings(shipped_models=True, discover=False)


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """`await serve(settings=…, home="b", ttl_s=1, …)`: a gateway with files of its own."""
    async with AsyncExitStack() as running:

        async def start(
            settings: Settings = SETTINGS, *, home: str = "a", **options: object
        ) -> Serving:
            places = Places.locate({"LMSTRIX_HOME": str(tmp_path / home)})
            client = AsyncLMStrix(settings=settings, places=places)
            await running.enter_async_context(client)
            chosen = GatewayOptions(**{"port": 0, "drain_s": 1, "aliases": ALIASES, **options})
            return await running.enter_async_context(serving(client, chosen))

        yield start


@pytest.fixture
async def gateway(serve: Serve) -> Serving:
    """A gateway before the shipped models."""
    return await serve()


@pytest.fixture
async def client(gateway: Serving) -> AsyncIterator[ollama.AsyncClient]:
    """The official client, towards it."""
    async with ollama.AsyncClient(host=gateway.url) as found:
        yield found
