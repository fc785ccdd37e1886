from __future__ import annotations

import base64
import json
import math
from typing import Any

import msgspec
import pytest

from lmstrix.errors import UnsupportedError, UsageError
from lmstrix.protocol.ollama.durations import keep_alive_of, keep_alive_s
from lmstrix.protocol.ollama.messages import ChatRequest, GenerateRequest
from lmstrix.protocol.ollama.options import read_options
from lmstrix.protocol.ollama.requests import encode_request, read_chat, read_generate
from lmstrix.types import Image, LoadConfig, Message, Request, Role, Sampling, Tool, ToolCall

HELLO = Request(messages=(Message(Role.USER, "Hello"),))
WEATHER = Tool(
    name="get_weather",
    description="The weather in a city",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}},
)
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(8)


def sent(request: Request, loaded: LoadConfig = LoadConfig()) -> tuple[str, dict[str, Any]]:  # noqa: B008  # immutable
    path, body = encode_request(request, model="m", loaded=loaded)
    return path, json.loads(body)


def read(body: object, *before: Message) -> Request:
    wire = msgspec.json.decode(json.dumps(body), type=ChatRequest)
    return read_chat(wire, read_options(wire.options or {}).sampling, before=before)


def generate(body: object, *before: Message) -> Request:
    wire = msgspec.json.decode(json.dumps(body), type=GenerateRequest)
    return read_generate(wire, read_options(wire.options or {}).sampling, before=before)


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    path, body = sent(HELLO)
    assert path == "/api/chat"
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "truncate": False,
    }


def test_a_raw_prompt_is_a_completion_without_template() -> None:
    assert sent(Request(prompt="Once")) == (
        "/api/generate",
        {"model": "m", "prompt": "Once", "raw": True, "stream": True, "truncate": False},
    )


def test_what_the_model_was_loaded_with_is_sent_with_every_request() -> None:
    loaded = LoadConfig(
        context_tokens=8192, gpu_layers=0, threads=2, batch_tokens=64, ttl_s=math.inf
    )
    _, body = sent(HELLO, loaded)
    assert body["options"] == {"num_ctx": 8192, "num_batch": 64, "num_gpu": 0, "num_thread": 2}
    assert body["keep_alive"] == -1


def test_sampling_goes_by_the_names_that_ollama_has() -> None:
    sampling = Sampling(temperature=0.0, max_tokens=5, stop=("a", "b"), repeat_penalty=1.1, seed=7)
    _, body = sent(Request(prompt="x", sampling=sampling))
    assert body["options"] == {
        "temperature": 0.0,
        "num_predict": 5,
        "stop": ["a", "b"],
        "repeat_penalty": 1.1,
        "seed": 7,
    }


def test_pictures_tools_schema_and_thinking_arrive_as_they_were_sent() -> None:
    request = Request(
        messages=(
            Message(Role.SYSTEM, "Be brief."),
            Message(Role.USER, "What is this?", images=(Image(PICTURE),)),
            Message(
                Role.ASSISTANT,
                "",
                reasoning="Hm.",
                tool_calls=(ToolCall(id="c1", name="get_weather", arguments='{"city":"Łódź"}'),),
            ),
            Message(Role.TOOL, "11 °C", tool_call_id="c1", name="get_weather"),
        ),
        tools=(WEATHER,),
        schema={"type": "object"},
        think="low",
        logprobs=3,
    )
    _, body = encode_request(request, model="m", loaded=LoadConfig())
    again = read_chat(msgspec.json.decode(body, type=ChatRequest), Sampling())
    assert again == request


def test_no_tool_is_offered_where_none_may_be_called() -> None:
    _, body = sent(Request(messages=HELLO.messages, tools=(WEATHER,), tool_choice="none"))
    assert "tools" not in body


def test_a_tool_that_must_be_called_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="get_weather"):
        sent(Request(messages=HELLO.messages, tools=(WEATHER,), tool_choice="get_weather"))


def test_a_call_whose_arguments_are_no_object_is_refused_before_it_is_sent() -> None:
    broken = Message(Role.ASSISTANT, tool_calls=(ToolCall(id="1", name="f", arguments="{"),))
    with pytest.raises(UsageError, match="of f"):
        sent(Request(messages=(broken,)))


