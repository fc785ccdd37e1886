"""Models, instances, and the ways to name them."""

# ruff: noqa: TC003  # msgspec reads annotations when it runs

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from lmstrix.protocol.lmstudio.shape import Shape


class Quantization(Shape, kw_only=True):
    """How a model's weights are stored."""

    name: str
    bits: float


class _Described(Shape, kw_only=True):
    """What is told of every downloaded model.

    `path` is relative to the models folder. `device_identifier` is `None` for this machine, and
    `UNSET` where a server older than the notion does not tell.
    """

    model_key: str
    format: str
    display_name: str
    path: str
    size_bytes: int
    max_context_length: int = 0
    publisher: str | None = None
    indexed_model_identifier: str | None = None
    device_identifier: str | UnsetType | None = UNSET
    params_string: str | None = None
    architecture: str | None = None
    quantization: Quantization | None = None
    variants: tuple[str, ...] | None = None
    selected_variant: str | None = None


class LlmInfo(_Described, kw_only=True, tag_field="type", tag="llm"):
    """A downloaded language model."""

    type: ClassVar[str] = "llm"
    vision: bool
    trained_for_tool_use: bool


class EmbeddingModelInfo(_Described, kw_only=True, tag_field="type", tag="embedding"):
    """A downloaded embedding model."""

    type: ClassVar[str] = "embedding"


class LlmInstanceInfo(LlmInfo, kw_only=True, tag_field="type", tag="llm"):
    """A loaded language model. `last_used_time` is Unix time in milliseconds."""

    identifier: str
    instance_reference: str
    context_length: int = -1
    ttl_ms: float | UnsetType | None = UNSET
    last_used_time: float | UnsetType | None = UNSET


class EmbeddingModelInstanceInfo(
    EmbeddingModelInfo, kw_only=True, tag_field="type", tag="embedding"
):
    """A loaded embedding model. `last_used_time` is Unix time in milliseconds."""

    identifier: str
    instance_reference: str
    context_length: int = -1
    ttl_ms: float | UnsetType | None = UNSET
    last_used_time: float | UnsetType | None = UNSET


class OtherModelInfo(Shape, kw_only=True):
    """A model of a type that is not known here, such as a draft model or a transcriber."""

    type: str = ""
    model_key: str = ""
    display_name: str = ""
    path: str = ""
    format: str = ""
    size_bytes: int = 0


ModelInfo: TypeAlias = LlmInfo | EmbeddingModelInfo
ModelInstanceInfo: TypeAlias = LlmInstanceInfo | EmbeddingModelInstanceInfo

_INFO = msgspec.json.Decoder(LlmInfo | EmbeddingModelInfo)
_INSTANCE = msgspec.json.Decoder(LlmInstanceInfo | EmbeddingModelInstanceInfo)
_OTHER = msgspec.json.Decoder(OtherModelInfo)


def read_info(raw: msgspec.Raw | bytes) -> ModelInfo | OtherModelInfo:
    """A downloaded model of whatever type.

    Raises `msgspec.ValidationError` where it is none.
    """
    try:
        info: ModelInfo = _INFO.decode(raw)
    except msgspec.ValidationError:
        other = _OTHER.decode(raw)
        if other.type in (LlmInfo.type, EmbeddingModelInfo.type):
            raise
        return other
    return info


def read_instance(raw: msgspec.Raw | bytes) -> ModelInstanceInfo:
    """A loaded model. Raises `msgspec.ValidationError` where it is none of a known type."""
    instance: ModelInstanceInfo = _INSTANCE.decode(raw)
    return instance


class ModelQuery(Shape, kw_only=True):
    """What a loaded model must be. `identifier` is an instance's name, a key, or a path."""

    domain: str | None = None
    identifier: str | None = None
    path: str | None = None
    vision: bool | None = None
    device_identifier: str | UnsetType | None = UNSET


class ModelSpecifierQuery(Shape, kw_only=True, tag_field="type", tag="query"):
    """A loaded model by what it is."""

    type: ClassVar[str] = "query"
    query: ModelQuery


class ModelSpecifierInstanceReference(
    Shape, kw_only=True, tag_field="type", tag="instanceReference"
):
    """A loaded model by the server's own reference to the instance."""

    type: ClassVar[str] = "instanceReference"
    instance_reference: str


ModelSpecifier: TypeAlias = ModelSpecifierQuery | ModelSpecifierInstanceReference


class MemoryEstimate(Shape, kw_only=True):
    """Bytes a load would take. `confidence` is `high` or `low`."""

    confidence: str
    model_vram_bytes: float
    context_vram_bytes: float
    total_vram_bytes: float
    model_bytes: float
    context_bytes: float
    total_bytes: float


class ModelUsage(Shape, kw_only=True):
    """What a load would take, and whether the server's guardrails let it."""

    memory: MemoryEstimate
    passes_guardrails: bool


class SearchIdentifier(Shape, kw_only=True):
    """A search result, as the server wants it named. `type` is `catalog` or `hf`."""

    type: str
    identifier: str


class ModelSearchResultEntryData(Shape, kw_only=True):
    """A model that can be downloaded."""

    name: str
    identifier: Mapping[str, Any]
    exact: bool | None = None
    staff_pick: bool | None = None


class ModelSearchResultDownloadOptionData(Shape, kw_only=True):
    """One file of a model that can be downloaded.

    `fit_estimation` is `fullGPUOffload`, `partialGPUOffload`, `fitWithoutGPU` or `willNotFit`.
    """

    name: str
    size_bytes: int
    fit_estimation: str
    download_identifier: str
    indexed_model_identifier: str
    quantization: str | None = None
    recommended: bool | None = None
    compatibility_type: str | None = None


class DownloadProgressUpdate(Shape, kw_only=True):
    """How far a download is."""

    downloaded_bytes: int
    total_bytes: int
    speed_bytes_per_second: float
