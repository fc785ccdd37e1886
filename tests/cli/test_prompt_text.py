from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.cli.prompt_text import compose, fill, read_text
from lmstrix.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_without_values_a_prompt_is_left_alone() -> None:
    prompt = "explain {{#if x}} and {{name}} and {braces}"
    assert fill(prompt, {}) == prompt


def test_text_fills_its_placeholder() -> None:
    assert fill("Sum up: {{ text }}!", {}, text="a\nb") == "Sum up: a\nb!"


def test_text_fills_the_only_placeholder_whatever_its_name() -> None:
    assert fill("Sum up {{document}} in {{tone}}.", {"tone": "red"}, text="x") == "Sum up x in red."


def test_text_does_not_guess_between_two_placeholders() -> None:
    with pytest.raises(UsageError, match="no place for 'text'"):
        fill("{{one}} {{two}}", {}, text="x")


def test_a_value_without_a_place_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        fill("about {{topic}}", {"topik": "x"})
    assert caught.value.hint == "Did you mean 'topic'?"


def test_a_place_without_a_value_is_named() -> None:
    with pytest.raises(UsageError, match=r"asks for \{\{tone\}\}"):
        fill("{{topic}} {{tone}}", {"topic": "x"})


@given(st.text(), st.text())
def test_inserted_text_is_never_read_again(first: str, second: str) -> None:
    values = {"a": first + "{{b}}", "b": second}
    assert fill("{{a}}|{{b}}", values) == f"{first}{{{{b}}}}|{second}"


@pytest.mark.parametrize("prompt", ["", "  \n\t"])
def test_an_empty_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(UsageError, match="prompt is empty"):
        compose(prompt, values={}, text=None, contexts=["context"])


def test_context_goes_before_the_prompt() -> None:
    composed = compose("Ask.", values={}, text=None, contexts=["one\n", "two {{x}}"])
    assert composed == "one\n\ntwo {{x}}\n\nAsk."


def test_a_file_that_is_not_utf8_is_named_with_line_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "old.txt"
    file.write_bytes("fine\ncaf\xe9".encode("latin-1"))
    with pytest.raises(UsageError, match="line 2") as caught:
        read_text(str(file), io.StringIO())
    assert "iconv" in caught.value.hint


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_text(str(tmp_path / "none"), io.StringIO())


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    file = tmp_path / "windows.txt"
    file.write_bytes(b"\xef\xbb\xbfhello")
    assert read_text(str(file), io.StringIO()) == "hello"


def test_standard_input_is_read_as_bytes() -> None:
    stdin = io.TextIOWrapper(io.BytesIO("é".encode()), encoding="ascii")
    assert read_text("-", stdin) == "é"
