"""What somebody else has loaded is there after a test as it was before."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from lmstrix import AsyncLMStrix
from lmstrix.config import ServerSettings, Settings
from lmstrix.context.options import TestOptions
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving
from lmstrix.providers.ollama.provider import OllamaProvider
from lmstrix.results import TestStatus
from lmstrix.types import LoadConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lmstrix.gateway.server import Serving

KINDS = ("lmstudio", "lmstudio-openai", "ollama")
COMMAND = str(Path(sys.executable).with_name("lmstrix"))
OPTIONS = TestOptions(fast=True, threshold_tokens=1024)
TTL_S = 900.0


class Place(NamedTuple):
    """A gateway of somebody else, and a client of it."""

    gateway: Serving
    client: AsyncLMStrix
    kind: str

    async def load(self, tokens: int, *, ttl_s: float = TTL_S) -> None:
        """What somebody else does."""
        there = {"servers": {"x": ServerSettings(url=self.gateway.url, provider="ollama")}}
        other = Settings(provider="ollama", discover=False, **there)
        async with AsyncLMStrix(settings=other) as somebody:
            await somebody.scan()
            chosen = LoadConfig(ttl_s=ttl_s)
            await somebody.load("tiny-chat", in_ctx=tokens, config=chosen, resident=True)

    async def loaded(self) -> list[tuple[str, int | None, float]]:
        """Name, context and end of all that is there, as the gateway tells it anybody."""
        there = OllamaProvider.at(self.gateway.url, Settings(discover=False), self.client.places)
        found = await there.list_instances()
        return sorted((one.id, one.context_tokens, one.expires_at or 0.0) for one in found)


@asynccontextmanager
async def place(kind: str, tmp_path: Path) -> AsyncIterator[Place]:
    behind = Settings(shipped_models=True, discover=False)
    async with AsyncExitStack() as running:
        served = await running.enter_async_context(
            AsyncLMStrix(settings=behind, store_path=tmp_path / "behind.db")
        )
        gateway = await running.enter_async_context(
            serving(served, GatewayOptions(port=0, drain_s=1))
        )
        known = {"there": ServerSettings(url=gateway.url, provider=kind)}
        settings = Settings(servers=known, provider=kind, discover=False)
        client = await running.enter_async_context(AsyncLMStrix(settings=settings))
        await client.scan()
        yield Place(gateway, client, kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_it_has_its_name_its_context_and_its_time_to_live(kind: str, tmp_path: Path):
    async with place(kind, tmp_path) as at:
        await at.load(768)
        before = await at.loaded()
        assert [context for _, context, _ in before] == [768]
        result = await at.client.test_model("tiny-chat", options=OPTIONS)
        assert result.processable.tokens == 1024
        after = await at.loaded()
        assert [one[:2] for one in after] == [one[:2] for one in before]
        assert after[0][2] == pytest.approx(before[0][2], abs=3)
        assert not list(at.client.places.locks.glob("trail-*"))


@pytest.mark.parametrize("kind", KINDS)
async def test_it_is_not_measured_at_its_own_size(kind: str, tmp_path: Path):
    async with place(kind, tmp_path) as at:
        await at.load(512)
        result = await at.client.test_model("tiny-chat", options=TestOptions(context_tokens=1024))
        assert result.loadable.tokens == result.processable.tokens == 1024


@pytest.mark.parametrize("kind", KINDS)
async def test_without_anything_loaded_before_nothing_is_after(kind: str, tmp_path: Path):
    async with place(kind, tmp_path) as at:
        await at.client.test_model("tiny-chat", options=OPTIONS)
        assert await at.loaded() == []


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_test_that_was_killed_is_tidied_up_after_by_the_next(kind: str, tmp_path: Path):
    async with place(kind, tmp_path) as at:
        await at.load(768)
        before = await at.loaded()
        tool = await asyncio.create_subprocess_exec(
            *(COMMAND, "test", "tiny-chat", "--threshold", "4096"),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "LMSTRIX_SERVERS__THERE__URL": at.gateway.url,
                "LMSTRIX_SERVERS__THERE__PROVIDER": kind,
                "LMSTRIX_PROVIDER": kind,
                "LMSTRIX_DISCOVER": "false",
            },
        )
        assert tool.stderr is not None
        while b"processing" not in (line := await tool.stderr.readline()):
            assert line, "the tool ended by itself"
        tool.kill()
        await tool.communicate()
        assert len(await at.loaded()) in (1, 2)
        result = await at.client.test_model("tiny-chat", options=OPTIONS)
        assert result.status is TestStatus.COMPLETED
        after = await at.loaded()
        assert [one[:2] for one in after] == [one[:2] for one in before]


async def test_what_would_have_gone_by_itself_meanwhile_is_not_loaded_again(tmp_path: Path):
    async with place("ollama", tmp_path) as at:
        await at.load(768, ttl_s=1.0)
        await at.client.test_model(
            "tiny-chat", options=TestOptions(threshold_tokens=2048)
        )  # takes some seconds
        assert await at.loaded() == []
