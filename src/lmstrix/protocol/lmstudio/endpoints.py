"""Every remote call and channel: where it is, what it is asked with, what it answers."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from lmstrix.protocol.lmstudio import config, models, parameters, predictions

MODEL_NAMESPACES = ("llm", "embedding")


class _Endpoint(msgspec.Struct, frozen=True):
    """A name in some namespaces. `parameter` is `None` where there is none."""

    name: str
    namespaces: tuple[str, ...]
    parameter: Any = None

    def read_parameter(self, raw: msgspec.Raw | bytes) -> Any:
        """The parameter. Raises `msgspec.ValidationError` where it does not fit."""
        if self.parameter is None:
            return None
        return msgspec.json.decode(raw, type=self.parameter)


class Rpc(_Endpoint, frozen=True):
    """A remote call. `result` is `None` for a void one.

    `repeatable` is whether it may be asked again when a connection was lost on the way: it only
    reads, or does nothing the second time.
    """

    result: Any = None
    repeatable: bool = True


class Channel(_Endpoint, frozen=True):
    """A channel, on which the server sends `message`s until it closes it."""

    message: Any = None


Endpoint: TypeAlias = Rpc | Channel

_LLM = ("llm",)
_EMBEDDING = ("embedding",)
_SYSTEM = ("system",)
_FILES = ("files",)
_REPOSITORY = ("repository",)
_PLUGINS = ("plugins",)
_RUNTIME = ("runtime",)

LOAD_MODEL = Channel(
    "loadModel",
    MODEL_NAMESPACES,
    parameters.LoadModelParameter,
    message=parameters.LoadMessage,
)
GET_OR_LOAD = Channel(
    "getOrLoad",
    MODEL_NAMESPACES,
    parameters.GetOrLoadParameter,
    message=parameters.LoadMessage,
)
UNLOAD_MODEL = Rpc("unloadModel", MODEL_NAMESPACES, parameters.UnloadParameter, repeatable=False)
LIST_LOADED = Rpc("listLoaded", MODEL_NAMESPACES, result=list[msgspec.Raw])
GET_MODEL_INFO = Rpc(
    "getModelInfo", MODEL_NAMESPACES, parameters.ModelInfoParameter, result=msgspec.Raw
)
GET_LOAD_CONFIG = Rpc(
    "getLoadConfig", MODEL_NAMESPACES, parameters.SpecifierParameter, result=config.Fields
)
GET_BASE_PREDICTION_CONFIG = Rpc(
    "getBasePredictionConfig",
    MODEL_NAMESPACES,
    parameters.BasePredictionConfigParameter,
    result=config.Fields,
)
GET_PROCESSING_STATE = Rpc(
    "getInstanceProcessingState",
    MODEL_NAMESPACES,
    parameters.ModelInfoParameter,
    result=parameters.ProcessingState,
)
ESTIMATE_USAGE = Rpc(
    "estimateModelUsage",
    MODEL_NAMESPACES,
    parameters.EstimateParameter,
    result=models.ModelUsage,
)
TOKENIZE = Rpc("tokenize", MODEL_NAMESPACES, parameters.TextParameter, result=parameters.Tokens)
COUNT_TOKENS = Rpc(
    "countTokens", MODEL_NAMESPACES, parameters.TextParameter, result=parameters.TokenCount
)

PREDICT = Channel("predict", _LLM, predictions.PredictRequest, message=predictions.PredictMessage)
COMPLETE_RAW_TEXT = Channel(
    "completeRawText",
    _LLM,
    predictions.CompleteRawTextRequest,
    message=predictions.PredictMessage,
)
APPLY_PROMPT_TEMPLATE = Rpc(
    "applyPromptTemplate",
    _LLM,
    parameters.ApplyPromptTemplateParameter,
    result=parameters.Formatted,
)
PRELOAD_DRAFT_MODEL = Rpc(
    "preloadDraftModel", _LLM, parameters.PreloadDraftParameter, repeatable=False
)
EMBED_STRING = Rpc(
    "embedString", _EMBEDDING, parameters.EmbedParameter, result=parameters.Embedding
)

LIST_DOWNLOADED_MODELS = Rpc("listDownloadedModels", _SYSTEM, result=list[msgspec.Raw])
LIST_DOWNLOADED_VARIANTS = Rpc(
    "listDownloadedModelVariants",
    _SYSTEM,
    parameters.ModelKeyParameter,
    result=list[msgspec.Raw],
)
ALIVE = Channel("alive", _SYSTEM)
NOTIFY = Rpc("notify", _SYSTEM, parameters.Notification, repeatable=False)
VERSION = Rpc("version", _SYSTEM, result=parameters.ServerVersion)
INFO = Rpc("info", _SYSTEM, result=parameters.ServerInfo)
REQUEST_SHUTDOWN = Rpc("requestShutdown", _SYSTEM, repeatable=False)
START_HTTP_SERVER = Rpc(
    "startHttpServer", _SYSTEM, parameters.StartHttpServerParameter, repeatable=False
)
STOP_HTTP_SERVER = Rpc("stopHttpServer", _SYSTEM, repeatable=False)
SET_EXPERIMENT_FLAG = Rpc("setExperimentFlag", _SYSTEM, parameters.ExperimentFlag, repeatable=False)
GET_EXPERIMENT_FLAGS = Rpc("getExperimentFlags", _SYSTEM, result=list[str])

UPLOAD_FILE = Rpc(
    "uploadFileBase64",
    _FILES,
    parameters.UploadParameter,
    result=parameters.Uploaded,
    repeatable=False,
)
GET_LOCAL_FILE_PATH = Rpc(
    "getLocalFileAbsolutePath",
    _FILES,
    parameters.FileNameParameter,
    result=parameters.FilePath,
)

SEARCH_MODELS = Rpc(
    "searchModels", _REPOSITORY, parameters.SearchParameter, result=parameters.SearchResults
)
GET_DOWNLOAD_OPTIONS = Rpc(
    "getModelDownloadOptions",
    _REPOSITORY,
    parameters.DownloadOptionsParameter,
    result=parameters.DownloadOptions,
)
DOWNLOAD_MODEL = Channel(
    "downloadModel",
    _REPOSITORY,
    parameters.DownloadModelParameter,
    message=parameters.DownloadMessage,
)

STREAM_LOGS = Channel("streamLogs", ("diagnostics",), message=parameters.LogMessage)

REGISTER_PLUGIN = Channel(
    "registerDevelopmentPlugin",
    _PLUGINS,
    parameters.RegisterPluginParameter,
    message=parameters.PluginReady,
)
SET_PROMPT_PREPROCESSOR = Channel("setPromptPreprocessor", _PLUGINS, message=dict[str, Any])
SET_TOOLS_PROVIDER = Channel("setToolsProvider", _PLUGINS, message=dict[str, Any])
SET_GENERATOR = Channel("setGenerator", _PLUGINS, message=dict[str, Any])
SET_PREDICTION_LOOP_HANDLER = Channel("setPredictionLoopHandler", _PLUGINS, message=dict[str, Any])
SET_CONFIG_SCHEMATICS = Rpc(
    "setConfigSchematics", _PLUGINS, parameters.SchematicsParameter, repeatable=False
)
SET_GLOBAL_CONFIG_SCHEMATICS = Rpc(
    "setGlobalConfigSchematics", _PLUGINS, parameters.SchematicsParameter, repeatable=False
)
PROCESSING_HANDLE_UPDATE = Rpc(
    "processingHandleUpdate",
    _PLUGINS,
    parameters.ProcessingUpdateParameter,
    repeatable=False,
)
PLUGIN_INIT_COMPLETED = Rpc("pluginInitCompleted", _PLUGINS, repeatable=False)

LIST_ENGINES = Rpc("listEngines", _RUNTIME, result=list[dict[str, Any]])
SURVEY_HARDWARE = Rpc("surveyHardware", _RUNTIME, result=dict[str, Any])

TABLE: dict[tuple[str, str], Endpoint] = {
    (namespace, endpoint.name): endpoint
    for endpoint in list(globals().values())
    if isinstance(endpoint, Rpc | Channel)
    for namespace in endpoint.namespaces
}


def find_endpoint(namespace: str, name: str) -> Endpoint | None:
    """The endpoint of that name; `None` where it is not known."""
    return TABLE.get((namespace, name))