def test_extra_fields_are_sent_but_override_nothing() -> None:
    extra = {"shift": False, "model": "other", "options": {"seed": 1, "typical_p": 0.5}}
    _, body = sent(Request(prompt="x", sampling=Sampling(seed=2), extra=extra))
    assert body["model"] == "m"
    assert body["shift"] is False
    assert body["options"] == {"seed": 2, "typical_p": 0.5}


def test_images_are_base64_of_their_bytes() -> None:
    _, body = sent(Request(messages=(Message(Role.USER, "?", images=(Image(PICTURE),)),)))
    assert body["messages"][0]["images"] == [base64.b64encode(PICTURE).decode()]


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"\xff\xd8\xff", "image/jpeg"), (b"GIF89a", "image/gif"), (PICTURE, "image/png")],
)
def test_the_kind_of_a_picture_is_read_from_its_bytes(start: bytes, kind: str) -> None:
    image = base64.b64encode(start).decode()
    request = generate({"model": "m", "prompt": "?", "images": [image]})
    assert request.messages[0].images[0].media_type == kind


def test_json_as_format_is_any_object() -> None:
    assert read({"format": "json"}).schema == {"type": "object"}
    assert read({"format": ""}).schema is None
    with pytest.raises(UsageError, match="xml"):
        read({"format": "xml"})


def test_a_tool_call_may_bring_its_arguments_as_text() -> None:
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    request = read({"messages": [{"role": "assistant", "tool_calls": [call]}]})
    assert request.messages[0].tool_calls == (
        ToolCall(id="call_0", name="f", arguments='{"a": 1}'),
    )


def test_a_role_is_read_whatever_its_case_and_an_unknown_one_refused() -> None:
    assert read({"messages": [{"role": "USER", "content": "x"}]}).messages[0].role is Role.USER
    with pytest.raises(UsageError, match="robot"):
        read({"messages": [{"role": "robot"}]})


def test_a_model_with_a_system_message_uses_it_unless_the_client_brings_one() -> None:
    mario = Message(Role.SYSTEM, "You are Mario.")
    luigi = {"role": "system", "content": "You are Luigi."}
    asked = {"role": "user", "content": "Who?"}
    assert [m.content for m in read({"messages": [asked]}, mario).messages] == [
        mario.content,
        "Who?",
    ]
    assert read({"messages": [luigi, asked]}, mario).messages[0].content == "You are Luigi."
    given = generate({"prompt": "Who?", "system": "You are Luigi."}, mario)
    assert [m.content for m in given.messages] == ["You are Luigi.", "Who?"]


@pytest.mark.parametrize("field", [{"suffix": "x"}, {"template": "x"}, {"context": [1]}])
def test_what_a_completion_cannot_have_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(field))):
        generate({"prompt": "x", **field})


def test_options_are_read_by_their_names_and_unknown_ones_passed_over() -> None:
    found = read_options(
        {
            "num_ctx": 1024.0,
            "num_gpu": -1,
            "num_thread": 0,
            "num_predict": -1,
            "seed": -1,
            "temperature": 1,
            "stop": "user:",
            "typical_p": 0.7,
            "num_keep": 5,
            "numa": False,
            "mirostat": None,
        }
    )
    assert found.load == LoadConfig(context_tokens=1024)
    assert found.sampling == Sampling(temperature=1, stop=("user:",))
    assert found.llama == {"typical_p": 0.7, "n_keep": 5}


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ({"num_ctx": "many"}, "a whole number"),
        ({"num_ctx": 1.5}, "a whole number"),
        ({"temperature": True}, "a number"),
        ({"stop": [1]}, "an array of texts"),
    ],
)
def test_an_option_of_the_wrong_kind_is_refused(option: dict[str, object], kind: str) -> None:
    with pytest.raises(UsageError, match=f'"{next(iter(option))}" must be .*{kind}'):
        read_options(option)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        (0, 0),
        (300, 300),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("0", 0),
        (-1, math.inf),
        ("-1m", math.inf),
        ("250ms", 0.25),
    ],
)
def test_keep_alive_is_a_number_of_seconds_or_a_duration(said: Any, seconds: object) -> None:
    assert keep_alive_s(said) == seconds


@pytest.mark.parametrize("said", ["", "5", "five", "5m ", "-", "m"])
def test_what_is_no_duration_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match="no duration"):
        keep_alive_s(said)


def test_a_time_to_live_is_sent_as_seconds() -> None:
    assert [keep_alive_of(ttl) for ttl in (None, 60.0, 0.5, math.inf)] == [None, 60, 0.5, -1]
