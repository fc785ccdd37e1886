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
    Fragment,
    FragmentKind,
    Phase,
    Progress,
    Stats,
    StopReason,
    StreamItem,
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
