"""What a user says beside the prompt, as the request that reaches a provider."""

from __future__ import annotations

import pytest

from lmstrix.asking import Ask
from lmstrix.errors import UsageError
from lmstrix.types import Image, Message, Role, Tool

ADD = Tool(name="add")
DOT = Image(b"dot")


def test_all_that_was_said_reaches_the_request():
    request = Ask(
        prompt="What?",
        system_prompt="Be short.",
        images=[DOT],
        tools=[ADD],
        tool_choice="add",
        schema={"type": "object"},
        think="low",
        logprobs=3,
        extra={"mirostat": 2},
    ).request()
    assert request.messages == (
        Message(Role.SYSTEM, "Be short."),
        Message(Role.USER, "What?", images=(DOT,)),
    )
    assert (request.tools, request.tool_choice) == ((ADD,), "add")
    assert (request.schema, request.think, request.logprobs) == ({"type": "object"}, "low", 3)
    assert request.extra == {"mirostat": 2}


def test_pictures_go_with_the_last_question():
    before = Message(Role.USER, "One?", images=(Image(b"old"),))
    talk = (before, Message(Role.ASSISTANT, "Yes."), Message(Role.USER, "Two?"))
    request = Ask(prompt=talk, images=(DOT,)).request()
    assert [message.images for message in request.messages] == [before.images, (), (DOT,)]
    with pytest.raises(UsageError, match="no question"):
        Ask(prompt=(Message(Role.ASSISTANT, "Yes."),), images=(DOT,)).request()


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"raw": True, "images": (DOT,)}, "no images"),
        ({"schema": {}, "grammar": "root ::= 'a'"}, "not both"),
        ({"tools": (ADD, ADD)}, "Two tools"),
        ({"tools": (ADD,), "tool_choice": "sub"}, "no tool 'sub'"),
        ({"tool_choice": "required"}, "none is offered"),
    ],
)
def test_wishes_that_cannot_both_be_met_are_refused(wishes: dict[str, object], said: str):
    with pytest.raises(UsageError, match=said):
        Ask(prompt="What?", **wishes).request()


@pytest.mark.parametrize("choice", ["auto", "none", "required", "add"])
def test_a_choice_among_the_tools_is_passed_on(choice: str):
    assert Ask(prompt="What?", tools=(ADD,), tool_choice=choice).request().tool_choice == choice
