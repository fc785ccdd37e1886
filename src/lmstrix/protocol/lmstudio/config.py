"""Settings of loads and predictions: flat keys in layers, and what the SDKs call them.

On the wire a setting is a field `{"key": …, "value": …}`. Some values are bare, others come in a
box with a tick, `{"checked": bool, "value": …}`; unticked means off, not unset. Fields lie in named
layers; where two layers have a key, the later one wins.

Keys, boxes and defaults are those of LM Studio's schema. A default is the schema's, which is not
always what the engine does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Any

import msgspec

from lmstrix.protocol.lmstudio.shape import Shape

# The layers in the order in which LM Studio stacks them, the strongest first; any may be absent.
LAYERS = (
    "currentlyEditing",
    "currentlyLoaded",
    "apiOverride",
    "conversationSpecific",
    "conversationGlobal",
    "preset",
    "serverSession",
    "httpServerRequestOverride",
    "completeModeFormatting",
    "instance",
    "userModelDefault",
    "virtualModel",
    "modelDefault",
    "hardware",
)
API_OVERRIDE = "apiOverride"
COMPLETE_MODE = "completeModeFormatting"
INSTANCE = "instance"


class Field(Shape, kw_only=True):
    """One setting. A `value` that is missing is `None`."""

    key: str
    value: Any = None


class Fields(Shape, kw_only=True):
    """Settings of one layer, or of all when collapsed."""

    fields: list[Field]

    def values(self) -> dict[str, Any]:
        """The values by key, as on the wire."""
        return {field.key: field.value for field in self.fields}


class Layer(Shape, kw_only=True):
    """Settings from one source."""

    layer_name: str
    config: Fields


class ConfigStack(Shape, kw_only=True):
    """Settings from several sources; later layers win."""

    layers: list[Layer]

    def collapse(self) -> dict[str, Any]:
        """The values by key that hold, as on the wire."""
        return {field.key: field.value for layer in self.layers for field in layer.config.fields}


class Box(Enum):
    """How a key's value is written."""

    BARE = auto()
    TICKED = auto()
    GPU_SPLIT = auto()


class Key(msgspec.Struct, frozen=True):
    """A key. `option` is what the SDKs call it, a dotted path; empty where they do not have it."""

    name: str
    option: str = ""
    default: Any = None
    box: Box = Box.BARE

    def write(self, value: Any) -> Any:
        """An option's value as on the wire; `False` unticks a box."""
        if self.box is Box.BARE:
            return value
        if self.box is Box.GPU_SPLIT:
            return value
        if value is False:
            return {"checked": False, "value": self.default}
        return {"checked": True, "value": value}

    def read(self, value: Any) -> Any:
        """A value from the wire without its box.

        What is unticked is `False`, and so is a ticked `false`, which some clients send.
        """
        if self.box is not Box.TICKED:
            return value
        if not isinstance(value, Mapping):
            return value
        return value.get("value") if value.get("checked") else False


def _bare(name: str, option: str = "", default: Any = None) -> Key:
    return Key(sys.intern(name), option, default)


def _ticked(name: str, option: str = "", default: Any = None) -> Key:
    return Key(sys.intern(name), option, default, Box.TICKED)


