"""What the context test says of servers that lie, cut, fall silent, die or are not there."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from servers.liars import Liar, OllamaLiar, OpenAILiar
from servers.scripted import scripted

from lmstrix import AsyncLMStrix
from lmstrix.config import ServerSettings, Settings, Timeouts
from lmstrix.context.options import TestOptions
from lmstrix.errors import UnreachableError
from lmstrix.gateway.faults import Faults
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving
from lmstrix.results import FailureKind, TestResult, TestStatus, Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DECLARED = 2048
BOTH = pytest.mark.parametrize("kind", [OpenAILiar, OllamaLiar], ids=lambda kind: kind.kind)
SHORT = Timeouts(load_s=0.5, prompt_s=0.5, first_token_s=0.5, tokens_s=0.5)


def settings_for(url: str, kind: str) -> Settings:
    known = ServerSettings(url=url, provider=kind)
    return Settings(servers={"there": known}, provider=kind, discover=False, timeouts=SHORT)


@asynccontextmanager
async def client_of(liar: Liar) -> AsyncIterator[AsyncLMStrix]:
    async with scripted(liar.respond) as server:
        liar.server = server
        async with AsyncLMStrix(settings=settings_for(server.url, liar.kind)) as client:
            await client.scan()
            yield client


async def run(liar: Liar, **options: Any) -> TestResult:
    chosen = {"fast": True, "threshold_tokens": DECLARED, "economical": True, **options}
    async with client_of(liar) as client:
        return await client.test_model("m", options=TestOptions(**chosen))


@BOTH
async def test_a_server_that_refuses_below_what_it_tells(kind: type[Liar]):
    result = await run(kind(refuses_above=700))
    assert result.loadable.tokens == DECLARED
    assert result.processable.failure is FailureKind.CONTEXT_OVERFLOW
    assert 550 <= result.processable.tokens <= 800
    assert result.status is TestStatus.COMPLETED


@BOTH
async def test_a_server_that_cuts_prompts_is_found_without_a_tokenizer(kind: type[Liar]):
    result = await run(kind(reads_at_most=700))
    assert result.processable.failure is FailureKind.SILENT_TRUNCATION
    assert 550 <= result.processable.tokens <= 900
    assert "without saying so" in " ".join(result.processable.evidence)


@BOTH
async def test_a_server_that_answers_nothing_beyond_a_length(kind: type[Liar]):
    result = await run(kind(silent_above=700))
    assert result.processable.failure is FailureKind.EMPTY_ANSWER
    assert 550 <= result.processable.tokens <= 800
    assert "Nothing was answered, though a short question is." in result.processable.evidence[-1]


@BOTH
async def test_a_model_that_never_says_anything_is_processed_all_the_same(kind: type[Liar]):
    result = await run(kind(mute=True), fast=False)
    assert result.status is TestStatus.COMPLETED
    assert result.processable.tokens == DECLARED
    assert result.effective.verdict is Verdict.NOT_APPLICABLE
    assert "can do none of the tasks" in " ".join(result.effective.evidence)


@BOTH
async def test_a_server_that_hangs_beyond_a_length(kind: type[Liar]):
    result = await run(kind(hangs_above=1400))
    assert result.processable.failure is FailureKind.HANG
    assert 1200 <= result.processable.tokens <= 1500


@BOTH
async def test_a_server_that_dies_of_a_prompt_never_gets_that_prompt_again(kind: type[Liar]):
    liar = kind(dies_above=1500)
    async with client_of(liar) as client:
        options = TestOptions(fast=True, threshold_tokens=DECLARED)
        with pytest.raises(UnreachableError):
            await client.test_model("m", options=options)
        (left,) = await client.interrupted_tests()
        assert left.processable.failure is FailureKind.CRASH
        assert "died" in " ".join(left.processable.evidence)


async def test_a_server_that_gives_less_than_was_asked():
    result = await run(OllamaLiar(gives_at_most=900))
    assert result.loadable.tokens == 900
    assert result.loadable.failure is FailureKind.LOAD_REFUSED
    assert "the server gave 900" in " ".join(result.loadable.evidence)


async def test_a_server_without_the_memory_says_so():
    result = await run(OllamaLiar(loads_up_to=1300))
    assert result.loadable.failure is FailureKind.OUT_OF_MEMORY
    assert 1200 <= result.loadable.tokens <= 1300


async def test_a_load_that_never_begins_is_a_hang():
    result = await run(OllamaLiar(hangs_loading_above=1300))
    assert result.loadable.failure is FailureKind.HANG
    assert 1100 <= result.loadable.tokens <= 1300


async def test_a_server_that_dies_of_a_load_is_not_asked_for_it_again():
    liar = OllamaLiar(dies_loading_above=1300)
    async with client_of(liar) as client:
        options = TestOptions(fast=True, threshold_tokens=DECLARED)
        with pytest.raises(UnreachableError):
            await client.test_model("m", options=options)
        (left,) = await client.interrupted_tests()
        assert left.loadable.failure is FailureKind.CRASH
        plan = await client.plan_test("m", options=options)
        assert max(plan.sizes) < max(liar.loads)


@BOTH
async def test_a_server_that_is_not_there_says_nothing_of_its_models(kind: type[Liar]):
    liar = kind()
    async with client_of(liar) as client:
        liar.server.die()
        with pytest.raises(UnreachableError, match="refuses the connection"):
            await client.test_model("m")
        (result,) = await client.test_models(["m"])
        assert result.failure is FailureKind.UNREACHABLE
        assert result.status is TestStatus.INTERRUPTED
        (entry,) = await client.list_models()
        assert entry.result is None or entry.result.failure is None


@pytest.mark.parametrize("kind", ["lmstudio-openai", "ollama"])
async def test_a_gateway_that_loads_less_than_it_was_asked_for(tmp_path: Path, kind: str):
    behind = Settings(shipped_models=True, discover=False)
    options = GatewayOptions(port=0, drain_s=1, faults=Faults(load_at_most_tokens=768))
    async with (
        AsyncLMStrix(settings=behind, store_path=tmp_path / "behind.db") as served,
        serving(served, options) as gateway,
        AsyncLMStrix(settings=Settings(
            servers={"there": ServerSettings(url=gateway.url, provider=kind)},
            provider=kind, discover=False,
        )) as client,
    ):  # fmt: skip
        await client.scan()
        chosen = TestOptions(fast=True, threshold_tokens=1536, economical=True)
        result = await client.test_model("tiny-chat", options=chosen)
    assert result.loadable.failure is FailureKind.LOAD_REFUSED
    assert result.loadable.tokens == result.processable.tokens == 768
