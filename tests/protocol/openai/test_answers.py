from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from lmstrix.protocol.events import EventDecoder
from lmstrix.protocol.openai.answers import ChatWriter, TextWriter
from lmstrix.protocol.openai.embeddings import decode_vectors, encode_vectors
from lmstrix.protocol.openai.response_events import ResponseWriter
from lmstrix.protocol.openai.responses import ResponseRequest
from lmstrix.protocol.openai.stream import AnswerDecoder
from lmstrix.types import (
    CallPart,
    Fragment,
    FragmentKind,
    Stats,
    StopReason,
    TokenLogprob,
)

FIXED = {"answer_id": "x", "model": "m", "created": 1}
STATS = Stats(stop_reason=StopReason.END, prompt_tokens=5, cached_tokens=2, predicted_tokens=3)
_CHANCES = st.builds(
    TokenLogprob,
    st.text(max_size=3),
    st.floats(-9, 0),
    st.lists(st.tuples(st.text(max_size=2), st.floats(-9, 0)), max_size=2).map(tuple),
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
ANSWERS = st.builds(
    Fragment,
    _TEXT.map(lambda text: f"x{text}"),  # text that opens with a mark would be reasoning
    st.just(1),
    st.just(FragmentKind.ANSWER),
    st.none(),
    st.lists(_CHANCES, max_size=1).map(tuple),
)
PIECES = st.one_of(
    ANSWERS,
    st.builds(Fragment, _TEXT, st.just(1), st.just(FragmentKind.REASONING)),
)


def read(stream: bytes, *, raw: bool = False) -> list[object]:
    decoder = AnswerDecoder(raw=raw)
    return list(decoder.items(EventDecoder().feed(stream)))


@given(st.lists(PIECES, max_size=12))
def test_what_a_server_writes_a_client_reads(fragments: list[Fragment]):
    writer = ChatWriter(**FIXED, usage=True)
    stream = writer.begin() + b"".join(map(writer.piece, fragments)) + writer.end(STATS)
    assert read(stream) == [*fragments, STATS]


@given(st.lists(ANSWERS, max_size=8))
def test_the_same_holds_for_completions(fragments: list[Fragment]):
    plain = [Fragment(one.text) for one in fragments]
    writer = TextWriter(**FIXED, usage=True)
    stream = b"".join(map(writer.piece, plain)) + writer.end(STATS)
    assert read(stream, raw=True) == [*plain, STATS]


def test_tool_calls_keep_their_names_and_pieces():
    call = FragmentKind.TOOL_CALL
    fragments = [
        Fragment("", 1, call, CallPart(0, "c1", "add")),
        Fragment('{"a":', 1, call, CallPart(0)),
        Fragment("1}", 1, call, CallPart(0)),
        Fragment("{}", 1, call, CallPart(1, "c2", "now")),
    ]
    stats = Stats(stop_reason=StopReason.TOOL_CALLS, prompt_tokens=1, predicted_tokens=4)
    writer = ChatWriter(**FIXED, usage=True)
    stream = writer.begin() + b"".join(map(writer.piece, fragments)) + writer.end(stats)
    assert read(stream) == [*fragments, stats]
    whole = ChatWriter(**FIXED).whole(fragments, stats).choices[0]
    assert [c.function.arguments for c in whole.message.tool_calls] == ['{"a":1}', "{}"]
    assert whole.message.content is None


def test_counts_that_nobody_told_are_not_made_up():
    untold = Stats(stop_reason=StopReason.LENGTH)
    assert ChatWriter(**FIXED).whole([Fragment("Hi")], untold).usage is None
    told = Stats(stop_reason=StopReason.END, prompt_tokens=4)
    usage = ChatWriter(**FIXED).whole([Fragment("Hi", 2)], told).usage
    assert (usage.completion_tokens, usage.total_tokens) == (2, 6)


@given(
    st.lists(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=4), min_size=1, max_size=4),
    st.booleans(),
)
def test_vectors_survive_both_encodings(vectors: list[list[float]], as_base64: bool):  # noqa: FBT001
    body = encode_vectors(vectors, model="m", as_base64=as_base64)
    assert decode_vectors(body, count=len(vectors)) == vectors


@given(st.lists(PIECES, max_size=10))
def test_the_events_of_a_response_make_the_response(fragments: list[Fragment]):
    writer = ResponseWriter(
        ResponseRequest(model="m", input="x"), response_id="resp_1", model="m", created=1
    )
    stream = b"".join(writer.begin())
    for fragment in fragments:
        stream += b"".join(writer.piece(fragment))
    stream += b"".join(writer.end(STATS))
    events = [(one.name, json.loads(one.data)) for one in EventDecoder().feed(stream)]
    assert all(name == data["type"] for name, data in events)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    last = events[-1][1]["response"]
    done = [data["item"] for name, data in events if name == "response.output_item.done"]
    assert last["output"] == done
    text = "".join(d["delta"] for name, d in events if name == "response.output_text.delta")
    answered = "".join(f.text for f in fragments if f.kind is FragmentKind.ANSWER)
    assert text == answered == writer.message().content
    joined = "".join(i["content"][0]["text"] for i in last["output"] if i["type"] == "message")
    assert joined == answered
    assert last["usage"]["total_tokens"] == 8
