"""`num_ctx` kept with a model of Ollama's, on a server that speaks its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ollama
import pytest

from lmstrix import AsyncLMStrix
from lmstrix.config import Places, Settings
from lmstrix.config.settings import ServerSettings
from lmstrix.defaults.saving import SaveStatus
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving
from lmstrix.providers.ollama import OllamaProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lmstrix.types import Model

OWN = "mine:latest"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ollama.AsyncClient]:
    """A server with a model of the user's own, by its official client."""
    settings = Settings(shipped_models=True, discover=False)
    places = Places.locate({"LMSTRIX_HOME": str(tmp_path / "server")})
    async with (
        AsyncLMStrix(settings=settings, places=places) as behind,
        serving(behind, GatewayOptions(port=0, drain_s=1)) as gateway,
        ollama.AsyncClient(host=gateway.url) as official,
    ):
        await official.create(
            model=OWN, from_="tiny-chat", system="Be brief.", parameters={"temperature": 0.25}
        )
        yield official


@pytest.fixture
async def provider(server: ollama.AsyncClient, places: Places) -> AsyncIterator[OllamaProvider]:
    found = OllamaProvider.at(str(server._client.base_url).rstrip("/"), Settings(), places)
    yield found
    await found.aclose()


async def own_model(provider: OllamaProvider) -> Model:
    listed = await provider.list_models()
    return next(model for model in listed.models if model.key == OWN)


async def test_the_context_is_kept_and_all_else_stays(
    server: ollama.AsyncClient, provider: OllamaProvider
):
    model = await own_model(provider)
    assert await provider.default_context(model) is None
    identity = await provider.save_default_context(model, 2048)
    assert await provider.default_context(model) == 2048
    shown = await server.show(OWN)
    assert "temperature" in (shown.parameters or "")
    assert "Be brief." in (shown.modelfile or "")
    assert identity == (await own_model(provider)).identity


async def test_a_tested_limit_becomes_num_ctx(server: ollama.AsyncClient, studio: Any):
    url = str(server._client.base_url).rstrip("/")
    named = {"box": ServerSettings(url=url, provider="ollama")}
    settings = Settings(servers=named, discover=False)
    async with AsyncLMStrix(settings=settings) as client:
        await client.scan(provider="ollama")
        studio.tested(OWN, 4096)
        (planned,) = await client.save(OWN, limit="50%", dry_run=True)
        assert planned.status is SaveStatus.WOULD_SAVE
        assert "num_ctx" not in ((await server.show(OWN)).parameters or "")

        (saved,) = await client.save(OWN, limit="50%", flash=True)
        assert saved.status is SaveStatus.SAVED, saved
        assert (saved.place, saved.context_tokens) == (url, 2048)
        assert any("OLLAMA_FLASH_ATTENTION" in note for note in saved.notes)
        assert "2048" in ((await server.show(OWN)).parameters or "")

        (again,) = await client.save(OWN, limit="50%")
        assert again.status is SaveStatus.UNCHANGED

        # The server has made another model of it; what was tested holds for that one too.
        await client.scan(provider="ollama")
        entry = await client.find(OWN)
        assert entry.result is not None
        assert entry.result.usable_tokens == 4096


async def test_a_server_that_is_gone_is_an_error_of_that_model(places: Places, studio: Any):
    from lmstrix.store import Store
    from lmstrix.types import Listing, Model

    gone = Model(key=OWN, provider="ollama", server="http://127.0.0.1:9", identity="x")
    with Store.open(places.database) as store:
        store.record_listing("ollama", gone.server, Listing(models=(gone,)), at=1.0)
    studio.tested(OWN, 4096)
    async with AsyncLMStrix(settings=Settings(discover=False)) as client:
        (saved,) = await client.save(OWN)
    assert saved.status is SaveStatus.FAILED
    assert saved.exit_code == 4
