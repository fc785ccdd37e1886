"""From a client's history and settings to a request."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lmstrix.errors import UnsupportedError, UsageError
from lmstrix.gateway.lmstudio_native.questions import chat_question, closed, text_question
from lmstrix.protocol.lmstudio.chats import ChatHistoryData, FileHandle
from lmstrix.types import Image, Overflow, Request, Role

P = "llm.prediction."


def read(messages: list[dict[str, Any]], **pictures: Image) -> Request:
    history = msgspec.convert({"messages": messages}, ChatHistoryData)

    def picture(part: FileHandle) -> Image | None:
        return pictures.get(part.identifier)

    return chat_question(history, {}, pictures=picture).request


def asked(values: dict[str, Any], *texts: str) -> Request:
    return wished(values, *texts).request


def wished(values: dict[str, Any], *texts: str) -> Any:
    messages = [
        {"role": "user" if i % 2 == 0 else "assistant", "content": [{"type": "text", "text": t}]}
        for i, t in enumerate(texts or ("Hi",))
    ]
    history = msgspec.convert({"messages": messages}, ChatHistoryData)
    return chat_question(history, values, pictures=lambda _: None)


def test_texts_of_a_user_are_lines_and_of_an_assistant_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = read([{"role": "user", "content": parts}, {"role": "assistant", "content": parts}])
    assert [message.content for message in request.messages] == ["a\nb", "ab"]


def test_pictures_go_with_their_message_and_what_is_none_is_passed_over() -> None:
    def file(name: str) -> dict[str, Any]:
        return {"type": "file", "name": name, "identifier": name, "sizeBytes": 1, "fileType": "x"}

    picture = Image(b"png")
    request = read([{"role": "user", "content": [file("known"), file("other")]}], known=picture)
    assert request.messages[0].images == (picture,)


def test_results_without_an_id_answer_the_calls_in_their_order() -> None:
    def call(name: str) -> dict[str, Any]:
        wish = {"type": "function", "name": name, "arguments": {"x": 1}}
        return {"type": "toolCallRequest", "toolCallRequest": wish}

    request = read(
        [
            {"role": "assistant", "content": [call("a"), call("b")]},
            {"role": "tool", "content": [{"type": "toolCallResult", "content": "1"}]},
            {"role": "tool", "content": [{"type": "toolCallResult", "content": "2"}]},
        ]
    )
    calls = request.messages[0].tool_calls
    assert [one.name for one in calls] == ["a", "b"]
    assert len({one.id for one in calls}) == 2
    assert calls[0].arguments == '{"x":1}'
    answers = request.messages[1:]
    assert [one.role for one in answers] == [Role.TOOL, Role.TOOL]
    assert [one.tool_call_id for one in answers] == [one.id for one in calls]
    assert [one.name for one in answers] == ["a", "b"]


def test_a_result_with_an_id_answers_that_call() -> None:
    def call(name: str) -> dict[str, Any]:
        wish = {"type": "function", "name": name, "id": f"id-{name}"}
        return {"type": "toolCallRequest", "toolCallRequest": wish}

    answer = {"type": "toolCallResult", "content": "2", "toolCallId": "id-b"}
    request = read(
        [
            {"role": "assistant", "content": [call("a"), call("b")]},
            {"role": "tool", "content": [answer]},
        ]
    )
    assert request.messages[1].name == "b"


@pytest.mark.parametrize(
    "template",
    [
        "{% for message in messages %}{{ message['content'] }}{% endfor %}",
        "{%- for m in messages -%}{{- m.content -}}{%- endfor -%}",
        '{% for x in messages %}\n{{ x["content"] }}\n{% endfor %}',
    ],
)
def test_a_template_that_joins_contents_makes_a_completion(template: str) -> None:
    setting = {
        "type": "jinja",
        "jinjaPromptTemplate": {"template": template},
        "stopStrings": ["END"],
    }
    request = asked({P + "promptTemplate": setting}, "Once ", "upon")
    assert request.prompt == "Once upon"
    assert request.messages == ()
    assert request.sampling.stop == ("END",)


def test_any_other_template_is_refused() -> None:
    setting = {"type": "jinja", "jinjaPromptTemplate": {"template": "{{ bos_token }}"}}
    with pytest.raises(UnsupportedError, match="template"):
        asked({P + "promptTemplate": setting})


def test_a_manual_template_writes_before_and_after_and_begins_the_answer() -> None:
    manual = {
        "beforeUser": "U:",
        "afterUser": "\n",
        "beforeAssistant": "A:",
        "afterAssistant": "\n",
    }
    setting = {"type": "manual", "manualPromptTemplate": manual, "stopStrings": ["U:"]}
    assert asked({P + "promptTemplate": setting}, "a").prompt == "U:a\nA:"
    assert asked({P + "promptTemplate": setting}, "a", "b", "c").prompt == "U:a\nA:b\nU:c\nA:"


def test_settings_are_what_they_are_called_here() -> None:
    request = asked(
        {
            P + "temperature": 0.5,
            P + "topPSampling": {"checked": True, "value": 0.9},
            P + "minPSampling": {"checked": False, "value": 0.05},
            P + "maxPredictedTokens": {"checked": True, "value": 7},
            P + "stopStrings": ["x"],
            P + "seed": {"checked": True, "value": 3},
            P + "reasoning.enableThinking": False,
            P + "logProbs": {"checked": True, "value": 2},
            P + "toolChoice": {"type": "generic", "mode": "required"},
            "something.newer": {"a": 1},
        }
    )
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.min_p) == (0.5, 0.9, 0.0)
    assert (sampling.max_tokens, sampling.stop, sampling.seed) == (7, ("x",), 3)
    assert (request.think, request.logprobs, request.tool_choice) == (False, 2, "required")


def test_nothing_is_set_that_the_client_did_not_set() -> None:
    assert asked({}) == Request(messages=asked({}).messages)


def test_the_overflow_policy_is_that_of_lm_studio() -> None:
    key = P + "contextOverflowPolicy"
    assert wished({}).overflow is Overflow.MIDDLE
    assert wished({key: "stopAtLimit"}).overflow is Overflow.STOP
    assert wished({key: "rollingWindow"}).overflow is Overflow.ROLLING
    with pytest.raises(UsageError, match="whatever"):
        wished({key: "whatever"})


def test_marks_around_thoughts_can_be_named_or_switched_off() -> None:
    key = P + "reasoning.parsing"
    assert wished({}).reasoning == ("<think>", "</think>")
    named = {"enabled": True, "startString": "[", "endString": "]"}
    assert wished({key: named}).reasoning == ("[", "]")
    assert wished({key: {"enabled": False}}).reasoning is None


def test_a_system_prompt_in_the_settings_comes_first() -> None:
    messages = asked({P + "systemPrompt": "Be kind."}).messages
    assert [message.role for message in messages] == [Role.SYSTEM, Role.USER]


def test_tools_are_read_and_what_is_none_is_refused() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    (found,) = asked({P + "tools": {"type": "toolArray", "tools": [tool]}}).tools
    assert (found.name, found.parameters) == ("f", {"type": "object"})
    assert asked({P + "tools": {"type": "none"}}).tools == ()
    with pytest.raises(UsageError, match="name"):
        asked({P + "tools": {"type": "toolArray", "tools": [{"type": "function"}]}})


def test_a_raw_text_is_a_prompt() -> None:
    assert text_question("Once", {}).request.prompt == "Once"


def test_a_closed_schema_names_all_its_properties() -> None:
    inner = {"type": "object", "properties": {"properties": {"type": "string"}}}
    schema = {
        "$defs": {"inner": inner},
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/inner"},
            "b": {"type": "array", "items": {"properties": {"c": {}}}},
            "open": {"properties": {}, "additionalProperties": {"type": "integer"}},
            "either": {"anyOf": [{"properties": {"d": {}}}, {"type": "null"}]},
        },
    }
    found = closed(schema)
    assert found["additionalProperties"] is False
    assert found["$defs"]["inner"]["additionalProperties"] is False
    assert set(found["$defs"]["inner"]["properties"]) == {"properties"}
    assert found["properties"]["b"]["items"]["additionalProperties"] is False
    assert found["properties"]["open"]["additionalProperties"] == {"type": "integer"}
    assert found["properties"]["either"]["anyOf"][0]["additionalProperties"] is False
    assert "additionalProperties" not in schema  # it is another


def test_what_stands_for_several_schemas_at_once_stays_open() -> None:
    part = {"properties": {"a": {}}}
    for word in ("allOf", "oneOf"):
        assert closed({word: [part]}) == {word: [part]}
    assert closed({"not": part}) == {"not": part}
    assert "additionalProperties" not in closed({"properties": {"a": {}}, "allOf": [part]})
