"""An Ollama behind the gateway: its own bytes come through, at the size that is loaded."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx2
import ollama
import pytest
from servers.scripted import Asked, Scripted, Wire, scripted

from lmstrix.config import EmbeddedSettings, ServerSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conftest import Serve

    Answer = Callable[[Asked, Wire], Awaitable[None]]

SHOWN = {
    "capabilities": ["completion"],
    "details": {},
    "model_info": {"general.architecture": "x", "x.context_length": 8192},
    "template": "a template of its own",
}
SAID = [{"role": "user", "content": "Hello", "later": "unknown"}]


def behind(url: str) -> Settings:
    """Settings that have an Ollama at `url` and nothing else."""
    return Settings(
        servers={"box": ServerSettings(url=url, provider="ollama")},
        embedded=EmbeddedSettings(enabled=False),
        discover=False,
    )


class World:
    """An Ollama with one model. `answer` plays the answers."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.context: int | None = None

    async def respond(self, asked: Asked, wire: Wire) -> None:
        path = asked.path
        told: dict[str, Any] = {
            "/api/version": {"version": "0.12.6"},
            "/api/tags": {"models": [{"name": "m:1b", "model": "m:1b", "digest": "d"}]},
            "/api/show": SHOWN,
            "/api/ps": {"models": []},
        }
        if path == "/api/ps" and self.context:
            one = {"name": "m:1b", "model": "m:1b", "context_length": self.context}
            await wire.json({"models": [one]})
        elif path in told:
            await wire.json(told[path])
        elif path == "/api/generate" and "prompt" not in asked.json:
            unloads = asked.json.get("keep_alive") == 0
            self.context = None if unloads else asked.json.get("options", {}).get("num_ctx", 4096)
            await wire.json({"done": True})
        else:
            await self.answer(asked, wire)


def asked_of(server: Scripted) -> list[Asked]:
    """The questions that were passed on."""
    return [one for one in server.asked if one.method == "POST" and b"Hello" in one.body]


async def test_bytes_come_through_as_they_are(serve: Serve):
    lines = b'{"message":{"content":"H","new":[1]} ,"done":false}\n{"done" : true,"x":1.50}\n'

    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type="application/x-ndjson; odd=1")
        for at in range(0, len(lines), 7):
            await wire.raw(lines[at : at + 7])

    async with scripted(World(answer).respond) as server:
        gateway = await serve(behind(server.url), aliases={"mine": "m:1b"})
        body = {"model": "mine", "messages": SAID, "options": {"temperature": 0}, "odd": None}
        async with httpx2.AsyncClient(base_url=gateway.url) as http:
            response = await http.post("/api/chat", json=body)
            assert response.content == lines
            assert response.headers["content-type"] == "application/x-ndjson; odd=1"
        (asked,) = asked_of(server)
        assert asked.path == "/api/chat"
        sent = asked.json
        assert sent["model"] == "m:1b"
        assert sent["messages"] == SAID
        assert "odd" in sent
        assert sent["options"]["temperature"] == 0
        load = next(one.json for one in server.asked if one.path == "/api/generate")
        assert sent["options"]["num_ctx"] == load["options"]["num_ctx"]


async def test_the_size_that_the_client_wants_is_loaded_and_sent(serve: Serve):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.json({"response": "Hi", "done": True})

    async with scripted(World(answer).respond) as server:
        gateway = await serve(behind(server.url))
        body = {"model": "m:1b", "prompt": "Hello", "stream": False, "options": {"num_ctx": 512}}
        async with httpx2.AsyncClient(base_url=gateway.url) as http:
            assert (await http.post("/api/generate", json=body)).json()["response"] == "Hi"
            (one,) = (await http.get("/api/ps")).json()["models"]
            assert one["context_length"] == 512
        (asked,) = asked_of(server)
        assert asked.json["options"] == {"num_ctx": 512}


async def test_a_refusal_comes_through_with_its_status(serve: Serve):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.json({"error": "no, thank you"}, 418)

    async with scripted(World(answer).respond) as server:
        gateway = await serve(behind(server.url))
        async with ollama.AsyncClient(host=gateway.url) as client:
            with pytest.raises(ollama.ResponseError, match="no, thank you") as caught:
                await client.chat("m:1b", SAID)
            assert caught.value.status_code == 418


