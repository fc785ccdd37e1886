from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lmstrix.config import EmbeddedSettings, Places, Settings
from lmstrix.providers.embedded import EmbeddedProvider
from lmstrix.types import Model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@pytest.fixture
async def provider(places: Places) -> AsyncIterator[EmbeddedProvider]:
    """The embedded provider; whatever it started is ended after the test."""
    settings = Settings(shipped_models=True, embedded=EmbeddedSettings())
    provider = EmbeddedProvider(settings, places)
    yield provider
    await provider.aclose()
    for instance in await provider.list_instances():
        await provider.unload(instance.id)


@pytest.fixture
def model(shipped: Path) -> Callable[..., Model]:
    def make(name: str = "tiny-chat", **changes: object) -> Model:
        path = shipped / f"{name}.gguf"
        about = {
            "key": name,
            "provider": "embedded",
            "server": "embedded",
            "path": str(path),
            "size_bytes": path.stat().st_size,
            **changes,
        }
        return Model(**about)

    return make
