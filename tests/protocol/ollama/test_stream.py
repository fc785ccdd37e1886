from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.errors import (
    ContextOverflowError,
    GenerationError,
    ModelNotFoundError,
    ProtocolError,
    UnsupportedError,
)
from lmstrix.protocol.ollama.errors import error_from
from lmstrix.protocol.ollama.messages import encode
from lmstrix.protocol.ollama.replies import AnswerEncoder, idle, join
from lmstrix.protocol.ollama.stream import AnswerDecoder
from lmstrix.types import (
    CallPart,
    Fragment,
    FragmentKind,
    Stats,
    StopReason,
    StreamItem,
    TokenLogprob,
)

NOW = "2025-01-01T00:00:00Z"
DONE = Stats(
    stop_reason=StopReason.END, prompt_tokens=26, predicted_tokens=298, prompt_s=0.5, predict_s=4.8
)


def chat(text: str = "", **more: Any) -> bytes:
    last = more.pop("last", {})
    message = {"role": "assistant", "content": text, **more}
    return json.dumps({"model": "m", "message": message, "done": bool(last), **last}).encode()


def end(reason: str = "stop", **more: Any) -> bytes:
    return chat(last={"done": True, "done_reason": reason, **more})


def decoded(*lines: bytes, **options: Any) -> list[StreamItem]:
    return list(AnswerDecoder(**options).items(lines))


def written(items: list[StreamItem], *, is_chat: bool = True) -> list[bytes]:
    encoder = AnswerEncoder("m", chat=is_chat)
    replies = []
    for item in items:
        if isinstance(item, Stats):
            replies += encoder.finish(item, at=NOW, total_s=5.5, load_s=0.25)
        else:
            replies += encoder.feed(item, at=NOW)
    return [encode(reply) for reply in replies]


def test_a_chat_is_fragments_and_then_the_servers_own_counts() -> None:
    items = decoded(
        chat("The"),
        chat(" sky"),
        end(
            total_duration=4883583458,
            load_duration=1334875,
            prompt_eval_count=26,
            prompt_eval_duration=342546000,
            eval_count=282,
            eval_duration=4535599000,
        ),
    )
    assert items[:2] == [Fragment("The"), Fragment(" sky")]
    assert items[2] == Stats(
        stop_reason=StopReason.END,
        prompt_tokens=26,
        predicted_tokens=282,
        prompt_s=0.342546,
        predict_s=4.535599,
    )


def test_a_completion_brings_its_text_as_response() -> None:
    line = b'{"model":"m","created_at":"x","response":"Blue","done":false,"context":[1,2]}'
    assert decoded(line) == [Fragment("Blue")]


def test_thinking_is_reasoning_whether_told_apart_or_in_marks() -> None:
    assert decoded(chat(thinking="Hm."), chat("Yes."))[:2] == [
        Fragment("Hm.", 1, FragmentKind.REASONING),
        Fragment("Yes."),
    ]
    items = decoded(chat("<thi"), chat("nk>Hm."), chat("</think>\n\nYes."), end())
    texts = [(item.text, item.kind) for item in items if isinstance(item, Fragment)]
    assert texts == [("Hm.", FragmentKind.REASONING), ("Yes.", FragmentKind.ANSWER)]


def test_marks_in_a_raw_completion_are_text() -> None:
    assert decoded(b'{"response":"<think>","done":false}', raw=True) == [Fragment("<think>")]


def test_tool_calls_are_numbered_and_get_an_id_where_the_server_gives_none() -> None:
    calls = [
        {"function": {"name": "a", "arguments": {"x": 1}}},
        {"id": "z", "function": {"index": 0, "name": "b", "arguments": {}}},
    ]
    items = decoded(chat(tool_calls=calls[:1]), chat(tool_calls=calls[1:]), end())
    assert items[:2] == [
        Fragment('{"x": 1}', 1, FragmentKind.TOOL_CALL, CallPart(0, "call_0", "a")),
        Fragment("{}", 1, FragmentKind.TOOL_CALL, CallPart(1, "z", "b")),
    ]
    assert isinstance(items[2], Stats)
    assert items[2].stop_reason is StopReason.TOOL_CALLS


