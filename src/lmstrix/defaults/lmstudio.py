"""LM Studio's defaults of one model: read what will be used, change single settings. Pure.

The form, as other programs that read and write these files know it (LM Studio documents none)::

    {"preset": "", "operation": {"fields": []}, "load": {"fields": [{"key": ..., "value": ...}]}}

Keys and the shapes of values are those of LM Studio's own client library.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.defaults import json_text
from lmstrix.types import ModelType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lmstrix.defaults.json_text import Value

CONTEXT = "llm.load.contextLength"
EMBEDDING_CONTEXT = "embedding.load.contextLength"
FLASH = "llm.load.llama.flashAttention"
KV_TYPE_K = "llm.load.llama.kCacheQuantizationType"
KV_TYPE_V = "llm.load.llama.vCacheQuantizationType"
GPU_RATIO = "llm.load.llama.acceleration.offloadRatio"
KV_TYPES = ("f32", "f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
EMPTY = '{\n  "preset": "",\n  "operation": {\n    "fields": []\n  },\n  "load": {\n    "fields": []\n  }\n}\n'  # noqa: E501  # one text
_UNQUANTIZED = ("f32", "f16")


class LMStudioDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """What LM Studio will use for one model; `None` leaves the choice to it.

    `load` and `operation` are all fields of the file by their keys, as they stand there.
    """

    context_tokens: int | None = None
    flash_attention: bool | None = None
    kv_type_k: str | None = None
    kv_type_v: str | None = None
    preset: str = ""
    load: dict[str, Any] = {}
    operation: dict[str, Any] = {}


def read_defaults(text: str) -> LMStudioDefaults:
    """What a file says. Raises `ValueError` where it has not the form above."""
    root = _object(json_text.root_of(text), "the whole")
    load, operation = (dict(_fields(text, root, part)) for part in ("load", "operation"))
    context = load.get(CONTEXT, load.get(EMBEDDING_CONTEXT))
    flash = load.get(FLASH)
    preset = root.data.get("preset")
    return LMStudioDefaults(
        context_tokens=context if type(context) is int else None,
        flash_attention=flash if isinstance(flash, bool) else None,
        kv_type_k=_checked(load.get(KV_TYPE_K)),
        kv_type_v=_checked(load.get(KV_TYPE_V)),
        preset=preset if isinstance(preset, str) else "",
        load=load,
        operation=operation,
    )


def load_fields(
    model_type: ModelType,
    *,
    context_tokens: int,
    flash_attention: bool | None = None,
    kv_type: str | None = None,
) -> dict[str, Any]:
    """The fields that set these for a model of that type.

    llama.cpp computes with a quantized value cache only under flash attention, so that comes
    with such a `kv_type`. Raises `ValueError` for a type LM Studio does not have, and for a
    context below 1.
    """
    if context_tokens < 1:
        raise ValueError(f"a context of {context_tokens:,} tokens is below 1")
    if model_type is ModelType.EMBEDDING:
        return {EMBEDDING_CONTEXT: context_tokens}
    fields: dict[str, Any] = {CONTEXT: context_tokens}
    if kv_type is not None and kv_type not in _UNQUANTIZED:
        flash_attention = True
    if flash_attention is not None:
        fields[FLASH] = flash_attention
    if kv_type is not None:
        if kv_type not in KV_TYPES:
            raise ValueError(f"LM Studio has no KV cache type {kv_type}")
        fields |= {key: {"checked": True, "value": kv_type} for key in (KV_TYPE_K, KV_TYPE_V)}
    return fields


def with_load_fields(text: str, fields: Mapping[str, Any]) -> str:
    """`text` with `fields` set for loading; everything else in it stays as it is written.

    A key that stands there twice is set twice. Raises `ValueError` where the text has not the
    form above.
    """
    for key, wanted in fields.items():
        text = _with_field(text, key, wanted)
    return text


def _with_field(text: str, key: str, wanted: Any) -> str:
    listed = _list_of_fields(text)
    if isinstance(listed, str):
        return _with_field(listed, key, wanted)
    entries = [
        entry
        for entry in json_text.items(text, listed)
        if isinstance(entry.data, dict) and entry.data.get("key") == key
    ]
    if not entries:
        return json_text.with_item(text, listed, {"key": key, "value": wanted})
    for entry in reversed(entries):  # from the end, so that what is before keeps its place
        value = json_text.member(text, entry, "value")
        if value is None:
            text = json_text.with_member(text, entry, "value", wanted)
        elif json.dumps(value.data) != json.dumps(wanted):  # 1 is not true here
            text = json_text.with_value(text, value, wanted)
    return text


def _list_of_fields(text: str) -> Value | str:
    """Where the fields for loading stand, or the text with the place for them added."""
    root = _object(json_text.root_of(text), "the whole")
    load = json_text.member(text, root, "load")
    if load is None:
        return json_text.with_member(text, root, "load", {"fields": []})
    fields = json_text.member(text, _object(load, '"load"'), "fields")
    if fields is None:
        return json_text.with_member(text, load, "fields", [])
    return _list(fields, "load")


def _fields(text: str, root: Value, part: str) -> Iterator[tuple[str, Any]]:
    found = json_text.member(text, root, part)
    fields = (
        None if found is None else json_text.member(text, _object(found, f'"{part}"'), "fields")
    )
    for field in [] if fields is None else _list(fields, part).data:
        if isinstance(field, dict) and isinstance(field.get("key"), str):
            yield field["key"], field.get("value")


def _object(value: Value, what: str) -> Value:
    if not isinstance(value.data, dict):
        raise ValueError(f"{what} is not a JSON object")  # noqa: TRY004  # it is the file's fault
    return value


def _list(value: Value, part: str) -> Value:
    if not isinstance(value.data, list):
        raise ValueError(f'"fields" in "{part}" is not a list')  # noqa: TRY004  # as above
    return value


def _checked(value: object) -> str | None:
    """The value of a setting with a check box, where it is checked."""
    if isinstance(value, dict) and value.get("checked") is True:
        kept = value.get("value")
        return kept if isinstance(kept, str) else None
    return None
