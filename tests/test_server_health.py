"""What `doctor` says of servers, on real ones."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from servers.lone import lone
from servers.scripted import free_port

from lmstrix import AsyncLMStrix
from lmstrix.config import ServerSettings, Settings
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving
from lmstrix.health import Finding, State
from lmstrix.server_health import check_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from servers.lone import Say

    from lmstrix.config import Places

    Check = Callable[..., Awaitable[list[Finding]]]


async def never(say: Say) -> None:
    raise AssertionError("a check asks for no answer")


@pytest.fixture
def check(places: Places) -> Check:
    """`await check(office=ServerSettings(...))`: the findings on these servers."""

    async def look(*, discover: bool = False, **servers: ServerSettings) -> list[Finding]:
        settings = Settings(servers=servers, discover=discover)
        return [finding async for finding in check_servers(places, settings)]

    return look


@asynccontextmanager
async def gateway(tmp_path: Path, **options: object) -> AsyncIterator[str]:
    settings = Settings(shipped_models=True, discover=False)
    async with (
        AsyncLMStrix(settings=settings, store_path=tmp_path / "behind.db") as behind,
        serving(behind, GatewayOptions(port=0, drain_s=1, **options)) as one,
    ):
        yield one.url


@pytest.mark.parametrize("kind", ["openai", "lmstudio-openai", "ollama", "lmstudio"])
async def test_a_server_that_is_there_says_what_it_is_and_how_many_models_it_has(
    check: Check, kind: str
):
    async with lone(kind, never) as one:
        [finding] = await check(office=ServerSettings(url=one.url, provider=kind))
    assert (finding.check, finding.state, finding.remedy) == ("server office", State.OK, "")
    assert f"used as {kind}" in finding.detail
    assert "model" in finding.detail
    name = {"ollama": "Ollama 0.12.0", "lmstudio": "LM Studio 0.4.4"}.get(kind, "")
    assert name in finding.detail


async def test_our_own_gateway_is_known_for_what_it_is(check: Check, tmp_path: Path):
    async with gateway(tmp_path) as url:
        [finding] = await check(office=ServerSettings(url=url))
    assert finding.state is State.OK
    assert finding.detail.startswith("A gateway of LMStrix 2")
    assert "used as lmstudio: 3 models" in finding.detail


async def test_a_gateway_where_ollama_would_be_is_named_and_not_used(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with gateway(tmp_path) as url:
        monkeypatch.setenv("OLLAMA_HOST", url)
        found = await check(discover=True)
    [finding] = [one for one in found if url in one.detail]
    assert "is not used unless it is named" in finding.detail


async def test_what_listens_at_a_usual_place_is_told(check: Check, monkeypatch: pytest.MonkeyPatch):
    async with lone("ollama", never) as one:
        monkeypatch.setenv("OLLAMA_HOST", one.url)
        found = await check(discover=True)
    [finding] = [each for each in found if one.url in each.detail]
    assert finding.detail == f"Ollama 0.12.0 at {one.url}, used as ollama: 1 model."


@pytest.mark.parametrize("kind", [None, "ollama", "lmstudio", "openai"])
async def test_a_server_that_is_silent_is_a_note_with_the_next_step(check: Check, kind: str | None):
    url = f"http://127.0.0.1:{free_port()}"
    [finding] = await check(office=ServerSettings(url=url, provider=kind))
    assert finding.state is State.WARNING
    assert url.removeprefix("http://") in finding.detail
    assert "Start it" in finding.remedy


async def test_a_token_that_is_not_set_is_missed_before_anything_is_sent(check: Check):
    async with lone("openai", never) as one:
        [finding] = await check(office=ServerSettings(url=one.url, token_env="NOBODY_SET_THIS"))
    assert finding.state is State.WARNING
    assert "NOBODY_SET_THIS, which is not set" in finding.detail
    assert "export NOBODY_SET_THIS" in finding.remedy


@pytest.mark.parametrize("kind", ["openai", "ollama", "lmstudio"])
async def test_a_wrong_token_is_told_and_never_shown(
    check: Check, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OFFICE", "sk-lm-aaaaaaaa:bbbbbbbbbbbbbbbbbbbb")
    async with gateway(tmp_path, tokens=("right",)) as url:
        known = ServerSettings(url=url, provider=kind, token_env="OFFICE")
        [finding] = await check(office=known)
    assert finding.state is State.WARNING
    assert "lets nobody in without the right token" in finding.detail
    assert "token_env" in finding.remedy
    assert "bbbbbbbb" not in finding.detail + finding.remedy
    assert "\n" not in finding.detail


async def test_a_server_that_is_used_as_less_than_it_is_is_noted(check: Check, tmp_path: Path):
    async with gateway(tmp_path) as url:
        fine, note = await check(office=ServerSettings(url=url, provider="openai"))
    assert fine.state is State.OK
    assert note.state is State.WARNING
    assert 'servers.office.provider = "lmstudio"' in note.remedy


async def test_two_names_of_one_server_are_noted(check: Check):
    async with lone("openai", never) as one:
        first, *_ = await check(
            home=ServerSettings(url=one.url, provider="openai"),
            office=ServerSettings(url=f"{one.url}/v1/", provider="openai"),
        )
    assert (first.check, first.state) == ("servers", State.WARNING)
    assert "home and office are one server" in first.detail


async def test_files_and_providers_that_are_not_there_are_failures(check: Check):
    found = await check(
        one=ServerSettings(url="https://127.0.0.1:9", ca_file="/no/such.pem"),
        two=ServerSettings(url="http://127.0.0.1:9/two", provider="nonsense"),
    )
    assert [finding.state for finding in found] == [State.FAILURE, State.FAILURE]
    assert "/no/such.pem" in found[0].detail
    assert "There is no provider nonsense." in found[1].detail
