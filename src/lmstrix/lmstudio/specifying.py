"""Models named in one of many ways, sent in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from lmstrix.lmstudio.errors import LMStudioClientError, LMStudioValueError
from lmstrix.protocol.lmstudio.models import (
    ModelQuery,
    ModelSpecifier,
    ModelSpecifierInstanceReference,
    ModelSpecifierQuery,
)
from lmstrix.protocol.lmstudio.shape import camel_case_keys

if TYPE_CHECKING:
    from lmstrix.protocol.lmstudio.endpoints import Rpc

DEFAULT_TTL_S = 3600  # what is loaded through this client goes after an hour without use
NAMESPACES = ("llm", "embedding")
AnyModelSpecifier: TypeAlias = str | ModelSpecifier | ModelQuery | Mapping[str, Any]


def specify(model: AnyModelSpecifier) -> ModelSpecifier:
    """The specifier of a loaded model: by name, by a query, or by the server's own reference.

    Raises `LMStudioValueError`.
    """
    if isinstance(model, str):
        return ModelSpecifierQuery(query=ModelQuery(identifier=model))
    if isinstance(model, ModelSpecifierQuery | ModelSpecifierInstanceReference):
        return model
    if isinstance(model, ModelQuery):
        return ModelSpecifierQuery(query=model)
    if isinstance(model, Mapping):
        try:
            data = camel_case_keys(model)
            if "type" in data:
                return msgspec.convert(data, ModelSpecifier)  # type: ignore[no-any-return]
            return ModelSpecifierQuery(query=msgspec.convert(data, ModelQuery))
        except ValueError as problem:
            raise LMStudioValueError(f"Unable to parse model specifier: {problem}") from None
    raise LMStudioValueError(f"Unable to parse model specifier: {model!r}")


def check_namespace(namespace: str | None) -> str | None:
    """The namespace of models, or none for both. Raises `LMStudioValueError`."""
    if namespace not in (None, *NAMESPACES):
        raise LMStudioValueError(f"Unknown model namespace: {namespace!r}")
    return namespace


def ttl_ms(ttl_s: float | None) -> float | None:
    """A time to live as the wire has it."""
    return None if ttl_s is None else ttl_s * 1000


def read_result(rpc: Rpc, raw: msgspec.Raw) -> Any:
    """What a call came to. Raises `LMStudioClientError` for what cannot be understood."""
    if rpc.result is None:
        return None
    try:
        return msgspec.json.decode(raw, type=rpc.result)
    except msgspec.DecodeError as problem:
        raise LMStudioClientError(
            f"The server's answer to {rpc.name} cannot be understood: {problem}",
            hint="The server may be newer or older than this client.",
        ) from None
