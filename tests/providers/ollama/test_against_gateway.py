"""The provider against our own gateway's Ollama side, with real models behind it."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from lmstrix import AsyncLMStrix
from lmstrix.config import ServerSettings, Settings, Timeouts
from lmstrix.context.options import TestOptions
from lmstrix.errors import ContextOverflowError, ModelNotFoundError, UnsupportedError
from lmstrix.protocol.ollama.models import Create
from lmstrix.providers.ollama import OllamaProvider
from lmstrix.session import Session
from lmstrix.types import (
    Fragment,
    FragmentKind,
    LoadConfig,
    Message,
    Model,
    ModelType,
    Request,
    Role,
    Sampling,
    Stats,
    StopReason,
    Tool,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.config import Places
    from lmstrix.gateway.server import Serving
    from lmstrix.types import Instance, StreamItem

GREEDY = Sampling(temperature=0, seed=1)
POLAND = Request(messages=(Message(Role.USER, "What is the capital of Poland?"),), sampling=GREEDY)
WEATHER = Tool(
    name="get_weather",
    description="The weather in a city",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
)


async def named(provider: OllamaProvider, key: str) -> Model:
    models = (await provider.list_models()).models
    return next(model for model in models if model.key == key)


async def loaded(provider: OllamaProvider, tokens: int = 2048) -> Instance:
    model = await named(provider, "tiny-chat:latest")
    return await provider.load(model, LoadConfig(context_tokens=tokens))


async def collect(
    provider: OllamaProvider, instance: Instance, request: Request
) -> list[StreamItem]:
    return [item async for item in provider.stream(instance, request)]


def text_of(items: Sequence[StreamItem], kind: FragmentKind = FragmentKind.ANSWER) -> str:
    return "".join(i.text for i in items if isinstance(i, Fragment) and i.kind is kind)


async def test_models_are_listed_with_what_is_known_of_them(provider: OllamaProvider):
    chat = await named(provider, "tiny-chat:latest")
    assert chat.type is ModelType.LLM
    assert chat.tools
    assert not chat.vision
    assert chat.architecture == "llama"
    assert chat.quantization == "Q8_0"
    assert chat.declared_context_tokens
    assert chat.parameters
    assert chat.size_bytes
    assert chat.identity
    assert (await named(provider, "tiny-embed:latest")).type is ModelType.EMBEDDING


async def test_the_size_that_was_asked_for_is_loaded_and_read_back(provider: OllamaProvider):
    instance = await loaded(provider, 1024)
    assert instance.context_tokens == 1024
    again = await loaded(provider, 512)
    assert again.context_tokens == 512
    assert [one.context_tokens for one in await provider.list_instances()] == [512]


async def test_an_answer_has_the_models_own_words_and_counts(provider: OllamaProvider):
    instance = await loaded(provider)
    items = await collect(provider, instance, POLAND)
    assert text_of(items) == "Warsaw."
    assert await provider.chat(instance, POLAND) == "Warsaw."
    stats = items[-1]
    assert isinstance(stats, Stats)
    assert stats.stop_reason is StopReason.END
    assert (stats.prompt_tokens, stats.predicted_tokens) == (16, 3)
    assert stats.predict_s
    assert stats.prompt_s


async def test_an_answer_does_not_reload_the_model(provider: OllamaProvider, gateway: Serving):
    instance = await loaded(provider, 1024)
    (before,) = await gateway.gateway.instances()
    await collect(provider, instance, POLAND)
    (after,) = await gateway.gateway.instances()
    assert (after.pid, after.context_tokens) == (before.pid, 1024)


async def test_a_raw_prompt_and_a_chat_differ_by_the_template(provider: OllamaProvider):
    instance = await loaded(provider)
    raw = await collect(provider, instance, Request(prompt="Hello", sampling=GREEDY))
    chat = await collect(
        provider, instance, Request(messages=(Message(Role.USER, "Hello"),), sampling=GREEDY)
    )
    assert isinstance(raw[-1], Stats)
    assert isinstance(chat[-1], Stats)
    assert raw[-1].prompt_tokens < chat[-1].prompt_tokens
    rendered = await provider.render(instance, POLAND)
    assert "<|im_start|>user\nWhat is the capital of Poland?<|im_end|>" in rendered


async def test_the_length_and_the_full_context_are_told_apart(provider: OllamaProvider):
    instance = await loaded(provider, 512)
    few = Request(prompt="Once", sampling=Sampling(temperature=0, max_tokens=4))
    last = (await collect(provider, instance, few))[-1]
    assert isinstance(last, Stats)
    assert last.stop_reason is StopReason.LENGTH
    assert last.predicted_tokens == 4


async def test_a_prompt_that_does_not_fit_is_refused_with_its_size(provider: OllamaProvider):
    instance = await loaded(provider, 512)
    long = Request(messages=(Message(Role.USER, "word " * 2000),))
    with pytest.raises(ContextOverflowError) as caught:
        await collect(provider, instance, long)
    assert caught.value.context_tokens == 512


async def test_tools_schemas_and_log_probabilities_go_through(provider: OllamaProvider):
    instance = await loaded(provider)
    asked = Request(
        messages=(Message(Role.USER, "What is the weather in Paris?"),),
        tools=(WEATHER,),
        sampling=GREEDY,
    )
    items = await collect(provider, instance, asked)
    (call,) = [i for i in items if isinstance(i, Fragment) and i.kind is FragmentKind.TOOL_CALL]
    assert call.call is not None
    assert call.call.name == "get_weather"
    assert json.loads(call.text) == {"city": "Paris"}
    assert isinstance(items[-1], Stats)
    assert items[-1].stop_reason is StopReason.TOOL_CALLS
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    held = Request(messages=POLAND.messages, schema=schema, sampling=GREEDY)
    assert '"a"' in text_of(await collect(provider, instance, held))
    told = Request(messages=POLAND.messages, logprobs=2, sampling=GREEDY)
    chances = [
        one
        for item in await collect(provider, instance, told)
        if isinstance(item, Fragment)
        for one in item.logprobs
    ]
    assert "".join(one.text for one in chances) == "Warsaw."
    assert all(len(one.top) == 2 for one in chances)
    with pytest.raises(UnsupportedError):
        await collect(provider, instance, Request(messages=POLAND.messages, think=True))


async def test_closing_a_stream_early_ends_the_answer(provider: OllamaProvider, gateway: Serving):
    instance = await loaded(provider)
    endless = Request(prompt="Once", sampling=Sampling(temperature=2, max_tokens=1500))
    async with aclosing(provider.stream(instance, endless)) as stream:
        await anext(stream)
    stay = gateway.gateway.keeping._residency.named("tiny-chat")
    async with asyncio.timeout(15):
        while stay.users:
            await provider.list_instances()


async def test_texts_become_vectors(provider: OllamaProvider):
    model = await named(provider, "tiny-embed:latest")
    instance = await provider.load(model, LoadConfig())
    vectors = await provider.embed(instance, ["a", "b"])
    assert len(vectors) == 2
    assert vectors[0] != vectors[1]
    with pytest.raises(ContextOverflowError):
        await provider.embed(instance, ["word " * 5000])


async def test_models_are_copied_made_and_deleted(provider: OllamaProvider):
    await provider.copy("tiny-chat", "copy")
    wish = Create(model="poet", from_="tiny-chat", system="Be a poet.", parameters={"seed": 1})
    assert [step.note async for step in provider.create(wish)][-1] == "success"
    keys = {model.key for model in (await provider.list_models()).models}
    assert {"copy:latest", "poet:latest"} <= keys
    shown = Model(key="poet:latest", provider="ollama", server=provider.server)
    instance = await provider.load(shown, LoadConfig(context_tokens=512))
    assert await provider.sampling_defaults(instance) == {"seed": 1}
    await provider.delete("copy")
    await provider.delete("poet")
    with pytest.raises(ModelNotFoundError):
        await provider.delete("poet")
    with pytest.raises(ModelNotFoundError):
        await provider.copy("nope", "x")
    assert [step.note async for step in provider.pull("tiny-chat")][-1] == "success"


async def test_a_gateway_of_ours_is_used_as_ollama_only_where_that_is_said(
    gateway: Serving, places: Places, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OLLAMA_HOST", gateway.url)
    assert await OllamaProvider.discover(Settings(), places) == []


@pytest.fixture
def known(gateway: Serving) -> Settings:
    """Settings that name the gateway as an Ollama server, and nothing else."""
    server = ServerSettings(url=gateway.url, provider="ollama")
    return Settings(servers={"box": server}, provider="ollama", discover=False)


async def test_lmstrix_scans_lists_and_asks_as_it_does_anywhere(known: Settings):
    async with AsyncLMStrix(settings=known) as client:
        report = await client.scan()
        assert report.reached_any
        keys = [entry.model.key for entry in await client.list_models()]
        assert "tiny-chat:latest" in keys
        done = await client.infer(
            "What is the capital of Poland?", "tiny-chat:latest", sampling=GREEDY, in_ctx=1024
        )
        assert done.text == "Warsaw."
        assert done.instance.context_tokens == 1024
        explained = await client.explain("Hello", "tiny-chat:latest", in_ctx=1024)
        assert b'"num_ctx":1024' in explained.wire.body
        assert "<|im_start|>user\nHello" in explained.rendered
        assert explained.prompt_tokens is None
        assert "cannot tokenize" in explained.notes[-1]
        vectors = await client.embed(["a"], "tiny-embed:latest")
        assert len(vectors) == 1


async def test_the_context_test_finds_what_is_really_there(known: Settings):
    async with AsyncLMStrix(settings=known) as client:
        await client.scan()
        options = TestOptions(threshold_tokens=1024, fast=True)
        result = await client.test_model("tiny-chat:latest", options=options)
        assert result.loadable.tokens == 1024
        assert result.processable.tokens == 1024
        assert result.engine.startswith("ollama ")


async def test_a_prompt_is_counted_by_the_server_that_keeps_its_tokenizer(
    provider: OllamaProvider, places: Places
):
    instance = await loaded(provider, 512)
    session = Session(provider, Timeouts(), places.locks)
    assert await session.count_prompt(instance, POLAND) == 16
    assert await session.count_text(instance, "Hello there") < 10
    long = Request(messages=(Message(Role.USER, "word " * 2000),))
    assert await session.count_prompt(instance, long) > 2000
