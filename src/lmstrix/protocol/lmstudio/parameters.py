"""Parameters and results of remote calls, and the messages of all channels but predictions."""

# ruff: noqa: TC001, TC003  # msgspec reads annotations when it runs

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmstrix.protocol.lmstudio.chats import ChatHistoryData, LlmApplyPromptTemplateOpts
from lmstrix.protocol.lmstudio.config import ConfigStack
from lmstrix.protocol.lmstudio.models import (
    DownloadProgressUpdate,
    ModelSearchResultDownloadOptionData,
    ModelSearchResultEntryData,
    ModelSpecifier,
)
from lmstrix.protocol.lmstudio.shape import Shape


class ClientMessage(Shape, kw_only=True):
    """What a client sends on an open channel: `cancel`, `stop` or `end`."""

    type: str


CANCEL = ClientMessage(type="cancel")
STOP = ClientMessage(type="stop")
END = ClientMessage(type="end")


class LoadModelParameter(Shape, kw_only=True):
    """What opens `loadModel`: a new instance, named `identifier` or by the server."""

    model_key: str
    identifier: str | None = None
    device_identifier: str | None = None
    ttl_ms: float | None = None
    load_config_stack: ConfigStack


class GetOrLoadParameter(Shape, kw_only=True):
    """What opens `getOrLoad`: an instance that is there, else a new one."""

    identifier: str
    device_identifier: str | None = None
    load_ttl_ms: float | None = None
    load_config_stack: ConfigStack


class LoadMessage(Shape, kw_only=True):
    """What a server sends on `loadModel` and `getOrLoad`; fields depend on `type`.

    `resolved`: `info`, `ambiguous`. `progress`, `loadProgress`: `progress` 0..1. `alreadyLoaded`,
    `success`, `loadSuccess`: `info` of the instance. `unloadingOtherJITModel`: `info` of that one.
    `startLoading`: `identifier`, `info`.
    """

    type: str
    info: Any = None
    progress: float | None = None
    identifier: str | None = None
    ambiguous: tuple[str, ...] | None = None


class UnloadParameter(Shape, kw_only=True):
    """`unloadModel`."""

    identifier: str
    device_identifier: str | None = None


class SpecifierParameter(Shape, kw_only=True):
    """What asks about one loaded model."""

    specifier: ModelSpecifier


class ModelInfoParameter(Shape, kw_only=True):
    """`getModelInfo` and `getInstanceProcessingState`."""

    specifier: ModelSpecifier
    throw_if_not_found: bool


class BasePredictionConfigParameter(Shape, kw_only=True):
    """`getBasePredictionConfig`."""

    specifier: ModelSpecifier
    ignore_server_session_config: bool | None = None


class ProcessingState(Shape, kw_only=True):
    """What an instance is at: `idle`, `processingPrompt`, `generating`, `computingEmbedding`."""

    status: str
    queued: int = 0


class EstimateParameter(Shape, kw_only=True):
    """`estimateModelUsage`."""

    model_key: str
    load_config_stack: ConfigStack
    device_identifier: str | None = None


class TextParameter(Shape, kw_only=True):
    """`tokenize` and `countTokens`."""

    specifier: ModelSpecifier
    input_string: str


class Tokens(Shape, kw_only=True):
    """The result of `tokenize`."""

    tokens: list[int]


class TokenCount(Shape, kw_only=True):
    """The result of `countTokens`."""

    token_count: int


class ApplyPromptTemplateParameter(Shape, kw_only=True):
    """`applyPromptTemplate`."""

    specifier: ModelSpecifier
    history: ChatHistoryData
    prediction_config_stack: ConfigStack
    opts: LlmApplyPromptTemplateOpts


class Formatted(Shape, kw_only=True):
    """The result of `applyPromptTemplate`."""

    formatted: str


class PreloadDraftParameter(Shape, kw_only=True):
    """`preloadDraftModel`."""

    specifier: ModelSpecifier
    draft_model_key: str


