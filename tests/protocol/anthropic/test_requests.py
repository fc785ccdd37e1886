from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.errors import UsageError
from lmstrix.protocol.anthropic.requests import CountRequest, MessagesRequest, encode_request
from lmstrix.types import Image, Message, Request, Role, Sampling, Tool, ToolCall

PNG = base64.b64encode(b"a picture").decode()


def read(**fields: object) -> Request:
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}
    return msgspec.json.decode(json.dumps({**body, **fields}), type=MessagesRequest).request()


def turn(*blocks: dict[str, object], role: str = "user") -> list[dict[str, object]]:
    return [{"role": role, "content": list(blocks)}]


def test_nothing_is_set_that_was_not_sent() -> None:
    assert read() == Request(messages=(Message(Role.USER, "Hi"),), sampling=Sampling(max_tokens=10))


def test_settings_keep_their_meaning() -> None:
    asked = read(temperature=0.5, top_k=4, top_p=0.9, stop_sequences=["a", "b"], system="Be kind.")
    assert asked.sampling == Sampling(
        temperature=0.5, top_k=4, top_p=0.9, stop=("a", "b"), max_tokens=10
    )
    assert asked.messages[0] == Message(Role.SYSTEM, "Be kind.")


def test_a_system_prompt_in_blocks_is_one_text() -> None:
    blocks = [{"type": "text", "text": "One.", "cache_control": {"type": "ephemeral"}},
              {"type": "text", "text": "Two."}]  # fmt: skip
    assert read(system=blocks).messages[0] == Message(Role.SYSTEM, "One.\nTwo.")


def test_images_are_read_from_the_request_alone() -> None:
    source = {"type": "base64", "media_type": "image/jpeg", "data": PNG}
    image = {"type": "image", "source": source}
    message = read(messages=turn({"type": "text", "text": "What is it?"}, image)).messages[0]
    assert message == Message(Role.USER, "What is it?", images=(Image(b"a picture", "image/jpeg"),))
    for bad in ({"type": "url", "url": "http://x/"}, {**source, "data": "no base64"}):
        with pytest.raises(UsageError):
            read(messages=turn({"type": "image", "source": bad}))


def test_what_a_tool_said_is_a_message_of_its_own_before_the_users_words() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1, "b": [2]}}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
    picture = {"type": "image", "source": {"type": "base64", "data": PNG}}
    content = [{"type": "text", "text": "3"}, picture]
    result = {"type": "tool_result", "tool_use_id": "t1", "content": content}
    failed = {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": True}
    asked = read(
        messages=[
            *turn(thought, {"type": "text", "text": "Wait."}, use, role="assistant"),
            *turn({"type": "text", "text": "And now?"}, result, failed),
        ]
    )
    call = ToolCall(id="t1", name="add", arguments='{"a": 1, "b": [2]}')
    assert asked.messages == (
        Message(Role.ASSISTANT, "Wait.", tool_calls=(call,), reasoning="Hm."),
        Message(Role.TOOL, "3", tool_call_id="t1"),
        Message(Role.TOOL, "Error: no", tool_call_id="t2"),
        Message(Role.USER, "And now?", images=(Image(b"a picture"),)),
    )


def test_a_result_without_words_is_an_empty_one() -> None:
    asked = read(messages=turn({"type": "tool_result", "tool_use_id": "t"}))
    assert asked.messages == (Message(Role.TOOL, "", tool_call_id="t"),)


def test_documents_of_text_are_read_and_others_refused() -> None:
    document = {"type": "document", "title": "T", "source": {"type": "text", "data": "words"}}
    assert read(messages=turn(document)).messages[0].content == "T\nwords"
    pdf = {"type": "document", "source": {"type": "base64", "data": PNG}}
    with pytest.raises(UsageError, match="document"):
        read(messages=turn(pdf))


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any", "disable_parallel_tool_use": True}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "add"}, "add"),
    ],
)
def test_whether_a_tool_must_be_called(choice: dict[str, object], meant: str) -> None:
    tool = {"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}
    asked = read(tools=[tool], tool_choice=choice)
    assert asked.tools == (Tool(name="add", description="Adds.", parameters={"type": "object"}),)
    assert asked.tool_choice == meant


def test_tools_of_anthropics_own_servers_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="web_search_20250305"):
        read(tools=[{"type": "web_search_20250305", "name": "web_search"}])


@pytest.mark.parametrize(
    ("fields", "think"),
    [
        ({}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "high"),
        ({"output_config": {"effort": "low"}}, None),
    ],
)
def test_how_much_is_thought(fields: dict[str, object], think: object) -> None:
    assert read(**fields).think == think


def test_a_schema_for_the_answer() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert (
        read(output_config={"format": {"type": "json_schema", "schema": schema}}).schema == schema
    )


def test_what_a_newer_client_adds_is_passed_over() -> None:
    asked = read(metadata={"user_id": "u"}, service_tier="auto", brand_new={"x": [1]})
    assert asked == read()


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
        {"tool_choice": {"type": "perhaps"}},
    ],
)
def test_what_has_no_meaning_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        read(**fields)


def test_a_limit_of_the_answer_is_needed_and_not_for_a_count() -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}'
    with pytest.raises(msgspec.ValidationError, match="max_tokens"):
        msgspec.json.decode(body, type=MessagesRequest)
    assert msgspec.json.decode(body, type=CountRequest).request().messages


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_CALL = st.builds(ToolCall, id=_TEXT, name=_TEXT, arguments=st.just('{"a":1}') | st.just("{}"))
_TURNS = st.lists(
    st.tuples(
        st.builds(
            Message,
            role=st.just(Role.USER),
            content=_TEXT,
            images=st.lists(st.builds(Image, data=st.binary(max_size=5)), max_size=2).map(tuple),
        ),
        st.builds(
            Message,
            role=st.just(Role.ASSISTANT),
            content=_TEXT,
            tool_calls=st.lists(_CALL, max_size=2).map(tuple),
        ),
    ),
    min_size=1,
    max_size=3,
)


@given(_TURNS, st.none() | _TEXT)
def test_what_a_client_writes_is_what_a_server_reads(
    turns: list[tuple[Message, Message]], system: str | None
) -> None:
    said = [message for pair in turns for message in pair]
    before = () if system is None else (Message(Role.SYSTEM, system),)
    request = Request(
        messages=(*before, *said),
        sampling=Sampling(max_tokens=5, temperature=0.1, stop=("x",)),
        tools=(Tool(name="t", description="d", parameters={"type": "object"}),),
        tool_choice="required",
        schema={"type": "object"},
        think=False,
    )
    body = msgspec.json.encode(encode_request(request, model="m"))
    assert msgspec.json.decode(body, type=MessagesRequest).request() == request


def test_results_of_tools_become_part_of_what_the_user_says() -> None:
    said = (
        Message(Role.USER, "Add."),
        Message(Role.ASSISTANT, "", tool_calls=(ToolCall(id="1", name="add"),)),
        Message(Role.TOOL, "3", tool_call_id="1"),
        Message(Role.USER, "Thanks."),
    )
    request = Request(messages=said, sampling=Sampling(max_tokens=5))
    body = encode_request(request, model="m")
    assert [turn.role for turn in body.messages] == ["user", "assistant", "user"]
    assert msgspec.json.decode(msgspec.json.encode(body), type=MessagesRequest).request() == request


def test_what_the_format_cannot_say_is_refused() -> None:
    for request in (
        Request(messages=(Message(Role.USER, "Hi"),)),
        Request(prompt="Once", sampling=Sampling(max_tokens=5)),
    ):
        with pytest.raises(UsageError):
            encode_request(request, model="m")
