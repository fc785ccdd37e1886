"""Answers: fragments, settings, tools, limits, cancels."""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING

import pytest
from gateway.lmstudio_native.lines import (
    RefusalError,
    by_name,
    history,
    load,
    question,
    stack,
    text_of,
)
from models.pacing import make_paced

from lmstrix.config import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.conftest import Serve
    from gateway.lmstudio_native.lines import Connect, Line
    from models.fixtures import Maker

POLAND = "What is the capital of Poland?"
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
PLAIN_TEMPLATE = {
    "type": "jinja",
    "jinjaPromptTemplate": {
        "template": "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    },
    "stopStrings": [],
}


@pytest.fixture
async def line(connect_to: Connect) -> Line:
    """A socket of the namespace `llm` with the chat model loaded."""
    line = await connect_to("llm")
    await load(line, "tiny-chat")
    return line


@pytest.fixture
async def slow(serve: Serve, connect_to: Connect, made: Maker, shipped: Path) -> Line:
    """The same with a model that takes its time, and is called `slow`."""
    path = made(make_paced, source=shipped / "tiny-chat.gguf", inner=12288)
    settings = Settings(model_folders=(str(path.parent),), discover=False)
    line = await connect_to("llm", at=await serve(settings=settings))
    await load(line, path.stem, identifier="slow")
    return line


async def ask(line: Line, wish: dict[str, object], endpoint: str = "predict") -> list[dict]:
    return await line.told(await line.open(endpoint, wish))


def stop_reason(told: list[dict]) -> str:
    return told[-1]["stats"]["stopReason"]


async def test_an_answer_comes_in_fragments_and_ends_with_how_it_went(line: Line):
    told = await ask(line, question(POLAND))
    assert text_of(told) == "Warsaw."
    pieces = [one["fragment"] for one in told if one["type"] == "fragment"]
    for piece in pieces:
        assert piece["reasoningType"] == "none"
        assert piece["containsDrafted"] is False
        assert piece["isStructural"] is False
    end = told[-1]
    assert end["type"] == "success"
    stats = end["stats"]
    assert stats["stopReason"] == "eosFound"
    assert stats["predictedTokensCount"] >= len(pieces)
    assert stats["totalTokensCount"] == stats["promptTokensCount"] + stats["predictedTokensCount"]
    assert 0 < stats["timeToFirstTokenSec"] < stats["totalTimeSec"]
    assert all(math.isfinite(value) for value in stats.values() if not isinstance(value, str))
    assert end["modelInfo"]["identifier"] == "tiny-chat"
    loaded = {field["key"]: field["value"] for field in end["loadModelConfig"]["fields"]}
    assert loaded["llm.load.contextLength"] == end["modelInfo"]["contextLength"]
    assert end["predictionConfig"]["fields"] == [{"key": "llm.prediction.temperature", "value": 0}]


async def test_reading_the_prompt_is_told_in_tokens(line: Line):
    told = await ask(line, question("word " * 1200, llm__prediction__maxPredictedTokens={
        "checked": True, "value": 1}))  # fmt: skip
    steps = [one for one in told if one["type"] == "promptProcessingProgress"]
    shares = [one["progress"] for one in steps]
    assert len(shares) > 1
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0
    for one in steps:
        details = one["details"]
        done, left = details["processedPromptTokenCount"], details["unprocessedPromptTokenCount"]
        assert (
            done + left
            == details["totalPromptTokenCount"]
            == told[-1]["stats"]["promptTokensCount"]
        )


async def test_a_completion_is_asked_for_by_its_template_or_by_its_own_channel(line: Line):
    wish = question("Once upon a", llm__prediction__promptTemplate=PLAIN_TEMPLATE,
                    llm__prediction__maxPredictedTokens={"checked": True, "value": 12})  # fmt: skip
    by_template = text_of(await ask(line, wish))
    config = wish["predictionConfigStack"]
    raw = {"modelSpecifier": by_name("tiny-chat"), "rawPrompt": "Once upon a"}
    by_channel = text_of(
        await ask(line, {**raw, "predictionConfigStack": config}, "completeRawText")
    )
    chat = {key: value for key, value in wish.items() if key != "predictionConfigStack"}
    chat["predictionConfigStack"] = stack(
        llm__prediction__temperature=0,
        llm__prediction__maxPredictedTokens={"checked": True, "value": 12},
    )
    assert by_template == by_channel
    assert by_template.startswith(" ")
    assert text_of(await ask(line, chat)) != by_template


async def test_a_template_of_ones_own_is_refused_and_not_passed_over(line: Line):
    template = {
        "type": "jinja",
        "jinjaPromptTemplate": {"template": "{{ messages[0].content }}!"},
        "stopStrings": [],
    }
    with pytest.raises(RefusalError, match="template"):
        await ask(line, question("Hi", llm__prediction__promptTemplate=template))


async def test_an_answer_obeys_its_schema_and_names_nothing_else(line: Line):
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "legs": {"type": "integer"}},
        "required": ["name", "legs"],
    }
    setting = {"type": "json", "jsonSchema": schema}
    for template in ({}, {"llm__prediction__promptTemplate": PLAIN_TEMPLATE}):
        told = await ask(line, question("A dog.", llm__prediction__structured=setting, **template))
        found = json.loads(text_of(told))
        assert set(found) == {"name", "legs"}
        assert isinstance(found["legs"], int)


