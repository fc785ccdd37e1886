from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from servers.scripted import Asked, Wire, free_port, scripted

from lmstrix import AsyncLMStrix
from lmstrix.config import Places, ServerSettings, Settings
from lmstrix.errors import (
    ContextOverflowError,
    NotFoundError,
    SettingsError,
    UnreachableError,
    UnsupportedError,
)
from lmstrix.providers.openai import OpenAIProvider
from lmstrix.types import (
    Fragment,
    FragmentKind,
    Image,
    Instance,
    LoadConfig,
    Message,
    Model,
    ModelType,
    Progress,
    Request,
    Role,
    Sampling,
    StreamItem,
    Tool,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from providers.conftest import Llama

    from lmstrix.providers.embedded import EmbeddedProvider

    Remote = tuple[OpenAIProvider, Instance]
    StartLlama = Callable[..., Awaitable[Llama]]

ADD = Tool(name="add", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


def ask(text: str = "Capital of Poland?", *, raw: bool = False, **fields: object) -> Request:
    sampling = Sampling(temperature=0.0, **fields.pop("sampling", {}))
    if raw:
        return Request(prompt=text, sampling=sampling, **fields)
    return Request(messages=(Message(Role.USER, text),), sampling=sampling, **fields)


async def collect(provider: OpenAIProvider, instance: Instance, request: Request):
    return [item async for item in provider.stream(instance, request)]


def text_of(items: list[StreamItem], kind: FragmentKind = FragmentKind.ANSWER) -> str:
    return "".join(i.text for i in items if isinstance(i, Fragment) and i.kind is kind)


@pytest.fixture
async def llama(start_llama: StartLlama, places: Places) -> tuple[OpenAIProvider, Instance]:
    server = await start_llama()
    (provider,) = OpenAIProvider.connect(server.settings, places)
    (instance,) = await provider.list_instances()
    return provider, instance


async def test_llama_cpp_tells_its_model_and_its_real_context(llama: Remote):
    provider, instance = llama
    assert provider.engine.startswith("llama.cpp")
    assert instance.context_tokens == 1024
    (model,) = (await provider.list_models()).models
    assert model.key == instance.model_key == instance.id
    assert (model.type, model.declared_context_tokens) == (ModelType.LLM, 8192)
    assert model.parameters
    assert model.size_bytes
    able = await provider.capabilities_of(model)
    assert able.supports_grammar
    assert able.supports_tokenization
    assert not able.supports_vision


async def test_an_answer_over_the_network_is_the_embedded_engines_own(
    llama: Remote, provider: EmbeddedProvider, model: Callable[..., Model]
):
    remote, there = llama
    here = await provider.load(model(), LoadConfig(context_tokens=1024))
    for request in (ask(), ask("Count to 10.", sampling={"max_tokens": 5}), ask("1 2 3", raw=True)):
        ours, theirs = [
            await collect(one, at, request) for one, at in ((remote, there), (provider, here))
        ]
        assert text_of(ours) == text_of(theirs) != ""
        assert [type(item) for item in ours] == [type(item) for item in theirs]
        assert (ours[-1].stop_reason, ours[-1].prompt_tokens, ours[-1].predicted_tokens) == (
            theirs[-1].stop_reason,
            theirs[-1].prompt_tokens,
            theirs[-1].predicted_tokens,
        )


async def test_the_pieces_joined_are_the_answer(llama: Remote):
    provider, instance = llama
    pieces = [piece async for piece in provider.chat_stream(instance, ask())]
    assert "".join(pieces) == await provider.chat(instance, ask())
    assert len(pieces) > 1


async def test_raw_and_templated_prompts_differ_by_what_render_shows(llama: Remote):
    provider, instance = llama
    templated, raw = ask("Hello"), ask("Hello", raw=True)
    shown = await provider.render(instance, templated)
    assert shown != "Hello" == await provider.render(instance, raw)
    for request in (templated, raw):
        stats = (await collect(provider, instance, request))[-1]
        text = await provider.render(instance, request)
        tokens = await provider.tokenize(instance, text)
        assert stats.prompt_tokens == len(tokens)
        assert await provider.detokenize(instance, tokens) == text
    again = ask(shown, raw=True)
    assert text_of(await collect(provider, instance, again)) == text_of(
        await collect(provider, instance, templated)
    )


async def test_a_schema_and_a_grammar_are_obeyed(llama: Remote):
    provider, instance = llama
    answer = text_of(await collect(provider, instance, ask("n?", schema=SCHEMA)))
    assert list(json.loads(answer)) == ["n"]
    grammar = ask("Hello", grammar='root ::= "yes" | "no"')
    assert text_of(await collect(provider, instance, grammar)) in ("yes", "no")
    raw = ask("n = ", raw=True, schema=SCHEMA)
    assert list(json.loads(text_of(await collect(provider, instance, raw)))) == ["n"]


async def test_log_probabilities_are_told_for_chats_and_completions(llama: Remote):
    provider, instance = llama
    for raw in (False, True):
        items = await collect(
            provider, instance, ask("Hello", raw=raw, logprobs=2, sampling={"max_tokens": 3})
        )
        chances = [one for i in items if isinstance(i, Fragment) for one in i.logprobs]
        assert len(chances) == 3
        assert all(one.logprob <= 0 and len(one.top) == 2 for one in chances)


async def test_progress_of_the_prompt_is_told(llama: Remote):
    provider, instance = llama
    items = await collect(provider, instance, ask("cat " * 700, sampling={"max_tokens": 1}))
    progress = [item for item in items if isinstance(item, Progress)]
    assert progress[-1].fraction == 1.0
    assert progress[-1].total_tokens == items[-1].prompt_tokens


async def test_a_prompt_that_does_not_fit_is_refused_with_both_sizes(llama: Remote):
    provider, instance = llama
    with pytest.raises(ContextOverflowError) as caught:
        await collect(provider, instance, ask("cat " * 2000))
    assert caught.value.context_tokens == 1024
    assert caught.value.prompt_tokens > 1024


async def test_the_servers_own_sampling_is_told(llama: Remote):
    provider, instance = llama
    assert (await provider.sampling_defaults(instance))["temperature"] == 0.8


async def test_a_request_that_is_left_is_ended_on_the_server(llama: Remote):
    provider, instance = llama
    async with aclosing(provider.stream(instance, ask("Count to 40.", raw=True))) as stream:
        async for item in stream:
            if isinstance(item, Fragment):
                break
    # One slot: this answer only comes when the other has ended, and it would have taken long.
    assert "Warsaw" in text_of(await collect(provider, instance, ask()))


@pytest.mark.parametrize(
    "request_",
    [
        Request(messages=(Message(Role.USER, "?", images=(Image(b"x"),)),)),
        Request(prompt="x", tools=(ADD,)),
    ],
)
async def test_what_the_model_lacks_is_refused_before_any_work(llama: Remote, request_: Request):
    provider, instance = llama
    with pytest.raises(UnsupportedError):
        await collect(provider, instance, request_)


async def test_embeddings_come_in_the_order_of_the_texts(start_llama: StartLlama, places: Places):
    server = await start_llama("tiny-embed", context_tokens=512)
    (provider,) = OpenAIProvider.connect(server.settings, places)
    (model,) = (await provider.list_models()).models
    assert model.type is ModelType.EMBEDDING
    (instance,) = await provider.list_instances()
    vectors = await provider.embed(instance, ["cat", "river", "cat"])
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-5)
    assert vectors[0] != pytest.approx(vectors[1], abs=1e-3)
    assert await provider.embed(instance, []) == []
    able = await provider.capabilities_of(model)
    assert able.supports_embeddings
    assert not able.supports_streaming


async def test_without_its_token_a_server_lets_nobody_in(
    start_llama: StartLlama, places: Places, monkeypatch: pytest.MonkeyPatch
):
    server = await start_llama()
    (provider,) = OpenAIProvider.connect(server.settings, places)
    monkeypatch.setenv("LLAMA_TOKEN", "wrong")
    instance = Instance(
        id="x", model_key="x", provider="openai", server=provider.server, context_tokens=None
    )
    with pytest.raises(UnreachableError, match="token") as caught:
        await collect(provider, instance, ask())
    assert "wrong" not in f"{caught.value.message}{caught.value.hint}"
    monkeypatch.delenv("LLAMA_TOKEN")
    with pytest.raises(SettingsError, match="LLAMA_TOKEN"):
        await collect(provider, instance, ask())


async def test_the_client_uses_a_server_as_it_uses_its_own_engine(start_llama: StartLlama):
    server = await start_llama()
    async with AsyncLMStrix(settings=server.settings) as client:
        await client.scan(server="llama")
        (entry,) = [one for one in await client.list_models() if one.model.provider == "openai"]
        completion = await client.infer("Capital of Poland?", entry.model.key)
        assert "Warsaw" in completion.text
        assert completion.instance.server == server.url
        explained = await client.explain("Capital of Poland?", entry.model.key)
        assert explained.prompt_tokens == completion.stats.prompt_tokens
        with pytest.raises(UnsupportedError, match="load"):
            await client.infer("Hello", entry.model.key, in_ctx=64)


# Servers of other kinds, as far as they say what they are


MODELS = {"object": "list", "data": [{"id": "m", "object": "model"}]}


def pretending(answers: dict[str, object]) -> Callable[[Asked, Wire], Awaitable[None]]:
    async def respond(asked: Asked, wire: Wire) -> None:
        if asked.path in answers:
            await wire.json(answers[asked.path])
        else:
            await wire.json({"detail": "Not Found"}, 404)

    return respond


VLLM = {
    "/v1/models": {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 4096}]},
    "/version": {"version": "0.9"},
}


