"""LM Studio's defaults of one model, as text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lmstrix.defaults.lmstudio import (
    CONTEXT,
    EMBEDDING_CONTEXT,
    EMPTY,
    FLASH,
    KV_TYPE_K,
    KV_TYPE_V,
    load_fields,
    read_defaults,
    with_load_fields,
)
from lmstrix.types import ModelType

AS_SET_BY_HAND = """{
  "preset": "@local:mine",
  "operation": {
    "fields": [
      { "key": "llm.prediction.temperature", "value": 0.70 }
    ]
  },
  "load": {
    "fields": [
      {
        "key": "llm.load.llama.acceleration.offloadRatio",
        "value": 0.50
      },
      {
        "value": 8192,
        "key": "llm.load.contextLength"
      },
      {
        "key": "llm.load.llama.kCacheQuantizationType",
        "value": { "checked": true, "value": "q8_0" }
      }
    ]
  },
  "later": {"unknown": [1e3, null]}
}"""


def of(*fields: dict[str, Any]) -> str:
    """A file with nothing but these fields for loading, in one line."""
    return json.dumps({"load": {"fields": list(fields)}}, separators=(",", ":"))


def test_what_will_be_used_is_read():
    found = read_defaults(AS_SET_BY_HAND)
    assert found.context_tokens == 8192
    assert found.flash_attention is None
    assert (found.kv_type_k, found.kv_type_v) == ("q8_0", None)
    assert found.preset == "@local:mine"
    assert found.load["llm.load.llama.acceleration.offloadRatio"] == 0.5
    assert found.operation == {"llm.prediction.temperature": 0.7}


def test_an_unchecked_box_is_not_used():
    box = {"checked": False, "value": "q4_0"}
    assert read_defaults(of({"key": KV_TYPE_V, "value": box})).kv_type_v is None


def test_a_setting_is_changed_and_every_other_character_stays():
    after = with_load_fields(AS_SET_BY_HAND, {CONTEXT: 4096})
    assert after == AS_SET_BY_HAND.replace("8192", "4096")


def test_a_setting_is_added_behind_the_others():
    after = with_load_fields(AS_SET_BY_HAND, {FLASH: True})
    lines = ("{", '  "key": "llm.load.llama.flashAttention",', '  "value": true', "}")
    added = "," + "".join(f"\n      {line}" for line in lines)
    assert after.replace(added, "") == AS_SET_BY_HAND
    assert read_defaults(after).flash_attention is True


def test_what_is_set_already_changes_nothing():
    fields = {CONTEXT: 8192, KV_TYPE_K: {"checked": True, "value": "q8_0"}}
    assert with_load_fields(AS_SET_BY_HAND, fields) == AS_SET_BY_HAND


def test_a_key_that_stands_there_twice_is_set_twice():
    text = of({"key": CONTEXT, "value": 1}, {"key": CONTEXT, "value": 1})
    assert with_load_fields(text, {CONTEXT: 7}) == text.replace('"value":1', '"value":7')


def test_one_is_no_true():
    text = of({"key": FLASH, "value": 1})
    assert with_load_fields(text, {FLASH: True}) == of({"key": FLASH, "value": True})


@pytest.mark.parametrize(
    "text", ["{}", '{"load": {}}', '{"load": {"fields": []}}', '{"load": {"fields": [3, "x", {}]}}']
)
def test_missing_places_are_made(text: str):
    assert read_defaults(with_load_fields(text, {CONTEXT: 5})).context_tokens == 5


def test_a_field_without_a_value_gets_one():
    text = of({"key": CONTEXT})
    assert with_load_fields(text, {CONTEXT: 5}) == of({"key": CONTEXT, "value": 5})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "the whole is not"),
        ('{"load": 3}', '"load" is not'),
        ('{"load": {"fields": {}}}', 'in "load" is not a list'),
        ("{", "line 1"),
    ],
)
def test_another_form_is_refused_with_the_reason(text: str, why: str):
    with pytest.raises(ValueError, match=why):
        with_load_fields(text, {CONTEXT: 5})
    with pytest.raises(ValueError, match=why):
        read_defaults(text)


def test_a_new_file_has_lm_studios_form():
    fields = load_fields(ModelType.LLM, context_tokens=4096, flash_attention=True)
    assert json.loads(with_load_fields(EMPTY, fields)) == {
        "preset": "",
        "operation": {"fields": []},
        "load": {
            "fields": [
                {"key": "llm.load.contextLength", "value": 4096},
                {"key": "llm.load.llama.flashAttention", "value": True},
            ]
        },
    }


def test_a_quantized_cache_comes_with_flash_attention():
    fields = load_fields(ModelType.LLM, context_tokens=1, kv_type="q8_0")
    assert fields[FLASH] is True
    assert fields[KV_TYPE_K] == fields[KV_TYPE_V] == {"checked": True, "value": "q8_0"}
    assert FLASH not in load_fields(ModelType.LLM, context_tokens=1, kv_type="f16")


def test_an_embedding_model_has_a_key_of_its_own():
    assert load_fields(ModelType.EMBEDDING, context_tokens=512) == {EMBEDDING_CONTEXT: 512}


def test_what_lm_studio_does_not_know_is_refused():
    with pytest.raises(ValueError, match="bf16"):
        load_fields(ModelType.LLM, context_tokens=1, kv_type="bf16")
    with pytest.raises(ValueError, match="below 1"):
        load_fields(ModelType.LLM, context_tokens=0)


VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = some.sampled_from([CONTEXT, FLASH, KV_TYPE_K, "llm.load.seed", "other"])
FIELDS = some.lists(some.fixed_dictionaries({"key": KEYS, "value": VALUES}) | VALUES, max_size=5)
FILES = some.builds(
    lambda rest, fields, first: (
        {"load": {"x": first, "fields": fields}, **rest}
        if first
        else {**rest, "load": {"fields": fields}}
    ),
    some.dictionaries(some.text().filter(lambda key: key != "load"), VALUES, max_size=3),
    FIELDS,
    some.booleans(),
)
LINES = ["\n", "\r\n"]
FORMS: list[dict[str, Any]] = [
    {"indent": 2},
    {"indent": "\t"},
    {"separators": (",", ":")},
    {"separators": (" , ", " :  ")},
    {"ensure_ascii": False},
]


def exactly(text: str) -> Any:
    """A document with its order and the way its numbers are written."""
    return json.loads(
        text, object_pairs_hook=lambda pairs: ("object", pairs), parse_int=str, parse_float=str
    )


@given(FILES, some.sampled_from(FORMS), some.integers(min_value=1), some.sampled_from(LINES))
def test_whatever_a_file_holds_only_the_named_settings_change(
    file: dict[str, Any], form: dict[str, Any], tokens: int, line_end: str
):
    before = json.dumps(file, **form)
    before = before.replace("\n", line_end)
    after = with_load_fields(before, {CONTEXT: tokens})
    fields = file["load"]["fields"]
    ours = [one for one in fields if isinstance(one, dict) and one.get("key") == CONTEXT]
    for one in ours:
        one["value"] = tokens
    if not ours:
        fields.append({"key": CONTEXT, "value": tokens})
    assert exactly(after) == exactly(json.dumps(file, **form))
    assert with_load_fields(after, {CONTEXT: tokens}) == after
    assert read_defaults(after).context_tokens == tokens
