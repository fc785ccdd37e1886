from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from lmstrix.engine.process import Engine, EngineSpec

if TYPE_CHECKING:
    from pathlib import Path

Start = Callable[..., Awaitable[Engine]]


@pytest.fixture
def spec(shipped: Path) -> Callable[..., EngineSpec]:
    def make(**changes: object) -> EngineSpec:
        chosen = {
            "model": "tiny-chat",
            "path": str(shipped / "tiny-chat.gguf"),
            "context_tokens": 1024,
            **changes,
        }
        return EngineSpec(**chosen)

    return make


@pytest.fixture
async def start(spec: Callable[..., EngineSpec]) -> AsyncIterator[Start]:
    """Starts engines, and ends them after the test."""
    started: list[Engine] = []

    async def start(**changes: object) -> Engine:
        engine = await Engine.start(spec(**changes))
        started.append(engine)
        return engine

    yield start
    for engine in started:
        await engine.stop()