@pytest.mark.parametrize(
    ("allowed", "context", "counts", "reason"),
    [
        (5, None, {"eval_count": 5}, StopReason.LENGTH),
        (50, None, {"eval_count": 5}, StopReason.CONTEXT),
        (None, 100, {"prompt_eval_count": 95, "eval_count": 5}, StopReason.CONTEXT),
        (None, 100, {"prompt_eval_count": 5, "eval_count": 5}, StopReason.LENGTH),
        (None, None, {}, StopReason.CONTEXT),
    ],
)
def test_an_answer_of_full_length_tells_whether_the_context_was_full(
    allowed: int | None, context: int | None, counts: dict[str, int], reason: StopReason
) -> None:
    items = decoded(end("length", **counts), max_tokens=allowed, context_tokens=context)
    assert isinstance(items[-1], Stats)
    assert items[-1].stop_reason is reason


def test_counts_that_cannot_be_are_none() -> None:
    stats = decoded(end(prompt_eval_count=-5, eval_count=2**62, eval_duration=-1))[-1]
    assert stats == Stats(stop_reason=StopReason.END)


def test_log_probabilities_come_with_their_alternatives() -> None:
    told = {
        "token": "a",
        "logprob": -0.1,
        "bytes": [97],
        "top_logprobs": [{"token": "b", "logprob": -3.0}],
    }
    items = decoded(chat("a", last={"done": False, "logprobs": [told]}))
    assert items == [Fragment("a", logprobs=(TokenLogprob("a", -0.1, (("b", -3.0),)),))]


def test_an_error_within_a_stream_keeps_what_came_before() -> None:
    decoder = AnswerDecoder()
    decoder.feed(chat("Half"))
    with pytest.raises(GenerationError, match="model runner has stopped") as caught:
        decoder.feed(b'{"error":"model runner has stopped"}')
    assert caught.value.partial == "Half"


@pytest.mark.parametrize("line", [b"{", b"<html>", b'{"message":3}', b'{"response":"\xff"}'])
def test_what_is_no_reply_is_an_error_of_the_protocol(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="unreadable"):
        decoded(line)


def test_fields_that_nobody_knows_and_a_second_end_are_passed_over() -> None:
    items = decoded(chat("x", images=None, new={"a": 1}), end(remote_model="y"), end(), b"{")
    assert [type(item) for item in items] == [Fragment, Stats]


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (404, "model 'x' not found", ModelNotFoundError),
        (404, 'model "x" not found, try pulling it first', ModelNotFoundError),
        (400, '"x" does not support thinking', UnsupportedError),
        (400, "registry.ollama.ai/library/x does not support tools", UnsupportedError),
        (400, "the input length exceeds the context length", ContextOverflowError),
        (400, "input length (5 tokens) exceeds the model's maximum context length (4 tokens)",
         ContextOverflowError),
        (400, "the prompt is longer than the context length currently available to the model",
         ContextOverflowError),
        (400, "request (90 tokens) exceeds the available context size (64 tokens)",
         ContextOverflowError),
        (500, "llama runner process has terminated", GenerationError),
    ],
)  # fmt: skip
def test_what_a_server_refuses_has_a_kind(status: int, said: str, kind: type[Exception]) -> None:
    error = error_from(json.dumps({"error": said}).encode(), status=status, model="x")
    assert type(error) is kind
    assert said.rsplit(maxsplit=1)[-1] in error.message


def test_the_sizes_of_a_prompt_that_does_not_fit_are_read_where_they_are_told() -> None:
    body = b'{"error":"request (90 tokens) exceeds the available context size (64 tokens)"}'
    error = error_from(body, status=400)
    assert isinstance(error, ContextOverflowError)
    assert (error.prompt_tokens, error.context_tokens) == (90, 64)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"\xff"])
def test_a_refusal_without_reason_names_its_status(body: bytes) -> None:
    assert "502" in error_from(body, status=502).message


_FRAGMENTS = st.lists(
    st.one_of(
        st.text(min_size=1, max_size=8).map(Fragment),
        st.text(min_size=1, max_size=8).map(lambda text: Fragment(text, 1, FragmentKind.REASONING)),
        st.integers(0, 2).map(
            lambda index: Fragment(
                '{"a": 1}', 1, FragmentKind.TOOL_CALL, CallPart(index, f"id{index}", "f")
            )
        ),
    ),
    max_size=12,
)


