"""Options of loads and predictions, as the SDK has them, and more.

A dictionary with the same names, in camelCase or snake_case, does wherever one of these does.
What is `None` is not sent; `False` turns off what has no value then, such as `top_p_sampling`.
"""

# msgspec reads annotations when it runs

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

import msgspec

from lmstrix.lmstudio.errors import LMStudioValueError
from lmstrix.protocol.lmstudio import config as keys
from lmstrix.protocol.lmstudio.config import ConfigStack, Fields, Layer, fields_to_options
from lmstrix.protocol.lmstudio.shape import Shape, camel_case_keys


class GpuSetting(Shape, kw_only=True):
    """Which GPUs are used, and for how much: `ratio` is 0..1, `max` or `off`."""

    ratio: float | str | None = None
    num_cpu_expert_layers_ratio: float | str | None = None
    main_gpu: int | None = None
    split_strategy: str | None = None
    disabled_gpus: Sequence[int] | None = None


class LlmLoadModelConfig(Shape, kw_only=True):
    """How a language model is loaded."""

    gpu: GpuSetting | None = None
    gpu_strict_vram_cap: bool | None = None
    offload_kv_cache_to_gpu: bool | None = None
    context_length: int | None = None
    rope_frequency_base: float | bool | None = None
    rope_frequency_scale: float | bool | None = None
    eval_batch_size: int | None = None
    physical_batch_size: int | None = None
    flash_attention: bool | None = None
    keep_model_in_memory: bool | None = None
    seed: int | bool | None = None
    use_fp16_for_kv_cache: bool | None = None
    try_mmap: bool | None = None
    try_direct_i_o: bool | None = msgspec.field(name="tryDirectIO", default=None)
    num_experts: int | None = None
    llama_k_cache_quantization_type: str | bool | None = None
    llama_v_cache_quantization_type: str | bool | None = None
    max_parallel_predictions: int | None = None
    use_unified_kv_cache: bool | None = None
    cpu_thread_pool_size: int | None = None
    context_checkpoints: int | None = None
    auto_fit: bool | None = None
    auto_fit_min_context_length: int | None = None
    prompt_template: Mapping[str, Any] | None = None
    reasoning_budget_message: str | None = None
    speculative_draft_model: str | None = None
    speculative_draft_simple: bool | None = None
    speculative_draft_mtp: bool | None = None
    speculative_draft_max_tokens: int | None = None
    speculative_draft_min_tokens: int | None = None
    speculative_draft_min_continue_probability: float | None = None
    mlx_auto_fit: bool | None = None
    mlx_disk_cache: bool | None = None
    mlx_kv_cache_quantization: Mapping[str, Any] | None = None
    env_vars: Mapping[str, str] | None = None
    raw: Mapping[str, Any] | None = None


class EmbeddingLoadModelConfig(Shape, kw_only=True):
    """How an embedding model is loaded."""

    gpu: GpuSetting | None = None
    context_length: int | None = None
    rope_frequency_base: float | bool | None = None
    rope_frequency_scale: float | bool | None = None
    eval_batch_size: int | None = None
    keep_model_in_memory: bool | None = None
    try_mmap: bool | None = None
    seed: int | bool | None = None
    env_vars: Mapping[str, str] | None = None
    raw: Mapping[str, Any] | None = None


class LlmStructuredPredictionSetting(Shape, kw_only=True):
    """What an answer must look like. `type` is `none`, `json` or `gbnf`."""

    type: str
    json_schema: Any = None
    gbnf_grammar: str | None = None


class LlmPredictionConfig(Shape, kw_only=True):
    """How an answer is written.

    `seed`, `log_probs`, penalties, `tool_choice` and what concerns reasoning go beyond the SDK.
    `raw` are fields of LM Studio's own, `{"fields": [{"key": …, "value": …}]}`.
    """

    max_tokens: int | bool | None = None
    temperature: float | None = None
    stop_strings: Sequence[str] | None = None
    tool_call_stop_strings: Sequence[str] | None = None
    context_overflow_policy: str | None = None
    structured: LlmStructuredPredictionSetting | None = None
    raw_tools: Mapping[str, Any] | None = None
    tool_choice: Mapping[str, Any] | str | None = None
    tool_naming: str | None = None
    top_k_sampling: float | None = None
    top_p_sampling: float | bool | None = None
    min_p_sampling: float | bool | None = None
    repeat_penalty: float | bool | None = None
    presence_penalty: float | bool | None = None
    frequency_penalty: float | bool | None = None
    xtc_probability: float | bool | None = None
    xtc_threshold: float | bool | None = None
    tail_free_sampling: float | bool | None = None
    locally_typical_sampling: float | bool | None = None
    mirostat_sampling: Mapping[str, Any] | None = None
    logit_bias: Sequence[Any] | None = None
    seed: int | bool | None = None
    log_probs: int | bool | None = None
    cpu_threads: int | None = None
    system_prompt: str | None = None
    prompt_template: Mapping[str, Any] | None = None
    draft_model: str | None = None
    speculative_decoding_num_draft_tokens_exact: int | None = None
    speculative_decoding_min_draft_length_to_consider: int | None = None
    speculative_decoding_min_continue_drafting_probability: float | None = None
    speculative_decoding_num_reuse_tokens: int | None = None
    speculative_decoding_max_tokens_to_draft: int | None = None
    reasoning_parsing: Mapping[str, Any] | None = None
    reasoning_budget: int | bool | None = None
    enable_thinking: bool | None = None
    vision_user_max_image_dimension_pixels: int | bool | None = None
    vision_ignore_model_preferred_max_image_dimension: bool | None = None
    raw: Mapping[str, Any] | None = None