async def test_vllm_tells_its_context_and_its_version(places: Places):
    async with scripted(pretending(VLLM)) as server:
        settings = Settings(server=f"{server.url}/v1", discover=False)
        (provider,) = await OpenAIProvider.discover(settings, places)
        assert provider.expected
        assert provider.server == server.url
        assert provider.engine == "vllm 0.9"
        (instance,) = await provider.list_instances()
        assert instance.context_tokens == 4096
        with pytest.raises(UnsupportedError):
            await provider.tokenize(instance, "x")


@pytest.mark.parametrize(
    "answers",
    [
        {"/lmstudio-greeting": {"lmstudio": True}, "/v1/models": MODELS},
        {"/api/version": {"version": "0.5"}, "/v1/models": MODELS},
        {"/v1/models": {"error": "Unexpected endpoint"}},
        {},
    ],
)
async def test_what_other_kinds_recognise_is_not_claimed(
    places: Places, answers: dict[str, object]
):
    async with scripted(pretending(answers)) as server:
        settings = Settings(server=server.url, discover=False)
        assert await OpenAIProvider.discover(settings, places) == []


async def test_a_gateway_of_ours_is_only_used_when_it_is_named(
    places: Places, monkeypatch: pytest.MonkeyPatch
):
    async def respond(asked: Asked, wire: Wire) -> None:
        found = VLLM.get(asked.path, {"error": {"message": "no"}})
        await wire.json(found, 200 if asked.path in VLLM else 404, x_lmstrix_gateway="2")

    async with scripted(respond) as server:
        monkeypatch.setattr("lmstrix.providers.openai._USUAL", (server.url,))
        assert await OpenAIProvider.discover(Settings(), places) == []
        named = Settings(servers={"mine": ServerSettings(url=server.url)})
        (provider,) = await OpenAIProvider.discover(named, places)
        assert provider.expected