async def test_an_answer_obeys_its_grammar(line: Line):
    setting = {"type": "gbnf", "gbnfGrammar": 'root ::= "yes" | "no"'}
    assert text_of(await ask(line, question("?", llm__prediction__structured=setting))) in (
        "yes",
        "no",
    )


async def test_a_limit_and_a_stop_string_end_an_answer_and_say_so(line: Line):
    limit = {"checked": True, "value": 2}
    told = await ask(line, question(POLAND, llm__prediction__maxPredictedTokens=limit))
    assert stop_reason(told) == "maxPredictedTokensReached"
    assert told[-1]["stats"]["predictedTokensCount"] == 2
    told = await ask(line, question(POLAND, llm__prediction__stopStrings=["saw"]))
    assert stop_reason(told) == "stopStringFound"
    assert "saw" not in text_of(told)


async def test_an_unticked_limit_is_none(line: Line):
    limit = {"checked": False, "value": 1}
    told = await ask(line, question(POLAND, llm__prediction__maxPredictedTokens=limit))
    assert text_of(told) == "Warsaw."


async def test_a_tool_call_is_told_piece_by_piece_and_whole(line: Line):
    tools = {"type": "toolArray", "tools": [ADD]}
    told = await ask(
        line, question("What is 12 plus 30? Use the tool.", llm__prediction__tools=tools,
                       llm__prediction__toolChoice={"type": "generic", "mode": "required"})
    )  # fmt: skip
    kinds = list(dict.fromkeys(one["type"] for one in told if one["type"].startswith("tool")))
    assert kinds == [
        "toolCallGenerationStart",
        "toolCallGenerationNameReceived",
        "toolCallGenerationArgumentFragmentGenerated",
        "toolCallGenerationEnd",
    ]
    whole = next(one for one in told if one["type"] == "toolCallGenerationEnd")
    call = whole["toolCallRequest"]
    assert (call["type"], call["name"]) == ("function", "add")
    assert set(call["arguments"]) == {"a", "b"}
    pieces = [one for one in told if one["type"] == "toolCallGenerationArgumentFragmentGenerated"]
    assert json.loads("".join(one["content"] for one in pieces)) == call["arguments"]
    assert stop_reason(told) == "toolCalls"
    # What the tool answered goes back with the call.
    asked = question("What is 12 plus 30? Use the tool.", llm__prediction__tools=tools)
    asked["history"]["messages"] += [
        {
            "role": "assistant",
            "content": [{"type": "toolCallRequest", "toolCallRequest": call}],
        },
        {
            "role": "tool",
            "content": [{"type": "toolCallResult", "content": "42", "toolCallId": call.get("id")}],
        },
    ]
    again = await ask(line, asked)
    assert "42" in text_of(again)


async def test_log_probabilities_come_where_they_are_asked_for(line: Line):
    setting = {"checked": True, "value": 2}
    told = await ask(line, question(POLAND, llm__prediction__logProbs=setting))
    tokens = [
        token
        for one in told
        if one["type"] == "fragment"
        for token in one["fragment"].get("tokens", ())
    ]
    assert tokens
    assert all(token["logProb"] <= 0 and len(token["candidates"]) == 2 for token in tokens)
    told = await ask(line, question(POLAND))
    assert all("tokens" not in one["fragment"] for one in told if one["type"] == "fragment")