_SPEC = "llm.load.llama.speculativeDecoding."
LLM_LOAD: tuple[Key, ...] = (
    _bare("llm.load.autoFitMinContextLength", "autoFitMinContextLength", 0),
    _bare("llm.load.contextLength", "contextLength", 2048),
    _bare("llm.load.llama.acceleration.offloadRatio", "gpu.ratio", "max"),
    _bare("llm.load.llama.autoFit", "autoFit", True),
    _bare("llm.load.llama.contextCheckpoints", "contextCheckpoints", 32),
    _bare("llm.load.llama.cpuThreadPoolSize", "cpuThreadPoolSize", 4),
    _bare("llm.load.llama.evalBatchSize", "evalBatchSize", 2048),
    _bare("llm.load.llama.flashAttention", "flashAttention", False),
    _ticked("llm.load.llama.kCacheQuantizationType", "llamaKCacheQuantizationType", "f16"),
    _bare("llm.load.llama.keepModelInMemory", "keepModelInMemory", True),
    _bare("llm.load.llama.physicalBatchSize", "physicalBatchSize", 512),
    _bare("llm.load.llama.reasoningBudgetMessage", "reasoningBudgetMessage", ""),
    _ticked("llm.load.llama.ropeFrequencyBase", "ropeFrequencyBase", 0),
    _ticked("llm.load.llama.ropeFrequencyScale", "ropeFrequencyScale", 0),
    _bare(_SPEC + "draftDflashSidecar", "speculativeDraftDflashSidecar", False),
    _bare(_SPEC + "draftDsparkSidecar", "speculativeDraftDsparkSidecar", False),
    _bare(_SPEC + "draftMaxTokens", "speculativeDraftMaxTokens", 3),
    _bare(_SPEC + "draftMinContinueProbability", "speculativeDraftMinContinueProbability", 0),
    _bare(_SPEC + "draftMinTokens", "speculativeDraftMinTokens", 0),
    _bare(_SPEC + "draftModel", "speculativeDraftModel", ""),
    _bare(_SPEC + "draftMtp", "speculativeDraftMtp", False),
    _bare(_SPEC + "draftMtpSidecar", "speculativeDraftMtpSidecar", False),
    _bare(_SPEC + "draftSimple", "speculativeDraftSimple", False),
    _bare("llm.load.llama.tryDirectIO", "tryDirectIO", False),
    _bare("llm.load.llama.tryMmap", "tryMmap", True),
    _bare("llm.load.llama.useFp16ForKVCache", "useFp16ForKVCache", True),
    _ticked("llm.load.llama.vCacheQuantizationType", "llamaVCacheQuantizationType", "f16"),
    _bare("llm.load.mlx.autoFit", "mlxAutoFit"),
    _bare("llm.load.mlx.diskCache", "mlxDiskCache"),
    _bare("llm.load.mlx.kvCacheQuantization", "mlxKvCacheQuantization"),
    _bare("llm.load.numCpuExpertLayersRatio", "gpu.numCpuExpertLayersRatio", "off"),
    _bare("llm.load.numExperts", "numExperts", 0),
    _bare("llm.load.numParallelSessions", "maxParallelPredictions", 4),
    _bare("llm.load.offloadKVCacheToGpu", "offloadKVCacheToGpu", True),
    _bare("llm.load.promptTemplate", "promptTemplate"),
    _ticked("llm.load.seed", "seed", -1),
    _bare("llm.load.useUnifiedKvCache", "useUnifiedKvCache", True),
    Key("load.gpuSplitConfig", "gpu", None, Box.GPU_SPLIT),
    _bare("load.gpuStrictVramCap", "gpuStrictVramCap", False),
    _bare("envVars", "envVars"),
)

EMBEDDING_LOAD: tuple[Key, ...] = (
    _bare("embedding.load.contextLength", "contextLength", 2048),
    _bare("embedding.load.llama.acceleration.offloadRatio", "gpu.ratio", "max"),
    _bare("embedding.load.llama.evalBatchSize", "evalBatchSize", 2048),
    _bare("embedding.load.llama.keepModelInMemory", "keepModelInMemory", True),
    _ticked("embedding.load.llama.ropeFrequencyBase", "ropeFrequencyBase", 0),
    _ticked("embedding.load.llama.ropeFrequencyScale", "ropeFrequencyScale", 0),
    _bare("embedding.load.llama.tryMmap", "tryMmap", True),
    _ticked("embedding.load.seed", "seed", -1),
    Key("load.gpuSplitConfig", "gpu", None, Box.GPU_SPLIT),
    _bare("envVars", "envVars"),
)

