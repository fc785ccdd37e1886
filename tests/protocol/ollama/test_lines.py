from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.errors import ProtocolError
from lmstrix.protocol.ollama.lines import LineDecoder

_TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)


def decode(stream: bytes, sizes: list[int] | None = None, **options: int) -> list[bytes]:
    decoder, lines, at = LineDecoder(**options), [], 0
    for size in sizes or []:
        lines += decoder.feed(stream[at : at + size])
        at += size
    return lines + decoder.feed(stream[at:]) + decoder.finish()


@given(st.lists(_TEXT, max_size=20), st.lists(st.integers(0, 9), max_size=60))
def test_any_split_of_the_bytes_gives_the_same_lines(texts: list[str], sizes: list[int]) -> None:
    stream = "".join(f'"{text}"\n' for text in texts).encode()
    assert decode(stream, sizes) == [f'"{text}"'.encode() for text in texts]


def test_a_letter_may_be_split_between_two_pieces() -> None:
    stream = '{"a":"ż🙂"}\n'.encode()
    assert decode(stream, [1] * len(stream)) == ['{"a":"ż🙂"}'.encode()]


def test_empty_lines_and_carriage_returns_are_passed_over() -> None:
    assert decode(b"\n\n{}\r\n\n[]\n") == [b"{}", b"[]"]


def test_a_last_line_without_end_counts_when_the_stream_ends() -> None:
    assert decode(b"{}\n[]") == [b"{}", b"[]"]


def test_a_line_without_end_is_refused_at_the_limit() -> None:
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        decode(b"x" * 300, [10] * 30, limit_bytes=100)


def test_a_line_beyond_the_limit_is_refused_though_it_comes_in_one_piece() -> None:
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        decode(b"x" * 300 + b"\n", limit_bytes=100)


def test_a_line_of_ten_megabytes_is_taken_and_not_copied_for_each_piece() -> None:
    decoder = LineDecoder()
    for _ in range(10 * 2**20 // 64 - 1):  # copying each time would be terabytes
        assert decoder.feed(b"x" * 64) == []
    assert len(decoder.feed(b"\n")[0]) == 10 * 2**20 - 64
