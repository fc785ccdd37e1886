"""Ollama's own Python client against the gateway, in the ways its documentation shows."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import ollama
import pytest
from pydantic import BaseModel

if TYPE_CHECKING:
    from conftest import Serve

    from lmstrix.gateway.server import Serving

GREEDY = {"temperature": 0, "seed": 1}
POLAND = [{"role": "user", "content": "What is the capital of Poland?"}]


class Friend(BaseModel):
    name: str
    age: int


class Friends(BaseModel):
    friends: list[Friend]


def get_weather(city: str) -> str:
    """Get the weather in a city.

    Args:
      city: The city

    Returns:
      str: The weather
    """
    return f"It rains in {city}."


async def test_a_program_without_an_event_loop_lists_asks_and_streams(gateway: Serving):
    await asyncio.to_thread(_use_without_event_loop, gateway.url)


def _use_without_event_loop(url: str) -> None:
    with ollama.Client(host=url) as client:
        assert {one.model for one in client.list().models} >= {"tiny-chat:latest"}
        assert client.chat("gemma3", messages=POLAND, options=GREEDY).message.content == "Warsaw."
        parts = list(client.chat("gemma3", messages=POLAND, options=GREEDY, stream=True))
        assert "".join(part.message.content or "" for part in parts) == "Warsaw."
        assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
        answer = client.generate("gemma3", POLAND[0]["content"], options=GREEDY)
        assert answer.response == "Warsaw."
        assert len(client.embed("all-minilm", "The sky is blue.").embeddings) == 1
        assert client.show("gemma3").modelinfo["general.architecture"] == "llama"
        with pytest.raises(ollama.ResponseError) as caught:
            client.chat("does-not-yet-exist")
        assert caught.value.status_code == 404


async def test_an_answer_has_its_text_and_its_numbers(client: ollama.AsyncClient):
    answer = await client.chat("gemma3", messages=POLAND, options=GREEDY)
    assert answer["message"]["content"] == "Warsaw."
    assert answer.message.role == "assistant"
    assert answer.done
    assert answer.done_reason == "stop"
    assert answer.prompt_eval_count == 16
    assert answer.eval_count == 3
    assert answer.total_duration >= answer.load_duration > 0
    assert answer.eval_duration > 0


async def test_a_stream_joined_is_the_answer(client: ollama.AsyncClient):
    parts = [
        part async for part in await client.chat("gemma3", POLAND, options=GREEDY, stream=True)
    ]
    assert len(parts) > 2
    assert "".join(part.message.content for part in parts) == "Warsaw."


async def test_a_system_message_and_the_conversation_so_far_count(client: ollama.AsyncClient):
    said = [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "Paris."},
        *POLAND,
    ]
    answer = await client.chat("gemma3", messages=said, options=GREEDY)
    alone = await client.chat("gemma3", messages=POLAND, options=GREEDY)
    assert answer.prompt_eval_count > alone.prompt_eval_count


async def test_a_model_calls_a_tool_and_uses_what_it_gave(client: ollama.AsyncClient):
    said: list[object] = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = await client.chat("gemma3", messages=said, tools=[get_weather], options=GREEDY)
    (call,) = answer.message.tool_calls or ()
    assert call.function.name == "get_weather"
    assert call.function.arguments == {"city": "Paris"}
    said += [
        answer.message,
        {"role": "tool", "content": get_weather("Paris"), "tool_name": "get_weather"},
    ]
    last = await client.chat("gemma3", messages=said, tools=[get_weather], options=GREEDY)
    assert last.prompt_eval_count > answer.prompt_eval_count


async def test_a_streamed_tool_call_comes_whole(client: ollama.AsyncClient):
    said = [{"role": "user", "content": "What is the weather in Paris?"}]
    stream = await client.chat("gemma3", said, tools=[get_weather], options=GREEDY, stream=True)
    calls = [call async for part in stream for call in part.message.tool_calls or ()]
    assert [call.function.arguments for call in calls] == [{"city": "Paris"}]


async def test_an_answer_obeys_a_schema(client: ollama.AsyncClient):
    said = [{"role": "user", "content": "I have a friend. Return JSON."}]
    answer = await client.chat(
        "gemma3", messages=said, format=Friends.model_json_schema(), options=GREEDY
    )
    assert Friends.model_validate_json(answer.message.content).friends
    answer = await client.generate("gemma3", "I have a friend.", format="json", options=GREEDY)
    assert isinstance(json.loads(answer.response), dict)


async def test_log_probabilities_are_told(client: ollama.AsyncClient):
    answer = await client.chat("gemma3", POLAND, logprobs=True, top_logprobs=2, options=GREEDY)
    assert "".join(one.token for one in answer.logprobs) == answer.message.content
    assert all(len(one.top_logprobs) == 2 for one in answer.logprobs)
    assert all(one.logprob <= 0 for one in answer.logprobs)
    stream = await client.generate("gemma3", "x", logprobs=True, options=GREEDY, stream=True)
    assert any([part.logprobs async for part in stream])


async def test_a_raw_prompt_goes_without_the_template(client: ollama.AsyncClient):
    few = {**GREEDY, "num_predict": 4}
    raw = await client.generate("gemma3", "Hello", raw=True, options=few)
    templated = await client.generate("gemma3", "Hello", options=few)
    assert raw.prompt_eval_count < templated.prompt_eval_count
    assert raw.done_reason == "length"
    assert raw.eval_count == 4


async def test_num_ctx_is_the_size_that_is_loaded(client: ollama.AsyncClient):
    await client.chat("gemma3", POLAND, options={**GREEDY, "num_ctx": 1024})
    (one,) = (await client.ps()).models
    assert one.context_length == 1024
    await client.chat("gemma3", POLAND, options={**GREEDY, "num_ctx": 512})
    (one,) = (await client.ps()).models
    assert one.context_length == 512


async def test_a_prompt_that_does_not_fit_is_refused_and_not_cut(client: ollama.AsyncClient):
    long = [{"role": "user", "content": "word " * 2000}]
    with pytest.raises(ollama.ResponseError, match=r"exceeds the context length.*512") as caught:
        await client.chat("gemma3", long, options={"num_ctx": 512})
    assert caught.value.status_code == 400


async def test_a_model_is_loaded_and_unloaded_without_a_question(client: ollama.AsyncClient):
    assert (await client.generate("gemma3")).done_reason == "load"
    (one,) = (await client.ps()).models
    assert one.model == "tiny-chat:latest"
    assert (await client.chat("gemma3", [], keep_alive=0)).done_reason == "unload"
    assert list((await client.ps()).models) == []
    assert (await client.generate("gemma3", keep_alive=0)).done_reason == "unload"


async def test_a_gateway_that_loads_nothing_on_demand_loads_what_it_is_told_to(serve: Serve):
    gateway = await serve(jit=False)
    async with ollama.AsyncClient(host=gateway.url) as client:
        with pytest.raises(ollama.ResponseError):
            await client.chat("gemma3", POLAND)
        await client.generate("gemma3", options={"num_ctx": 512})
        assert (await client.chat("gemma3", POLAND, options=GREEDY)).message.content == "Warsaw."


async def test_keep_alive_says_how_long_a_model_stays(client: ollama.AsyncClient):
    await client.chat("gemma3", POLAND, options=GREEDY, keep_alive="10m")
    (one,) = (await client.ps()).models
    assert 590 < one.expires_at.timestamp() - time.time() <= 600
    await client.chat("gemma3", POLAND, options=GREEDY, keep_alive=-1)
    (one,) = (await client.ps()).models
    assert one.expires_at.year > 2200
    await client.chat("gemma3", POLAND, options=GREEDY, keep_alive=0)
    async with asyncio.timeout(20):
        while (await client.ps()).models:
            pass


async def test_vectors_are_of_length_one_and_can_be_shortened(client: ollama.AsyncClient):
    texts = ["The sky is blue because of rayleigh scattering", "Grass is green"]
    found = await client.embed("all-minilm", texts)
    assert len(found.embeddings) == 2
    for vector in found.embeddings:
        assert sum(one * one for one in vector) == pytest.approx(1, abs=1e-3)
    short = await client.embed("all-minilm", texts[0], dimensions=8)
    assert len(short.embeddings[0]) == 8
    assert sum(one * one for one in short.embeddings[0]) == pytest.approx(1, abs=1e-3)
    older = await client.embeddings("all-minilm", prompt=texts[0])
    assert list(older.embedding) == pytest.approx(list(found.embeddings[0]))


async def test_a_text_that_is_too_long_is_cut_only_where_that_is_asked(client: ollama.AsyncClient):
    long = "word " * 5000
    with pytest.raises(ollama.ResponseError) as caught:
        await client.embed("all-minilm", long)
    assert caught.value.status_code == 400
    found = await client.embed("all-minilm", [long, "short"], truncate=True)
    assert len(found.embeddings) == 2


async def test_a_model_without_embeddings_says_so(client: ollama.AsyncClient):
    with pytest.raises(ollama.ResponseError, match="embedding") as caught:
        await client.embed("gemma3", "x")
    assert caught.value.status_code == 400


async def test_a_model_that_cannot_think_says_so(client: ollama.AsyncClient):
    with pytest.raises(ollama.ResponseError, match="does not support thinking") as caught:
        await client.chat("gemma3", POLAND, think=True)
    assert caught.value.status_code == 400
    assert (await client.chat("gemma3", POLAND, think=False, options=GREEDY)).message.content


async def test_a_model_is_shown_with_what_its_file_says(client: ollama.AsyncClient):
    shown = await client.show("tiny-chat")
    assert shown.modelinfo["llama.context_length"] >= 4096
    assert shown.capabilities == ["completion", "tools"]
    assert shown.details.format == "gguf"
    assert shown.details.quantization_level == "Q8_0"
    assert "<|im_start|>" in shown.template
    assert shown.modelfile.startswith("FROM ")
    assert (await client.show("tiny-embed")).capabilities == ["embedding"]


async def test_a_made_model_has_its_own_system_message_and_options(client: ollama.AsyncClient):
    steps = await client.create(
        "mario", from_="gemma3", system="You are Mario.", parameters={"num_predict": 2}, stream=True
    )
    assert [step.status async for step in steps][-1] == "success"
    answer = await client.chat("mario", POLAND, options={"temperature": 0})
    plain = await client.chat("gemma3", POLAND, options={"temperature": 0})
    assert answer.prompt_eval_count > plain.prompt_eval_count
    assert answer.eval_count == 2
    shown = await client.show("mario")
    assert "num_predict" in shown.parameters
    assert shown.details.parent_model == "tiny-chat:latest"
    assert "You are Mario." in shown.modelfile
    child = await client.create("luigi", from_="mario", system="You are Luigi.")
    assert child.status == "success"
    assert "Luigi" in (await client.show("luigi")).modelfile
    assert "num_predict" in (await client.show("luigi")).parameters


async def test_a_copy_is_there_until_it_is_deleted(client: ollama.AsyncClient):
    assert (await client.copy("gemma3", "user/gemma3")).status == "success"
    names = {one.model for one in (await client.list()).models}
    assert "user/gemma3:latest" in names
    assert (await client.chat("user/gemma3", POLAND, options=GREEDY)).message.content == "Warsaw."
    assert (await client.delete("user/gemma3")).status == "success"
    with pytest.raises(ollama.ResponseError) as caught:
        await client.show("user/gemma3")
    assert caught.value.status_code == 404


async def test_made_models_outlive_the_gateway(serve: Serve, client: ollama.AsyncClient):
    await client.copy("gemma3", "kept")
    again = await serve()
    async with ollama.AsyncClient(host=again.url) as other:
        assert "kept:latest" in {one.model for one in (await other.list()).models}


@pytest.mark.parametrize(
    "wish",
    [
        {"from_": "gemma3", "quantize": "q4_K_M"},
        {"from_": "gemma3", "template": "{{ .Prompt }}"},
        {"files": {"a.gguf": "sha256:00"}},
        {"from_": "gemma3", "parameters": {"num_ctx": "many"}},
        {},
    ],
)
async def test_what_cannot_be_made_is_refused(client: ollama.AsyncClient, wish: dict[str, object]):
    with pytest.raises(ollama.ResponseError) as caught:
        await client.create("x", **wish)
    assert caught.value.status_code == 400
    assert "x:latest" not in {one.model for one in (await client.list()).models}


async def test_no_file_is_deleted_that_was_not_pulled_here(
    client: ollama.AsyncClient, gateway: Serving
):
    with pytest.raises(ollama.ResponseError, match="not pulled here") as caught:
        await client.delete("tiny-chat")
    assert caught.value.status_code == 400
    assert (await gateway.gateway.find("tiny-chat")).model.path


async def test_what_is_missing_is_told_as_ollama_tells_it(client: ollama.AsyncClient):
    for call in (
        client.chat("nope", POLAND),
        client.generate("nope", "x"),
        client.show("nope"),
        client.copy("nope", "x"),
        client.delete("nope"),
        client.create("x", from_="nope"),
        client.embed("nope", "x"),
    ):
        with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as caught:
            await call
        assert caught.value.status_code == 404