_DRAFT = "llm.prediction.speculativeDecoding."
PREDICTION: tuple[Key, ...] = (
    _bare("llm.prediction.contextOverflowPolicy", "contextOverflowPolicy", "truncateMiddle"),
    _bare("llm.prediction.contextPrefill"),
    _bare("llm.prediction.llama.cpuThreads", "cpuThreads", 4),
    _ticked("llm.prediction.llama.frequencyPenalty", "frequencyPenalty", 0),
    _ticked("llm.prediction.llama.locallyTypicalSampling", "locallyTypicalSampling"),
    _bare("llm.prediction.llama.logitBias", "logitBias"),
    _bare("llm.prediction.llama.mirostatSampling", "mirostatSampling"),
    _ticked("llm.prediction.llama.presencePenalty", "presencePenalty", 0),
    _ticked("llm.prediction.llama.tailFreeSampling", "tailFreeSampling"),
    _ticked("llm.prediction.llama.xtcProbability", "xtcProbability", 0.5),
    _ticked("llm.prediction.llama.xtcThreshold", "xtcThreshold", 0.1),
    _ticked("llm.prediction.logProbs", "logProbs", 0),
    _ticked("llm.prediction.maxPredictedTokens", "maxTokens", 1000),
    _ticked("llm.prediction.minPSampling", "minPSampling", 0.05),
    _bare("llm.prediction.promptTemplate", "promptTemplate"),
    _ticked("llm.prediction.reasoning.budgetTokens", "reasoningBudget", 1024),
    _bare("llm.prediction.reasoning.enableThinking", "enableThinking", True),
    _bare("llm.prediction.reasoning.parsing", "reasoningParsing"),
    _ticked("llm.prediction.repeatPenalty", "repeatPenalty", 1.1),
    _ticked("llm.prediction.seed", "seed", -1),
    _bare(_DRAFT + "draftModel", "draftModel", ""),
    _bare(_DRAFT + "maxTokensToDraft", "speculativeDecodingMaxTokensToDraft", 16),
    _bare(
        _DRAFT + "minContinueDraftingProbability",
        "speculativeDecodingMinContinueDraftingProbability",
        0.75,
    ),
    _bare(_DRAFT + "minDraftLengthToConsider", "speculativeDecodingMinDraftLengthToConsider", 0),
    _bare(_DRAFT + "numDraftTokensExact", "speculativeDecodingNumDraftTokensExact", 2),
    _bare(_DRAFT + "numReuseTokens", "speculativeDecodingNumReuseTokens", 256),
    _bare("llm.prediction.stopStrings", "stopStrings"),
    _bare("llm.prediction.structured", "structured"),
    _bare("llm.prediction.systemPrompt", "systemPrompt", ""),
    _bare("llm.prediction.temperature", "temperature", 0.8),
    _bare("llm.prediction.toolCallStopStrings", "toolCallStopStrings"),
    _bare("llm.prediction.toolChoice", "toolChoice"),
    _bare("llm.prediction.toolNaming", "toolNaming", "removeSpecial"),
    _bare("llm.prediction.tools", "rawTools"),
    _bare("llm.prediction.topKSampling", "topKSampling", 40),
    _ticked("llm.prediction.topPSampling", "topPSampling", 0.95),
    _bare(
        "llm.prediction.vision.ignoreModelPreferredMaxImageDimension",
        "visionIgnoreModelPreferredMaxImageDimension",
        False,
    ),
    _ticked(
        "llm.prediction.vision.userMaxImageDimensionPixels",
        "visionUserMaxImageDimensionPixels",
        1024,
    ),
)

_KEYS: Mapping[str, Key] = {
    key.name: key for table in (LLM_LOAD, EMBEDDING_LOAD, PREDICTION) for key in table
}


def key_named(name: str) -> Key:
    """The key of that name; one that is not in the tables is bare."""
    return _KEYS.get(name) or Key(name)


def read_value(values: Mapping[str, Any], name: str) -> Any:
    """The value of a key without its box: `None` where it is not set, `False` where it is off."""
    return key_named(name).read(values[name]) if name in values else None


