from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.errors import ProtocolError, UsageError
from lmstrix.protocol.http1 import ResponseDecoder, request_bytes

_SIZES = st.lists(st.integers(1, 12), max_size=80)


def decode(stream: bytes, sizes: list[int]) -> tuple[int | None, bytes, bool]:
    decoder, body, at = ResponseDecoder(), b"", 0
    for size in sizes:
        body += decoder.feed(stream[at : at + size])
        at += size
    body += decoder.feed(stream[at:])
    return decoder.status, body, decoder.done


def chunked(pieces: list[bytes]) -> bytes:
    body = b"".join(b"%x;note=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\nX: y\r\n\r\n"


@given(st.lists(st.binary(max_size=40), max_size=6), _SIZES)
def test_a_chunked_body_comes_whole_however_it_is_split(
    pieces: list[bytes], sizes: list[int]
) -> None:
    assert decode(chunked(pieces), sizes) == (200, b"".join(pieces), True)


@given(st.binary(max_size=80), _SIZES)
def test_a_body_with_a_length_ends_there(body: bytes, sizes: list[int]) -> None:
    stream = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    assert decode(stream, sizes) == (400, body, True)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    decoder = ResponseDecoder()
    assert decoder.feed(b"HTTP/1.0 200 OK\r\n\r\nabc") == b"abc"
    assert not decoder.done
    decoder.close()
    assert decoder.done


def test_a_connection_that_ends_within_a_chunk_leaves_the_response_undone() -> None:
    decoder = ResponseDecoder()
    decoder.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
    decoder.close()
    assert not decoder.done


def test_an_interim_response_is_passed_over() -> None:
    stream = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
    assert decode(stream, []) == (204, b"", True)


@pytest.mark.parametrize(
    "stream",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
    ],
)
def test_what_is_no_http_is_refused(stream: bytes) -> None:
    with pytest.raises(ProtocolError):
        ResponseDecoder().feed(stream)


def test_a_request_has_its_length_its_key_and_one_connection() -> None:
    sent = request_bytes("POST", "/x", b'{"a":1}', host="127.0.0.1:5", key="secret")
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /x HTTP/1.1",
        b"Host: 127.0.0.1:5",
        b"Authorization: Bearer secret",
        b"Connection: close",
        b"Content-Type: application/json",
        b"Content-Length: 7",
    ]
    assert body == b'{"a":1}'


def test_a_servers_own_headers_are_sent_and_take_the_place_of_ours() -> None:
    fields = {"x-team": "a", "authorization": "Basic b"}
    sent = request_bytes("GET", "/x", b"", host="h", key="secret", fields=fields)
    assert sent.decode().splitlines() == [
        "GET /x HTTP/1.1",
        "Host: h",
        "Authorization: Basic b",
        "Connection: close",
        "X-Team: a",
        "",
    ]


def test_a_header_cannot_bring_another_header_with_it() -> None:
    with pytest.raises(UsageError, match="line break"):
        request_bytes("GET", "/x", b"", host="h", fields={"x": "a\r\nb: c"})


def test_the_fields_of_a_response_are_known_by_name() -> None:
    decoder = ResponseDecoder()
    decoder.feed(b"HTTP/1.1 302 Found\r\nLocation: http://else\r\nContent-Length: 0\r\n\r\n")
    assert (decoder.status, decoder.fields["location"]) == (302, "http://else")
    assert decoder.done


def test_an_answer_that_has_no_body_ends_with_its_head() -> None:
    decoder = ResponseDecoder(bodiless=True)
    assert decoder.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n") == b""
    assert decoder.done
    empty = ResponseDecoder()
    empty.feed(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert empty.done
