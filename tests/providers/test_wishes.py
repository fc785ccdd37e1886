"""Pictures, tools, schemas and reasoning in the words of each server, or refused beforehand."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from servers.lone import lone
from servers.speakers import OllamaSpeaker

if TYPE_CHECKING:
    from pathlib import Path

    from servers.lone import Say

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(20)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


async def never(say: Say) -> None:
    raise AssertionError("nothing is to be asked")


async def render(say: Say) -> None:
    """As a server that was asked what a prompt looks like, and does not tell."""
    await say.whole("")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    picture, schema = tmp_path / "dot.png", tmp_path / "schema.json"
    picture.write_bytes(PICTURE)
    schema.write_text(json.dumps(SCHEMA), encoding="utf-8")
    return str(picture), str(schema)


@pytest.mark.parametrize("kind", ["openai", "ollama"])
async def test_what_goes_with_a_prompt_is_sent_in_the_servers_words(
    kind: str, files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
):
    able = {"capabilities": ["completion", "tools", "vision", "thinking"], "model_info": {}}
    monkeypatch.setattr(OllamaSpeaker, "facts", {**OllamaSpeaker.facts, "/api/show": able})
    picture, schema = files
    async with lone(kind, render) as one:
        told = await one.run(
            *("infer", "Hi", one.model, "--explain", "--format", "json", "--think", "on"),
            *("--image", picture, "--schema", schema, "--tool", "add="),
        )
    assert told.code == 0, told.problem
    body = json.loads(json.loads(told.out)["wire"]["body"])
    assert body["tools"][0]["function"]["name"] == "add"
    [message] = body["messages"]
    encoded = base64.b64encode(PICTURE).decode()
    if kind == "ollama":
        assert (message["images"], body["format"], body["think"]) == ([encoded], SCHEMA, True)
    else:
        urls = [part["image_url"]["url"] for part in message["content"] if "image_url" in part]
        assert urls == [f"data:image/png;base64,{encoded}"]
        assert body["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize("kind", ["lmstudio-openai", "ollama", "lmstudio"])
async def test_what_a_model_lacks_is_refused_before_it_is_asked(kind: str, files: tuple[str, str]):
    async with lone(kind, never) as one:
        told = await one.run("infer", "Hi", one.model, "--image", files[0])
    assert (told.code, told.out) == (1, "")
    assert "cannot show images to this model" in told.problem
