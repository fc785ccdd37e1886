"""Anthropic's dialect, held honest by its own client and raw HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import anthropic
import httpx2
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conftest import Serve

    from lmstrix.gateway.gateway import Gateway
    from lmstrix.gateway.server import Serving

QUESTION = [{"role": "user", "content": "What is the capital of Poland?"}]
WEATHER = {
    "name": "get_weather",
    "description": "Get the weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}},
        "required": ["city"],
    },
}


@pytest.fixture
async def serving(serve: Serve) -> Serving:
    return await serve(aliases={"claude-*": "tiny-chat"})


@pytest.fixture
async def client(serving: Serving) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=serving.url, api_key="any", max_retries=0
    ) as client:
        yield client


async def test_a_message_is_answered_by_the_model_that_the_name_stands_for(
    client: anthropic.AsyncAnthropic,
):
    message = await client.messages.create(
        model="claude-some-model", max_tokens=20, messages=QUESTION, extra_body={"temperature": 0}
    )
    assert message.content[0].text.startswith("Warsaw")
    assert (message.model, message.role) == ("claude-some-model", "assistant")
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens == 16
    assert message.usage.output_tokens == 3
    assert message.id.startswith("msg_")
    assert message._request_id.startswith("req_")


async def test_the_stream_helper_gives_text_as_it_comes_and_the_same_message(
    client: anthropic.AsyncAnthropic,
):
    asked = {
        "model": "claude-x",
        "max_tokens": 20,
        "messages": QUESTION,
        "extra_body": {"temperature": 0},
    }
    async with client.messages.stream(**asked) as stream:
        pieces = [piece async for piece in stream.text_stream]
        final = await stream.get_final_message()
    whole = await client.messages.create(**asked)
    assert len(pieces) > 1
    assert "".join(pieces) == final.content[0].text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens


async def test_a_conversation_goes_on_and_has_a_system_prompt(client: anthropic.AsyncAnthropic):
    message = await client.messages.create(
        model="claude-x",
        max_tokens=20,
        system=[{"type": "text", "text": "Answer briefly."}],
        messages=[
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]},
            {"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]},
        ],
    )
    assert message.content
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens > 20


async def test_tokens_are_counted_as_they_are_charged(client: anthropic.AsyncAnthropic):
    counted = await client.messages.count_tokens(model="claude-x", messages=QUESTION)
    assert counted.input_tokens == 16
    more = await client.messages.count_tokens(model="claude-x", messages=QUESTION, tools=[WEATHER])
    assert more.input_tokens > counted.input_tokens + 20


async def test_a_tool_is_used_and_its_result_answered(client: anthropic.AsyncAnthropic):
    question = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked = {
        "model": "claude-x",
        "max_tokens": 80,
        "tools": [WEATHER],
        "tool_choice": {"type": "any"},
    }
    wish = await client.messages.create(messages=question, **asked)
    assert wish.stop_reason == "tool_use"
    (use,) = wish.content
    assert (use.type, use.name) == ("tool_use", "get_weather")
    assert use.input["city"] in ("Paris", "Oslo")
    async with client.messages.stream(messages=question, **asked) as stream:
        streamed = await stream.get_final_message()
    assert streamed.content[0].input["city"] in ("Paris", "Oslo")
    assert streamed.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "15 degrees"}
    answer = await client.messages.create(
        model="claude-x",
        max_tokens=10,
        tools=[WEATHER],
        tool_choice={"type": "none"},
        messages=[
            *question,
            {"role": "assistant", "content": wish.content},
            {"role": "user", "content": [result]},
        ],
    )
    assert answer.content[0].type == "text"


async def test_a_request_as_coding_agents_send_it_is_understood(client: anthropic.AsyncAnthropic):
    shell = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "command": {"type": "string", "minLength": 1},
            "url": {"type": "string", "format": "uri"},
            "note": {"anyOf": [{"type": "string", "pattern": "^a.*$"}, {"type": "null"}]},
            "steps": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "object", "properties": {"done": {"type": "boolean"}}},
            },
            "count": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991},
            "env": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["command"],
        "additionalProperties": False,
    }
    cached = {"cache_control": {"type": "ephemeral"}}
    use = {"type": "tool_use", "id": "t1", "name": "shell", "input": {"command": "ls"}}
    result = {"type": "tool_result", "tool_use_id": "t1", **cached}
    async with client.beta.messages.stream(
        model="claude-x",
        max_tokens=40,
        betas=["context-management-2025-06-27"],
        metadata={"user_id": "u"},
        thinking={"type": "enabled", "budget_tokens": 1024},
        system=[{"type": "text", "text": "You are an agent.", **cached}],
        tools=[{"name": "shell", "description": "Runs it.", "input_schema": shell}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "List files.", **cached}]},
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, use],
            },
            {
                "role": "user",
                "content": [
                    {**result, "content": [{"type": "text", "text": "a.txt"}]},
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
    ) as stream:
        message = await stream.get_final_message()
    assert message.stop_reason in ("tool_use", "end_turn", "max_tokens")
    assert message.usage.input_tokens > 100


async def test_an_answer_in_a_schema_is_in_it(client: anthropic.AsyncAnthropic):
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    message = await client.messages.create(
        model="claude-x",
        max_tokens=40,
        messages=[{"role": "user", "content": "Is Paris in France?"}],
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert set(json.loads(message.content[0].text)) == {"yes"}


async def test_a_stop_sequence_ends_the_answer_and_is_named(client: anthropic.AsyncAnthropic):
    message = await client.messages.create(
        model="claude-x",
        max_tokens=40,
        messages=[{"role": "user", "content": "Count to 10."}],
        stop_sequences=["zzz", "6"],
        extra_body={"temperature": 0},
    )
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "6")
    assert "5" in message.content[0].text


async def test_the_end_by_length_is_told(client: anthropic.AsyncAnthropic):
    message = await client.messages.create(
        model="claude-x", max_tokens=2, messages=[{"role": "user", "content": "Count to 10."}]
    )
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 2)


async def test_models_are_listed_for_those_who_ask_as_anthropics_clients_do(
    client: anthropic.AsyncAnthropic, serving: Serving
):
    listed = [model.id async for model in client.models.list()]
    assert listed == ["tiny-chat", "tiny-chat-overclaimed"]
    one = await client.models.retrieve("tiny-chat")
    assert one.max_input_tokens > 0


async def test_errors_are_those_of_the_api(
    client: anthropic.AsyncAnthropic, serving: Serving, serve: Serve
):
    with pytest.raises(anthropic.NotFoundError) as missing:
        await client.messages.create(model="no-such-model", max_tokens=5, messages=QUESTION)
    assert missing.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        await client.messages.create(model="claude-x", max_tokens=5, messages=[])
    for stream in (False, True):
        with pytest.raises(anthropic.BadRequestError, match=r"too long: \d+ tokens > \d+ maximum"):
            await client.messages.create(
                model="claude-x",
                max_tokens=5,
                messages=[{"role": "user", "content": "cat " * 30_000}],
                stream=stream,
            )
    async with anthropic.AsyncAnthropic(
        base_url=(await serve(tokens=("right",))).url, api_key="wrong", max_retries=0
    ) as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            await stranger.messages.create(model="tiny-chat", max_tokens=5, messages=QUESTION)


async def test_what_is_no_request_is_refused_in_its_shape(serving: Serving):
    async with httpx2.AsyncClient() as http:
        for body in (b"{", b"[]", b'{"model": 1}', b"\xff"):
            answer = await http.post(f"{serving.url}/v1/messages", content=body)
            assert answer.status_code == 400
            assert answer.json()["type"] == "error"
            assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_an_engine_that_dies_in_the_middle_ends_the_stream_with_an_error(
    slow_gateway: Serving,
):
    serving, doors = slow_gateway, slow_gateway.gateway
    async with (
        anthropic.AsyncAnthropic(base_url=serving.url, api_key="any", max_retries=0) as client,
        client.messages.stream(model="slow", max_tokens=500, messages=QUESTION) as stream,
    ):
        async for event in stream:
            if event.type == "content_block_delta":
                break
        await kill(doors)
        with pytest.raises(anthropic.APIError, match="died"):
            await stream.until_done()


async def kill(doors: Gateway) -> None:
    (instance,) = await doors.instances()
    entry = doors.keeping.owner(instance.id)
    doors._open.provider_of(entry.model)._owned[instance.id]._engine.kill()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_who_goes_away_frees_the_model_within_a_second(
    slow_gateway: Serving, *, stream: bool
):
    serving, doors = slow_gateway, slow_gateway.gateway
    body = {"model": "slow", "max_tokens": 2000, "messages": QUESTION, "stream": stream}
    async with doors.hold("slow") as held:
        engine = held.provider._owned[held.instance.id]
    async with httpx2.AsyncClient() as http:
        asking = asyncio.create_task(http.post(f"{serving.url}/v1/messages", json=body))
        async with asyncio.timeout(20):
            while not await engine._busy_slots():  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait([asking])
    async with asyncio.timeout(1):
        while engine._active:  # noqa: ASYNC110  # it only counts
            await asyncio.sleep(0.01)
    if engine._tidying is not None:
        await engine._tidying
    await engine.ready()
    assert not await engine._busy_slots()
