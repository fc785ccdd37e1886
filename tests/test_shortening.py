"""What stays of a message whose text is cut; the cutting itself is tested on the engine."""

from __future__ import annotations

from lmstrix.shortening import _texts, _with_text
from lmstrix.types import Image, Message, Request, Role, ToolCall


def test_only_the_text_of_a_message_is_cut():
    seen = Message(Role.USER, "long " * 9, images=(Image(b"dot"),))
    call = ToolCall(id="c", name="add")
    said = Message(Role.ASSISTANT, "", tool_calls=(call,))
    found = Message(Role.TOOL, "more " * 9, tool_call_id="c", name="add")
    request = Request(messages=(seen, said, found))
    cut = _with_text(_with_text(request, 0, "short"), 2, "less")
    assert _texts(cut) == ["short", "", "less"]
    assert cut.messages[0].images == seen.images
    assert cut.messages[1] == said
    assert (cut.messages[2].tool_call_id, cut.messages[2].name) == ("c", "add")


def test_a_plain_prompt_is_cut_as_it_is():
    assert _with_text(Request(prompt="long"), 0, "short").prompt == "short"