class EmbedParameter(Shape, kw_only=True):
    """`embedString`: one text a call."""

    model_specifier: ModelSpecifier
    input_string: str


class Embedding(Shape, kw_only=True):
    """The result of `embedString`."""

    embedding: list[float]


class ModelKeyParameter(Shape, kw_only=True):
    """`listDownloadedModelVariants`."""

    model_key: str


class Notification(Shape, kw_only=True):
    """`notify`: a note on the server's screen."""

    title: str
    description: str | None = None
    no_auto_dismiss: bool | None = None


class ServerVersion(Shape, kw_only=True):
    """The result of `version`."""

    version: str
    build: float | None = None


class ServerInfo(Shape, kw_only=True):
    """The result of `info`."""

    pid: int | None = None
    is_daemon: bool | None = None
    version: str | None = None


class StartHttpServerParameter(Shape, kw_only=True):
    """`startHttpServer`."""

    port: int | None = None
    cors: bool | None = None
    network_interface: str | None = None


class ExperimentFlag(Shape, kw_only=True):
    """`setExperimentFlag`."""

    code: str
    value: bool


class UploadParameter(Shape, kw_only=True):
    """`uploadFileBase64`."""

    name: str
    content_base64: str


class Uploaded(Shape, kw_only=True):
    """The result of `uploadFileBase64`."""

    identifier: str
    file_type: str
    size_bytes: int


class FileNameParameter(Shape, kw_only=True):
    """`getLocalFileAbsolutePath`."""

    file_name: str


class FilePath(Shape, kw_only=True):
    """The result of `getLocalFileAbsolutePath`."""

    path: str


class SearchOptions(Shape, kw_only=True):
    """What is searched for; `limit` is at most 25."""

    search_term: str | None = None
    limit: int | None = None
    compatibility_types: tuple[str, ...] | None = None


class SearchParameter(Shape, kw_only=True):
    """`searchModels`."""

    opts: SearchOptions


class SearchResults(Shape, kw_only=True):
    """The result of `searchModels`."""

    results: list[ModelSearchResultEntryData]


class DownloadOptionsParameter(Shape, kw_only=True):
    """`getModelDownloadOptions`: the `identifier` of a search result, as it came."""

    model_search_result_identifier: Mapping[str, Any]


class DownloadOptions(Shape, kw_only=True):
    """The result of `getModelDownloadOptions`."""

    results: list[ModelSearchResultDownloadOptionData]


class DownloadModelParameter(Shape, kw_only=True):
    """What opens `downloadModel`."""

    download_identifier: str


class DownloadMessage(Shape, kw_only=True):
    """What a server sends on `downloadModel`.

    `downloadProgress`: `update`. `startFinalizing`: nothing. `success`: `default_identifier`.
    """

    type: str
    update: DownloadProgressUpdate | None = None
    default_identifier: str | None = None


class LogEvent(Shape, kw_only=True):
    """A line of the server's log. `data` has a `type` such as `llm.prediction.input`."""

    timestamp: float
    data: Mapping[str, Any]


class LogMessage(Shape, kw_only=True):
    """What a server sends on `streamLogs`."""

    type: str
    log: LogEvent | None = None


class PluginReady(Shape, kw_only=True):
    """What a server sends on `registerDevelopmentPlugin`: who the plugin is from now on."""

    type: str
    client_identifier: str | None = None
    client_passkey: str | None = None
    base_url: str | None = None


class RegisterPluginParameter(Shape, kw_only=True):
    """What opens `registerDevelopmentPlugin`."""

    manifest: Mapping[str, Any]


class SchematicsParameter(Shape, kw_only=True):
    """`setConfigSchematics` and `setGlobalConfigSchematics`."""

    schematics: Mapping[str, Any]


class ProcessingUpdateParameter(Shape, kw_only=True):
    """`processingHandleUpdate`: what a hook tells of its work, by the credentials of its task."""

    pci: str
    token: str
    update: Mapping[str, Any]
