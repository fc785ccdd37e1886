from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.errors import ContextOverflowError, GenerationError, ProtocolError
from lmstrix.protocol.events import EventDecoder
from lmstrix.protocol.openai.errors import error_from
from lmstrix.protocol.openai.stream import AnswerDecoder
from lmstrix.types import (
    CallPart,
    Fragment,
    FragmentKind,
    Phase,
    Progress,
    Stats,
    StopReason,
    StreamItem,
    TokenLogprob,
)

_HEAD = '"created":1795237492,"id":"chatcmpl-x","model":"m","object":"chat.completion.chunk"'
# As the engine sent it, shortened in nothing but ids.
RECORDED = f"""\
data: {{"choices":[{{"finish_reason":null,"index":0,"delta":{{"role":"assistant","content":null}}}}],{_HEAD},"prompt_progress":{{"total":15,"cache":4,"processed":4,"time_ms":0}}}}

data: {{"choices":[{{"finish_reason":null,"index":0,"delta":{{"role":"assistant","content":null}}}}],{_HEAD},"prompt_progress":{{"total":15,"cache":4,"processed":15,"time_ms":2}}}}

data: {{"choices":[{{"finish_reason":null,"index":0,"delta":{{"role":"assistant","content":null}}}}],{_HEAD}}}

data: {{"choices":[{{"finish_reason":null,"index":0,"delta":{{"content":"War"}}}}],{_HEAD},"timings":{{"predicted_n":1}}}}

data: {{"choices":[{{"finish_reason":null,"index":0,"delta":{{"content":"saw é"}}}}],{_HEAD},"timings":{{"predicted_n":4}}}}

data: {{"choices":[{{"finish_reason":"stop","index":0,"delta":{{}}}}],{_HEAD}}}

data: {{"choices":[],{_HEAD},"usage":{{"completion_tokens":5,"prompt_tokens":15,"total_tokens":20,"prompt_tokens_details":{{"cached_tokens":4}}}},"timings":{{"cache_n":4,"prompt_n":11,"prompt_ms":2.5,"predicted_n":5,"predicted_ms":10.0}}}}

data: [DONE]

""".encode()  # noqa: E501  # one event is one line


def answer(stream: bytes, sizes: list[int] | None = None, **options: int) -> list[StreamItem]:
    events, decoder, items, at = EventDecoder(), AnswerDecoder(**options), [], 0
    for size in [*(sizes or []), len(stream)]:
        items += decoder.items(events.feed(stream[at : at + size]))
        at += size
    return items


def final(
    finish: str | None, predicted: int, *, max_tokens: int | None, stop_type: str = ""
) -> Stats:
    decoder = AnswerDecoder(max_tokens=max_tokens)
    last = {
        "choices": [{"finish_reason": finish, "delta": {}}],
        "usage": {"completion_tokens": predicted, "prompt_tokens": 3},
    }
    if stop_type:
        last["__verbose"] = {"stop_type": stop_type, "prompt": "…"}
    decoder.feed(json.dumps(last).encode())
    (stats,) = decoder.feed(b"[DONE]")
    assert isinstance(stats, Stats)
    return stats


def test_a_recorded_answer_becomes_progress_fragments_and_statistics() -> None:
    assert answer(RECORDED) == [
        Progress(
            phase=Phase.PROMPT,
            fraction=4 / 15,
            processed_tokens=4,
            total_tokens=15,
            cached_tokens=4,
        ),
        Progress(
            phase=Phase.PROMPT,
            fraction=1.0,
            processed_tokens=15,
            total_tokens=15,
            cached_tokens=4,
        ),
        Fragment("War", 1),
        Fragment("saw é", 3),
        Stats(
            stop_reason=StopReason.END,
            prompt_tokens=15,
            cached_tokens=4,
            predicted_tokens=5,
            prompt_s=0.0025,
            predict_s=0.01,
        ),
    ]


@given(st.lists(st.integers(0, 40), max_size=80))
def test_any_split_of_the_bytes_gives_the_same_answer(sizes: list[int]) -> None:
    assert answer(RECORDED, sizes) == answer(RECORDED)


def test_reasoning_is_told_apart_from_the_answer() -> None:
    decoder = AnswerDecoder()
    (item,) = decoder.feed(b'{"choices":[{"delta":{"reasoning_content":"Hm."}}]}')
    assert item == Fragment("Hm.", 1, FragmentKind.REASONING)
    assert decoder.text == ""


