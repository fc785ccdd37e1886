from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.errors import ContextOverflowError, GenerationError, ProtocolError
from lmstrix.protocol.anthropic.decoding import AnswerDecoder, error_from
from lmstrix.protocol.anthropic.encoding import AnswerEncoder, whole_message
from lmstrix.protocol.events import EventDecoder
from lmstrix.types import (
    CallPart,
    Fragment,
    FragmentKind,
    Phase,
    Progress,
    Stats,
    StopReason,
    StreamItem,
)

END = Stats(stop_reason=StopReason.END, prompt_tokens=10, cached_tokens=4, predicted_tokens=3)


def events(items: list[StreamItem], **options: object) -> list[dict[str, object]]:
    encoder = AnswerEncoder("m", **options)
    stream = b"".join(encoder.feed(item) for item in items)
    found = EventDecoder().feed(stream)
    for event in found:
        assert json.loads(event.data)["type"] == event.name
    return [json.loads(event.data) for event in found]


def thought(text: str) -> Fragment:
    return Fragment(text, kind=FragmentKind.REASONING)


def call(text: str, index: int, call_id: str = "", name: str = "") -> Fragment:
    return Fragment(text, kind=FragmentKind.TOOL_CALL, call=CallPart(index, call_id, name))


def test_an_answer_is_the_events_of_the_reference_in_their_order() -> None:
    found = events([Fragment("Hel"), Fragment("lo"), END])
    assert [event["type"] for event in found] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert found[0]["message"]["content"] == []
    assert found[2]["delta"] == {"type": "text_delta", "text": "Hel"}
    assert found[5]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert found[5]["usage"]["input_tokens"] == 6
    assert found[5]["usage"]["cache_read_input_tokens"] == 4
    assert found[5]["usage"]["output_tokens"] == 3


def test_each_kind_of_piece_has_a_block_of_its_own() -> None:
    found = events(
        [
            thought("Hm"),
            Fragment("Wait."),
            call("", 0, "t1", "add"),
            call('{"a"', 0),
            call(": 1}", 0),
            call("{}", 1, "t2", "sub"),
            END,
        ]
    )
    starts = [event["content_block"] for event in found if event["type"] == "content_block_start"]
    assert [block["type"] for block in starts] == ["thinking", "text", "tool_use", "tool_use"]
    assert starts[2] == {"type": "tool_use", "id": "t1", "name": "add", "input": {}}
    pieces = [event["delta"] for event in found if event["type"] == "content_block_delta"]
    assert {"type": "signature_delta", "signature": ""} in pieces
    assert "".join(piece.get("partial_json", "") for piece in pieces) == '{"a": 1}{}'
    assert [event["index"] for event in found if event["type"] == "content_block_stop"] == [
        0,
        1,
        2,
        3,
    ]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_how_many_tokens_the_prompt_has_is_told_at_the_start_where_it_is_known() -> None:
    progress = Progress(phase=Phase.PROMPT, total_tokens=10, cached_tokens=4)
    found = events([Progress(phase=Phase.LOAD), progress, progress, Fragment("x"), END])
    assert found[0]["message"]["usage"]["input_tokens"] == 6
    assert found[1] == {"type": "ping"}


def test_nothing_is_said_while_a_model_is_loaded() -> None:
    assert events([Progress(phase=Phase.LOAD, note="reading weights")]) == []


def test_reasoning_is_left_out_where_it_is_not_wanted() -> None:
    found = events([thought("Hm"), Fragment("Yes."), END], thinking=False)
    blocks = [event["content_block"] for event in found if event["type"] == "content_block_start"]
    assert [block["type"] for block in blocks] == ["text"]
    whole = whole_message([thought("Hm"), Fragment("Yes."), END], "m", thinking=False)
    assert len(whole.content) == 1


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (StopReason.END, "end_turn"),
        (StopReason.LENGTH, "max_tokens"),
        (StopReason.CONTEXT, "model_context_window_exceeded"),
        (StopReason.TOOL_CALLS, "tool_use"),
        (StopReason.CANCELLED, "end_turn"),
    ],
)
def test_why_it_ended(reason: StopReason, word: str) -> None:
    items = [Fragment("x"), Stats(stop_reason=reason)]
    assert events(items)[-2]["delta"]["stop_reason"] == word
    assert whole_message(items, "m").stop_reason == word


