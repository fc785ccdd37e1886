"""What LM Studio tells of models and instances, in our words. Pure but for `locate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from lmstrix.protocol.lmstudio.models import EmbeddingModelInfo, LlmInfo
from lmstrix.protocol.lmstudio.settings import read_load_config
from lmstrix.types import Instance, LoadConfig, Model, ModelType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from lmstrix.protocol.lmstudio.models import ModelInfo, ModelInstanceInfo

_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def model(info: ModelInfo, *, provider: str, server: str, path: str | None = None) -> Model:
    """A downloaded model. `path` is where its file lies on this machine, if it does."""
    sees = isinstance(info, LlmInfo) and info.vision
    kind = ModelType.VLM if sees else ModelType.LLM
    return Model(
        key=info.model_key,
        provider=provider,
        server=server,
        type=ModelType.EMBEDDING if isinstance(info, EmbeddingModelInfo) else kind,
        path=path,
        format=info.format,
        size_bytes=info.size_bytes,
        name=info.display_name or None,
        architecture=info.architecture or None,
        parameters=parameter_count(info.params_string or ""),
        quantization=info.quantization.name if info.quantization else None,
        declared_context_tokens=info.max_context_length or None,
        vision=sees,
        tools=isinstance(info, LlmInfo) and info.trained_for_tool_use,
    )


def instance(
    info: ModelInstanceInfo,
    values: Mapping[str, Any],
    *,
    provider: str,
    server: str,
    owned: bool,
) -> Instance:
    """A loaded model. `values` are its load settings by key, as far as they were told."""
    config = read_load_config(values)
    ttl_ms = info.ttl_ms
    return Instance(
        id=info.identifier,
        model_key=info.model_key,
        provider=provider,
        server=server,
        context_tokens=info.context_length if info.context_length > 0 else config.context_tokens,
        parallel=config.parallel or 1,
        config=LoadConfig(
            context_tokens=config.context_tokens,
            kv_type_k=config.kv_type_k,
            kv_type_v=config.kv_type_v,
            flash_attention=config.flash_attention,
            parallel=config.parallel,
            batch_tokens=config.batch_tokens,
            gpu_layers=config.gpu_layers,
            threads=config.threads,
            ttl_s=None if ttl_ms is UNSET or ttl_ms is None else ttl_ms / 1000,
        ),
        owned=owned,
    )


def parameter_count(text: str) -> int | None:
    """How many parameters `7B` or `270M` are; `None` for what is written otherwise."""
    number, unit = text.strip()[:-1], text.strip()[-1:].upper()
    try:
        return round(float(number) * _UNITS[unit])
    except (ValueError, KeyError):
        return None


def locate(infos: Iterable[ModelInfo], folders: Sequence[Path]) -> dict[str, str]:
    """By key, the files of models that lie below `folders`, of the very size that was told."""
    found: dict[str, str] = {}
    for info in infos:
        for folder in folders:
            path = folder / info.path
            if path.is_file() and path.stat().st_size == info.size_bytes:
                found[info.model_key] = str(path)
                break
    return found
