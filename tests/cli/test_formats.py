from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.cli.formats import encode

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
# PyYAML reads YAML 1.1 and refuses what JSON may hold raw: these ranges.
READABLE = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co"))


@given(PLAIN)
def test_json_comes_back_as_it_was(value: object) -> None:
    assert json.loads(encode(value, "json")) == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(READABLE | st.just("\n")),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(READABLE), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_yaml_comes_back_as_it_was(value: object) -> None:
    assert yaml.safe_load(encode(value, "yaml")) == value


@pytest.mark.parametrize("text", ["no", "1e5", "1_000", "2026-01-01", "-", "a: b", "", " x", "~"])
def test_a_text_that_yaml_would_read_as_something_else_is_quoted(text: str) -> None:
    assert yaml.safe_load(encode({"k": text}, "yaml")) == {"k": text}


def test_long_texts_are_blocks_in_yaml() -> None:
    assert encode({"text": "one\ntwo"}, "yaml") == "text: |-\n  one\n  two"
