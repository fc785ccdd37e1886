"""Answers passed on byte for byte, and what happens when either end goes away."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import httpx2
import pytest
from gateway.upstream import Upstream

from lmstrix.config import ServerSettings, Settings, Timeouts
from lmstrix.errors import UsageError
from lmstrix.gateway.relay import with_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conftest import Serve

    from lmstrix.gateway.server import Serving

CHAT = "/v1/chat/completions"
ASKED = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
# Bytes that no parser would write in the same way again.
ODD = b'data: {"choices" : [{"delta":{"content":"\\u00e9 \xc3\xa9"}, "brand_new":1.0e0}]}\n\n'


@pytest.fixture
async def before(serve: Serve) -> AsyncIterator[object]:
    """`await before(script, …)`: a gateway before a server that follows `script`, and it."""
    async with AsyncExitStack() as running:

        async def start(script: object, **timeouts: float) -> tuple[Serving, Upstream]:
            server = await running.enter_async_context(Upstream(script))
            settings = Settings(
                discover=False,
                servers={"s": ServerSettings(url=server.url, provider="openai")},
                timeouts=Timeouts(**timeouts),
            )
            return await serve(settings=settings), server

        yield start


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient() as client:
        yield client


async def test_bytes_pass_unparsed_both_ways(before: object, http: httpx2.AsyncClient):
    async def script(call: object) -> None:
        await call.head()
        await call.chunk(ODD[:50])
        await call.chunk(ODD[50:] + b": comment\n\n")
        await call.chunk(b"data: [DONE]\n\n")
        await call.end()

    serving, server = await before(script)
    body = json.dumps(ASKED | {"vendor_field": 1.50}, indent=3).encode()
    answer = await http.post(serving.url + CHAT, content=body)
    assert answer.content == ODD + b": comment\n\ndata: [DONE]\n\n"
    assert answer.headers["content-type"] == "text/event-stream"
    assert server.calls[0].body == body


async def test_a_piece_is_passed_on_when_it_comes(before: object, http: httpx2.AsyncClient):
    seen = asyncio.Event()

    async def script(call: object) -> None:
        await call.head()
        await call.chunk(b"data: 1\n\n")
        await seen.wait()
        await call.chunk(b"data: 2\n\n")
        await call.end()

    serving, _ = await before(script)
    async with http.stream("POST", serving.url + CHAT, json=ASKED) as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"data: 1\n\n"
        seen.set()
        assert await anext(pieces) == b"data: 2\n\n"


async def test_a_refusal_keeps_its_status_and_words(before: object, http: httpx2.AsyncClient):
    refusal = b'{"error": {"message": "too many", "code": 429}}'

    async def script(call: object) -> None:
        await call.whole(refusal, 429)

    serving, _ = await before(script)
    answer = await http.post(serving.url + CHAT, json=ASKED)
    assert (answer.status_code, answer.content) == (429, refusal)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_who_goes_away_closes_the_connection_behind(
    before: object, http: httpx2.AsyncClient, *, stream: bool
):
    reached = asyncio.Event()

    async def script(call: object) -> None:
        if stream:
            await call.head()
            await call.chunk(b"data: 1\n\n")
        reached.set()
        await call.gone.wait()

    serving, server = await before(script)
    asking = asyncio.create_task(http.post(serving.url + CHAT, json=ASKED | {"stream": stream}))
    await reached.wait()
    asking.cancel()
    await asyncio.wait([asking])
    async with asyncio.timeout(1):
        await server.calls[0].gone.wait()


async def test_a_connection_behind_that_breaks_off_is_an_error_in_the_stream(
    before: object, http: httpx2.AsyncClient
):
    async def script(call: object) -> None:
        await call.head()
        await call.chunk(ODD)

    serving, _ = await before(script)
    answer = await http.post(serving.url + CHAT, json=ASKED)
    assert answer.content.startswith(ODD)
    error = json.loads(answer.content[len(ODD) :].removeprefix(b"data: "))
    assert error["error"]["message"]


async def test_a_whole_answer_that_breaks_off_does_not_look_whole(
    before: object, http: httpx2.AsyncClient
):
    async def script(call: object) -> None:
        await call.head(kind="application/json")
        await call.chunk(b'{"choices": [')

    serving, _ = await before(script)
    with pytest.raises(httpx2.RemoteProtocolError):
        await http.post(serving.url + CHAT, json=ASKED | {"stream": False})


async def test_a_stream_in_which_nothing_comes_is_ended(before: object, http: httpx2.AsyncClient):
    async def script(call: object) -> None:
        await call.head()
        await call.chunk(ODD)
        await call.gone.wait()

    serving, server = await before(script, tokens_s=0.2)
    answer = await http.post(serving.url + CHAT, json=ASKED)
    assert b"stalled" in answer.content
    await server.calls[0].gone.wait()


async def test_a_server_that_says_nothing_at_all_is_given_up(
    before: object, http: httpx2.AsyncClient
):
    async def script(call: object) -> None:
        await call.gone.wait()

    serving, _ = await before(script, prompt_s=0.1, first_token_s=0.1)
    answer = await http.post(serving.url + CHAT, json=ASKED)
    assert answer.status_code == 504
    assert "stalled" in answer.json()["error"]["message"]


async def test_a_server_that_is_gone_is_told_as_such(before: object, http: httpx2.AsyncClient):
    async def script(call: object) -> None:
        await call.whole(b"{}")

    serving, server = await before(script)
    assert (await http.post(serving.url + CHAT, json=ASKED)).status_code == 200
    server._server.close()
    answer = await http.post(serving.url + CHAT, json=ASKED)
    assert answer.status_code == 502


async def test_how_far_a_request_has_come_is_passed_on(before: object, http: httpx2.AsyncClient):
    async def script(call: object) -> None:
        await call.whole(b"{}")

    serving, server = await before(script)
    await http.post(serving.url + CHAT, json=ASKED, headers={"x-lmstrix-hops": "1"})
    assert server.calls[0].fields["x-lmstrix-hops"] == "2"


def test_only_the_models_name_is_replaced():
    body = b'{ "model": "theirs", "n" : 1.0, "x": [1,  2], "s": "\\u00e9" }'
    assert with_model(body, "ours") == b'{"model":"ours","n":1.0,"x":[1,  2],"s":"\\u00e9"}'
    with pytest.raises(UsageError):
        with_model(b"[1]", "ours")


async def test_the_engine_is_let_go_of_when_a_caller_goes_away(
    slow_gateway: Serving, http: httpx2.AsyncClient
):
    doors = slow_gateway.gateway
    async with doors.hold("slow") as held:
        engine = held.provider._owned[held.instance.id]
    asked = ASKED | {"model": "slow", "max_tokens": 900, "ignore_eos": True}
    async with http.stream("POST", slow_gateway.url + CHAT, json=asked) as answer:
        assert await anext(answer.aiter_raw())
        assert engine._active == 1
    async with asyncio.timeout(1):
        while engine._active:  # noqa: ASYNC110  # it only counts
            await asyncio.sleep(0.01)


async def test_the_length_of_a_whole_answer_is_passed_on(before: object, http: httpx2.AsyncClient):
    async def script(call: object) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")

    serving, _ = await before(script)
    answer = await http.post(serving.url + CHAT, json=ASKED | {"stream": False})
    assert (answer.headers["content-length"], answer.content) == ("2", b"{}")


async def test_a_gateway_that_is_its_own_server_ends_the_circle(
    before: object, http: httpx2.AsyncClient
):
    home: list[str] = []

    async def script(call: object) -> None:
        hops = {"x-lmstrix-hops": call.fields["x-lmstrix-hops"]}
        answer = await http.post(home[0] + CHAT, content=call.body, headers=hops)
        await call.whole(answer.content, answer.status_code)

    serving, server = await before(script)
    home.append(serving.url)
    answer = await http.post(serving.url + CHAT, json=ASKED | {"stream": False})
    assert answer.status_code == 508
    assert "4 gateways" in answer.json()["error"]["message"]
    assert len(server.calls) == 4
