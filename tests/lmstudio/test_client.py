"""What both clients do alike, each test once for either of the twins."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from scripted.lmstudio import LLM_INFO, NO_MODEL, ScriptedServer, fragment, instance, success

import lmstrix.lmstudio as lms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scripted.lmstudio import Talk


def test_a_model_is_found_asked_and_let_go(client: Any, server: ScriptedServer) -> None:
    model = client.llm.model("tiny")
    assert model.identifier == "tiny"
    assert model.get_context_length() == 2048
    assert model.get_info().identifier == "tiny"
    assert isinstance(model.get_load_config(), lms.LlmLoadModelConfig)
    assert model.get_load_config().context_length == 2048
    assert model.get_base_prediction_config().temperature == 0.3
    assert model.get_processing_state().status == "idle"
    model.preload_draft_model("small")
    model.unload()
    endpoints = [frame["endpoint"] for frame in server.sent("rpcCall")]
    assert endpoints[-2:] == ["preloadDraftModel", "unloadModel"]


def test_connections_are_opened_when_first_needed_and_one_for_each_namespace(
    client: Any, server: ScriptedServer
) -> None:
    assert server.sockets == 0
    for _ in range(3):
        client.llm.list_loaded()
        client.embedding.list_loaded()
    assert server.sockets == 2


def test_tokens_are_told_of_one_text_and_of_many(llm: Any) -> None:
    assert llm.tokenize("abc") == [97, 98, 99]
    assert llm.tokenize(["a", "bc"]) == [[97], [98, 99]]
    assert llm.count_tokens("abcd") == 4
    assert llm.apply_prompt_template("hello") == "<1>"


def test_many_texts_are_embedded_at_once_and_in_order(
    make: Callable[..., Any], server: ScriptedServer
) -> None:
    waiting: list[Talk] = []

    async def embed(talk: Talk) -> None:
        waiting.append(talk)
        if len(waiting) < 5:
            return  # nothing is answered before several are asked
        for one in reversed(waiting):
            await one.result({"embedding": [float(one.parameter.input_string)]})
        waiting.clear()

    server.handlers["embedString"] = embed
    model = make(server.host).embedding.model("tiny-embed")
    assert model.embed([str(number) for number in range(20)]) == [[float(n)] for n in range(20)]


def test_a_list_longer_than_the_window_is_embedded_whole(client: Any) -> None:
    texts = ["x" * (number % 7) for number in range(300)]
    vectors = client.embedding.model("tiny-embed").embed(texts)
    assert vectors == [[float(len(text))] for text in texts]
    assert client.embedding.model("tiny-embed").embed("four") == [4.0]


def test_an_answer_comes_piece_by_piece_and_whole(llm: Any) -> None:
    stream = llm.respond_stream("hi")
    assert [piece.content for piece in stream] == ["Hello", ", ", "world", "!"]
    result = stream.result()
    assert result.content == str(result) == "Hello, world!"
    assert result.parsed is result.content
    assert not result.structured
    assert result.stats.stop_reason == "eosFound"
    assert stream.stats.total_tokens_count == 7
    assert stream.model_info.model_key == "tiny"
    assert result.load_config.context_length == 2048
    assert result.prediction_config.temperature == 0.5
    assert llm.respond("hi").content == llm.complete("hi").content == "Hello, world!"


def test_listeners_are_told_what_happens_in_order(llm: Any) -> None:
    progress: list[float] = []
    pieces: list[str] = []
    messages: list[lms.AssistantResponse] = []
    firsts: list[bool] = []
    events: list[object] = []
    result = llm.respond(
        "hi",
        on_prompt_processing_progress=progress.append,
        on_first_token=lambda: firsts.append(not pieces),
        on_prediction_fragment=lambda piece: pieces.append(piece.content),
        on_message=messages.append,
        on_event=events.append,
    )
    assert progress == [0.0, 0.5, 1.0]
    assert firsts == [True]
    assert "".join(pieces) == result.content
    assert [message.to_dict() for message in messages] == [
        {"role": "assistant", "content": [{"type": "text", "text": "Hello, world!"}]}
    ]
    assert [type(event).__name__ for event in events] == ["PromptProcessing"] + [
        "LlmPredictionFragment"
    ] * 4


def test_a_listener_that_fails_ends_nothing_and_is_named_in_the_log(
    llm: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(piece: object) -> None:
        raise RuntimeError("mine")

    assert llm.respond("hi", on_prediction_fragment=fail).content == "Hello, world!"
    assert "callback failed" in caplog.text
    assert "Hello" not in caplog.text


def test_what_is_thought_is_apart_from_the_answer(llm: Any, server: ScriptedServer) -> None:
    async def think(talk: Talk) -> None:
        for text, kind in (
            ("<think>", "reasoningStartTag"),
            ("hm", "reasoning"),
            ("</think>", "reasoningEndTag"),
            ('{"a":1}', "none"),
        ):
            await talk.send(fragment(text, kind))
        await talk.send(success())
        await talk.close()

    server.handlers["predict"] = think
    result = llm.respond("hi", response_format={"type": "object"})
    assert result.content == '<think>hm</think>{"a":1}'
    assert result.reasoning_content == "hm"
    assert result.non_reasoning_content == '{"a":1}'
    assert result.parsed == {"a": 1}
    assert result.structured


def test_log_probabilities_are_in_the_result(llm: Any, server: ScriptedServer) -> None:
    async def predict(talk: Talk) -> None:
        tokens = [{"text": "a", "id": 1, "logProb": -0.5, "candidates": [{"text": "b", "id": 2}]}]
        await talk.send(fragment("a", tokens=tokens))
        await talk.send(success())
        await talk.close()

    server.handlers["predict"] = predict
    result = llm.respond("hi", config={"logProbs": 1, "seed": 7})
    assert [(token.text, token.log_prob) for token in result.tokens] == [("a", -0.5)]
    fields = sent_fields(server)
    assert fields["llm.prediction.logProbs"] == {"checked": True, "value": 1}
    assert fields["llm.prediction.seed"] == {"checked": True, "value": 7}


def test_a_prediction_that_is_cancelled_keeps_what_it_has(llm: Any, server: ScriptedServer) -> None:
    async def endless(talk: Talk) -> None:
        await talk.send(fragment("one"))
        assert await talk.messages.get() == {"type": "cancel"}
        await talk.send(fragment("late"))
        await talk.send(success("userStopped"))
        await talk.close()

    server.handlers["predict"] = endless
    stream = llm.respond_stream("hi")
    pieces = 0
    for _ in stream:
        stream.cancel()
        pieces += 1
    assert pieces == 1
    assert stream.stats.stop_reason == "userStopped"
    assert stream.result().content == "one"


def test_a_stream_that_is_left_is_cancelled_on_the_server(llm: Any, server: ScriptedServer) -> None:
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def endless(talk: Talk) -> None:
        await talk.send(fragment("one"))
        await told.put(await talk.messages.get())

    server.handlers["predict"] = endless
    stream = llm.respond_stream("hi")
    for _ in stream:
        break
    with pytest.raises(lms.LMStudioCancelledError, match=r"please use \.cancel"):
        stream.result()
    llm.count_tokens("x")  # the connection is as good as before
    assert asyncio.run_coroutine_threadsafe(told.get(), server._loop).result(10) == {
        "type": "cancel"
    }


def test_a_result_is_not_there_before_its_time(llm: Any) -> None:
    stream = llm.respond_stream("hi")
    with pytest.raises(lms.LMStudioRuntimeError, match="not been initiated"):
        stream.result()
    with stream:
        with pytest.raises(lms.LMStudioRuntimeError, match="not yet been completed"):
            stream.result()
        with pytest.raises(lms.LMStudioRuntimeError, match="already been sent"):
            stream.start()
        assert stream.wait_for_result().content == "Hello, world!"
    with pytest.raises(lms.LMStudioRuntimeError, match="already been received"):
        stream.start()


def test_a_load_reports_its_progress_forward_only(client: Any, server: ScriptedServer) -> None:
    progress: list[float] = []
    model = client.llm.load_new_instance(
        "tiny",
        "mine",
        ttl=60,
        config={"contextLength": 512, "gpu": {"ratio": 0.5}},
        on_load_progress=progress.append,
    )
    assert model.identifier == "mine"
    assert progress == [0.0, 0.5, 1.0]
    created = server.sent("channelCreate")[0]["creationParameter"]
    assert created == {
        "modelKey": "tiny",
        "identifier": "mine",
        "ttlMs": 60000,
        "loadConfigStack": {
            "layers": [
                {
                    "layerName": "apiOverride",
                    "config": {
                        "fields": [
                            {"key": "llm.load.contextLength", "value": 512},
                            {"key": "llm.load.llama.acceleration.offloadRatio", "value": 0.5},
                        ]
                    },
                }
            ]
        },
    }


def test_a_load_is_cancelled_from_elsewhere(client: Any, server: ScriptedServer) -> None:
    cancel = lms.Cancellation()

    async def load(talk: Talk) -> None:
        await talk.send({"type": "progress", "progress": 0.1})
        cancel.cancel()
        assert await talk.messages.get() == {"type": "cancel"}
        await talk.close()

    server.handlers["loadModel"] = load
    with pytest.raises(lms.LMStudioCancelledError):
        client.llm.load_new_instance("tiny", cancel=cancel)
    with pytest.raises(lms.LMStudioCancelledError, match="before it began"):
        client.llm.load_new_instance("tiny", cancel=cancel)


def test_a_prediction_is_cancelled_from_elsewhere(llm: Any, server: ScriptedServer) -> None:
    cancel = lms.Cancellation()

    async def predict(talk: Talk) -> None:
        await talk.send(fragment("one"))
        cancel.cancel()
        assert await talk.messages.get() == {"type": "cancel"}
        await talk.send(success("userStopped"))
        await talk.close()

    server.handlers["predict"] = predict
    assert llm.respond("hi", cancel=cancel).stats.stop_reason == "userStopped"


def test_another_model_that_makes_room_is_told_of_in_the_log(
    client: Any, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def get_or_load(talk: Talk) -> None:
        other = instance({**LLM_INFO, "modelKey": "other"}, "other")
        await talk.send({"type": "unloadingOtherJITModel", "info": other})
        await talk.send({"type": "startLoading", "identifier": "tiny", "info": LLM_INFO})
        await talk.send({"type": "loadProgress", "progress": 0.5})
        await talk.send({"type": "loadSuccess", "info": instance(LLM_INFO, "tiny")})
        await talk.close()

    server.handlers["getOrLoad"] = get_or_load
    caplog.set_level(logging.DEBUG, logger="lmstrix.lmstudio")
    progress: list[float] = []
    client.llm.model("tiny", on_load_progress=progress.append)
    assert progress == [0.0, 0.5, 1.0]
    told = {
        record.levelname: json.loads(record.getMessage())
        for record in caplog.records
        if "Unloading other JIT model" in record.getMessage()
    }
    assert told["INFO"]["unloaded_model_key"] == "other"
    assert "disable this behavior" in told["INFO"]["suggestion"]
    assert told["DEBUG"]["unloaded_model"]["identifier"] == "other"
    assert "suggestion" not in told["DEBUG"]


def test_what_is_not_there_is_a_model_not_found(client: Any, server: ScriptedServer) -> None:
    with pytest.raises(lms.LMStudioModelNotFoundError, match="Model get/load error") as caught:
        client.llm.model("nope")
    assert caught.value.server_error is not None
    assert caught.value.server_error.stack is None
    assert "secret path" not in str(caught.value)
    with pytest.raises(lms.LMStudioModelNotFoundError):
        client.llm.get_model_info("nope")

    async def refuse(talk: Talk) -> None:
        await talk.fail({"title": "No", "displayData": {"code": "generic.presetNotFound"}})

    server.handlers["predict"] = refuse
    with pytest.raises(lms.LMStudioPresetNotFoundError):
        client.llm.handle("tiny").respond("hi", preset="nope")

    async def refuse_load(talk: Talk) -> None:
        await talk.fail({"title": 'A model "tiny" already exists'})

    server.handlers["loadModel"] = refuse_load
    with pytest.raises(lms.LMStudioServerError, match=r"Model load error.*already exists"):
        client.llm.load_new_instance("tiny", "tiny")


def test_an_error_within_an_answer_ends_it(llm: Any, server: ScriptedServer) -> None:
    async def predict(talk: Talk) -> None:
        await talk.send(fragment("one"))
        await talk.fail({"title": "engine died"})

    server.handlers["predict"] = predict
    stream = llm.respond_stream("hi")
    got: list[str] = []
    with pytest.raises(lms.LMStudioServerError, match="engine died"):
        got.extend(piece.content for piece in stream)
    assert got == ["one"]
    with pytest.raises(lms.LMStudioServerError, match="engine died"):
        stream.result()


def test_a_channel_closed_too_early_is_no_answer(llm: Any, server: ScriptedServer) -> None:
    async def predict(talk: Talk) -> None:
        await talk.send(fragment("one"))
        await talk.close()

    server.handlers["predict"] = predict
    with pytest.raises(lms.LMStudioChannelClosedError):
        llm.respond("hi")


def test_models_of_types_not_known_are_listed_with_the_others(
    client: Any, server: ScriptedServer
) -> None:
    async def listing(talk: Talk) -> None:
        await talk.result([LLM_INFO, {**LLM_INFO, "type": "transcription", "modelKey": "ears"}])

    server.handlers["listDownloadedModels"] = listing
    models = client.list_downloaded_models()
    assert [(model.type, model.model_key) for model in models] == [
        ("llm", "tiny"),
        ("transcription", "ears"),
    ]
    assert [model.model_key for model in client.llm.list_downloaded()] == ["tiny"]
    assert [model.path for model in client.list_downloaded_models("llm")] == [LLM_INFO["path"]]
    with pytest.raises(lms.LMStudioValueError, match="Unknown model namespace"):
        client.list_downloaded_models("llms")


def test_a_downloaded_model_is_loaded_from_the_list(client: Any) -> None:
    llm, embedding = client.list_downloaded_models()
    assert llm.model().identifier == "tiny"
    assert llm.load_new_instance(instance_identifier="two").identifier == "two"
    assert embedding.model().identifier == "tiny-embed"
    loaded = client.list_loaded_models()
    assert [model.identifier for model in loaded] == ["tiny", "tiny-embed"]
    assert [model.identifier for model in client.list_loaded_models("embedding")] == ["tiny-embed"]
    assert client.llm.model().identifier == "tiny"


def test_nothing_loaded_is_said_so(client: Any, server: ScriptedServer) -> None:
    async def nothing(talk: Talk) -> None:
        await talk.result([])

    server.handlers["listLoaded"] = nothing
    with pytest.raises(lms.LMStudioClientError, match="no models are currently loaded"):
        client.llm.model()


def test_a_model_is_searched_for_and_downloaded(client: Any) -> None:
    found = client.repository.search_models("tiny", limit=3)
    options = found[0].get_download_options()
    assert options[0].info.download_identifier == "d"
    updates: list[int] = []
    finals: list[bool] = []
    done = options[0].download(
        lambda update: updates.append(update.downloaded_bytes), lambda: finals.append(True)
    )
    assert (done, updates, finals) == ("tiny", [1], [True])
    with pytest.raises(lms.LMStudioValueError, match="At least one"):
        client.repository.search_models()
    client.close()
    with pytest.raises(lms.LMStudioClientError, match="closed"):
        found[0].get_download_options()
    with pytest.raises(lms.LMStudioClientError, match="closed"):
        options[0].download()


def test_files_become_handles_whatever_they_come_as(client: Any, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(b"picture")
    with file.open("rb") as opened:
        handles = [
            client.prepare_image(src)
            for src in (file, str(file), opened, b"picture", bytearray(b"picture"))
        ]
    assert [handle.name for handle in handles[:3]] == ["picture.png"] * 3
    assert len({handle.identifier for handle in handles}) == 5
    assert client.prepare_file(b"x", "note.txt").name == "note.txt"
    with pytest.raises(lms.LMStudioOSError):
        client.prepare_image(tmp_path / "missing.png")


def test_the_server_is_asked_about_itself(client: Any, server: ScriptedServer) -> None:
    assert client.system.version().version == "0.4.4"
    assert client.system.info().pid == 1
    client.system.notify("Done", "all of it")
    client.system.start_http_server(1234, cors=True)
    client.system.stop_http_server()
    assert [variant.model_key for variant in client.system.list_variants("tiny")] == ["tiny"]
    usage = client.llm.estimate_resources("tiny", config={"contextLength": 10})
    assert usage.memory.total_bytes == 9
    assert usage.passes_guardrails
    assert client.system.remote_call("version") == {"version": "0.4.4", "build": 1}


def test_the_log_is_read_until_it_is_left(client: Any, server: ScriptedServer) -> None:
    async def logs(talk: Talk) -> None:
        for number in (1, 2):
            data = {"type": "server.log", "text": str(number)}
            await talk.send({"type": "log", "log": {"timestamp": number, "data": data}})
        assert await talk.messages.get() == {"type": "stop"}

    server.handlers["streamLogs"] = logs
    got = []
    for event in client.diagnostics.stream_logs():
        got.append(event.data["text"])
        if len(got) == 2:
            break
    assert got == ["1", "2"]


def test_a_message_of_a_new_type_is_warned_of_and_passed_over(
    llm: Any, server: ScriptedServer
) -> None:
    async def predict(talk: Talk) -> None:
        await talk.send({"type": "brandNew", "content": {"a": 1}})
        await talk.send(fragment("one"))
        await talk.send(success())
        await talk.close()

    server.handlers["predict"] = predict
    with pytest.warns(lms.LMStudioUnknownMessageWarning, match="Chat response: passed over"):
        assert llm.respond("hi").content == "one"


def test_an_unknown_option_is_warned_of_and_a_wrong_one_refused(llm: Any) -> None:
    with pytest.warns(UserWarning, match="temprature"):
        llm.respond("hi", config={"temprature": 1})
    with pytest.raises(lms.LMStudioValueError, match="does not fit"):
        llm.respond("hi", config={"temperature": "warm"})
    with pytest.raises(TypeError):
        llm.respond("hi", confg={})
    with pytest.raises(lms.LMStudioValueError, match="response_format"):
        llm.respond(
            "hi", response_format={"type": "object"}, config={"structured": {"type": "json"}}
        )


def test_the_same_pieces_go_to_the_server_for_chats_and_completions(
    llm: Any, server: ScriptedServer
) -> None:
    llm.complete("Once", config={"max_tokens": 3}, preset="mine")
    created = server.sent("channelCreate")[-1]["creationParameter"]
    assert created["modelSpecifier"] == {"type": "query", "query": {"identifier": "tiny"}}
    assert created["fuzzyPresetIdentifier"] == "mine"
    layers = created["predictionConfigStack"]["layers"]
    assert [layer["layerName"] for layer in layers] == ["apiOverride", "completeModeFormatting"]


def test_calls_to_tools_are_in_the_result_and_not_run(llm: Any, server: ScriptedServer) -> None:
    def add(a: int, b: int = 1) -> int:
        """Add two numbers."""
        raise AssertionError("not to be run")

    async def predict(talk: Talk) -> None:
        await talk.send({"type": "toolCallGenerationStart", "toolCallId": "7"})
        await talk.send({"type": "toolCallGenerationNameReceived", "name": "add"})
        for piece in ('{"a"', ":1}"):
            await talk.send(
                {"type": "toolCallGenerationArgumentFragmentGenerated", "content": piece}
            )
        request = {"type": "function", "id": "7", "name": "add", "arguments": {"a": 1}}
        await talk.send({"type": "toolCallGenerationEnd", "toolCallRequest": request})
        await talk.send(success("toolCalls"))
        await talk.close()

    server.handlers["predict"] = predict
    raw = lms.RawTool(
        name="look", description="Look", parameters={"type": "object", "properties": {"at_it": {}}}
    )
    stream = llm.respond_stream("hi", tools=[add, raw])
    events = list(stream.events())
    assert [type(event).__name__ for event in events] == [
        "ToolCallStarted",
        "ToolCallNamed",
        "ToolCallArguments",
        "ToolCallArguments",
        "ToolCallFinished",
    ]
    assert [call.arguments for call in stream.result().tool_call_requests] == [{"a": 1}]
    tools = sent_fields(server)["llm.prediction.tools"]
    assert [tool["function"]["name"] for tool in tools["tools"]] == ["add", "look"]
    assert tools["tools"][0]["function"]["parameters"]["required"] == ["a"]
    assert tools["tools"][1]["function"]["parameters"] == raw.parameters


def test_a_rule_against_silence_holds_in_each_phase(
    make: Callable[..., Any], server: ScriptedServer
) -> None:
    async def say_nothing(talk: Talk) -> None:
        await talk.messages.get()

    async def stop_talking(talk: Talk) -> None:
        await talk.send(fragment("one"))
        await talk.messages.get()

    client = make(server.host, timeouts=lms.Timeouts.same(0.05))
    llm = client.llm.handle("tiny")
    server.handlers["countTokens"] = say_nothing
    with pytest.raises(lms.LMStudioTimeoutError, match=r"RPC.*0\.05 s"):
        llm.count_tokens("x")
    server.handlers["predict"] = say_nothing
    with pytest.raises(lms.LMStudioTimeoutError):
        llm.respond("hi")
    server.handlers["predict"] = stop_talking
    with pytest.raises(lms.LMStudioTimeoutError):
        llm.respond("hi", timeouts=lms.Timeouts(tokens_s=0.05))
    server.handlers["loadModel"] = say_nothing
    with pytest.raises(lms.LMStudioTimeoutError):
        client.llm.load_new_instance("tiny")


def test_an_answer_cannot_beat_a_limit_of_nothing(
    make: Callable[..., Any], server: ScriptedServer
) -> None:
    client = make(server.host, timeouts=lms.Timeouts(call_s=0.0))

    async def never(talk: Talk) -> None:
        await talk.messages.get()

    server.handlers["listLoaded"] = never
    with pytest.raises(lms.LMStudioTimeoutError):
        client.llm.list_loaded()


def test_models_are_told_apart_by_name_and_session(client: Any) -> None:
    assert client.llm.handle("a") == client.llm.handle("a")
    assert client.llm.handle("a") != client.llm.handle("b")
    assert client.llm.handle("a") != client.embedding.handle("a")


def test_the_server_speaks_of_a_query_as_the_caller_wrote_it(
    client: Any, server: ScriptedServer
) -> None:
    query = {"identifier": "tiny", "vision": False}
    client.llm.get_model_info(query)
    assert server.sent("rpcCall")[-1]["parameter"] == {
        "specifier": {"type": "query", "query": query},
        "throwIfNotFound": True,
    }
    with pytest.raises(lms.LMStudioValueError, match="specifier"):
        client.llm.get_model_info(5)


def test_a_refusal_without_a_reason_is_one_all_the_same(
    client: Any, server: ScriptedServer
) -> None:
    async def refuse(talk: Talk) -> None:
        await talk.fail(NO_MODEL)

    server.handlers["unloadModel"] = refuse
    with pytest.raises(lms.LMStudioModelNotFoundError, match="RPC error"):
        client.llm.unload("nope")


def sent_fields(server: ScriptedServer) -> dict[str, Any]:
    """The settings of the last prediction by key."""
    created = server.sent("channelCreate")[-1]["creationParameter"]
    layer = created["predictionConfigStack"]["layers"][0]
    return {field["key"]: field["value"] for field in layer["config"]["fields"]}
