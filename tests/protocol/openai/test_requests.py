from __future__ import annotations

import json

import pytest

from lmstrix.errors import UsageError
from lmstrix.protocol.openai.requests import (
    Dialect,
    decode_chat,
    decode_completion,
    encode_request,
)
from lmstrix.types import Image, Message, Request, Role, Sampling, Tool, ToolCall

HI = (Message(Role.USER, "Hi"),)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
WEATHER = Tool(
    name="weather",
    description="Tells it",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}},
)


def sent(request: Request, dialect: Dialect = Dialect.OPENAI, *, stream: bool = True):
    path, body = encode_request(request, model="m", dialect=dialect, stream=stream)
    return path, json.loads(body)


def test_only_what_is_set_is_sent():
    path, body = sent(Request(messages=HI, sampling=Sampling(top_k=3)))
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "top_k": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_setting_of_zero_is_sent():
    sampling = Sampling(temperature=0.0, seed=0)
    path, body = sent(Request(prompt="Hi", sampling=sampling, cache_prompt=False), Dialect.LLAMA)
    assert path == "/v1/completions"
    assert (body["prompt"], body["temperature"], body["seed"]) == ("Hi", 0.0, 0)
    assert body["cache_prompt"] is False
    assert "verbose" not in body


def test_llama_is_asked_which_stop_string_ended_only_if_there_is_one():
    request = Request(prompt="Hi", sampling=Sampling(stop=("x",)))
    assert sent(request, Dialect.LLAMA)[1]["verbose"] is True
    assert "verbose" not in sent(request)[1]


def test_what_is_no_stream_says_nothing_of_streams():
    body = sent(Request(messages=HI), Dialect.LLAMA, stream=False)[1]
    assert body == {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def test_the_fields_of_a_servers_own_dialect_override_nothing():
    request = Request(
        messages=HI, sampling=Sampling(seed=1), extra={"seed": 2, "mirostat": 2, "model": "x"}
    )
    body = sent(request)[1]
    assert (body["seed"], body["mirostat"], body["model"]) == (1, 2, "m")


@pytest.mark.parametrize(
    ("dialect", "think", "words"),
    [
        (Dialect.LLAMA, False, {"chat_template_kwargs": {"enable_thinking": False}}),
        (
            Dialect.VLLM,
            "high",
            {"chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "high"}},
        ),
        (Dialect.OPENAI, "low", {"reasoning_effort": "low"}),
        (Dialect.LMSTUDIO, False, {"reasoning_effort": "none"}),
    ],
)
def test_the_wish_to_reason_is_said_in_the_servers_words(
    dialect: Dialect,
    think: bool | str,  # noqa: FBT001
    words: dict[str, object],
):
    body = sent(Request(messages=HI, think=think), dialect)[1]
    assert {name: body[name] for name in words} == words


def test_a_grammar_and_a_repeat_penalty_have_other_names_at_vllm():
    request = Request(messages=HI, grammar="root ::= x", sampling=Sampling(repeat_penalty=1.1))
    assert sent(request, Dialect.LLAMA)[1]["grammar"] == "root ::= x"
    body = sent(request, Dialect.VLLM)[1]
    assert body["structured_outputs"] == {"grammar": "root ::= x"}
    assert body["repetition_penalty"] == 1.1
    assert "repeat_penalty" not in body


@pytest.mark.parametrize("dialect", list(Dialect))
def test_what_a_client_writes_a_server_reads(dialect: Dialect):
    request = Request(
        messages=(
            Message(Role.SYSTEM, "Be brief."),
            Message(Role.USER, "What is this?", images=(Image(b"\x89PNG", "image/png"),)),
            Message(
                Role.ASSISTANT, "", tool_calls=(ToolCall(id="c1", name="weather", arguments="{}"),)
            ),
            Message(Role.TOOL, "rain", tool_call_id="c1", name="weather"),
        ),
        sampling=Sampling(temperature=0.5, top_p=0.9, stop=("a", "b"), max_tokens=5, seed=1),
        tools=(WEATHER,),
        tool_choice="weather",
        schema=SCHEMA,
        logprobs=3,
        think=None if dialect in (Dialect.LLAMA, Dialect.VLLM) else "high",
    )
    _, body = encode_request(request, model="m", dialect=dialect)
    read = decode_chat(body)
    assert read.request() == request
    assert read.stream
    assert read.wants_usage


def test_what_a_client_writes_to_be_completed_a_server_reads():
    request = Request(prompt="Once", sampling=Sampling(max_tokens=3), logprobs=2, schema=SCHEMA)
    for dialect in Dialect:
        _, body = encode_request(request, model="m", dialect=dialect)
        assert decode_completion(body).request() == request


def test_parts_developers_and_other_names_are_read():
    request = decode_chat(
        json.dumps(
            {
                "messages": [
                    {"role": "developer", "content": [{"type": "text", "text": "a"}]},
                    {"role": "user", "content": [{"type": "text", "text": "b"}], "name": "Ann"},
                ],
                "max_completion_tokens": 7,
                "stop": "x",
                "response_format": {"type": "json_object"},
                "reasoning_effort": "none",
                "something": "new",
            }
        ).encode()
    ).request()
    assert request.messages == (Message(Role.SYSTEM, "a"), Message(Role.USER, "b", name="Ann"))
    assert request.sampling == Sampling(max_tokens=7, stop=("x",))
    assert request.schema == {"type": "object"}
    assert request.think is False


def picture(address: str) -> str:
    part = {"type": "image_url", "image_url": {"url": address}}
    return json.dumps({"messages": [{"role": "user", "content": [part]}]})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "cannot be read"),
        ("{}", "messages"),
        ('{"messages": []}', "needs a message"),
        ('{"messages": [{"role": "king", "content": ""}]}', "king"),
        ('{"messages": [{"role": "user", "content": "x"}], "n": 2}', "not 2"),
        ('{"messages": [{"role": "user", "content": "x"}], "logit_bias": {"5": 1}}', "logit_bias"),
        (picture("http://169.254.169.254/x.png"), "in the request itself"),
        (picture("data:image/png;base64,%%%"), "base64"),
        (
            '{"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "web_search"}]}',
            "web_search",
        ),
        (
            '{"messages": [{"role":"user","content":"x"}], "response_format": {"type": "xml"}}',
            "xml",
        ),
    ],
)
def test_what_has_no_meaning_is_refused_with_its_reason(body: str, reason: str):
    with pytest.raises(UsageError, match=reason):
        decode_chat(body.encode()).request()


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1]]])
def test_one_text_is_completed_at_a_time(prompt: object):
    with pytest.raises(UsageError, match="one text"):
        decode_completion(json.dumps({"prompt": prompt}).encode()).request()
    assert decode_completion(b'{"prompt": ["a"]}').request().prompt == "a"
