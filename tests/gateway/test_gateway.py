"""The doors that every dialect uses, on the embedded engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

from lmstrix.types import Fragment, Message, Request, Role, Sampling, Stats

if TYPE_CHECKING:
    from lmstrix.gateway.server import Serving

GREEDY = Sampling(temperature=0, seed=1, max_tokens=16)
CAPITAL = Request(messages=(Message(Role.USER, "What is the capital of Poland?"),), sampling=GREEDY)


async def test_a_model_is_loaded_when_it_is_asked(gateway: Serving):
    doors = gateway.gateway
    assert await doors.instances() == []
    async with doors.answer("tiny-chat", CAPITAL) as answering:
        items = [item async for item in answering]
    assert "Warsaw" in "".join(item.text for item in items if isinstance(item, Fragment))
    assert isinstance(items[-1], Stats)
    assert answering.held.entry.model.key == "tiny-chat"
    assert [one.model_key for one in await doors.instances()] == ["tiny-chat"]


async def test_every_response_says_who_answers(gateway: Serving):
    async with httpx2.AsyncClient() as http:
        for path in ("/health", "/nothing-here"):
            assert "x-lmstrix-gateway" in (await http.get(gateway.url + path)).headers


async def test_vectors_are_made_by_an_embedding_model_alone(gateway: Serving):
    instance, vectors = await gateway.gateway.embed("tiny-embed", ["a", "b"])
    assert instance.model_key == "tiny-embed"
    assert len(vectors) == 2


async def test_tokens_are_counted_by_the_models_own_tokenizer(gateway: Serving):
    assert 5 < await gateway.gateway.count_tokens("tiny-chat", CAPITAL) < 60
