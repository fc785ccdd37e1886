"""The same calls by the official client and by LMStrix: what they send is the same.

`DIFFERENCES` are the only ones, each with its reason.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import ollama
import pytest
from servers.scripted import Asked, Wire, scripted

from lmstrix.config import Settings
from lmstrix.protocol.ollama.models import Create
from lmstrix.providers.ollama import OllamaProvider
from lmstrix.types import (
    Image,
    Instance,
    LoadConfig,
    Message,
    Model,
    Request,
    Role,
    Sampling,
    Tool,
    ToolCall,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from servers.scripted import Scripted

    from lmstrix.config import Places

    Call = Callable[[Any], Awaitable[object]]

MISSING = "missing"
# Where in a body, what the official client has there, what LMStrix has there, and why.
DIFFERENCES: dict[str, tuple[object, object, str]] = {
    "tools": ([], MISSING, "no tools are offered by not speaking of tools"),
    "truncate": (MISSING, False, "a prompt that does not fit is refused, never cut silently"),
    "options.num_ctx": (MISSING, 4096, "without the loaded size Ollama loads the model anew"),
    "messages.1.content": (MISSING, "", "an empty text is a text"),
    "messages.1.tool_calls.0.function.index": (MISSING, 0, "tells calls of one message apart"),
    "messages.1.tool_calls.0.id": (MISSING, "c1", "which call a tool's message answers"),
    "messages.2.tool_call_id": (MISSING, "c1", "as above"),
    "insecure": (False, MISSING, "false is what the server takes its absence for"),
}

HELLO = [{"role": "user", "content": "Hello, Łódź 🙂"}]
OURS = (Message(Role.USER, "Hello, Łódź 🙂"),)
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(16)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
PARAMETERS = {
    "type": "object",
    "required": ["city"],
    "properties": {"city": {"type": "string", "description": "The city"}},
}
FUNCTION = {"name": "get_weather", "description": "The weather", "parameters": PARAMETERS}
THEIR_TOOL = {"type": "function", "function": FUNCTION}
OUR_TOOL = Tool(name="get_weather", description="The weather", parameters=PARAMETERS)
OPTIONS = {"temperature": 0.5, "num_predict": 7, "seed": 3, "stop": ["a", "b"], "min_p": 0.1}
SAMPLING = Sampling(temperature=0.5, max_tokens=7, seed=3, stop=("a", "b"), min_p=0.1)
MODEL = Model(key="m", provider="ollama", server="x")
LOADED = LoadConfig(context_tokens=4096)


def chat(**more: Any) -> Call:
    return lambda client: _drain(client.chat("m", more.pop("said", HELLO), stream=True, **more))


def generate(**more: Any) -> Call:
    return lambda client: _drain(client.generate("m", "Once", raw=True, stream=True, **more))


def asked(**more: Any) -> Call:
    request = Request(**{"messages": OURS, **more})

    async def call(provider: OllamaProvider) -> None:
        instance = Instance(
            id="m", model_key="m", provider="ollama", server="x", context_tokens=4096
        )
        async with aclosing(provider.stream(instance, request)) as stream:
            async for _ in stream:
                pass

    return call


async def _drain(stream: Awaitable[AsyncIterator[object]]) -> None:
    async for _ in await stream:
        pass


def on_instance(**loaded: object) -> Instance:
    config = LoadConfig(**loaded)
    return Instance(
        id="m",
        model_key="m",
        provider="ollama",
        server="x",
        context_tokens=config.context_tokens,
        config=config,
    )


async def _pull(provider: OllamaProvider) -> None:
    async with aclosing(provider.pull("m")) as steps:
        async for _ in steps:
            pass


async def _create(provider: OllamaProvider) -> None:
    wish = Create(model="n", from_="m", system="You are n.", parameters={"seed": 1})
    async with aclosing(provider.create(wish)) as steps:
        async for _ in steps:
            pass


THEIR_HISTORY = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}],
    },
    {"role": "tool", "content": "Rain", "tool_name": "get_weather"},
]
OUR_HISTORY = (
    Message(Role.USER, "Weather?"),
    Message(
        Role.ASSISTANT,
        "",
        tool_calls=(ToolCall(id="c1", name="get_weather", arguments='{"city":"Paris"}'),),
    ),
    Message(Role.TOOL, "Rain", tool_call_id="c1", name="get_weather"),
)

CALLS: dict[str, tuple[Call, Call]] = {
    "a chat": (chat(), asked()),
    "options": (chat(options=OPTIONS), asked(sampling=SAMPLING)),
    "a schema": (chat(format=SCHEMA), asked(schema=SCHEMA)),
    "thinking": (chat(think=True), asked(think=True)),
    "some thinking": (chat(think="low"), asked(think="low")),
    "no thinking": (chat(think=False), asked(think=False)),
    "log probabilities": (chat(logprobs=True, top_logprobs=3), asked(logprobs=3)),
    "a picture": (
        chat(said=[{**HELLO[0], "images": [PICTURE]}]),
        asked(messages=(Message(Role.USER, HELLO[0]["content"], images=(Image(PICTURE),)),)),
    ),
    "tools": (
        chat(said=THEIR_HISTORY, tools=[THEIR_TOOL]),
        asked(messages=OUR_HISTORY, tools=(OUR_TOOL,)),
    ),
    "a raw completion": (
        generate(options=OPTIONS),
        asked(messages=(), prompt="Once", sampling=SAMPLING),
    ),
    "vectors": (
        lambda client: client.embed("m", ["a", "b"]),
        lambda provider: provider.embed(on_instance(context_tokens=4096), ["a", "b"]),
    ),
    "a load": (
        lambda client: client.generate(
            "m", options={"num_ctx": 4096, "num_gpu": 0, "num_thread": 2}, keep_alive=60
        ),
        lambda provider: provider.load(
            MODEL, LoadConfig(context_tokens=4096, gpu_layers=0, threads=2, ttl_s=60)
        ),
    ),
    "an unload": (
        lambda client: client.generate("m", keep_alive=0),
        lambda provider: provider.unload("m"),
    ),
    "the list": (lambda client: client.list(), lambda provider: provider.list_models()),
    "what is loaded": (lambda client: client.ps(), lambda provider: provider.list_instances()),
    "a pull": (lambda client: _drain(client.pull("m", stream=True)), _pull),
    "a making": (
        lambda client: _drain(
            client.create("n", from_="m", system="You are n.", parameters={"seed": 1}, stream=True)
        ),
        _create,
    ),
    "a copy": (lambda client: client.copy("m", "n"), lambda provider: provider.copy("m", "n")),
    "a deletion": (lambda client: client.delete("m"), lambda provider: provider.delete("m")),
}
# What LMStrix asks besides, to know what it talks to and to read back what was done.
BESIDES = {"/api/version", "/api/ps", "/api/show"}

FACTS = {
    "/api/version": {"version": "0.12.6"},
    "/api/tags": {"models": [{"name": "m", "model": "m", "digest": "d"}]},
    "/api/ps": {"models": [{"name": "m", "model": "m", "context_length": 4096}]},
    "/api/show": {"capabilities": ["completion", "tools", "vision", "thinking"], "model_info": {}},
    "/api/embed": {"embeddings": [[1.0], [1.0]]},
    "/api/pull": {"status": "success"},
    "/api/create": {"status": "success"},
}


async def respond(asked: Asked, wire: Wire) -> None:
    done = {
        "model": "m",
        "message": {"role": "assistant", "content": ""},
        "response": "",
        "done": True,
    }
    await wire.json(FACTS.get(asked.path, done))


async def sent_by_them(server: Scripted, call: Call) -> list[Asked]:
    async with ollama.AsyncClient(host=server.url) as client:
        await call(client)
    return list(server.asked)


async def sent_by_us(server: Scripted, call: Call, places: Places) -> list[Asked]:
    provider = OllamaProvider.at(server.url, Settings(discover=False), places)
    await call(provider)
    await provider.aclose()
    return list(server.asked)


def flat(value: object, path: str = "") -> dict[str, object]:
    """Every value by the way to it; of `tools` and schemas as they are."""
    if isinstance(value, dict) and path.partition(".")[0] not in ("tools", "format"):
        pairs = value.items()
    elif (isinstance(value, list) and path == "messages") or path.endswith("tool_calls"):
        pairs = enumerate(value)
    else:
        return {path: value}
    found: dict[str, object] = {}
    for name, one in pairs:
        found |= flat(one, f"{path}.{name}".strip("."))
    return found


@pytest.mark.parametrize("name", CALLS)
async def test_what_is_sent_is_what_the_official_client_sends(name: str, places: Places):
    theirs, ours = CALLS[name]
    async with scripted(respond) as server:
        (them,) = await sent_by_them(server, theirs)
    async with scripted(respond) as server:
        found = await sent_by_us(server, ours, places)
    (us, *_) = [one for one in found if one.path == them.path]
    besides = {one.path for one in found} - {them.path}
    assert besides <= BESIDES
    assert us.method == them.method
    assert us.fields.get("content-type", "application/json") == them.fields["content-type"]
    they_say = flat(them.json) if them.body else {}
    we_say = flat(us.json) if us.body else {}
    for path in they_say.keys() | we_say.keys():
        pair = (they_say.get(path, MISSING), we_say.get(path, MISSING))
        if pair[0] != pair[1]:
            assert path in DIFFERENCES, f"{path}: {pair}"
            assert pair == DIFFERENCES[path][:2], path


def test_every_difference_that_is_declared_has_its_reason():
    assert all(reason for _, _, reason in DIFFERENCES.values())
