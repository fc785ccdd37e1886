"""What every shape of the protocol has: camelCase on the wire, snake_case here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

import msgspec

# Names in which the wire does not follow its own rule.
_ODD_NAMES = {
    "use_fp16_for_kv_cache": "useFp16ForKVCache",
    "offload_kv_cache_to_gpu": "offloadKVCacheToGpu",
}
# What lies below these keys belongs to somebody else: schemas and arguments stay as they are.
_OPAQUE = frozenset({"json_schema", "jsonSchema", "parameters", "arguments"})


def camel_case(name: str) -> str:
    """The name on the wire of a field: `size_bytes` is `sizeBytes`."""
    if name in _ODD_NAMES:
        return _ODD_NAMES[name]
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def camel_case_keys(data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with its keys as the wire has them, those of what it contains included.

    Raises `ValueError` for what no JSON of the protocol contains: cycles, lists of lists.
    """
    return _camel_mapping(data, ())


def _camel_mapping(data: Mapping[str, Any], above: tuple[int, ...]) -> dict[str, Any]:
    if id(data) in above:
        raise ValueError("Data structure cycles are not supported.")
    above = (*above, id(data))
    return {
        camel_case(key) if "_" in key else key: (
            value if key in _OPAQUE else _camel_value(value, above)
        )
        for key, value in data.items()
    }


def _camel_value(value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, Mapping):
        return _camel_mapping(value, above)
    if isinstance(value, list | tuple):
        if any(isinstance(item, list | tuple) for item in value):
            raise ValueError("Lists of lists are not supported.")
        return [_camel_value(item, above) for item in value]
    return value


class Shape(msgspec.Struct, kw_only=True, omit_defaults=True, rename=camel_case):
    """A JSON object of the protocol. What is `None` is not sent; unknown keys are passed over."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From a dictionary with keys in camelCase or snake_case.

        Raises `msgspec.ValidationError` where it does not fit.
        """
        return msgspec.convert(camel_case_keys(data), cls)

    def to_dict(self) -> dict[str, Any]:
        """As a dictionary with keys in camelCase, as on the wire."""
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made

    def __str__(self) -> str:
        text = json.dumps(self.to_dict(), indent=2, sort_keys=True)
        return f"{type(self).__name__}.from_dict({text})"