def test_the_text_of_a_plain_completion_is_a_fragment() -> None:
    assert AnswerDecoder().feed(b'{"choices":[{"text":"Hi","index":0}]}') == [Fragment("Hi", 1)]


@pytest.mark.parametrize(
    ("finish", "predicted", "max_tokens", "stop_type", "reason"),
    [
        ("stop", 5, 10, "", StopReason.END),
        ("stop", 5, 10, "eos", StopReason.END),
        ("stop", 10, 10, "word", StopReason.STOP_STRING),
        ("length", 10, 10, "", StopReason.LENGTH),
        ("length", 9, 10, "", StopReason.CONTEXT),
        ("length", 9, None, "", StopReason.CONTEXT),
        ("tool_calls", 9, 10, "", StopReason.TOOL_CALLS),
    ],
)
def test_stop_reasons_are_told_apart(
    finish: str, predicted: int, max_tokens: int | None, stop_type: str, reason: StopReason
) -> None:
    stats = final(finish, predicted, max_tokens=max_tokens, stop_type=stop_type)
    assert stats.stop_reason is reason


def test_a_prompt_that_does_not_fit_says_both_sizes() -> None:
    body = (
        b'{"error":{"code":400,"message":"request (9003 tokens) exceeds","type":'
        b'"exceed_context_size_error","n_prompt_tokens":9003,"n_ctx":4096}}'
    )
    error = error_from(body, status=400)
    assert isinstance(error, ContextOverflowError)
    assert (error.prompt_tokens, error.context_tokens) == (9003, 4096)


def test_an_error_in_the_middle_keeps_what_came_before() -> None:
    decoder = AnswerDecoder()
    decoder.feed(b'{"choices":[{"delta":{"content":"so far"}}]}')
    with pytest.raises(GenerationError, match="compute error") as caught:
        decoder.feed(b'{"error":{"code":500,"message":"compute error"}}')
    assert caught.value.partial == "so far"


def test_an_error_may_be_a_mere_text() -> None:
    assert "busy" in error_from(b'{"error":"busy"}', status=503).message


def test_a_refusal_without_a_reason_names_its_status() -> None:
    assert "502" in error_from(b"<html>", status=502).message


def test_what_is_no_chunk_is_refused() -> None:
    with pytest.raises(ProtocolError):
        AnswerDecoder().feed(b'{"choices": 5}')


def feed(*chunks: dict[str, object], **options: object) -> list[StreamItem]:
    decoder = AnswerDecoder(**options)
    return [item for chunk in chunks for item in decoder.feed(json.dumps(chunk).encode())]


def delta(**fields: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": fields}]}


def test_the_pieces_of_a_tool_call_have_the_number_of_their_call():
    items = feed(
        delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"x":'}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": " 1}"}}]),
        delta(tool_calls=[{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}]),
    )
    assert [(item.call, item.text) for item in items] == [
        (CallPart(0, "a", "f"), ""),
        (CallPart(0), '{"x":'),
        (CallPart(0), " 1}"),
        (CallPart(1, "b", "g"), "{}"),
    ]
    assert {item.kind for item in items} == {FragmentKind.TOOL_CALL}


@pytest.mark.parametrize("index", [{"index": 0}, {}])
def test_calls_that_a_server_numbers_alike_are_told_apart_by_their_ids(index: dict[str, int]):
    calls = [
        {**index, "id": name, "function": {"name": name, "arguments": {"é": 1}}} for name in "ab"
    ]
    items = feed(delta(tool_calls=calls[:1]), delta(tool_calls=calls[1:]))
    assert [item.call for item in items] == [CallPart(0, "a", "a"), CallPart(1, "b", "b")]
    assert [item.text for item in items] == ['{"é":1}'] * 2


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_has_two_names(name: str):
    assert feed(delta(**{name: "Hm."})) == [Fragment("Hm.", 1, FragmentKind.REASONING)]


def test_reasoning_between_marks_is_told_apart_unless_the_answer_is_raw():
    chunks = [delta(content=piece) for piece in ("<thi", "nk>Hm.</th", "ink>", "\n\nYes")]
    assert feed(*chunks) == [
        Fragment("Hm.", 2, FragmentKind.REASONING),
        Fragment("Yes", 2),
    ]
    raw = feed(*chunks, raw=True)
    assert "".join(item.text for item in raw) == "<think>Hm.</think>\n\nYes"


def test_what_was_held_back_comes_with_the_end():
    decoder = AnswerDecoder()
    assert decoder.feed(json.dumps(delta(content="<th")).encode()) == []
    fragment, stats = decoder.feed(b"[DONE]")
    assert fragment == Fragment("<th", 1)
    assert isinstance(stats, Stats)
    assert decoder.text == "<th"


def test_log_probabilities_come_with_their_piece():
    chance = {"token": "Hi", "logprob": -0.1, "top_logprobs": [{"token": "Yo", "logprob": -2.5}]}
    expected = (TokenLogprob("Hi", -0.1, (("Yo", -2.5),)),)
    chat = {"choices": [{"delta": {"content": "Hi"}, "logprobs": {"content": [chance]}}]}
    assert feed(chat) == [Fragment("Hi", 1, logprobs=expected)]
    lists = {"tokens": ["Hi"], "token_logprobs": [-0.1], "top_logprobs": [{"Yo": -2.5}]}
    plain = {"choices": [{"text": "Hi", "logprobs": lists}]}
    assert feed(plain, raw=True) == [Fragment("Hi", 1, logprobs=expected)]


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": 10**30},
        {"prompt_tokens": "many", "completion_tokens": {}},
        "none",
        [],
    ],
)
def test_counts_that_make_no_sense_are_no_counts(usage: object):
    decoder = AnswerDecoder()
    last = {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}], "usage": usage}
    assert decoder.feed(json.dumps(last).encode()) == [Fragment("Hi", 1)]
    (stats,) = decoder.feed(b"[DONE]")
    assert isinstance(stats, Stats)
    assert (stats.prompt_tokens, stats.predicted_tokens) == (None, None)
    assert stats.stop_reason is StopReason.END


