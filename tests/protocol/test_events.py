from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.errors import ProtocolError
from lmstrix.protocol.events import Event, EventDecoder

_TEXT = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)


def decode(stream: bytes, sizes: list[int] | None = None, **options: int) -> list[Event]:
    decoder, events, at = EventDecoder(**options), [], 0
    for size in sizes or []:
        events += decoder.feed(stream[at : at + size])
        at += size
    return events + decoder.feed(stream[at:])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    lines = draw(
        st.lists(
            st.one_of(
                _TEXT.map("data: {}".format),
                _TEXT.map("data:{}".format),
                _TEXT.map(": {}".format),
                _TEXT.map("event: {}".format),
                _TEXT.map("id: {}".format),
                st.sampled_from(["", "", "data", "retry: 5", "unknown: x"]),
            ),
            max_size=25,
        )
    )
    return "".join(line + end for line in lines).encode()


@given(streams(), st.lists(st.integers(0, 9), max_size=60))
def test_any_split_of_the_bytes_gives_the_same_events(stream: bytes, sizes: list[int]) -> None:
    assert decode(stream, sizes) == decode(stream)


@given(st.lists(_TEXT, min_size=1, max_size=8))
def test_what_is_sent_as_data_is_what_arrives(texts: list[str]) -> None:
    stream = "".join(f"data: {text}\n\n" for text in texts).encode()
    assert [event.data.decode() for event in decode(stream, [1] * len(stream))] == texts


def test_lines_end_in_lf_crlf_or_cr() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        assert decode(b"data: a" + end + end + b"data: b" + end + end) == [Event(b"a"), Event(b"b")]


def test_a_crlf_that_arrives_in_two_pieces_is_one_end_of_line() -> None:
    assert decode(b"data: a\r\n\r\n", [8]) == [Event(b"a")]
    assert decode(b"data: a\r\ndata: b\r\n\r\n", [8, 1]) == [Event(b"a\nb")]


def test_comments_keep_a_connection_alive_and_are_no_events() -> None:
    assert decode(b": ping\n\n: ping\n\ndata: x\n\n") == [Event(b"x")]


def test_several_data_lines_are_one_event() -> None:
    assert decode(b"event: e\nid: 7\ndata: a\ndata:\ndata: b\n\n") == [Event(b"a\n\nb", "e", "7")]


def test_a_byte_order_mark_at_the_start_is_passed_over() -> None:
    assert decode(b"\xef\xbb\xbfdata: x\n\n", [1, 1, 1]) == [Event(b"x")]


def test_an_event_cut_off_by_the_end_is_none() -> None:
    assert decode(b"data: a\n\ndata: b\n") == [Event(b"a")]


def test_a_line_without_end_is_refused_at_the_limit() -> None:
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        decode(b"data: " + b"x" * 200, [10] * 30, limit_bytes=100)


def test_an_event_without_end_is_refused_at_the_limit() -> None:
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        decode(b"data: 0123456789\n" * 20, limit_bytes=100)


def test_a_long_line_in_many_pieces_is_not_copied_for_each() -> None:
    decoder = EventDecoder()
    for _ in range(200_000):  # copying each time would be 20 GB
        decoder.feed(b"x")
    assert decoder.feed(b"\ndata: y\n\n") == [Event(b"y")]
