"""LM Studio's official Python SDK against the gateway, as its documentation uses it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import lmstudio as lms
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lmstrix.gateway.server import Serving

GREEDY = {"temperature": 0}
POLAND = "What is the capital of Poland?"


class Pet(lms.BaseModel):
    """An answer of this shape."""

    name: str
    legs: int


@pytest.fixture
async def client(gateway: Serving) -> AsyncIterator[lms.AsyncClient]:
    async with lms.AsyncClient(gateway.url.removeprefix("http://")) as client:
        yield client


@pytest.fixture
async def model(client: lms.AsyncClient) -> lms.AsyncLLM:
    return await client.llm.load_new_instance("tiny-chat", ttl=60)


async def test_models_are_listed_loaded_and_unloaded(client: lms.AsyncClient):
    downloaded = await client.list_downloaded_models()
    assert {one.model_key for one in downloaded} >= {"tiny-chat", "tiny-embed"}
    progress: list[float] = []
    model = await client.llm.load_new_instance(
        "tiny-chat", config={"contextLength": 1024}, on_load_progress=progress.append
    )
    assert progress[-1] == 1.0
    assert await model.get_context_length() == 1024
    assert (await model.get_load_config()).context_length == 1024
    assert [one.identifier for one in await client.llm.list_loaded()] == ["tiny-chat"]
    second = await client.llm.load_new_instance("tiny-chat")
    assert second.identifier == "tiny-chat:2"
    await second.unload()
    await model.unload()
    assert await client.llm.list_loaded() == []
    with pytest.raises(lms.LMStudioModelNotFoundError):
        await model.respond("Hi")


async def test_a_chat_is_streamed_and_goes_on(model: lms.AsyncLLM):
    chat = lms.Chat()
    chat.add_user_message(POLAND)
    stream = await model.respond_stream(chat, config=GREEDY, on_message=chat.append)
    assert "".join([piece.content async for piece in stream]) == "Warsaw."
    assert stream.result().stats.stop_reason == "eosFound"
    chat.add_user_message("And what is the capital of France?")
    assert "Paris" in (await model.respond(chat, config=GREEDY)).content
    assert (await model.complete("Once upon", config={"maxTokens": 3})).content


async def test_an_answer_has_the_shape_it_is_asked_for(model: lms.AsyncLLM):
    answer = await model.respond("Describe a dog.", response_format=Pet, config=GREEDY)
    assert set(answer.parsed) == {"name", "legs"}


async def test_a_tool_is_called_and_its_result_used(model: lms.AsyncLLM):
    called: list[tuple[int, int]] = []

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        called.append((a, b))
        return 42  # whatever numbers the model wrote

    said: list[object] = []
    result = await model.act(
        "What is 12 plus 30? Use the tool.", [add], config=GREEDY, on_message=said.append
    )
    assert len(called) == 1
    assert all(isinstance(number, int) for number in called[0])
    assert result.rounds == 2
    assert "42" in str(said[-1])


async def test_tokens_templates_and_vectors(client: lms.AsyncClient, model: lms.AsyncLLM):
    assert await model.count_tokens("Hello") == len(await model.tokenize("Hello"))
    assert "Hi there" in await model.apply_prompt_template("Hi there")
    embedding = await client.embedding.model("tiny-embed")
    one, two = await embedding.embed(["a", "b"])
    assert len(one) == len(two) == 96


async def test_a_cancelled_answer_was_stopped_by_the_user(model: lms.AsyncLLM):
    endless = {"type": "gbnf", "gbnfGrammar": 'root ::= "a" root'}
    stream = await model.respond_stream("Go on.", config={"structured": endless})
    async for _ in stream:
        await stream.cancel()
    assert stream.stats is not None
    assert stream.stats.stop_reason == "userStopped"


async def test_the_synchronous_client_does_the_same(gateway: Serving):
    def session() -> tuple[str, list[str]]:
        with lms.Client(gateway.url.removeprefix("http://")) as client:
            model = client.llm.model("tiny-chat", ttl=60)
            answer = "".join(piece.content for piece in model.respond_stream(POLAND, config=GREEDY))
            return answer, [one.identifier for one in client.llm.list_loaded()]

    assert await asyncio.to_thread(session) == ("Warsaw.", ["tiny-chat"])
