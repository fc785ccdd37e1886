"""LM Studio's REST interface, versions 0 and 1: what requests and answers carry.

Version 0 is OpenAI's shape with additions, version 1 (since LM Studio 0.4.0) has shapes of its own;
both as LM Studio's documentation has them. `/api/v1/chat` is in `rest_chat`. A client
passes over fields that it does not know, and of those it knows all may be missing; as a server
LM Studio refuses unknown ones in version 1. What is `UNSET` is not written.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

V0_MODELS = "/api/v0/models"
V1_MODELS = "/api/v1/models"
V1_LOAD = "/api/v1/models/load"
V1_UNLOAD = "/api/v1/models/unload"
V1_DOWNLOAD = "/api/v1/models/download"
V1_CHAT = "/api/v1/chat"
GREETING = "/lmstudio-greeting"
STATUS = "/lms-status"


class ErrorDetail(Struct, frozen=True, kw_only=True):
    """What went wrong.

    `type` is `invalid_request`, `model_not_found`, `job_not_found`, `not_implemented`,
    `mcp_connection_error`, `plugin_connection_error`, `internal_error` or `unknown`; a newer
    server may have more. `param` is the field at fault.
    """

    type: str = "unknown"
    message: str = ""
    code: str | UnsetType = UNSET
    param: str | UnsetType = UNSET


class ErrorBody(Struct, frozen=True):
    """The body of an answer that is no success."""

    error: ErrorDetail


class Greeting(Struct, frozen=True):
    """`GET /lmstudio-greeting`: how a client knows LM Studio, or who speaks as it does."""

    lmstudio: bool = True


class Status(Struct, frozen=True):
    """`GET /lms-status`: which program listens."""

    package: str
    version: str


# Version 0


class ModelV0(Struct, frozen=True, kw_only=True):
    """A downloaded model. `type` is `llm`, `vlm` or `embeddings`; contexts are in tokens.

    `state` is `loaded`, `not-loaded` or `loading`; `compatibility_type` is the file's format.
    """

    id: str
    object: str = "model"
    type: str = "llm"
    publisher: str = ""
    arch: str = ""
    compatibility_type: str = ""
    quantization: str = ""
    state: str = "not-loaded"
    max_context_length: int = 0
    loaded_context_length: int | UnsetType = UNSET
    capabilities: tuple[str, ...] | UnsetType = UNSET


class ModelListV0(Struct, frozen=True, kw_only=True):
    """`GET /api/v0/models`."""

    object: str = "list"
    data: tuple[ModelV0, ...] = ()


class StatsV0(Struct, frozen=True, kw_only=True):
    """How an answer went; times in seconds. `stop_reason` as in the native protocol."""

    tokens_per_second: float | UnsetType = UNSET
    time_to_first_token: float | UnsetType = UNSET
    generation_time: float | UnsetType = UNSET
    stop_reason: str | UnsetType = UNSET


class ModelInfoV0(Struct, frozen=True, kw_only=True):
    """The model that answered; `context_length` is the loaded one, in tokens."""

    arch: str = ""
    quant: str = ""
    format: str = ""
    context_length: int = 0


class RuntimeV0(Struct, frozen=True, kw_only=True):
    """What ran the model."""

    name: str = ""
    version: str = ""
    supported_formats: tuple[str, ...] = ()


class AdditionsV0(Struct, frozen=True, kw_only=True):
    """What `/api/v0` adds to the bodies of OpenAI's answers."""

    stats: StatsV0 = StatsV0()
    model_info: ModelInfoV0 = ModelInfoV0()
    runtime: RuntimeV0 = RuntimeV0()


# Version 1


class Quantization(Struct, frozen=True, kw_only=True):
    """How the weights are stored."""

    name: str | None = None
    bits_per_weight: float | None = None


class LoadSettings(Struct, frozen=True, kw_only=True):
    """How an instance is loaded; `context_length` and `eval_batch_size` in tokens."""

    context_length: int | UnsetType = UNSET
    eval_batch_size: int | UnsetType = UNSET
    parallel: int | UnsetType = UNSET
    flash_attention: bool | UnsetType = UNSET
    num_experts: int | UnsetType = UNSET
    offload_kv_cache_to_gpu: bool | UnsetType = UNSET


class LoadedInstance(Struct, frozen=True, kw_only=True):
    """A loaded copy of a model."""

    id: str
    config: LoadSettings = LoadSettings()


class ReasoningOptions(Struct, frozen=True, kw_only=True):
    """Which values the `reasoning` of a chat may have for a model."""

    allowed_options: tuple[str, ...] = ()
    default: str = ""


class ModelCapabilities(Struct, frozen=True, kw_only=True):
    """What a language model can do."""

    vision: bool = False
    trained_for_tool_use: bool = False
    reasoning: ReasoningOptions | UnsetType = UNSET


class ModelV1(Struct, frozen=True, kw_only=True):
    """A downloaded model with its loaded instances. `type` is `llm` or `embedding`."""

    type: str
    publisher: str = ""
    key: str
    display_name: str = ""
    architecture: str | UnsetType | None = UNSET
    quantization: Quantization | None = None
    size_bytes: int = 0
    params_string: str | None = None
    loaded_instances: tuple[LoadedInstance, ...] = ()
    max_context_length: int = 0
    format: str | None = None
    capabilities: ModelCapabilities | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


class ModelListV1(Struct, frozen=True, kw_only=True):
    """`GET /api/v1/models`."""

    models: tuple[ModelV1, ...] = ()


class LoadRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /api/v1/models/load`. `echo_load_config` asks for the settings in the answer."""

    model: str
    context_length: int | UnsetType = UNSET
    eval_batch_size: int | UnsetType = UNSET
    flash_attention: bool | UnsetType = UNSET
    num_experts: int | UnsetType = UNSET
    offload_kv_cache_to_gpu: bool | UnsetType = UNSET
    echo_load_config: bool = False


class LoadAnswer(Struct, frozen=True, kw_only=True):
    """What was loaded, and in how many seconds."""

    type: str
    instance_id: str
    load_time_seconds: float
    status: str = "loaded"
    load_config: LoadSettings | UnsetType = UNSET


class UnloadRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /api/v1/models/unload`."""

    instance_id: str


class UnloadAnswer(Struct, frozen=True):
    """What was unloaded."""

    instance_id: str


class DownloadRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /api/v1/models/download`. `model` is a catalogue's id or an address."""

    model: str
    quantization: str | UnsetType = UNSET


class DownloadAnswer(Struct, frozen=True, kw_only=True):
    """How a download stands; also `GET /api/v1/models/download/status/{job_id}`.

    `status` is `downloading`, `paused`, `completed`, `failed` or `already_downloaded`, which has
    no job. Times are in ISO 8601, UTC.
    """

    job_id: str | UnsetType = UNSET
    status: str
    total_size_bytes: int | UnsetType = UNSET
    downloaded_bytes: int | UnsetType = UNSET
    bytes_per_second: float | UnsetType = UNSET
    started_at: str | UnsetType = UNSET
    completed_at: str | UnsetType = UNSET
    estimated_completion: str | UnsetType = UNSET