def test_the_stop_string_is_named_where_it_is_told_or_there_was_but_one() -> None:
    items = [Fragment("x"), Stats(stop_reason=StopReason.STOP_STRING)]
    assert whole_message(items, "m", stops=("a",)).stop_sequence == "a"
    both = whole_message(items, "m", stops=("a", "b"))
    assert (both.stop_reason, both.stop_sequence) == ("stop_sequence", None)
    told = [Fragment("x"), Stats(stop_reason=StopReason.STOP_STRING, stop_string="b")]
    assert whole_message(told, "m", stops=("a", "b")).stop_sequence == "b"


def test_an_answer_without_a_word_is_no_block() -> None:
    assert events([Fragment(""), END])[1]["type"] == "message_delta"
    assert whole_message([Fragment(""), END], "m").content == ()


def test_what_a_tool_is_to_get_is_an_object_whatever_was_written() -> None:
    for written, meant in (('{"a": [1]}', {"a": [1]}), ("", {}), ("[1]", {}), ('{"a"', {})):
        whole = whole_message([call(written, 0, "t", "n"), END], "m")
        assert json.loads(msgspec.json.encode(whole))["content"][0]["input"] == meant


_ITEMS = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).map(Fragment),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).map(thought),
    ),
    max_size=12,
)


@given(_ITEMS, st.integers(0, 3))
def test_what_a_server_writes_is_what_a_client_reads(items: list[Fragment], calls: int) -> None:
    calls_made = [
        piece
        for index in range(calls)
        for piece in (call("", index, f"t{index}", "add"), call('{"a":', index), call("1}", index))
    ]
    encoder, decoder = AnswerEncoder("m"), AnswerDecoder()
    stream = b"".join(encoder.feed(item) for item in [*items, *calls_made, END])
    read = [item for event in EventDecoder().feed(stream) for item in decoder.feed(event.data)]
    assert joined(read) == joined([*items, *calls_made])
    stats = read[-1]
    assert isinstance(stats, Stats)
    assert (stats.prompt_tokens, stats.cached_tokens, stats.predicted_tokens) == (10, 4, 3)
    assert decoder.done
    assert decoder.text == "".join(i.text for i in items if i.kind is FragmentKind.ANSWER)


def joined(items: list[StreamItem]) -> list[tuple[object, ...]]:
    """The texts by kind and call, neighbours joined."""
    found: list[tuple[object, ...]] = []
    for item in items:
        if not isinstance(item, Fragment):
            continue
        part = (item.kind, item.call.index if item.call else None)
        if found and found[-1][0] == part:
            found[-1] = (part, str(found[-1][1]) + item.text)
        else:
            found.append((part, item.text))
    return found


def test_events_that_nobody_knows_yet_are_passed_over() -> None:
    decoder = AnswerDecoder()
    assert decoder.feed(b'{"type": "brand_new", "x": 1}') == []
    assert decoder.feed(b'{"type": "content_block_delta", "index": 0, '
                        b'"delta": {"type": "citations_delta", "citation": {}}}') == []  # fmt: skip


def test_an_error_in_a_stream_keeps_what_came() -> None:
    decoder = AnswerDecoder()
    decoder.feed(
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}'
    )
    with pytest.raises(GenerationError, match="Overloaded") as caught:
        decoder.feed(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')
    assert caught.value.partial == "a"
    with pytest.raises(ProtocolError):
        decoder.feed(b"no json")


def test_what_a_refusal_means() -> None:
    message = "prompt is too long: 210 tokens > 200 maximum"
    long = json.dumps({"type": "error", "error": {"type": "x", "message": message}}).encode()
    overflow = error_from(long, status=400)
    assert isinstance(overflow, ContextOverflowError)
    assert (overflow.prompt_tokens, overflow.context_tokens) == (210, 200)
    assert isinstance(error_from(b"<html>", status=502), ProtocolError)
    assert "no" in str(error_from(b'{"type":"error","error":{"message":"no"}}', status=400))
