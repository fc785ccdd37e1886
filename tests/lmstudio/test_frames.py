"""What the official client and ours send for the same calls, frame by frame.

Left out of the comparison are numbers of calls and channels, who the client says it is, and
the order of settings within a layer. `DIFFERENCES` are all that remain, each with its reason.
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

import lmstudio as official
import pytest
from scripted.lmstudio import ScriptedServer, fragment, success

import lmstrix.lmstudio as ours

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripted.lmstudio import Talk

_SCHEMA = {
    "type": "object",
    "properties": {"snake_case": {"type": "string"}, "camelCase": {"type": "integer"}},
    "required": ["snake_case"],
}
_LLM_CONFIG = {
    "contextLength": 1978,
    "evalBatchSize": 42,
    "flashAttention": False,
    "gpuStrictVramCap": False,
    "keepModelInMemory": True,
    "llamaKCacheQuantizationType": "q8_0",
    "llamaVCacheQuantizationType": "f32",
    "numExperts": 0,
    "offloadKVCacheToGpu": False,
    "ropeFrequencyBase": 10.0,
    "ropeFrequencyScale": 1.5,
    "seed": 313,
    "tryMmap": False,
    "useFp16ForKVCache": True,
    "gpu": {"ratio": 0.5, "mainGpu": 0, "splitStrategy": "favorMainGpu", "disabledGpus": [1]},
}
_PREDICTION_CONFIG = {
    "contextOverflowPolicy": "rollingWindow",
    "cpuThreads": 7,
    "draftModel": "small",
    "maxTokens": 1234,
    "minPSampling": 0.1,
    "reasoningParsing": {"enabled": False, "startString": "", "endString": ""},
    "repeatPenalty": 1.5,
    "speculativeDecodingNumDraftTokensExact": 2,
    "speculativeDecodingMinDraftLengthToConsider": 5,
    "speculativeDecodingMinContinueDraftingProbability": 0.1,
    "stopStrings": ["Banana!"],
    "structured": {"type": "json", "jsonSchema": _SCHEMA},
    "temperature": 0.5,
    "toolCallStopStrings": ["yellow"],
    "topKSampling": 3,
    "topPSampling": 0.9,
}


def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


def look_at_models(lms: Any, client: Any) -> None:
    client.list_downloaded_models()
    client.llm.list_downloaded()
    client.list_loaded_models()
    client.llm.get_model_info("tiny")
    model = client.llm.model("tiny")
    model.get_info()
    model.get_load_config()
    model.get_context_length()
    client.embedding.model("tiny-embed").get_load_config()
    client.llm.model()


def load(lms: Any, client: Any) -> None:
    client.llm.model("tiny", ttl=60, config=_LLM_CONFIG)
    client.llm.model("tiny", ttl=None)
    client.llm.load_new_instance("tiny", "mine", config={"context_length": 512})
    client.llm.load_new_instance("tiny")
    client.embedding.load_new_instance("tiny-embed", ttl=None, config={"tryMmap": True})
    client.llm.unload("mine")


def count(lms: Any, client: Any) -> None:
    model = client.llm.model("tiny")
    model.tokenize("abc")
    model.tokenize(["a", "b"])
    model.count_tokens("abc")
    embedding = client.embedding.model("tiny-embed")
    embedding.embed("abc")
    embedding.embed(["a", "b"])
    embedding.tokenize("abc")


def answer(lms: Any, client: Any) -> None:
    model = client.llm.model("tiny")
    model.respond("hi")
    model.respond("hi", config=_PREDICTION_CONFIG, preset="mine")
    model.respond("hi", config={"max_tokens": 5, "stop_strings": ["x"]})
    model.complete("Once")
    model.complete("Once", config={"maxTokens": 3})
    model.respond("hi", response_format=_SCHEMA)
    for piece in model.respond_stream("hi"):
        assert piece.content


def structure(lms: Any, client: Any) -> None:
    class Book(lms.BaseModel):  # type: ignore[name-defined,misc]
        title: str
        year: int = 1937

    client.llm.model("tiny").respond("hi", response_format=Book)
    grammar = {"type": "gbnf", "gbnfGrammar": 'root ::= "a"'}
    client.llm.model("tiny").respond("hi", response_format=grammar)


def chat(lms: Any, client: Any) -> None:
    history = lms.Chat("Be good.")
    history.add_user_message("Look.")
    history.add_user_message("Well?", images=[client.prepare_image(b"picture", "a.png")])
    history.add_assistant_response("I see.")
    history.add_user_message({"text": "What?"})
    model = client.llm.model("tiny")
    model.respond(history)
    model.apply_prompt_template(history)
    model.apply_prompt_template(history, {"omitBosToken": True})
    history.add_assistant_response(model.respond(history))


def act(lms: Any, client: Any) -> None:
    by_hand = lms.ToolFunctionDef(
        name="sub", description="Subtract.", parameters={"a": int, "b": float}, implementation=add
    )
    client.llm.model("tiny").act("Add.", [add, by_hand], max_prediction_rounds=2)


def cancel(lms: Any, client: Any) -> None:
    stream = client.llm.model("tiny").respond_stream("cancel me")
    for _ in stream:
        stream.cancel()


def download(lms: Any, client: Any) -> None:
    found = client.repository.search_models("tiny", 3, ["gguf"])
    found[0].get_download_options()[0].download()


CALLS: list[Callable[[Any, Any], None]] = [
    look_at_models,
    load,
    count,
    answer,
    structure,
    chat,
    act,
    cancel,
    download,
]


async def predict(talk: Talk) -> None:
    """An answer as the question wants it."""
    messages = talk.parameter.history.messages
    tools = talk.parameter.prediction_config_stack.collapse().get("llm.prediction.tools")
    if messages[0].content[0].text == "cancel me":
        await talk.send(fragment("one"))
        assert await talk.messages.get() == {"type": "cancel"}
        await talk.send(success("userStopped"))
    elif tools:
        request = {"type": "function", "id": "7", "name": "add", "arguments": {"a": 1}}
        await talk.send({"type": "toolCallGenerationStart"})
        await talk.send({"type": "toolCallGenerationEnd", "toolCallRequest": request})
        await talk.send(success("toolCalls"))
    else:
        await talk.send(fragment("{}"))
        await talk.send(success())
    await talk.close()


def record(lms: Any, call: Callable[[Any, Any], None]) -> list[tuple[str, dict[str, Any]]]:
    """The frames of these calls, made comparable."""
    with ScriptedServer({"predict": predict}) as server:
        with lms.Client(server.host) as client:
            call(lms, client)
        return [(namespace, plain(frame)) for namespace, frame in server.frames]


def plain(frame: dict[str, Any]) -> dict[str, Any]:
    frame = copy.deepcopy(frame)
    for name in ("callId", "channelId", "clientPasskey"):
        frame.pop(name, None)
    if "clientIdentifier" in frame:
        frame["clientIdentifier"] = "guest"
    parameter = frame.get("creationParameter", frame.get("parameter", {}))
    for key in ("loadConfigStack", "predictionConfigStack"):
        for layer in parameter.get(key, {}).get("layers", ()):
            layer["config"]["fields"].sort(key=lambda field: field["key"])
    return frame


def of_namespace(frames: list[tuple[str, dict[str, Any]]], namespace: str) -> list[dict[str, Any]]:
    return [frame for one, frame in frames if one == namespace]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_the_same_calls_send_the_same_frames(call: Callable[[Any, Any], None]) -> None:
    theirs, mine = record(official, call), record(ours, call)
    assert {one for one, _ in mine} == {one for one, _ in theirs}
    for namespace in {one for one, _ in theirs}:
        assert of_namespace(mine, namespace) == of_namespace(theirs, namespace)


def test_both_clients_for_asyncio_send_them_too() -> None:
    async def ask(lms: Any, host: str) -> None:
        async with lms.AsyncClient(host) as client:
            model = await client.llm.model("tiny")
            await model.respond("hi", config={"temperature": 0.5})
            await model.act("Add.", [add])
            await client.llm.load_new_instance("tiny", "mine")

    recorded = []
    for lms in (official, ours):

        async def predict_twice(talk: Talk) -> None:
            if len(talk.parameter.history.messages) > 1:
                talk.parameter.prediction_config_stack.layers.clear()
            await predict(talk)

        with ScriptedServer({"predict": predict_twice}) as server:
            asyncio.run(ask(lms, server.host))
            frames = [(one, plain(frame)) for one, frame in server.frames]
            recorded.append(of_namespace(frames, "llm"))
    assert recorded[0] == recorded[1]


# Calls that differ on the wire, with the frames that differ and why.
DIFFERENCES: dict[str, tuple[Callable[[Any, Any], None], dict[str, Any], dict[str, Any]]] = {
    "A share of the layers says nothing of how GPUs share: the user's own choice holds.": (
        lambda _, client: client.llm.load_new_instance("tiny", config={"gpu": {"ratio": 0.5}}),
        {
            "llm.load.llama.acceleration.offloadRatio": 0.5,
            "load.gpuSplitConfig": {
                "strategy": "evenly",
                "disabledGpus": [],
                "priority": [],
                "customRatio": [],
            },
        },
        {"llm.load.llama.acceleration.offloadRatio": 0.5},
    ),
    "False turns a setting off, as in LM Studio's other SDK; the official client ticks its box.": (
        lambda _, client: client.llm.model("tiny").respond("hi", config={"topPSampling": False}),
        {"llm.prediction.topPSampling": {"checked": True, "value": False}},
        {"llm.prediction.topPSampling": {"checked": False, "value": 0.95}},
    ),
}


@pytest.mark.parametrize("reason", DIFFERENCES)
def test_the_differences_that_remain_are_these(reason: str) -> None:
    call, expected_theirs, expected_ours = DIFFERENCES[reason]
    for lms, expected in ((official, expected_theirs), (ours, expected_ours)):
        last = [frame for _, frame in record(lms, call) if frame.get("type") == "channelCreate"][-1]
        parameter = last["creationParameter"]
        stack = parameter.get("loadConfigStack") or parameter["predictionConfigStack"]
        fields = stack["layers"][0]["config"]["fields"]
        assert {field["key"]: field["value"] for field in fields} == expected
