"""A server that does not tell its context, and loads nothing on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers.lone import Lone, lone
from servers.speakers import OpenAISpeaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from servers.lone import Say


async def answer(say: Say) -> None:
    await say.piece("Yes.")
    await say.end()


@pytest.fixture
async def served() -> AsyncIterator[Lone]:
    async with lone("openai", answer) as one:
        yield one


async def test_it_answers_and_says_what_it_does_not_tell(served: Lone):
    told = await served.run("infer", "Hi", "m", "-v")
    assert (told.code, told.out) == (0, "Yes.\n")
    assert "m  (openai, context not told, loaded before)" in told.problem
    shown = await served.run("infer", "Hi", "m", "--explain")
    assert "Context   not told by the server" in shown.out
    assert "cannot show a prompt with its chat template" in shown.out


async def test_a_part_of_a_context_that_is_not_told_is_refused(served: Lone):
    told = await served.run("infer", "Hi", "m", "--out-ctx", "50%")
    assert told.code == 2
    assert "does not tell how much context it has" in told.problem


@pytest.mark.parametrize(
    "wish", [("--in-ctx", "4096"), ("--reload",), ("--kv-type", "q8_0"), ("--flash", "on")]
)
async def test_a_wish_for_another_load_is_refused_and_said_why(served: Lone, wish: tuple[str, ...]):
    told = await served.run("infer", "Hi", "m", *wish)
    assert (told.code, told.out) == (1, "")
    assert "serves m as it is: it loads nothing on request" in told.problem
    assert "Leave out --in-ctx" in told.problem


async def test_a_model_that_is_no_longer_served_is_not_found(
    served: Lone, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(OpenAISpeaker, "facts", {"/v1/models": {"data": [{"id": "other"}]}})
    told = await served.run("infer", "Hi", "m")
    assert told.code == 3
    assert "does not serve m any more" in told.problem
