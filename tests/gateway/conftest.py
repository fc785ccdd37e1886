from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeAlias

import pytest

from lmstrix import AsyncLMStrix
from lmstrix.config import Settings
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from lmstrix.gateway.server import Serving

    Serve: TypeAlias = Callable[..., Awaitable[Serving]]

SETTINGS = Settings(shipped_models=True, discover=False)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(settings=…, ttl_s=1, …)`: a gateway in this loop, options as they are named."""
    async with AsyncExitStack() as running:

        async def start(settings: Settings = SETTINGS, **options: object) -> Serving:
            client = await running.enter_async_context(AsyncLMStrix(settings=settings))
            chosen = GatewayOptions(**{"port": 0, "drain_s": 1, **options})
            return await running.enter_async_context(serving(client, chosen))

        yield start


@pytest.fixture
async def gateway(serve: Serve) -> Serving:
    """A gateway before the shipped models: `gateway.url`, and `gateway.gateway` for its inside."""
    return await serve()


@pytest.fixture
async def slow_gateway(serve: Serve, slow_file: Path, tmp_path: Path) -> Serving:
    """A gateway before one model, `slow`, that takes some 5 ms for a token and seldom ends."""
    (tmp_path / "slow.gguf").symlink_to(slow_file)
    return await serve(settings=Settings(model_folders=(str(tmp_path),), discover=False))
