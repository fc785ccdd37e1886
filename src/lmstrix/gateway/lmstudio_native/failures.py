"""Errors as LM Studio's server tells them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.errors import (
    AmbiguousModelError,
    ContextOverflowError,
    LMStrixError,
    ModelNotFoundError,
    NotFoundError,
)
from lmstrix.protocol.lmstudio import errors as codes
from lmstrix.protocol.lmstudio.errors import SerializedLMSExtendedError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SAMPLE = 10


class NoInstanceError(ModelNotFoundError):
    """No loaded instance is meant by `query`; `loaded` are those there are."""

    def __init__(self, query: str, *, loaded: Sequence[str]) -> None:
        named = f"by {query!r}" if query else "yet"
        super().__init__(
            f"No model is loaded that is meant {named}." if query else "No model is loaded yet.",
            query=query,
            hint="Load it first, or ask for it by getOrLoad.",
        )
        self.loaded = tuple(loaded)


class NoPresetError(NotFoundError):
    """No preset is called `preset`."""

    def __init__(self, preset: str) -> None:
        super().__init__(
            f"There is no preset {preset!r}: this server keeps none.",
            hint="Send the settings themselves.",
        )
        self.preset = preset


class UnloadedError(LMStrixError):
    """The instance was unloaded while it answered."""

    def __init__(self, identifier: str) -> None:
        super().__init__(f"{identifier} was unloaded while it answered.")


class WrongDomainError(LMStrixError):
    """The model `key` is of another domain than it was asked for as."""

    def __init__(self, key: str, actual: str, expected: str) -> None:
        super().__init__(f"{key} is no {expected} model; it is of the kind {actual}.")
        self.key = key
        self.actual = actual
        self.expected = expected


class InstanceExistsError(LMStrixError):
    """An instance is already called so."""

    def __init__(self, identifier: str) -> None:
        super().__init__(f"A model with the identifier {identifier!r} already exists.")


def serialized(error: LMStrixError) -> SerializedLMSExtendedError:
    """The error in LM Studio's shape, with what a client recognises it by."""
    sizes = None
    if isinstance(error, ContextOverflowError):
        sizes = {"promptTokens": error.prompt_tokens, "contextLength": error.context_tokens}
    return SerializedLMSExtendedError(
        title=error.message,
        suggestion=error.hint or None,
        error_data=sizes,
        display_data=_display_data(error),
    )


def _display_data(error: LMStrixError) -> dict[str, object] | None:
    if isinstance(error, NoInstanceError):
        return {
            "code": codes.NO_MODEL,
            "query": {"identifier": error.query} if error.query else {},
            "loadedModelsSample": list(error.loaded[:_SAMPLE]),
            "totalLoadedModels": len(error.loaded),
        }
    if isinstance(error, ModelNotFoundError | AmbiguousModelError):
        near = error.nearest if isinstance(error, ModelNotFoundError) else error.candidates
        return {
            "code": codes.PATH_NOT_FOUND,
            "path": error.query,
            "availablePathsSample": list(near[:_SAMPLE]),
            "totalModels": len(near),
        }
    if isinstance(error, UnloadedError):
        return {"code": codes.MODEL_UNLOADED}
    if isinstance(error, WrongDomainError):
        return {
            "code": codes.DOMAIN_MISMATCH,
            "path": error.key,
            "actualDomain": error.actual,
            "expectedDomain": error.expected,
        }
    if isinstance(error, NoPresetError):
        return {
            "code": codes.PRESET_NOT_FOUND,
            "specifiedFuzzyPresetIdentifier": error.preset,
            "availablePresetsSample": [],
            "totalAvailablePresets": 0,
        }
    return None
