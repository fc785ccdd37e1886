from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from lmstrix.config import EmbeddedSettings, Places, ServerSettings, Settings
from lmstrix.engine.process import Engine, EngineSpec
from lmstrix.providers.embedded import EmbeddedProvider
from lmstrix.types import Model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
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


class Llama(NamedTuple):
    """llama.cpp's own server in a process of its own; `settings` know its address and token."""

    url: str
    settings: Settings


@pytest.fixture
async def start_llama(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Awaitable[Llama]]]:
    """`await start_llama("tiny-chat", context_tokens=1024)`."""
    started: list[Engine] = []

    async def start(name: str = "tiny-chat", **changes: object) -> Llama:
        chosen = {"context_tokens": 1024, "embedding": name == "tiny-embed", **changes}
        engine = await Engine.start(
            EngineSpec(model=name, path=str(shipped / f"{name}.gguf"), **chosen)
        )
        started.append(engine)
        monkeypatch.setenv("LLAMA_TOKEN", engine.client._key)
        url = f"http://{engine.client._host}:{engine.client._port}"
        server = ServerSettings(url=f"{url}/v1", provider="openai", token_env="LLAMA_TOKEN")
        return Llama(url, Settings(servers={"llama": server}, discover=False))

    yield start
    for engine in started:
        await engine.stop()