async def test_a_prompt_that_does_not_fit_is_cut_or_refused_as_it_is_wished(connect_to: Connect):
    line = await connect_to("llm")
    await load(line, "tiny-chat", loadConfigStack=stack(llm__load__contextLength=512))
    long = "word " * 900
    limit = {"checked": True, "value": 4}
    for policy in (None, "truncateMiddle", "rollingWindow"):
        values = {} if policy is None else {"llm__prediction__contextOverflowPolicy": policy}
        told = await ask(line, question(long, llm__prediction__maxPredictedTokens=limit, **values))
        assert told[-1]["stats"]["promptTokensCount"] <= 512
    with pytest.raises(RefusalError) as refused:
        await ask(line, question(long, llm__prediction__contextOverflowPolicy="stopAtLimit"))
    sizes = refused.value.error["errorData"]
    assert sizes["contextLength"] == 512
    assert sizes["promptTokens"] > 512


async def test_an_answer_that_fills_the_context_says_so(slow: Line):
    info = await load(slow, (await slow.call("listLoaded"))[0]["modelKey"],
                      loadConfigStack=stack(llm__load__contextLength=256))  # fmt: skip
    setting = {"type": "gbnf", "gbnfGrammar": 'root ::= "a" root'}
    told = await ask(slow, question("Go on.", info["identifier"],
                                    llm__prediction__structured=setting))  # fmt: skip
    assert stop_reason(told) == "contextLengthReached"


async def test_a_cancelled_answer_ends_as_the_user_stopped_it(slow: Line):
    setting = {"type": "gbnf", "gbnfGrammar": 'root ::= "a" root'}
    channel = await slow.open("predict", question("Go on.", "slow",
                                                  llm__prediction__structured=setting))  # fmt: skip
    told = []
    async for message in slow.messages(channel):
        if message["type"] == "fragment" and not text_of(told):
            await slow.say(channel, "cancel")
        told.append(message)
    assert stop_reason(told) == "userStopped"
    assert told[-1]["stats"]["predictedTokensCount"] >= 1
    state = {"specifier": by_name("slow"), "throwIfNotFound": True}
    assert await slow.call("getInstanceProcessingState", state) == {"status": "idle", "queued": 0}


async def test_an_answer_whose_client_is_gone_frees_its_place(
    serve: Serve, connect_to: Connect, made: Maker, shipped: Path
):
    path = made(make_paced, source=shipped / "tiny-chat.gguf", inner=12288)
    serving = await serve(settings=Settings(model_folders=(str(path.parent),), discover=False))
    first, second = await connect_to("llm", at=serving), await connect_to("llm", at=serving)
    await load(first, path.stem, identifier="slow")
    setting = {"type": "gbnf", "gbnfGrammar": 'root ::= "a" root'}
    endless = question("Go on.", "slow", llm__prediction__structured=setting)
    channel = await first.open("predict", endless)
    async for message in first.messages(channel):
        if message["type"] == "fragment":
            break
    state = {"specifier": by_name("slow"), "throwIfNotFound": True}
    assert (await second.call("getInstanceProcessingState", state))["status"] == "generating"
    first.socket.transport.abort()
    async with asyncio.timeout(5):  # far less than the rest of the context would take
        one = {"checked": True, "value": 1}
        short = question(POLAND, "slow", llm__prediction__maxPredictedTokens=one)
        assert stop_reason(await ask(second, short)) == "maxPredictedTokensReached"


async def test_an_instance_unloaded_while_it_answers_is_told_as_that(slow: Line):
    setting = {"type": "gbnf", "gbnfGrammar": 'root ::= "a" root'}
    channel = await slow.open("predict", question("Go on.", "slow",
                                                  llm__prediction__structured=setting))  # fmt: skip
    failed = None
    try:
        while True:
            frame = await slow.read()
            if frame["type"] == "channelSend" and frame["message"]["type"] == "fragment":
                break
        unload = {"type": "rpcCall", "endpoint": "unloadModel", "callId": 77,
                  "parameter": {"identifier": "slow"}}  # fmt: skip
        await slow.send(unload)
        while True:
            frame = await slow.read()
            if frame["type"] == "channelError":
                failed = frame["error"]
                break
            assert frame["type"] != "channelClose"
    finally:
        assert channel
    assert failed["displayData"]["code"] == "generic.specificModelUnloaded"


