"""LM Studio by its native protocol: against our gateway, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from scripted.lmstudio import LLM_INFO, ScriptedServer, fragment, instance, success

import lmstrix.lmstudio as lms
from lmstrix import AsyncLMStrix
from lmstrix.config import EmbeddedSettings, Places, ServerSettings, Settings
from lmstrix.errors import (
    ContextOverflowError,
    GenerationError,
    LoadError,
    NotFoundError,
    OutOfMemoryError,
    UnreachableError,
    UnsupportedError,
)
from lmstrix.gateway.options import GatewayOptions
from lmstrix.gateway.server import serving
from lmstrix.providers import identify
from lmstrix.providers.lmstudio import LMStudioNativeProvider
from lmstrix.types import (
    CallPart,
    Fragment,
    FragmentKind,
    Image,
    Instance,
    LoadConfig,
    Message,
    Model,
    ModelType,
    Phase,
    Progress,
    Request,
    Role,
    Sampling,
    Stats,
    StopReason,
    Tool,
    ToolCall,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scripted.lmstudio import Talk

_SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


def ask(text: str = "Capital of Poland?", **fields: Any) -> Request:
    sampling = Sampling(temperature=0.0, **fields.pop("sampling", {}))
    return Request(messages=(Message(Role.USER, text),), sampling=sampling, **fields)


async def collect(
    provider: LMStudioNativeProvider, loaded: Instance, request: Request
) -> list[Any]:
    return [item async for item in provider.stream(loaded, request)]


def text_of(items: list[Any], kind: FragmentKind = FragmentKind.ANSWER) -> str:
    return "".join(i.text for i in items if isinstance(i, Fragment) and i.kind is kind)


@pytest.fixture
async def gateway() -> AsyncIterator[str]:
    """The address of a gateway before the shipped models."""
    settings = Settings(shipped_models=True, discover=False)
    async with (
        AsyncLMStrix(settings=settings) as client,
        serving(client, GatewayOptions(port=0, drain_s=1)) as running,
    ):
        yield running.url


@pytest.fixture
async def native(gateway: str, places: Places) -> AsyncIterator[LMStudioNativeProvider]:
    provider = LMStudioNativeProvider.at(gateway, Settings(), places)
    yield provider
    await provider.aclose()


@pytest.fixture
async def loaded(native: LMStudioNativeProvider) -> Instance:
    chat = next(one for one in (await native.list_models()).models if one.key == "tiny-chat")
    return await native.load(chat, LoadConfig(context_tokens=512), instance_id="of-a-test")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
async def scripted(server: ScriptedServer, places: Places) -> AsyncIterator[LMStudioNativeProvider]:
    provider = LMStudioNativeProvider.at(f"http://{server.host}", Settings(), places)
    yield provider
    await provider.aclose()


TINY = Model(key="tiny", provider="lmstudio", server="x", vision=True)
LOADED = Instance(id="tiny", model_key="tiny", provider="lmstudio", server="x", context_tokens=2048)


async def test_models_are_listed_with_what_lm_studio_tells(native: LMStudioNativeProvider):
    listing = await native.list_models()
    assert listing.complete
    assert listing.problems == ()
    models = {model.key: model for model in listing.models}
    assert set(models) == {"tiny-chat", "tiny-chat-overclaimed", "tiny-embed"}
    assert models["tiny-embed"].type is ModelType.EMBEDDING
    chat = models["tiny-chat"]
    assert chat.provider == "lmstudio"
    assert chat.server == native.server
    assert chat.declared_context_tokens == 8192
    assert chat.size_bytes > 10**6
    assert native.engine.startswith("LM Studio ")
    assert (await native.capabilities_of(models["tiny-embed"])).supports_embeddings
    assert not (await native.capabilities_of(chat)).supports_vision


async def test_an_instance_has_its_own_name_its_real_context_and_an_end(
    native: LMStudioNativeProvider, loaded: Instance, gateway: str, places: Places
):
    assert (loaded.id, loaded.context_tokens, loaded.owned) == ("of-a-test", 512, True)
    assert loaded.config.ttl_s == 900
    assert loaded.load_s > 0
    (listed,) = await native.list_instances()
    assert (listed.id, listed.context_tokens, listed.owned) == ("of-a-test", 512, True)
    other = LMStudioNativeProvider.at(gateway, Settings(), places)
    assert [one.owned for one in await other.list_instances()] == [False]
    await other.aclose()
    assert [one.id for one in await native.list_instances()] == ["of-a-test"]
    await native.aclose()  # what this process loaded for itself goes with it
    assert await native.list_instances() == []


async def test_what_is_resident_stays_and_can_be_ended_by_anyone(
    native: LMStudioNativeProvider, gateway: str, places: Places
):
    chat = next(one for one in (await native.list_models()).models if one.key == "tiny-chat")
    first = await native.load(chat, LoadConfig(ttl_s=77), resident=True)
    assert not first.owned
    assert first.config.ttl_s == 77
    await native.aclose()
    other = LMStudioNativeProvider.at(gateway, Settings(), places)
    assert [one.id for one in await other.list_instances()] == [first.id]
    await other.unload(first.id)
    assert await other.list_instances() == []
    with pytest.raises(NotFoundError, match="No instance named"):
        await other.unload(first.id)
    await other.aclose()


async def test_a_load_tells_how_far_it_is_and_a_model_that_is_not_there_is_said_so(
    native: LMStudioNativeProvider,
):
    models = {one.key: one for one in (await native.list_models()).models}
    seen: list[Progress] = []
    await native.load(models["tiny-embed"], LoadConfig(), on_progress=seen.append)
    assert seen[-1] == Progress(phase=Phase.LOAD, fraction=1.0)
    with pytest.raises(NotFoundError):
        await native.load(TINY, LoadConfig())
    with pytest.raises(UnsupportedError, match="memory_limit_bytes"):
        await native.load(models["tiny-chat"], LoadConfig(memory_limit_bytes=1))


async def test_an_answer_streams_with_its_progress_and_statistics(
    native: LMStudioNativeProvider, loaded: Instance
):
    items = await collect(native, loaded, ask())
    assert text_of(items) == "Warsaw."
    progress = [item for item in items if isinstance(item, Progress)]
    assert progress[-1].fraction == 1.0
    assert progress[-1].processed_tokens == progress[-1].total_tokens
    stats = items[-1]
    assert isinstance(stats, Stats)
    assert stats.stop_reason is StopReason.END
    assert stats.prompt_tokens == progress[-1].total_tokens
    assert stats.predicted_tokens is not None
    assert await native.chat(loaded, ask()) == "Warsaw."


async def test_ends_are_told_apart(native: LMStudioNativeProvider, loaded: Instance):
    items = await collect(native, loaded, ask(sampling={"max_tokens": 1}))
    assert items[-1].stop_reason is StopReason.LENGTH
    items = await collect(native, loaded, ask(sampling={"stop": ("saw",)}))
    assert items[-1].stop_reason is StopReason.STOP_STRING
    assert text_of(items) == "War"
    raw = Request(prompt="Once upon", sampling=Sampling(max_tokens=3, temperature=0.0))
    assert text_of(await collect(native, loaded, raw))


async def test_a_prompt_that_does_not_fit_is_refused_with_both_sizes(
    native: LMStudioNativeProvider, loaded: Instance
):
    with pytest.raises(ContextOverflowError) as caught:
        await collect(native, loaded, ask("word " * 2000))
    assert caught.value.context_tokens == 512
    assert caught.value.prompt_tokens > 2000


async def test_answers_obey_schemas_and_grammars_and_tell_probabilities(
    native: LMStudioNativeProvider, loaded: Instance
):
    items = await collect(native, loaded, ask(schema=_SCHEMA))
    assert set(json.loads(text_of(items))) == {"n"}
    items = await collect(native, loaded, ask(grammar='root ::= "yes" | "no"'))
    assert text_of(items) in ("yes", "no")
    items = await collect(native, loaded, ask(logprobs=2, sampling={"max_tokens": 2}))
    tokens = [token for item in items if isinstance(item, Fragment) for token in item.logprobs]
    assert len(tokens) == 2
    assert all(token.logprob <= 0 for token in tokens)


async def test_the_servers_tokenizer_template_and_defaults_are_ours_to_use(
    native: LMStudioNativeProvider, loaded: Instance
):
    rendered = await native.render(loaded, ask("Hello"))
    assert "Hello" in rendered
    assert "assistant" in rendered
    assert len(await native.tokenize(loaded, "Hello world")) > 1
    defaults = await native.sampling_defaults(loaded)
    assert defaults["temperature"] == 0.8
    estimate = await native.estimate(
        next(one for one in (await native.list_models()).models if one.key == "tiny-chat"),
        LoadConfig(context_tokens=512),
    )
    assert estimate.fits
    assert estimate.memory.weights_bytes > 10**6
    assert 0 < estimate.memory.kv_bytes < estimate.memory.weights_bytes
    with pytest.raises(UnsupportedError):
        await native.detokenize(loaded, [1])


async def test_texts_become_vectors(native: LMStudioNativeProvider):
    models = {one.key: one for one in (await native.list_models()).models}
    embedding = await native.load(models["tiny-embed"], LoadConfig())
    vectors = await native.embed(embedding, ["a cat", "a dog", "a cat"])
    assert len(vectors) == 3
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-5)
    assert await native.embed(embedding, []) == []
    assert await native.tokenize(embedding, "a cat")


async def test_a_user_of_the_same_server_keeps_what_is_theirs(gateway: str, places: Places):
    async with lms.AsyncClient(gateway) as user:
        theirs = await user.llm.load_new_instance(
            "tiny-chat", "theirs", ttl=1234, config={"contextLength": 640}
        )
        before = (await theirs.get_info()).to_dict()
        settings = Settings(
            discover=False,
            embedded=EmbeddedSettings(enabled=False),
            servers={"lm": ServerSettings(url=gateway, provider="lmstudio")},
        )
        async with AsyncLMStrix(settings=settings, store_path=places.data / "two.db") as client:
            report = await client.scan()
            assert [one.provider for one in report.servers] == ["lmstudio"]
            answer = await client.infer("Capital of Poland?", model="tiny-chat")
            assert answer.text == "Warsaw."
            assert answer.instance.id == "theirs"
        after = (await theirs.get_info()).to_dict()
        for info in (before, after):
            info.pop("lastUsedTime", None)
        assert before == after
        assert [one.identifier for one in await user.llm.list_loaded()] == ["theirs"]


# Against servers that do as they are told


async def test_leaving_a_stream_tells_the_server_to_stop(
    scripted: LMStudioNativeProvider, server: ScriptedServer
):
    told: asyncio.Queue[Any] = asyncio.Queue()

    async def predict(talk: Talk) -> None:
        await talk.send(fragment("one"))
        await told.put(await talk.messages.get())

    server.handlers["predict"] = predict
    async with aclosing(scripted.stream(LOADED, ask())) as items:
        async for item in items:
            assert isinstance(item, Fragment)
            break
    waiting = asyncio.run_coroutine_threadsafe(told.get(), server._loop)
    assert await asyncio.wrap_future(waiting) == {"type": "cancel"}


async def test_what_is_shown_is_what_is_sent(
    scripted: LMStudioNativeProvider, server: ScriptedServer
):
    tool = Tool(name="add", description="Add.", parameters={"type": "object", "properties": {}})
    request = Request(
        messages=(
            Message(Role.SYSTEM, "Be good."),
            Message(Role.USER, "Add."),
            Message(
                Role.ASSISTANT, "", tool_calls=(ToolCall(id="1", name="add", arguments='{"a":1}'),)
            ),
            Message(Role.TOOL, "2", tool_call_id="1", name="add"),
        ),
        sampling=Sampling(seed=3, max_tokens=5, presence_penalty=0.5),
        tools=(tool,),
        tool_choice="required",
        think=False,
        schema=_SCHEMA,
        extra={"llm.prediction.seed": 4, "llm.prediction.brandNew": 1},
    )
    await collect(scripted, LOADED, request)
    wire = scripted.wire_request(LOADED, request)
    (created,) = server.sent("channelCreate")
    assert json.loads(wire.body) == created["creationParameter"]
    (layer,) = created["creationParameter"]["predictionConfigStack"]["layers"]
    assert {field["key"]: field["value"] for field in layer["config"]["fields"]} == {
        "llm.prediction.seed": {"checked": True, "value": 3},
        "llm.prediction.maxPredictedTokens": {"checked": True, "value": 5},
        "llm.prediction.llama.presencePenalty": {"checked": True, "value": 0.5},
        "llm.prediction.contextOverflowPolicy": "stopAtLimit",
        "llm.prediction.structured": {"type": "json", "jsonSchema": _SCHEMA},
        "llm.prediction.tools": {
            "type": "toolArray",
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "add",
                        "description": "Add.",
                        "parameters": {"type": "object", "properties": {}},
                    },
                }
            ],
        },
        "llm.prediction.toolChoice": {"type": "generic", "mode": "required"},
        "llm.prediction.reasoning.enableThinking": False,
        "llm.prediction.brandNew": 1,
    }


@pytest.mark.parametrize(
    "request_", [ask(tool_choice="add", tools=(Tool(name="add"),)), ask(think="high")]
)
async def test_what_lm_studio_cannot_be_told_is_refused(
    request_: Request, scripted: LMStudioNativeProvider, server: ScriptedServer
):
    with pytest.raises(UnsupportedError):
        await collect(scripted, LOADED, request_)
    assert server.sent("channelCreate") == []


async def test_pictures_are_uploaded_once_and_named_in_the_message(
    scripted: LMStudioNativeProvider, server: ScriptedServer
):
    async def listing(talk: Talk) -> None:
        await talk.result([{**LLM_INFO, "vision": True}])

    picture = Image(b"picture", "image/png")
    request = Request(messages=(Message(Role.USER, "Look.", images=(picture, picture)),))
    with pytest.raises(UnsupportedError, match="images"):
        await collect(scripted, LOADED, request)
    assert server.sent("channelCreate") == []
    scripted._described.clear()
    server.handlers["listDownloadedModels"] = listing
    await collect(scripted, LOADED, request)
    uploads = [one for one in server.sent("rpcCall") if one["endpoint"] == "uploadFileBase64"]
    assert len(uploads) == 1
    (created,) = server.sent("channelCreate")
    parts = created["creationParameter"]["history"]["messages"][0]["content"]
    assert [part.get("identifier") for part in parts] == [None, "file-1", "file-1"]
    assert b"sha256:" in scripted.wire_request(LOADED, request).body


async def test_reasoning_and_tool_calls_are_told_apart_from_the_answer(
    scripted: LMStudioNativeProvider, server: ScriptedServer
):
    call = {"type": "function", "id": "7", "name": "add", "arguments": {"a": 1}}

    async def predict(talk: Talk) -> None:
        for text, kind in (
            ("<think>", "reasoningStartTag"),
            ("hm", "reasoning"),
            ("</think>", "reasoningEndTag"),
            ("Well.", "none"),
        ):
            await talk.send(fragment(text, kind))
        await talk.send({"type": "toolCallGenerationStart", "toolCallId": "7"})
        await talk.send({"type": "toolCallGenerationNameReceived", "name": "add"})
        for piece in ('{"a"', ":1}"):
            await talk.send(
                {"type": "toolCallGenerationArgumentFragmentGenerated", "content": piece}
            )
        await talk.send({"type": "toolCallGenerationEnd", "toolCallRequest": call})
        await talk.send({"type": "toolCallGenerationStart"})
        await talk.send({"type": "toolCallGenerationEnd", "toolCallRequest": {**call, "id": "8"}})
        await talk.send({"type": "brandNew"})
        await talk.send(success("toolCalls", promptTokensCount=5, predictedTokensCount=9))
        await talk.close()

    server.handlers["predict"] = predict
    items = await collect(scripted, LOADED, ask(tools=(Tool(name="add"),)))
    assert text_of(items) == "Well."
    assert text_of(items, FragmentKind.REASONING) == "hm"
    calls = [i for i in items if isinstance(i, Fragment) and i.kind is FragmentKind.TOOL_CALL]
    assert [(one.text, one.call) for one in calls] == [
        ("", CallPart(0, "7", "add")),
        ('{"a"', CallPart(0)),
        (":1}", CallPart(0)),
        ("", CallPart(1, "8", "add")),
        ('{"a":1}', CallPart(1)),
    ]
    assert items[-1].stop_reason is StopReason.TOOL_CALLS
    assert (items[-1].prompt_tokens, items[-1].predicted_tokens) == (5, 9)


@pytest.mark.parametrize(
    "error",
    [
        {
            "title": "Prediction failed",
            "cause": "Trying to keep the first 5000 tokens when context the overflows. However, "
            "the model is loaded with context length of only 2048 tokens, which is not enough.",
        },
        {
            "title": "The number of tokens to keep from the initial prompt is greater than the "
            "context length (n_keep: 5000>= n_ctx: 2048)"
        },
        {"title": "Too much", "errorData": {"promptTokens": 5000, "contextLength": 2048}},
    ],
)
async def test_engines_say_in_many_ways_that_a_prompt_does_not_fit(
    error: dict[str, Any], scripted: LMStudioNativeProvider, server: ScriptedServer
):
    async def predict(talk: Talk) -> None:
        await talk.fail(error)

    server.handlers["predict"] = predict
    with pytest.raises(ContextOverflowError) as caught:
        await collect(scripted, LOADED, ask())
    assert (caught.value.prompt_tokens, caught.value.context_tokens) == (5000, 2048)


async def test_a_server_that_stops_at_once_at_its_limit_did_not_take_the_prompt(
    scripted: LMStudioNativeProvider, server: ScriptedServer
):
    async def predict(talk: Talk) -> None:
        await talk.send(success("contextLengthReached", promptTokensCount=5000))
        await talk.close()

    server.handlers["predict"] = predict
    with pytest.raises(ContextOverflowError):
        await collect(scripted, LOADED, ask())


async def test_a_server_that_goes_away_is_unreachable_before_an_answer_and_breaks_it_off_after(
    scripted: LMStudioNativeProvider, server: ScriptedServer
):
    async def gone(talk: Talk) -> None:
        talk.drop()

    async def half(talk: Talk) -> None:
        await talk.send(fragment("one"))
        talk.drop()

    server.handlers["predict"] = gone
    with pytest.raises(UnreachableError):
        await collect(scripted, LOADED, ask())
    server.handlers["predict"] = half
    with pytest.raises(GenerationError) as caught:
        await collect(scripted, LOADED, ask())
    assert caught.value.partial == "one"


@pytest.mark.parametrize("reason", ["failed", "modelUnloaded"])
async def test_an_answer_that_failed_on_the_server_is_no_answer(
    reason: str, scripted: LMStudioNativeProvider, server: ScriptedServer
):
    async def predict(talk: Talk) -> None:
        await talk.send(fragment("one"))
        await talk.send(success(reason))
        await talk.close()

    server.handlers["predict"] = predict
    with pytest.raises(GenerationError, match=reason) as caught:
        await collect(scripted, LOADED, ask())
    assert caught.value.partial == "one"


async def test_a_load_that_is_refused_says_why_and_lack_of_memory_is_told_apart(
    scripted: LMStudioNativeProvider, server: ScriptedServer
):
    async def refuse(talk: Talk) -> None:
        await talk.fail({"title": "Failed to load", "cause": "insufficient system resources"})

    async def break_off(talk: Talk) -> None:
        await talk.close()

    server.handlers["loadModel"] = refuse
    with pytest.raises(OutOfMemoryError, match="insufficient system resources"):
        await scripted.load(TINY, LoadConfig(context_tokens=10**6))
    server.handlers["loadModel"] = break_off
    with pytest.raises(LoadError) as caught:
        await scripted.load(TINY, LoadConfig(context_tokens=10**6))
    assert not isinstance(caught.value, OutOfMemoryError)
    assert caught.value.context_tokens == 10**6


async def test_a_server_that_loads_less_than_asked_is_believed_its_own_word(
    scripted: LMStudioNativeProvider, server: ScriptedServer
):
    async def load(talk: Talk) -> None:
        await talk.send({"type": "success", "info": {**instance(LLM_INFO, "tiny")}})
        await talk.close()

    server.handlers["loadModel"] = load
    found = await scripted.load(TINY, LoadConfig(context_tokens=8192))
    assert found.context_tokens == 2048


async def test_a_server_that_is_older_is_not_waited_for(
    scripted: LMStudioNativeProvider, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
):
    from lmstrix.providers.lmstudio import native

    async def never(talk: Talk) -> None:
        await talk.messages.get()

    monkeypatch.setattr(native, "_OPTIONAL_S", 0.05)
    server.handlers |= {"version": never, "getBasePredictionConfig": never, "getLoadConfig": never}
    listing = await scripted.list_models()
    assert [model.key for model in listing.models] == ["tiny", "tiny-embed"]
    assert scripted.engine == "LM Studio"
    assert await scripted.sampling_defaults(LOADED) == {}
    assert [one.context_tokens for one in await scripted.list_instances()] == [2048, 2048]


async def test_a_model_that_is_described_oddly_spoils_no_others(
    scripted: LMStudioNativeProvider, server: ScriptedServer
):
    async def listing(talk: Talk) -> None:
        await talk.result([LLM_INFO, {"type": "llm"}, {**LLM_INFO, "type": "transcription"}])

    server.handlers["listDownloadedModels"] = listing
    found = await scripted.list_models()
    assert [model.key for model in found.models] == ["tiny"]
    assert len(found.problems) == 1


async def test_a_token_goes_with_the_connection_and_a_wrong_one_is_no_models_fault(
    server: ScriptedServer, places: Places, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OUR_TOKEN", "sk-lm-abcDEF78:abcDEF7890abcDEF7890")
    settings = Settings(
        servers={
            "lm": ServerSettings(
                url=f"ws://{server.host}/",
                provider="lmstudio",
                token_env="OUR_TOKEN",
                headers={"X-Who": "me"},
            )
        }
    )
    (provider,) = LMStudioNativeProvider.connect(settings, places)
    assert provider.server == f"http://{server.host}"
    assert provider.expected
    await provider.list_models()
    hello = next(frame for _, frame in server.frames if "authVersion" in frame)
    assert hello["clientIdentifier"] == "abcDEF78"
    assert server.requests[-1].headers["X-Who"] == "me"
    assert b"abcDEF7890" not in provider.wire_request(LOADED, ask()).body
    await provider.aclose()
    server.refusal = "Invalid token"
    with pytest.raises(UnreachableError, match="right token"):
        await provider.list_models()
    await provider.aclose()


async def test_a_server_that_is_not_there_is_unreachable(places: Places):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        provider = LMStudioNativeProvider.at(address, Settings(), places)
        for asked in (
            provider.list_models(),
            provider.list_instances(),
            provider.load(TINY, LoadConfig()),
        ):
            with pytest.raises(UnreachableError):
                await asked
        with pytest.raises(UnreachableError):
            await collect(provider, LOADED, ask())


async def test_lm_studio_is_found_where_it_usually_is_and_our_gateway_only_when_named(
    places: Places, monkeypatch: pytest.MonkeyPatch
):
    with ScriptedServer() as studio, ScriptedServer(gateway="2.0") as ours:
        from lmstrix.providers.lmstudio import native

        monkeypatch.setattr(native, "HTTP_PORT", studio.port)
        monkeypatch.setattr(native, "DISCOVERY_PORTS", (ours.port,))
        found = await LMStudioNativeProvider.discover(Settings(), places)
        assert [(one.server, one.expected) for one in found] == [(f"http://{studio.host}", False)]
        monkeypatch.setattr(native, "HTTP_PORT", ours.port)
        monkeypatch.setattr(native, "DISCOVERY_PORTS", (studio.port,))
        found = await LMStudioNativeProvider.discover(Settings(), places)
        assert [one.server for one in found] == [f"http://{studio.host}"]
        named = Settings(server=f"http://{ours.host}", discover=False)
        found = await LMStudioNativeProvider.discover(named, places)
        assert [(one.server, one.expected) for one in found] == [(f"http://{ours.host}", True)]
        assert LMStudioNativeProvider.at(f"http://{ours.host}", named, places).expected
        monkeypatch.setattr(native, "DISCOVERY_PORTS", ())
        monkeypatch.setenv("LMSTUDIO_BASE_URL", f"ws://{studio.host}")
        found = await LMStudioNativeProvider.discover(Settings(), places)
        assert [one.server for one in found] == [f"http://{studio.host}"]
        assert await LMStudioNativeProvider.discover(Settings(discover=False), places) == []


@pytest.fixture(autouse=True)
def _ask_anew() -> None:
    """Those who look for servers within the same second share an answer; tests must not."""
    identify._asked.clear()
