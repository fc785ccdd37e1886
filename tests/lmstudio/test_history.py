from __future__ import annotations

import copy
from typing import Any

import pytest

import lmstrix.lmstudio as lms

_FILE = lms.FileHandle(name="a.txt", identifier="file-1", size_bytes=3, file_type="text/plain")
_FILE_DICT = {
    "type": "file",
    "name": "b.png",
    "identifier": "file-2",
    "size_bytes": 4,
    "fileType": "image",
}
_CALL = {
    "type": "toolCallRequest",
    "toolCallRequest": {
        "type": "function",
        "id": "1",
        "name": "look",
        "arguments": {"snake_case": 1},
    },
}
_RESULT = {"type": "toolCallResult", "toolCallId": "1", "content": "seen"}


def whole_chat() -> lms.Chat:
    chat = lms.Chat("Be good.")
    chat.add_user_message("Look.")
    chat.add_user_message(lms.TextData(text="Well?"))
    chat.add_user_message(("Here:", _FILE), images=[_FILE_DICT])
    chat.add_assistant_response("I look.", [_CALL])
    chat.add_tool_result(_RESULT)
    chat.add_assistant_response(lms.TextData(text="Seen."))
    return chat


_WHOLE = [
    {"role": "system", "content": [{"type": "text", "text": "Be good."}]},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Look."},
            {"type": "text", "text": "Well?"},
            {"type": "text", "text": "Here:"},
            {
                "type": "file",
                "name": "a.txt",
                "identifier": "file-1",
                "sizeBytes": 3,
                "fileType": "text/plain",
            },
            {
                "type": "file",
                "name": "b.png",
                "identifier": "file-2",
                "sizeBytes": 4,
                "fileType": "image",
            },
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "I look."}, _CALL]},
    {"role": "tool", "content": [_RESULT]},
    {"role": "assistant", "content": [{"type": "text", "text": "Seen."}]},
]


def test_messages_of_a_user_that_follow_each_other_are_one() -> None:
    assert whole_chat().to_dict() == {"messages": _WHOLE}
    assert len(whole_chat()) == len(whole_chat().messages) == 5


def test_a_chat_is_read_from_what_it_is_on_the_wire() -> None:
    assert lms.Chat.from_history({"messages": _WHOLE}).to_dict() == {"messages": _WHOLE}
    history = lms.ChatHistoryData.from_dict({"messages": _WHOLE})
    assert lms.Chat.from_history(history).to_dict() == {"messages": _WHOLE}
    assert lms.Chat.from_history("hi").to_dict()["messages"][0]["role"] == "user"
    short: Any = {
        "messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]
    }
    assert [m.role for m in lms.Chat.from_history(short).messages] == ["user", "system"]
    with pytest.raises(lms.LMStudioValueError, match="'messages' key"):
        lms.Chat.from_history({"message": []})


@pytest.mark.parametrize("clone", [lms.Chat.from_history, lms.Chat.copy, copy.copy, copy.deepcopy])
def test_a_copy_goes_its_own_way(clone: Any) -> None:
    chat = whole_chat()
    cloned = clone(chat)
    chat.add_user_message("More.")
    assert cloned.to_dict() == {"messages": _WHOLE}


def test_entries_may_be_added_by_role() -> None:
    chat = lms.Chat()
    for message in _WHOLE:
        chat.add_entry(str(message["role"]), message["content"])
    assert chat.to_dict() == {"messages": _WHOLE}
    again = lms.Chat()
    for entry in chat.messages:
        again.append(entry)
    again.append(("user", "More."))
    assert again.to_dict()["messages"][:-1] == _WHOLE
    for wrong in ({"role": "user"}, 5, ("user",)):
        with pytest.raises(lms.LMStudioValueError, match="not a valid chat entry"):
            again.append(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("add", "error", "why"),
    [
        (lambda c: c.add_entry("bard", "x"), lms.LMStudioValueError, "Unknown history role"),
        (lambda c: c.add_entry("system", ["x", "y"]), lms.LMStudioValueError, "multi-part"),
        (lambda c: c.add_entry("assistant", []), lms.LMStudioValueError, "Unable to parse"),
        (lambda c: c.add_system_prompt(_FILE), lms.LMStudioValueError, "Unable to parse system"),
        (lambda c: c.add_system_prompt(("a", "b")), lms.LMStudioValueError, "Unable to parse"),
        (lambda c: c.add_user_message([]), lms.LMStudioValueError, "Empty user messages"),
        (lambda c: c.add_user_message(5), lms.LMStudioValueError, "Unable to parse user"),
        (lambda c: c.add_user_message({"name": "x"}), lms.LMStudioValueError, "Unable to parse"),
        (lambda c: c.add_assistant_response(("a",)), lms.LMStudioValueError, "Unable to parse"),
        (
            lambda c: c.add_assistant_response("a", [{"odd": 1}]),
            lms.LMStudioValueError,
            "Unable to parse tool call",
        ),
        (lambda c: c.add_tool_result({"a": 1}), lms.LMStudioValueError, "Unable to parse tool"),
        (lambda c: lms.Chat("x").add_system_prompt("y"), lms.LMStudioRuntimeError, "consecutive"),
        (
            lambda c: [c.add_assistant_response(text) for text in "ab"],
            lms.LMStudioRuntimeError,
            "consecutive",
        ),
        (
            lambda c: lms.Chat("x", _initial_history=lms.ChatHistoryData(messages=[])),
            lms.LMStudioValueError,
            "not both",
        ),
    ],
)
def test_what_is_no_message_is_refused(add: Any, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        add(lms.Chat())


def test_a_chat_is_printed_as_what_makes_it() -> None:
    chat = lms.Chat("Be good.")
    assert eval(str(chat), {"Chat": lms.Chat}).to_dict() == chat.to_dict()  # our own text
    assert chat
