"""A server of LM Studio's kind that does less than it says, and what a context test finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gateway.lmstudio_native.lines import load, question, stack

from lmstrix import AsyncLMStrix
from lmstrix.config import ServerSettings, Settings
from lmstrix.context.options import TestOptions
from lmstrix.gateway.faults import Faults
from lmstrix.results import FailureKind

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.conftest import Serve
    from gateway.lmstudio_native.lines import Connect

    from lmstrix.gateway.server import Serving
    from lmstrix.results import TestResult


async def examine(serving: Serving, home: Path) -> TestResult:
    """Test the chat model over LM Studio's native protocol, up to 2,048 tokens."""
    from lmstrix.config import Places

    places = Places.locate({"LMSTRIX_HOME": str(home / "tester")})
    servers = {"faulty": ServerSettings(url=serving.url, provider="lmstudio")}
    settings = Settings(discover=False, servers=servers)
    async with AsyncLMStrix(settings=settings, places=places) as tester:
        await tester.scan(provider="lmstudio")
        (entry,) = [one for one in await tester.list_models() if one.model.key == "tiny-chat"]
        assert entry.model.provider == "lmstudio"
        options = TestOptions(threshold_tokens=2048, fast=True)
        return await tester.test_model("tiny-chat", options=options)


async def test_less_context_than_asked_for_is_found_as_that(serve: Serve, home: Path):
    faulty = await serve(faults=Faults(load_at_most_tokens=1024))
    result = await examine(faulty, home)
    assert result.loadable.failure is FailureKind.LOAD_REFUSED
    assert any("the server gave 1,024" in one for one in result.loadable.evidence)
    assert result.loadable.tokens == 1024
    assert result.processable.tokens == 1024
    assert await faulty.gateway.instances() == []  # nothing of the test stays behind


async def test_a_prompt_cut_in_the_middle_is_found_as_that(serve: Serve, home: Path):
    faulty = await serve(faults=Faults(cut_above_tokens=900))
    result = await examine(faulty, home)
    assert result.loadable.tokens == 2048
    assert result.processable.failure is FailureKind.SILENT_TRUNCATION
    assert any("without saying so" in one for one in result.processable.evidence)
    assert result.processable.tokens is not None
    assert result.processable.tokens < 1024 + 256


async def test_without_faults_everything_is_found_whole(gateway: Serving, home: Path):
    result = await examine(gateway, home)
    assert result.loadable.tokens == result.processable.tokens == 2048
    assert result.loadable.failure is result.processable.failure is None


async def test_an_instance_of_the_user_is_as_it_was_after_a_test(
    gateway: Serving, connect_to: Connect, home: Path
):
    line = await connect_to("llm")
    await load(
        line,
        "tiny-chat",
        ttlMs=600_000,
        loadConfigStack=stack(llm__load__contextLength=768),
    )

    async def known() -> list[tuple[object, ...]]:
        names = ("identifier", "contextLength", "ttlMs")
        return [tuple(one[name] for name in names) for one in await line.call("listLoaded")]

    before = await known()
    await examine(gateway, home)
    assert await known() == before
    assert (await line.told(await line.open("predict", question("Hi"))))[-1]["type"] == "success"


@pytest.mark.parametrize("faults", [Faults(), Faults(load_at_most_tokens=99_999)])
async def test_a_fault_that_does_not_bite_changes_nothing(
    serve: Serve, connect_to: Connect, faults: Faults
):
    line = await connect_to("llm", at=await serve(faults=faults))
    info = await load(line, "tiny-chat", loadConfigStack=stack(llm__load__contextLength=768))
    assert info["contextLength"] == 768
    told = await line.told(await line.open("predict", question("What is the capital of Poland?")))
    assert told[-1]["stats"]["promptTokensCount"] < 100


def test_faults_are_asked_for_by_a_hidden_option() -> None:
    from click.testing import CliRunner

    from lmstrix.cli.commands.serve import _options, command

    assert "--fault" not in CliRunner().invoke(command, ["--help"]).output
    given = command.make_context("serve", ["--fault", "load-at-most=1024"]).params
    assert _options(given).faults == Faults(load_at_most_tokens=1024)
    assert _options(command.make_context("serve", []).params).faults is None
