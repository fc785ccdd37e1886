from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.cli.values import (
    DURATION,
    KV_TYPE,
    LENGTH,
    PAIRS,
    SIZE,
    TOKENS,
    parse_duration,
    parse_pairs,
    parse_tokens,
)

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True)
# What cannot itself look like the start of a pair.
VALUES = st.text(st.sampled_from("ab ,;{}'\"(é\n"), max_size=12)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("1h30m", 5400), ("250ms", 0.25), ("2min", 120)],
)
def test_a_duration_is_read_with_and_without_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "abc", "-5", "5x", "1h x", "0", "1e3"])
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "tokens"), [("4096", 4096), ("4,096", 4096), ("32k", 32768), ("4_096", 4096)]
)
def test_tokens_are_read_as_people_write_them(text: str, tokens: int) -> None:
    assert parse_tokens(text) == tokens


@pytest.mark.parametrize("text", ["0", "-1", "many", "4.5", "50%"])
def test_a_number_of_tokens_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        TOKENS.convert(text, None, None)


@pytest.mark.parametrize(("text", "kept"), [("8k", "8192"), ("50%", "50%"), ("-1", "-1")])
def test_a_length_is_kept_as_written_but_for_k(text: str, kept: str) -> None:
    assert LENGTH.convert(text, None, None) == kept


@pytest.mark.parametrize("text", ["big", "-1", "0", "5 pounds"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        SIZE.convert(text, None, None)


def test_a_kv_type_keeps_its_underscore() -> None:
    assert KV_TYPE.convert("Q8_0", None, None) == "q8_0"
    with pytest.raises(click.BadParameter, match="q4_0"):
        KV_TYPE.convert("q8", None, None)


def test_a_comma_in_a_value_stays_unless_a_name_follows() -> None:
    assert parse_pairs("a=red, green,b=x=y,c=") == {"a": "red, green", "b": "x=y", "c": ""}


@pytest.mark.parametrize("text", ["", "novalue", ",a=1", "1=2", "a=1,a=2"])
def test_pairs_without_a_name_or_with_one_twice_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        parse_pairs(text)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
def test_any_pairs_come_back_as_they_were_written(pairs: dict[str, str]) -> None:
    assert parse_pairs(",".join(f"{name}={value}" for name, value in pairs.items())) == pairs


def test_values_are_texts_and_never_python() -> None:
    written = "a=[1, 2],b=None,c=('x', 'y'),d=__import__('os')"
    assert parse_pairs(written)["c"] == "('x', 'y')"
    assert parse_pairs(written)["b"] == "None"


def test_pairs_from_a_file_keep_texts_and_write_out_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps({"a": "x,y=z", "n": 3, "l": ["é"]}), encoding="utf-8")
    assert PAIRS.convert(f"@{file}", None, None) == {"a": "x,y=z", "n": "3", "l": '["é"]'}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[1]", "no JSON object"),
        (b"{", "line 1"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (None, "No such file"),
    ],
)
def test_a_bad_file_of_pairs_is_named(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    file = tmp_path / "values.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(click.BadParameter, match=complaint):
        PAIRS.convert(f"@{file}", None, None)
