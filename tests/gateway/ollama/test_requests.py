"""Requests as Ollama's API documentation shows them with curl, sent with curl."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from lmstrix import __version__

if TYPE_CHECKING:
    from lmstrix.gateway.server import Serving

FEW = {"temperature": 0, "num_predict": 8}
OBJECT = {
    "type": "object",
    "properties": {"age": {"type": "integer"}, "available": {"type": "boolean"}},
    "required": ["age", "available"],
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
        },
    },
}
EVERY_OPTION = {
    "num_keep": 5,
    "seed": 42,
    "num_predict": 4,
    "draft_num_predict": 4,
    "top_k": 20,
    "top_p": 0.9,
    "min_p": 0.0,
    "typical_p": 0.7,
    "repeat_last_n": 33,
    "temperature": 0.8,
    "repeat_penalty": 1.2,
    "presence_penalty": 1.5,
    "frequency_penalty": 1.0,
    "penalize_newline": True,
    "stop": ["\n", "user:"],
    "numa": False,
    "num_ctx": 1024,
    "num_batch": 64,
    "num_gpu": 0,
    "main_gpu": 0,
    "use_mmap": True,
    "num_thread": 2,
}
USER = [{"role": "user", "content": "What is the weather in Paris?"}]
HISTORY = [
    *USER,
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}],
    },
    {"role": "tool", "content": "11 degrees celsius", "tool_name": "get_weather"},
]


async def curl(gateway: Serving, path: str, body: object = None, *more: str) -> tuple[int, bytes]:
    """Status and body, with the arguments that Ollama's examples have and no others."""
    data = () if body is None else ("-d", json.dumps(body))
    process = await asyncio.create_subprocess_exec(
        *("curl", "-s", "-w", "\n%{http_code}", gateway.url + path, *data, *more),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    found, _, status = out.rpartition(b"\n")
    return int(status), found


async def replies(gateway: Serving, path: str, body: object) -> list[dict[str, Any]]:
    status, found = await curl(gateway, path, body)
    assert status == 200, found
    lines = [json.loads(line) for line in found.splitlines()]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    return lines


STREAMED = {
    "a completion": ("/api/generate", {"prompt": "Why is the sky blue?", "options": FEW}),
    "reproducible": ("/api/generate", {"prompt": "Hi", "options": {**FEW, "seed": 123}}),
    "a chat": ("/api/chat", {"messages": USER, "options": FEW}),
    "with history": ("/api/chat", {"messages": HISTORY, "options": FEW}),
    "with tools": ("/api/chat", {"messages": USER, "tools": [WEATHER], "stream": True}),
}


@pytest.mark.parametrize("example", STREAMED)
async def test_an_answer_is_streamed_unless_asked_otherwise(gateway: Serving, example: str):
    path, body = STREAMED[example]
    lines = await replies(gateway, path, {"model": "llama3.2", **body})
    assert len(lines) > 1
    assert lines[-1]["eval_count"] > 0
    assert lines[-1]["total_duration"] > 0
    assert all(line["model"] == "llama3.2" and line["created_at"] for line in lines)


WHOLE = {
    "a completion": ("/api/generate", {"prompt": "Why is the sky blue?", "options": FEW}),
    "a schema": ("/api/generate", {"prompt": "Respond using JSON", "format": OBJECT}),
    "every option": ("/api/generate", {"prompt": "Why?", "options": EVERY_OPTION}),
    "raw": ("/api/generate", {"prompt": "[INST] why? [/INST]", "raw": True, "options": FEW}),
    "a chat": ("/api/chat", {"messages": USER, "options": FEW}),
    "a chat with a schema": (
        "/api/chat",
        {"messages": USER, "format": OBJECT, "options": {"temperature": 0}},
    ),
    "a chat with tools": ("/api/chat", {"messages": USER, "tools": [WEATHER]}),
    "history with tools": (
        "/api/chat",
        {"messages": HISTORY, "tools": [WEATHER], "options": FEW},
    ),
}


@pytest.mark.parametrize("example", WHOLE)
async def test_an_answer_comes_whole_where_no_stream_is_wanted(gateway: Serving, example: str):
    path, body = WHOLE[example]
    (answer,) = await replies(gateway, path, {"model": "llama3.2", "stream": False, **body})
    assert answer["done_reason"] in ("stop", "length")
    message = answer.get("message", {"role": "assistant", "content": answer.get("response")})
    assert message["role"] == "assistant"
    if "schema" in example:
        assert set(json.loads(message["content"])) == {"age", "available"}
    if example == "a chat with tools":
        assert message["tool_calls"][0]["function"]["name"] == "get_weather"


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
async def test_no_question_loads_and_no_keep_alive_unloads(gateway: Serving, path: str):
    (loaded,) = await replies(gateway, path, {"model": "llama3.2", "messages": []})
    assert loaded["done_reason"] == "load"
    (gone,) = await replies(gateway, path, {"model": "llama3.2", "keep_alive": 0})
    assert gone["done_reason"] == "unload"
    assert json.loads((await curl(gateway, "/api/ps"))[1]) == {"models": []}


async def test_the_rest_of_the_documented_requests(gateway: Serving):
    tags = json.loads((await curl(gateway, "/api/tags"))[1])["models"]
    assert {"name", "model", "modified_at", "size", "digest", "details"} <= set(tags[0])
    shown = json.loads((await curl(gateway, "/api/show", {"model": "llama3.2"}))[1])
    assert {"modelfile", "template", "details", "model_info", "capabilities"} <= set(shown)
    assert shown["model_info"]["tokenizer.ggml.tokens"] == []
    wish = {"source": "llama3.2", "destination": "llama3-backup"}
    assert await curl(gateway, "/api/copy", wish) == (200, b"")
    assert await curl(gateway, "/api/delete", {"model": "llama3-backup"}, "-X", "DELETE") == (
        200,
        b"",
    )
    status, found = await curl(
        gateway, "/api/create", {"model": "mario", "from": "llama3.2", "system": "You are Mario."}
    )
    steps = [json.loads(line) for line in found.splitlines()]
    assert (status, steps[-1]) == (200, {"status": "success"})
    one = json.loads(
        (await curl(gateway, "/api/embed", {"model": "all-minilm", "input": "Why?"}))[1]
    )
    two = {"model": "all-minilm", "input": ["Why?", "How?"]}
    both = json.loads((await curl(gateway, "/api/embed", two))[1])
    assert one["embeddings"][0] == pytest.approx(both["embeddings"][0], abs=1e-4)
    older = {"model": "all-minilm", "prompt": "Here is an article"}
    assert len(json.loads((await curl(gateway, "/api/embeddings", older))[1])["embedding"]) > 8
    version = json.loads((await curl(gateway, "/api/version"))[1])["version"]
    assert __version__.startswith(version)
    assert version.count(".") == 2


async def test_the_root_greets_as_ollama_does(gateway: Serving):
    assert await curl(gateway, "/") == (200, b"Ollama is running")
    status, head = await curl(gateway, "/", None, "-I")
    assert status == 200
    assert b"x-lmstrix-gateway" in head.lower()


BAD = {
    "no body": ("/api/chat", "", 400),
    "no JSON": ("/api/chat", "{", 400),
    "no model": ("/api/chat", {"messages": USER}, 400),
    "a role that nobody has": ("/api/chat", {"messages": [{"role": "robot"}]}, 400),
    "a suffix": ("/api/generate", {"prompt": "a", "suffix": "b"}, 400),
    "tokens as context": ("/api/generate", {"prompt": "a", "context": [1, 2]}, 400),
    "a format that is none": ("/api/chat", {"messages": USER, "format": "xml"}, 400),
    "an option of the wrong kind": ("/api/chat", {"options": {"num_ctx": "x"}}, 400),
    "a duration that is none": ("/api/chat", {"keep_alive": "soon"}, 400),
    "a picture that is none": (
        "/api/chat",
        {"messages": [{"role": "user", "content": "?", "images": ["%%%"]}]},
        400,
    ),
    "a picture for a model that sees none": (
        "/api/chat",
        {
            "messages": [
                {
                    "role": "user",
                    "content": "?",
                    "images": [base64.b64encode(b"\x89PNG").decode()],
                }
            ]
        },
        400,
    ),
    "too many alternatives": ("/api/chat", {"messages": USER, "top_logprobs": 21}, 400),
    "an upload": ("/api/push", {"model": "x"}, 400),
}


@pytest.mark.parametrize("fault", BAD)
async def test_what_cannot_be_answered_is_refused_as_ollama_refuses(gateway: Serving, fault: str):
    path, body, expected = BAD[fault]
    if isinstance(body, dict):
        named = {} if fault == "no model" else {"model": "llama3.2"}
        status, found = await curl(gateway, path, named | body)
    else:
        status, found = await curl(gateway, path, None, "-X", "POST", "-d", body)
    assert status == expected, found
    error = json.loads(found)
    assert set(error) == {"error"}
    assert isinstance(error["error"], str)


async def test_a_prompt_is_rendered_without_an_answer_for_who_debugs(gateway: Serving):
    body = {"model": "llama3.2", "messages": USER, "_debug_render_only": True}
    _, found = await curl(gateway, "/api/chat", body)
    rendered = json.loads(found)["_debug_info"]["rendered_template"]
    assert "<|im_start|>user\nWhat is the weather in Paris?" in rendered
