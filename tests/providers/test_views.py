"""One server that speaks several protocols, through the façade and the command."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from servers.lone import Lone
from servers.scripted import free_port

from lmstrix import AsyncLMStrix
from lmstrix.config import ServerSettings, Settings
from lmstrix.errors import NotFoundError, UnreachableError
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NO_ENGINE = {"discover": False, "embedded": {"enabled": False}}
CAPITAL = "Capital of Poland?"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[str]:
    """A server that speaks as LM Studio, natively and like OpenAI, and as Ollama."""
    settings = Settings(shipped_models=True, discover=False)
    async with (
        AsyncLMStrix(settings=settings, store_path=tmp_path / "behind.db") as behind,
        serving(behind, GatewayOptions(port=0, drain_s=1)) as gateway,
    ):
        yield gateway.url


@asynccontextmanager
async def client(
    url: str, provider: str | None = None, **more: object
) -> AsyncIterator[AsyncLMStrix]:
    office = ServerSettings(url=url, provider=provider)
    settings = Settings(servers={"office": office}, **NO_ENGINE, **more)
    async with AsyncLMStrix(settings=settings) as one:
        yield one


async def known(one: AsyncLMStrix) -> list[str]:
    entries = await one.list_models()
    return [f"{entry.model.provider}/{entry.model.key}" for entry in entries]


async def test_two_protocols_of_a_server_are_one_set_of_models(server: str):
    async with client(server) as one:
        await one.scan()
        native = await known(one)
        assert {name.partition("/")[0] for name in native} == {"lmstudio"}
        report = await one.scan(provider="lmstudio-openai")
        assert [scan.provider for scan in report.servers] == ["lmstudio-openai"]
        assert await known(one) == native
        assert (await one.find("tiny-chat")).model.provider == "lmstudio"
        [scan] = (await one.scan()).servers
        assert (scan.provider, scan.change.new) == ("lmstudio", ())


async def test_the_provider_that_is_named_is_used_and_its_models_shown(server: str):
    async with client(server) as one:
        await one.scan()
        await one.scan(provider="lmstudio-openai")
    async with client(server, provider="lmstudio-openai") as configured:
        [scan] = (await configured.scan()).servers
        assert scan.provider == "lmstudio-openai"
        assert (await configured.infer(CAPITAL, "tiny-chat")).instance.provider == scan.provider
    async with client(server, provider=None) as again:
        assert (await again.infer(CAPITAL, "tiny-chat")).instance.provider == "lmstudio"


@pytest.mark.parametrize("kind", ["openai", "ollama", "lmstudio-openai"])
async def test_a_kind_that_is_named_with_a_server_is_taken_at_its_word(server: str, kind: str):
    settings = Settings(provider=kind, server=server, **NO_ENGINE)
    async with AsyncLMStrix(settings=settings) as one:
        [scan] = (await one.scan()).servers
        assert (scan.provider, scan.found) == (kind, 3)
        answer = await one.infer(CAPITAL, "tiny-chat")
        assert (answer.text, answer.instance.provider) == ("Warsaw.", kind)


async def test_what_is_loaded_is_told_of_a_server_that_was_never_scanned(
    server: str, tmp_path: Path
):
    async with client(server) as one:
        await one.scan()
        await one.load("tiny-chat", in_ctx=1024)
        elsewhere = Settings(server=server, **NO_ENGINE)
        async with AsyncLMStrix(settings=elsewhere, store_path=tmp_path / "new.db") as other:
            [instance] = await other.instances()
            assert (instance.model_key, instance.context_tokens) == ("tiny-chat", 1024)
            assert await other.unload(instance.id) == [instance.id]


async def test_a_server_that_is_silent_is_unreachable_and_not_without_models():
    url = f"http://127.0.0.1:{free_port()}"
    async with AsyncLMStrix(settings=Settings(server=url, **NO_ENGINE)) as one:
        with pytest.raises(UnreachableError, match=url):
            await one.scan()
    async with AsyncLMStrix(settings=Settings(provider="nonsense", **NO_ENGINE)) as one:
        with pytest.raises(NotFoundError, match="no provider nonsense"):
            await one.scan()


@pytest.mark.parametrize("command", ["scan", "list", "ps", "infer", "test", "load", "unload"])
async def test_every_command_takes_a_server_and_refuses_a_name_that_none_has(command: str):
    one = Lone("openai", f"http://127.0.0.1:{free_port()}", "m")
    words = {"infer": ["Hi", "m"], "test": ["m"], "load": ["m"], "unload": ["m"]}
    told = await one.run(command, *words.get(command, []), "--server", "nowhere")
    assert told.code == 3
    assert "There is no server named 'nowhere'." in told.problem
    assert "office" in told.problem


async def test_the_commands_show_one_set_and_the_one_that_is_named(server: str, tmp_path: Path):
    one = Lone("lmstudio", server, "tiny-chat")
    place = server.removeprefix("http://")
    for extra in ((), ("--provider", "lmstudio-openai"), ("--provider", "openai")):
        told = await one.run("scan", "--server", place, *extra)
        assert told.code == 0, told.problem
    listed = (await one.run("list", "--show", "id")).out.split()
    assert listed == ["tiny-chat", "tiny-chat-overclaimed", "tiny-embed"]
    named = await one.run("list", "--provider", "openai", "--server", place, "--show", "id")
    assert named.out.split() == listed
    shown = await one.run("infer", CAPITAL, "tiny-chat", "-v", "--provider", "openai")
    assert "(openai, " in shown.problem
    assert (await one.run("infer", CAPITAL, "tiny-chat")).out == "Warsaw.\n"
