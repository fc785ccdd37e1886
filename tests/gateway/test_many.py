"""Many requests, at once and one after another, leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import httpx2
from gateway.upstream import Upstream

from lmstrix.config import ServerSettings, Settings

if TYPE_CHECKING:
    from conftest import Serve
    from gateway.upstream import Call

    from lmstrix.gateway.server import Serving

CHAT = "/v1/chat/completions"
QUESTION = [{"role": "user", "content": "Hi"}]
CLIENTS = 64


async def test_64_clients_at_once_are_all_answered(gateway: Serving):
    asked = {"model": "tiny-chat", "max_tokens": 3, "messages": QUESTION}
    limits = httpx2.Limits(max_connections=CLIENTS)
    async with httpx2.AsyncClient(limits=limits, timeout=120) as http:

        async def ask(number: int) -> int:
            path = CHAT if number % 2 else "/v1/messages"
            body = asked | {"stream": number % 4 < 2}
            return (await http.post(gateway.url + path, json=body)).status_code

        assert await asyncio.gather(*map(ask, range(CLIENTS))) == [200] * CLIENTS
    assert len(await gateway.gateway.instances()) == 1


async def test_nothing_grows_with_the_number_of_requests(serve: Serve):
    async def script(call: Call) -> None:
        await call.head()
        for _ in range(5):
            await call.chunk(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n')
        await call.chunk(b"data: [DONE]\n\n")
        await call.end()

    async with Upstream(script) as server, httpx2.AsyncClient() as http:
        servers = {"s": ServerSettings(url=server.url, provider="openai")}
        serving = await serve(settings=Settings(discover=False, servers=servers))
        asked = {"model": "scripted", "stream": True, "messages": QUESTION}

        async def objects_after(requests: int) -> int:
            for number in range(requests):
                if number % 10 == 0:  # and some whose caller goes away
                    async with http.stream("POST", serving.url + CHAT, json=asked):
                        pass
                else:
                    await http.post(serving.url + CHAT, json=asked)
            server.calls.clear()
            gc.collect()
            return len(gc.get_objects())

        before = await objects_after(100)
        assert await objects_after(400) - before < 200