async def test_presets_are_refused_as_unknown(line: Line):
    with pytest.raises(RefusalError) as refused:
        await ask(line, {**question("Hi"), "fuzzyPresetIdentifier": "mine"})
    assert refused.value.code == "generic.presetNotFound"


async def test_a_model_that_is_not_loaded_is_not_loaded_for_a_question(line: Line):
    with pytest.raises(RefusalError) as refused:
        await ask(line, question("Hi", "tiny-chat-overclaimed"))
    assert refused.value.code == "generic.noModelMatchingQuery"


async def test_a_picture_is_refused_by_a_model_that_sees_none(line: Line, connect_to: Connect):
    files = await connect_to("files")
    picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501
    kept = await files.call("uploadFileBase64", {"name": "a.png", "contentBase64": picture})
    asked = question("What is it?")
    part = {"type": "file", "name": "a.png", **kept}
    asked["history"]["messages"][0]["content"].append(part)
    with pytest.raises(RefusalError, match="sees no pictures"):
        await ask(line, asked)


async def test_the_template_shows_what_the_model_sees(line: Line):
    wish = {
        "specifier": by_name("tiny-chat"),
        "history": history("Hello there"),
        "predictionConfigStack": stack(),
        "opts": {},
    }
    formatted = (await line.call("applyPromptTemplate", wish))["formatted"]
    assert "Hello there" in formatted
    assert formatted != "Hello there"
    tools = {"toolDefinitions": [ADD]}
    assert "add" in (await line.call("applyPromptTemplate", {**wish, "opts": tools}))["formatted"]
    wish["history"]["messages"][0]["content"].append(
        {"type": "file", "name": "x.txt", "identifier": "unknown", "sizeBytes": 1,
         "fileType": "text/plain"}
    )  # fmt: skip
    assert (await line.call("applyPromptTemplate", wish))["formatted"] == formatted


async def test_tokens_are_counted_as_they_are_told(line: Line, connect_to: Connect):
    wish = {"specifier": by_name("tiny-chat"), "inputString": "Hello, world!"}
    tokens = (await line.call("tokenize", wish))["tokens"]
    assert (await line.call("countTokens", wish)) == {"tokenCount": len(tokens)}
    embedding = await connect_to("embedding")
    await load(embedding, "tiny-embed")
    wish["specifier"] = by_name("tiny-embed")
    tokens = (await embedding.call("tokenize", wish))["tokens"]
    assert (await embedding.call("countTokens", wish)) == {"tokenCount": len(tokens) - 2}


async def test_a_vector_is_of_one_text(connect_to: Connect):
    line = await connect_to("embedding")
    await load(line, "tiny-embed")
    wish = {"modelSpecifier": by_name("tiny-embed"), "inputString": "a"}
    vector = (await line.call("embedString", wish))["embedding"]
    assert math.isclose(sum(value * value for value in vector), 1, rel_tol=1e-3)


async def test_what_an_instance_does_and_who_waits_is_told(slow: Line):
    setting = {"type": "gbnf", "gbnfGrammar": 'root ::= "a" root'}
    long = question("word " * 1500, "slow", llm__prediction__structured=setting)
    state = {"specifier": by_name("slow"), "throwIfNotFound": True}
    call = {
        "type": "rpcCall",
        "endpoint": "getInstanceProcessingState",
        "callId": 500,
        "parameter": state,
    }
    first = await slow.open("predict", long)
    second = await slow.open("predict", long)
    told: list[dict] = []
    seen: set[str] = set()
    while len(told) < 2:
        frame = await slow.read()
        if frame["type"] == "rpcResult":
            told.append(frame["result"])
            continue
        kind = frame["message"]["type"]
        if kind not in seen:  # the first sign of reading, and of writing
            seen.add(kind)
            await slow.send(call)
    assert told == [
        {"status": "processingPrompt", "queued": 1},
        {"status": "generating", "queued": 1},
    ]
    for channel in (first, second):
        await slow.say(channel, "cancel")
    closed = 0
    while closed < 2:
        closed += (await slow.read())["type"] == "channelClose"
    assert await slow.call("getInstanceProcessingState", state) == {"status": "idle", "queued": 0}