def test_after_the_end_nothing_counts():
    decoder = AnswerDecoder()
    assert len(decoder.feed(b"[DONE]")) == 1
    assert decoder.feed(b"[DONE]") == []
    assert decoder.feed(b'{"choices":[{"delta":{"content":"more"}}]}') == []


def test_an_end_without_its_mark_is_an_end_if_the_answer_has_one():
    decoder = AnswerDecoder()
    decoder.feed(b'{"choices":[{"delta":{"content":"Hi"}}]}')
    assert decoder.close() == []
    assert not decoder.done
    decoder.feed(b'{"choices":[{"delta":{},"finish_reason":"stop"}]}')
    (stats,) = decoder.close()
    assert isinstance(stats, Stats)
    assert decoder.done


def test_a_whole_answer_is_read_as_a_stream_is():
    body = {
        "choices": [
            {
                "message": {
                    "role": "assistant",
                    "content": "<think>Hm.</think>Yes",
                    "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 9},
    }
    call, thought, text, stats = AnswerDecoder().whole(json.dumps(body).encode())
    assert call.call == CallPart(0, "a", "f")
    assert (thought.text, thought.kind, text.text) == ("Hm.", FragmentKind.REASONING, "Yes")
    assert stats.stop_reason is StopReason.TOOL_CALLS
    with pytest.raises(ProtocolError):
        AnswerDecoder().whole(b"{}")


@pytest.mark.parametrize(
    ("prompt", "predicted", "max_tokens", "reason"),
    [
        (90, 10, None, StopReason.CONTEXT),
        (90, 9, None, StopReason.CONTEXT),
        (10, 16, None, StopReason.LENGTH),
        (10, 16, 16, StopReason.LENGTH),
    ],
)
def test_a_servers_own_limit_is_no_full_context(
    prompt: int, predicted: int, max_tokens: int | None, reason: StopReason
):
    decoder = AnswerDecoder(max_tokens=max_tokens, context_tokens=100)
    usage = {"prompt_tokens": prompt, "completion_tokens": predicted}
    last = {"choices": [{"finish_reason": "length", "delta": {}}], "usage": usage}
    decoder.feed(json.dumps(last).encode())
    assert decoder.feed(b"[DONE]")[0].stop_reason is reason


def test_the_stop_string_that_ended_an_answer_is_known_from_vllm_and_lm_studio():
    for last in (
        {"choices": [{"finish_reason": "stop", "stop_reason": "6", "delta": {}}]},
        {
            "choices": [{"finish_reason": "stop", "delta": {}}],
            "stats": {"stop_reason": "stopStringFound"},
        },
    ):
        decoder = AnswerDecoder()
        decoder.feed(json.dumps(last).encode())
        assert decoder.feed(b"[DONE]")[0].stop_reason is StopReason.STOP_STRING
