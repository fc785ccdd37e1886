"""What an answer must look like: described in one of many ways, sent in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import msgspec

from lmstrix.lmstudio.configs import LlmStructuredPredictionSetting
from lmstrix.lmstudio.errors import LMStudioValueError

DictObject: TypeAlias = Mapping[str, Any]
DictSchema: TypeAlias = Mapping[str, Any]


@runtime_checkable
class ModelSchema(Protocol):
    """A class that has a JSON schema: one of pydantic, `BaseModel`, or any with this method."""

    @classmethod
    def model_json_schema(cls) -> DictSchema:
        """The JSON schema of what the class describes."""
        ...


class BaseModel(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A base for classes that describe a structured answer."""

    @classmethod
    def model_json_schema(cls) -> DictSchema:
        """The JSON schema of what the class describes."""
        return json_schema(cls)


ResponseSchema: TypeAlias = DictSchema | LlmStructuredPredictionSetting | type


def json_schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a type, the type itself on top of it and not behind a reference."""
    try:
        schema = msgspec.json.schema(kind)
    except TypeError as problem:
        raise LMStudioValueError(f"{kind!r} has no JSON schema: {problem}") from None
    reference = schema.pop("$ref", None)
    if reference is None:
        return schema
    definitions = schema["$defs"]
    top = definitions.pop(reference.rpartition("/")[2])
    return {"$defs": definitions, **top}


def structured_setting(response_format: ResponseSchema) -> dict[str, Any]:
    """The setting that makes an answer obey. Raises `LMStudioValueError` for what is no format.

    A class is one of pydantic, `BaseModel`, msgspec, a dataclass, or any with
    `model_json_schema`. A mapping is a JSON schema, or such a setting itself.
    """
    if isinstance(response_format, LlmStructuredPredictionSetting):
        return response_format.to_dict()
    if isinstance(response_format, type):
        return {"type": "json", "jsonSchema": class_schema(response_format)}
    if isinstance(response_format, Mapping):
        kind = response_format.get("type")
        if (kind == "json" and "jsonSchema" in response_format) or (
            kind == "gbnf" and "gbnfGrammar" in response_format
        ):
            return dict(response_format)
        if kind is not None or any(word in response_format for word in ("$ref", "anyOf", "enum")):
            return {"type": "json", "jsonSchema": response_format}
    raise LMStudioValueError(
        f"Failed to parse response format: {response_format!r}",
        hint="Give a JSON schema, or a class that has one.",
    )


def class_schema(kind: type) -> DictSchema:
    """The JSON schema of a class. Raises `LMStudioValueError` where it has none."""
    schema_of = getattr(kind, "model_json_schema", None)
    if schema_of is not None:
        return cast("DictSchema", schema_of())
    if issubclass(kind, msgspec.Struct) or hasattr(kind, "__dataclass_fields__"):
        return json_schema(kind)
    raise LMStudioValueError(
        f"Failed to parse response format: {kind!r}",
        hint="A class needs a `model_json_schema`, or to be a msgspec.Struct or a dataclass.",
    )


def build(kind: type, data: Any) -> Any:
    """`data` as an instance of a class that `class_schema` took.

    Raises `LMStudioValueError` where it does not fit.
    """
    validate = getattr(kind, "model_validate", None)
    try:
        return validate(data) if validate is not None else msgspec.convert(data, kind)
    except ValueError as problem:
        raise LMStudioValueError(f"The answer is no {kind.__name__}: {problem}") from None