async def test_an_answer_that_breaks_off_is_told_in_a_last_line(serve: Serve):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n"
            b"content-length: 1000\r\n\r\n"
            b'{"message":{"role":"assistant","content":"H"},"done":false}\n'
        )
        wire.reset()

    async with scripted(World(answer).respond) as server:
        gateway = await serve(behind(server.url))
        async with ollama.AsyncClient(host=gateway.url) as client:
            stream = await client.chat("m:1b", SAID, stream=True)
            with pytest.raises(ollama.ResponseError, match="broke off"):
                async for _ in stream:
                    pass


async def test_a_client_that_goes_closes_the_connection_behind(serve: Serve):
    gone = asyncio.Event()

    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type="application/x-ndjson")
        await wire.raw(b'{"message":{"content":"H"},"done":false}\n')
        await wire.gone()
        gone.set()

    async with scripted(World(answer).respond) as server:
        gateway = await serve(behind(server.url))
        async with httpx2.AsyncClient(base_url=gateway.url) as http:
            body = {"model": "m:1b", "messages": SAID}
            async with http.stream("POST", "/api/chat", json=body) as response:
                assert json.loads(await anext(response.aiter_lines()))["done"] is False
            async with asyncio.timeout(10):
                await gone.wait()


async def test_a_model_is_shown_as_its_own_server_shows_it(serve: Serve):
    async def answer(asked: Asked, wire: Wire) -> None:
        raise AssertionError

    async with scripted(World(answer).respond) as server:
        gateway = await serve(behind(server.url))
        async with ollama.AsyncClient(host=gateway.url) as client:
            assert (await client.show("m:1b")).template == "a template of its own"


async def test_a_made_model_is_not_relayed_but_asked(serve: Serve):
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.json({"message": {"content": "Hi"}, "done": True})

    async with scripted(World(answer).respond) as server:
        gateway = await serve(behind(server.url))
        async with ollama.AsyncClient(host=gateway.url) as client:
            await client.create("poet", from_="m:1b", system="Be a poet.")
            assert (await client.chat("poet", SAID)).message.content == "Hi"
        (asked,) = asked_of(server)
        assert asked.json["messages"][0] == {"role": "system", "content": "Be a poet."}
        assert asked.json["model"] == "m:1b"


async def test_two_gateways_in_a_row_answer_as_one(serve: Serve):
    real = await serve(home="real")
    front = await serve(behind(real.url), home="front")
    async with ollama.AsyncClient(host=front.url) as client:
        assert "tiny-chat:latest" in {one.model for one in (await client.list()).models}
        said = [{"role": "user", "content": "What is the capital of Poland?"}]
        answer = await client.chat("tiny-chat", said, options={"temperature": 0, "num_ctx": 512})
        assert answer.message.content == "Warsaw."
        (one,) = (await client.ps()).models
        assert one.context_length == 512
        assert len((await client.embed("tiny-embed", ["a", "b"])).embeddings) == 2


async def test_thinking_and_pictures_go_both_ways_through_a_made_model(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    able = SHOWN | {"capabilities": ["completion", "vision", "thinking"]}
    monkeypatch.setitem(globals(), "SHOWN", able)

    async def answer(asked: Asked, wire: Wire) -> None:
        message = {"role": "assistant", "content": "A cat.", "thinking": "Whiskers."}
        await wire.json({"message": message, "done": True})

    async with scripted(World(answer).respond) as server:
        gateway = await serve(behind(server.url))
        async with ollama.AsyncClient(host=gateway.url) as client:
            await client.create("seer", from_="m:1b", system="Hello")
            said = [{"role": "user", "content": "What is it?", "images": [b"\x89PNG1234"]}]
            found = await client.chat("seer", said, think="high")
            assert (found.message.thinking, found.message.content) == ("Whiskers.", "A cat.")
            parts = [part async for part in await client.chat("seer", said, stream=True)]
            assert "".join(part.message.thinking or "" for part in parts) == "Whiskers."
            assert (await client.show("m:1b")).capabilities == able["capabilities"]
        first, second = asked_of(server)
        assert first.json["think"] == "high"
        assert "think" not in second.json
        assert first.json["messages"][1]["images"] == ["iVBORzEyMzQ="]
