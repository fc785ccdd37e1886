from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.errors import ProtocolError
from lmstrix.protocol.events import EventDecoder
from lmstrix.protocol.lmstudio import rest_chat as chat
from lmstrix.protocol.lmstudio.rest import ErrorDetail
from lmstrix.types import (
    Fragment,
    FragmentKind,
    Phase,
    Progress,
    Stats,
    StopReason,
    StreamItem,
    Timeline,
)

THINK = FragmentKind.REASONING
PIECES = st.builds(Fragment, st.text(max_size=5), st.just(1), st.sampled_from([*FragmentKind]))
READING = st.builds(Progress, phase=st.just(Phase.PROMPT), fraction=st.floats(0, 1))


def told(*items: StreamItem) -> tuple[list[chat.ChatEvent], chat.ChatResult]:
    events = chat.ChatEvents()
    made = [*events.start("tiny")]
    for item in items:
        made += events.feed(item)
    return made, events.result()


def test_every_part_of_an_answer_lies_between_its_start_and_its_end() -> None:
    stats = Stats(stop_reason=StopReason.END, prompt_tokens=7, predicted_tokens=4)
    made, result = told(
        Progress(phase=Phase.PROMPT, fraction=0.5),
        Progress(phase=Phase.PROMPT, fraction=1.0),
        Fragment("hm", 2, THINK),
        Fragment("Hel"),
        Fragment("lo"),
        stats,
    )
    assert [event.__struct_config__.tag for event in made] == [
        "chat.start",
        "prompt_processing.start",
        "prompt_processing.progress",
        "prompt_processing.progress",
        "prompt_processing.end",
        "reasoning.start",
        "reasoning.delta",
        "reasoning.end",
        "message.start",
        "message.delta",
        "message.delta",
        "message.end",
    ]
    assert result.output == (chat.ReasoningOutput("hm"), chat.MessageOutput("Hello"))
    assert (result.stats.input_tokens, result.stats.total_output_tokens) == (7, 4)
    assert result.stats.reasoning_output_tokens == 2


@given(st.lists(st.one_of(PIECES, READING), max_size=30))
def test_starts_and_ends_alternate_whatever_comes(items: list[StreamItem]) -> None:
    made, result = told(*items, Stats(stop_reason=StopReason.END))
    opened: list[str] = []
    for event in made[1:]:
        part, _, what = str(event.__struct_config__.tag).partition(".")
        if what == "start":
            assert not opened
            opened.append(part)
        elif what == "end":
            assert opened == [part]
            opened.clear()
        else:
            assert opened == [part]
    assert not opened
    answer = [o.content for o in result.output if isinstance(o, chat.MessageOutput)]
    kept = [i.text for i in items if isinstance(i, Fragment) and i.kind is FragmentKind.ANSWER]
    assert "".join(answer) == "".join(kept)


def test_a_load_is_told_before_the_answer() -> None:
    events = chat.ChatEvents()
    made = [*events.start("tiny")]
    made += events.feed(Progress(phase=Phase.LOAD, fraction=0.5))
    made += events.loaded("tiny:2", 1.5)
    assert made[1:] == [
        chat.LoadStart("tiny"),
        chat.LoadProgress("tiny", 0.5),
        chat.LoadEnd("tiny:2", 1.5),
    ]
    assert events.result().stats.model_load_time_seconds == 1.5
    assert events.result().model_instance_id == "tiny:2"


def test_a_model_that_was_loaded_already_has_no_load_time() -> None:
    events = chat.ChatEvents()
    assert [*events.start("tiny"), *events.loaded("tiny", 3.0)] == [chat.ChatStart("tiny")]
    assert events.result().stats.model_load_time_seconds is msgspec.UNSET


def test_times_are_those_of_the_answer() -> None:
    line = Timeline(requested_at=0.0, sent_s=0.1, first_token_s=0.6, finished_s=2.0)
    stats = Stats(stop_reason=StopReason.END, predicted_tokens=10, predict_s=2.0, timeline=line)
    result = told(stats)[1]
    assert result.stats.tokens_per_second == 5.0
    assert result.stats.time_to_first_token_seconds == 0.5


def test_what_is_written_is_what_is_read() -> None:
    made, result = told(
        Progress(phase=Phase.PROMPT, fraction=0.25),
        Fragment("hm", 1, THINK),
        Fragment("ja\n\nja"),
        Stats(stop_reason=StopReason.END),
    )
    made += [chat.ChatError(ErrorDetail(type="unknown", message="x")), chat.ChatEnd(result)]
    events = EventDecoder().feed(b"".join(map(chat.event_bytes, made)))
    assert [event.name for event in events] == [e.__struct_config__.tag for e in made]
    assert [chat.read_event(event.data) for event in events] == made


def test_an_event_of_a_newer_server_is_passed_over_by_name() -> None:
    assert chat.read_event(b'{"type": "dream.start", "depth": 3}') == chat.OtherEvent("dream.start")


def test_an_unknown_field_does_not_hide_an_event() -> None:
    data = b'{"type": "message.delta", "content": "a", "mood": {}}'
    assert chat.read_event(data) == chat.MessageDelta("a")


def test_what_is_no_event_is_refused() -> None:
    for data in (b"", b"[]", b'{"type": 1}', b'{"type": "message.delta"}'):
        with pytest.raises(ProtocolError):
            chat.read_event(data)


def test_a_request_with_an_unknown_field_is_refused_by_its_name() -> None:
    with pytest.raises(msgspec.ValidationError, match="temprature"):
        msgspec.json.decode(
            b'{"model": "m", "input": "hi", "temprature": 1}', type=chat.ChatRequest
        )


def test_an_input_is_a_text_or_a_list_of_texts_and_pictures() -> None:
    body = b"""{"model": "m", "input": [{"type": "message", "content": "a"},
        {"type": "text", "content": "b"}, {"type": "image", "data_url": "data:,"}]}"""
    request = msgspec.json.decode(body, type=chat.ChatRequest)
    assert request.input == (
        chat.TextInput("a"),
        chat.PlainTextInput("b"),
        chat.ImageInput("data:,"),
    )
    assert request.store