def _joined(items: list[StreamItem], kind: FragmentKind) -> str:
    return "".join(i.text for i in items if isinstance(i, Fragment) and i.kind is kind)


@given(_FRAGMENTS)
def test_what_a_server_writes_a_client_reads(fragments: list[Fragment]) -> None:
    calls = [f for f in fragments if f.call is not None]
    fragments = [f for f in fragments if f.call is None] + calls[:1]  # a call comes once
    items: list[StreamItem] = [*fragments, DONE]
    again = list(AnswerDecoder(raw=True).items(written(items)))
    for kind in FragmentKind:
        assert _joined(again, kind) == _joined(items, kind)
    expected = StopReason.TOOL_CALLS if calls else StopReason.END
    assert isinstance(again[-1], Stats)
    assert again[-1].stop_reason is expected
    assert again[-1].predicted_tokens == 298


def test_replies_have_the_fields_that_clients_look_for() -> None:
    first, last = (json.loads(line) for line in written([Fragment("Hi"), DONE]))
    assert first == {
        "model": "m",
        "created_at": NOW,
        "message": {"role": "assistant", "content": "Hi"},
        "done": False,
    }
    assert last == {
        "model": "m",
        "created_at": NOW,
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "total_duration": 5_500_000_000,
        "load_duration": 250_000_000,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 500_000_000,
        "eval_count": 298,
        "eval_duration": 4_800_000_000,
    }
    completion = json.loads(written([Fragment("Hi"), DONE], is_chat=False)[0])
    assert completion == {"model": "m", "created_at": NOW, "response": "Hi", "done": False}


def test_a_tool_call_in_pieces_is_told_once_and_whole() -> None:
    part = CallPart(0, "c1", "get_weather")
    pieces = ['{"ci', 'ty": "', 'Łódź"}']
    call = [Fragment(p, 1, FragmentKind.TOOL_CALL, part) for p in pieces]
    lines = written([*call, DONE])
    assert len(lines) == 2
    assert json.loads(lines[0])["message"]["tool_calls"] == [
        {
            "id": "c1",
            "function": {"index": 0, "name": "get_weather", "arguments": {"city": "Łódź"}},
        }
    ]


def test_a_tool_call_that_is_no_json_breaks_the_answer_off() -> None:
    part = Fragment('{"city', 1, FragmentKind.TOOL_CALL, CallPart(0, "c", "f"))
    with pytest.raises(GenerationError, match="called f"):
        written([part, DONE])


def test_a_tool_call_that_the_length_has_cut_is_told_as_text() -> None:
    part = Fragment('{"city', 1, FragmentKind.TOOL_CALL, CallPart(0, "c", "f"))
    text, last = (
        json.loads(line) for line in written([part, Stats(stop_reason=StopReason.LENGTH)])
    )
    assert text["message"] == {"role": "assistant", "content": '{"city'}
    assert last["done_reason"] == "length"


def test_a_joined_answer_has_everything_at_once() -> None:
    encoder = AnswerEncoder("m", chat=True)
    chance = (TokenLogprob("a", -0.5, (("b", -1.5),)),)
    items = [
        Fragment("Hm", 1, FragmentKind.REASONING),
        Fragment("a", logprobs=chance),
        Fragment("b"),
        Fragment("{}", 1, FragmentKind.TOOL_CALL, CallPart(0, "c", "f")),
    ]
    replies = [reply for item in items for reply in encoder.feed(item, at=NOW)]
    replies += encoder.finish(DONE, at=NOW, total_s=1, load_s=0)
    whole = json.loads(encode(join(replies)))
    assert whole["done"] is True
    assert whole["message"]["content"] == "ab"
    assert whole["message"]["thinking"] == "Hm"
    assert whole["message"]["tool_calls"][0]["function"]["name"] == "f"
    assert whole["logprobs"] == [
        {
            "token": "a",
            "logprob": -0.5,
            "bytes": [97],
            "top_logprobs": [{"token": "b", "logprob": -1.5, "bytes": [98]}],
        }
    ]


def test_loading_and_unloading_are_answered_with_an_empty_end() -> None:
    assert json.loads(encode(idle("m", at=NOW, chat=False, reason="load"))) == {
        "model": "m",
        "created_at": NOW,
        "response": "",
        "done": True,
        "done_reason": "load",
    }