def options_to_fields(options: Mapping[str, Any], table: Iterable[Key]) -> list[Field]:
    """The fields of an SDK's options, sorted by key; what is `None` is not sent.

    `raw`, a config of its own (`{"fields": […]}`), is added as it is. Options that are not in
    `table` are left out: see `unknown_options`.
    """
    fields: list[Field] = []
    for key in table:
        if key.box is Box.GPU_SPLIT:
            split = _gpu_split(options.get(key.option))
            if split is not None:
                fields.append(Field(key=key.name, value=split))
            continue
        value = _at(options, key.option)
        if value is not None:
            fields.append(Field(key=key.name, value=key.write(value)))
    raw = options.get("raw")
    if isinstance(raw, Mapping):
        fields += msgspec.convert(raw, Fields).fields
    return fields


def unknown_options(options: Mapping[str, Any], table: Iterable[Key]) -> list[str]:
    """The names in `options` that no key of `table` has, sorted."""
    known = {key.option.partition(".")[0] for key in table} | {"raw"}
    return sorted(set(options) - known)


def fields_to_options(values: Mapping[str, Any], table: Iterable[Key]) -> dict[str, Any]:
    """An SDK's options from values by key; what is off or unknown is left out."""
    options: dict[str, Any] = {}
    for key in table:
        if key.name not in values or not key.option:
            continue
        value = values[key.name]
        if key.box is Box.GPU_SPLIT:
            _read_gpu_split(value, options)
            continue
        value = key.read(value)
        if key.box is Box.TICKED and value is False:
            continue
        _put(options, key.option, value)
    return options


def override(fields: Iterable[Field], layer: str = API_OVERRIDE) -> Layer:
    """A layer of what a request sets."""
    return Layer(layer_name=layer, config=Fields(fields=list(fields)))


# A completion is a prediction with a template that adds nothing, in a layer of its own.
COMPLETION_LAYER = override(
    [
        Field(
            key="llm.prediction.promptTemplate",
            value={
                "type": "jinja",
                "jinjaPromptTemplate": {
                    "bosToken": "",
                    "eosToken": "",
                    "template": (
                        "{% for message in messages %}{{ message['content'] }}{% endfor %}"
                    ),
                    "inputConfig": {
                        "messagesConfig": {"contentConfig": {"type": "string"}},
                        "useTools": False,
                    },
                },
                "stopStrings": [],
            },
        )
    ],
    COMPLETE_MODE,
)


def _at(options: Mapping[str, Any], path: str) -> Any:
    name, _, rest = path.partition(".")
    value = options.get(name) if name else None
    if not rest:
        return value
    return value.get(rest) if isinstance(value, Mapping) else None


def _put(options: dict[str, Any], path: str, value: Any) -> None:
    name, _, rest = path.partition(".")
    if not rest:
        options[name] = value
    elif value is not None:
        options.setdefault(name, {})[rest] = value


def _gpu_split(gpu: object) -> dict[str, Any] | None:
    """How a model is spread over several GPUs; `None` where nothing is said of it."""
    if not isinstance(gpu, Mapping):
        return None
    main, strategy, disabled = (
        gpu.get(name) for name in ("mainGpu", "splitStrategy", "disabledGpus")
    )
    if main is None and strategy is None and disabled is None:
        return None
    favor = strategy == "favorMainGpu"
    return {
        "disabledGpus": list(disabled or ()),
        "strategy": "priorityOrder" if favor else "evenly",
        "priority": [main] if favor and main is not None else [],
        "customRatio": [],
    }


def _read_gpu_split(value: Any, options: dict[str, Any]) -> None:
    if not isinstance(value, Mapping):
        return
    gpu = options.setdefault("gpu", {})
    if value.get("disabledGpus") is not None:
        gpu["disabledGpus"] = list(value["disabledGpus"])
    priority = value.get("priority") or []
    if value.get("strategy") == "evenly":
        gpu["splitStrategy"] = "evenly"
    elif value.get("strategy") == "priorityOrder" and len(priority) == 1:
        gpu["splitStrategy"], gpu["mainGpu"] = "favorMainGpu", priority[0]