class LlmLoadModelConfigDict(TypedDict, total=False):
    """`LlmLoadModelConfig` as a dictionary; the commonest of its names."""

    gpu: Mapping[str, Any]
    contextLength: int
    evalBatchSize: int
    flashAttention: bool
    keepModelInMemory: bool
    seed: int
    tryMmap: bool
    numExperts: int
    offloadKVCacheToGpu: bool
    ropeFrequencyBase: float
    ropeFrequencyScale: float
    useFp16ForKVCache: bool
    llamaKCacheQuantizationType: str
    llamaVCacheQuantizationType: str


class EmbeddingLoadModelConfigDict(TypedDict, total=False):
    """`EmbeddingLoadModelConfig` as a dictionary."""

    gpu: Mapping[str, Any]
    contextLength: int
    keepModelInMemory: bool
    tryMmap: bool
    ropeFrequencyBase: float
    ropeFrequencyScale: float


class LlmPredictionConfigDict(TypedDict, total=False):
    """`LlmPredictionConfig` as a dictionary; the commonest of its names."""

    maxTokens: int
    temperature: float
    stopStrings: Sequence[str]
    topKSampling: float
    topPSampling: float
    minPSampling: float
    repeatPenalty: float
    contextOverflowPolicy: str
    structured: Mapping[str, Any]
    draftModel: str
    seed: int
    cpuThreads: int


LoadConfig: TypeAlias = LlmLoadModelConfig | EmbeddingLoadModelConfig
AnyLoadConfig: TypeAlias = LoadConfig
AnyConfig: TypeAlias = Shape | Mapping[str, Any] | None
TABLES: dict[str, tuple[keys.Key, ...]] = {"llm": keys.LLM_LOAD, "embedding": keys.EMBEDDING_LOAD}
TYPES: dict[str, type[LlmLoadModelConfig | EmbeddingLoadModelConfig]] = {
    "llm": LlmLoadModelConfig,
    "embedding": EmbeddingLoadModelConfig,
}


def load_stack(config: AnyConfig, namespace: str) -> ConfigStack:
    """What a load sends of its options."""
    options = to_options(config, TYPES[namespace], TABLES[namespace])
    return ConfigStack(layers=[keys.override(keys.options_to_fields(options, TABLES[namespace]))])


def prediction_layer(options: Mapping[str, Any]) -> Layer:
    """What a prediction sends of its options."""
    return keys.override(keys.options_to_fields(options, keys.PREDICTION))


def prediction_options(config: AnyConfig) -> dict[str, Any]:
    """The options of a prediction by their names in camelCase."""
    options = to_options(config, LlmPredictionConfig, keys.PREDICTION)
    if isinstance(options.get("toolChoice"), str):
        options["toolChoice"] = {"type": "generic", "mode": options["toolChoice"]}
    return options


def to_options(config: AnyConfig, kind: type[Shape], table: tuple[keys.Key, ...]) -> dict[str, Any]:
    """Options by their names in camelCase, checked. Raises `LMStudioValueError`.

    A name that is not known is warned of and left out, as it has no key to be sent by.
    """
    if config is None:
        return {}
    if isinstance(config, kind):
        return config.to_dict()
    if not isinstance(config, Mapping):
        raise LMStudioValueError(f"{config!r} is neither a {kind.__name__} nor a dictionary.")
    try:
        options = camel_case_keys(config)
        known = msgspec.convert(options, kind).to_dict()
    except ValueError as problem:
        raise LMStudioValueError(f"The config does not fit {kind.__name__}: {problem}") from None
    strangers = keys.unknown_options(options, table)
    if strangers:
        warnings.warn(f"Unknown config settings are left out: {strangers}", stacklevel=2)
    return known


def read_load_config(fields: Fields | None, namespace: str) -> LoadConfig:
    """The load options a server told; what is not understood is left out."""
    config: LoadConfig = _read(fields, TYPES[namespace], TABLES[namespace])
    return config


def read_prediction_config(fields: Fields | None) -> LlmPredictionConfig:
    """The prediction options a server told; what is not understood is left out."""
    config: LlmPredictionConfig = _read(fields, LlmPredictionConfig, keys.PREDICTION)
    return config


def _read(fields: Fields | None, kind: type[Any], table: tuple[keys.Key, ...]) -> Any:
    options = fields_to_options({} if fields is None else fields.values(), table)
    try:
        return msgspec.convert(options, kind)
    except msgspec.ValidationError:
        return msgspec.convert(_fitting(options, kind), kind)


def _fitting(options: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    """Those options that fit their types: one odd value spoils no others."""
    fitting: dict[str, Any] = {}
    for name, value in options.items():
        try:
            msgspec.convert({name: value}, kind)
        except msgspec.ValidationError:
            continue
        fitting[name] = value
    return fitting
