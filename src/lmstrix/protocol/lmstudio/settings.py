"""What LMStrix calls load settings and sampling, as LM Studio's keys, in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmstrix.errors import UnsupportedError
from lmstrix.protocol.lmstudio.config import Field, key_named, read_value
from lmstrix.types import LoadConfig, Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping

# What sampling settings are called, by the names of `Sampling`.
SAMPLING_KEYS: Mapping[str, str] = {
    "temperature": "llm.prediction.temperature",
    "top_k": "llm.prediction.topKSampling",
    "top_p": "llm.prediction.topPSampling",
    "min_p": "llm.prediction.minPSampling",
    "repeat_penalty": "llm.prediction.repeatPenalty",
    "presence_penalty": "llm.prediction.llama.presencePenalty",
    "frequency_penalty": "llm.prediction.llama.frequencyPenalty",
    "seed": "llm.prediction.seed",
    "stop": "llm.prediction.stopStrings",
    "max_tokens": "llm.prediction.maxPredictedTokens",
}
# What load settings of a language model are called, by the names of `LoadConfig`.
_LOAD_KEYS: Mapping[str, str] = {
    "context_tokens": "llm.load.contextLength",
    "kv_type_k": "llm.load.llama.kCacheQuantizationType",
    "kv_type_v": "llm.load.llama.vCacheQuantizationType",
    "flash_attention": "llm.load.llama.flashAttention",
    "parallel": "llm.load.numParallelSessions",
    "batch_tokens": "llm.load.llama.evalBatchSize",
    "threads": "llm.load.llama.cpuThreadPoolSize",
}
_EMBEDDING_KEYS: Mapping[str, str] = {
    "context_tokens": "embedding.load.contextLength",
    "batch_tokens": "embedding.load.llama.evalBatchSize",
}
_OFFLOAD = {
    "llm": "llm.load.llama.acceleration.offloadRatio",
    "embedding": "embedding.load.llama.acceleration.offloadRatio",
}
_ALL_LAYERS = 999  # what engines take for every layer there is
# What sampling settings do nothing at; an unticked box means that.
_OFF: Mapping[str, Any] = {
    "top_p": 1.0,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


def load_fields(config: LoadConfig, *, namespace: str = "llm") -> list[Field]:
    """The fields of what is set in `config`; its `ttl_s` is no field.

    Raises `UnsupportedError` for what LM Studio has no key for.
    """
    keys = _LOAD_KEYS if namespace == "llm" else _EMBEDDING_KEYS
    for name in ("memory_limit_bytes", *(name for name in _LOAD_KEYS if name not in keys)):
        if getattr(config, name) is not None:
            raise UnsupportedError(
                f"LM Studio has no setting for {name} of a model in its namespace {namespace}.",
                hint="Leave it out, or load the model with the embedded engine.",
            )
    fields = [
        Field(key=key, value=key_named(key).write(value))
        for name, key in keys.items()
        if (value := getattr(config, name)) is not None
    ]
    if config.gpu_layers is not None:
        fields.append(Field(key=_OFFLOAD[namespace], value=_offload(config.gpu_layers)))
    return fields


def _offload(gpu_layers: int) -> str:
    if gpu_layers == 0:
        return "off"
    if gpu_layers < 0 or gpu_layers >= _ALL_LAYERS:
        return "max"
    raise UnsupportedError(
        "LM Studio takes the share of the layers that go to the GPU, not their number.",
        hint="Set gpu_layers to 0 for none or to -1 for all.",
    )


def read_load_config(values: Mapping[str, Any]) -> LoadConfig:
    """The load settings among `values` (by key, as on the wire), of either namespace."""
    told: dict[str, Any] = {}
    for keys in (_LOAD_KEYS, _EMBEDDING_KEYS):
        for name, key in keys.items():
            value = read_value(values, key)
            if value is None or (value is False and name != "flash_attention"):
                continue
            told[name] = value if isinstance(value, str | bool) else int(value)
    for key in _OFFLOAD.values():
        ratio = values.get(key)
        if ratio in ("off", 0):
            told["gpu_layers"] = 0
        elif ratio in ("max", 1):
            told["gpu_layers"] = -1
    return LoadConfig(**told)


def sampling_fields(sampling: Sampling) -> list[Field]:
    """The fields of what is set in `sampling`."""
    return [
        Field(key=key, value=key_named(key).write(list(value) if name == "stop" else value))
        for name, key in SAMPLING_KEYS.items()
        if (value := getattr(sampling, name)) is not None
    ]


def read_sampling(values: Mapping[str, Any]) -> Sampling:
    """The sampling settings among `values` (by key, as on the wire).

    What is off there is at the value that does nothing here; a length without limit and a seed
    that is off are `None`.
    """
    told: dict[str, Any] = {}
    for name, key in SAMPLING_KEYS.items():
        value = read_value(values, key)
        if value is False:
            value = _OFF.get(name)
        if value is None:
            continue
        if name == "stop":
            value = tuple(value)
        elif name in ("top_k", "seed", "max_tokens"):
            value = int(value)
        told[name] = value
    return Sampling(**told)