async def test_what_merely_answers_at_a_usual_place_must_say_what_it_is(
    places: Places, monkeypatch: pytest.MonkeyPatch
):
    some = {"/v1/models": {"data": [{"id": "m"}]}}
    async with scripted(pretending(some)) as plain, scripted(pretending(VLLM)) as vllm:
        usual = (plain.url, vllm.url, f"http://127.0.0.1:{free_port()}")
        monkeypatch.setattr("lmstrix.providers.openai._USUAL", usual)
        found = await OpenAIProvider.discover(Settings(), places)
        assert [(one.server, one.expected) for one in found] == [(vllm.url, False)]
        assert await OpenAIProvider.discover(Settings(discover=False), places) == []


async def test_those_who_look_at_once_ask_a_server_once(places: Places):
    async with scripted(pretending(VLLM)) as server:
        settings = Settings(server=server.url, discover=False)
        await OpenAIProvider.discover(settings, places)
        await OpenAIProvider.discover(settings, places)
        assert server.paths("GET").count("/v1/models") == 1


async def test_the_token_the_headers_and_the_path_of_a_server_are_used(
    places: Places, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OFFICE", "secret")
    async with scripted(pretending({"/base/v1/models": VLLM["/v1/models"]})) as server:
        office = ServerSettings(
            url=f"{server.url}/base/v1",
            provider="openai",
            token_env="OFFICE",
            headers={"X-Team": "blue"},
        )
        settings = Settings(servers={"office": office}, discover=False)
        (provider,) = OpenAIProvider.connect(settings, places)
        (model,) = (await provider.list_models()).models
        assert model.server == f"{server.url}/base"
        for asked in server.asked:
            assert asked.fields["authorization"] == "Bearer secret"
            assert asked.fields["x-team"] == "blue"


async def test_an_instance_that_is_not_there_is_not_made_up(places: Places):
    async with scripted(pretending(VLLM)) as server:
        settings = Settings(server=server.url, discover=False)
        async with AsyncLMStrix(settings=settings) as client:
            await client.scan()
            with pytest.raises(NotFoundError):
                await client.infer("Hello", "nothing-like-it")
