"""Models that go on with texts or extract from them have limits too, and need no right answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from models import making
from servers.liars import OpenAILiar
from servers.scripted import scripted

from lmstrix import AsyncLMStrix
from lmstrix.config import ServerSettings, Settings
from lmstrix.context.options import TestOptions
from lmstrix.results import TestStatus, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from lmstrix.results import TestResult

DECLARED = 1536


async def measure(path: Path, **options: Any) -> TestResult:
    async with AsyncLMStrix(settings=Settings(discover=False)) as client:
        return await client.test_model(str(path), options=TestOptions(**options))


@pytest.mark.parametrize("template", ["", None], ids=["without a template", "with one"])
async def test_a_model_that_can_do_no_task_has_two_limits_and_is_said_to(
    made: Any, template: str | None
):
    result = await measure(
        made(making.make_llama, template=template, context_tokens=DECLARED, seed=7)
    )
    assert result.status is TestStatus.COMPLETED
    assert result.loadable.tokens == result.processable.tokens == DECLARED
    assert "0 of 3 markers" in " ".join(result.processable.evidence)
    assert result.effective.verdict is Verdict.NOT_APPLICABLE
    said = " ".join(result.effective.evidence)
    assert "can do none of the tasks" in said
    assert ("has no chat template" in said) == (template == "")
    assert result.usable_tokens == DECLARED


async def test_what_was_found_is_not_measured_again(made: Any):
    path = made(making.make_llama, template="", context_tokens=DECLARED, seed=7)
    first = await measure(path)
    assert (await measure(path)).id == first.id


async def test_a_server_that_refuses_to_chat_for_want_of_a_template_is_given_plain_texts():
    liar = OpenAILiar(has_template=False, tells_tokens=DECLARED)
    async with scripted(liar.respond) as server:
        known = {"there": ServerSettings(url=server.url, provider="openai")}
        async with AsyncLMStrix(settings=Settings(servers=known, discover=False)) as client:
            await client.scan()
            result = await client.test_model("m", options=TestOptions(fast=True))
    assert result.processable.tokens == DECLARED
    assert {asked.path for asked in server.asked if asked.method == "POST"} >= {"/v1/completions"}
