"""A client for LM Studio's native protocol, with the names of its Python SDK.

`import lmstrix.lmstudio as lms` does where a program says `import lmstudio as lms`. There is a
client for threads (`Client`, and functions that share one) and one for asyncio (`AsyncClient`) with
the same methods. What goes beyond the SDK is in docs/lmstudio.md.

Everything is imported on first use, so that importing this stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgspec import ValidationError as ValidationError

    from lmstrix.lmstudio.async_client import AsyncClient as AsyncClient
    from lmstrix.lmstudio.async_models import AsyncEmbeddingModel as AsyncEmbeddingModel
    from lmstrix.lmstudio.async_models import AsyncLLM as AsyncLLM
    from lmstrix.lmstudio.async_stream import AsyncPredictionStream as AsyncPredictionStream
    from lmstrix.lmstudio.async_system import AnyAsyncDownloadedModel as AnyAsyncDownloadedModel
    from lmstrix.lmstudio.async_system import AsyncAvailableModel as AsyncAvailableModel
    from lmstrix.lmstudio.async_system import (
        AsyncDownloadedEmbeddingModel as AsyncDownloadedEmbeddingModel,
    )
    from lmstrix.lmstudio.async_system import AsyncDownloadedLlm as AsyncDownloadedLlm
    from lmstrix.lmstudio.async_system import AsyncDownloadedModel as AsyncDownloadedModel
    from lmstrix.lmstudio.async_system import AsyncModelDownloadOption as AsyncModelDownloadOption
    from lmstrix.lmstudio.cancelling import Cancellation as Cancellation
    from lmstrix.lmstudio.configs import AnyLoadConfig as AnyLoadConfig
    from lmstrix.lmstudio.configs import EmbeddingLoadModelConfig as EmbeddingLoadModelConfig
    from lmstrix.lmstudio.configs import (
        EmbeddingLoadModelConfigDict as EmbeddingLoadModelConfigDict,
    )
    from lmstrix.lmstudio.configs import GpuSetting as GpuSetting
    from lmstrix.lmstudio.configs import LlmLoadModelConfig as LlmLoadModelConfig
    from lmstrix.lmstudio.configs import LlmLoadModelConfigDict as LlmLoadModelConfigDict
    from lmstrix.lmstudio.configs import LlmPredictionConfig as LlmPredictionConfig
    from lmstrix.lmstudio.configs import LlmPredictionConfigDict as LlmPredictionConfigDict
    from lmstrix.lmstudio.configs import (
        LlmStructuredPredictionSetting as LlmStructuredPredictionSetting,
    )
    from lmstrix.lmstudio.errors import LMStudioCancelledError as LMStudioCancelledError
    from lmstrix.lmstudio.errors import LMStudioChannelClosedError as LMStudioChannelClosedError
    from lmstrix.lmstudio.errors import LMStudioClientError as LMStudioClientError
    from lmstrix.lmstudio.errors import LMStudioError as LMStudioError
    from lmstrix.lmstudio.errors import LMStudioFileNotFoundError as LMStudioFileNotFoundError
    from lmstrix.lmstudio.errors import LMStudioModelNotFoundError as LMStudioModelNotFoundError
    from lmstrix.lmstudio.errors import LMStudioOSError as LMStudioOSError
    from lmstrix.lmstudio.errors import LMStudioPredictionError as LMStudioPredictionError
    from lmstrix.lmstudio.errors import LMStudioPresetNotFoundError as LMStudioPresetNotFoundError
    from lmstrix.lmstudio.errors import LMStudioRuntimeError as LMStudioRuntimeError
    from lmstrix.lmstudio.errors import LMStudioServerError as LMStudioServerError
    from lmstrix.lmstudio.errors import LMStudioTimeoutError as LMStudioTimeoutError
    from lmstrix.lmstudio.errors import (
        LMStudioUnknownMessageWarning as LMStudioUnknownMessageWarning,
    )
    from lmstrix.lmstudio.errors import LMStudioValueError as LMStudioValueError
    from lmstrix.lmstudio.errors import LMStudioWebsocketError as LMStudioWebsocketError
    from lmstrix.lmstudio.files import LocalFileInput as LocalFileInput
    from lmstrix.lmstudio.formats import BaseModel as BaseModel
    from lmstrix.lmstudio.formats import DictObject as DictObject
    from lmstrix.lmstudio.formats import DictSchema as DictSchema
    from lmstrix.lmstudio.formats import ModelSchema as ModelSchema
    from lmstrix.lmstudio.formats import ResponseSchema as ResponseSchema
    from lmstrix.lmstudio.history import AnyChatMessageDict as AnyChatMessageDict
    from lmstrix.lmstudio.history import AssistantResponseContent as AssistantResponseContent
    from lmstrix.lmstudio.history import Chat as Chat
    from lmstrix.lmstudio.history import ChatHistoryDataDict as ChatHistoryDataDict
    from lmstrix.lmstudio.history import FileHandleDict as FileHandleDict
    from lmstrix.lmstudio.history import FileHandleInput as FileHandleInput
    from lmstrix.lmstudio.history import SystemPromptContent as SystemPromptContent
    from lmstrix.lmstudio.history import TextDataDict as TextDataDict
    from lmstrix.lmstudio.history import UserMessageContent as UserMessageContent
    from lmstrix.lmstudio.history import UserMessageDict as UserMessageDict
    from lmstrix.lmstudio.naming import AnyLMStudioStruct as AnyLMStudioStruct
    from lmstrix.lmstudio.naming import DownloadFinalizedCallback as DownloadFinalizedCallback
    from lmstrix.lmstudio.naming import DownloadProgressCallback as DownloadProgressCallback
    from lmstrix.lmstudio.naming import FileType as FileType
    from lmstrix.lmstudio.naming import ModelLoadingCallback as ModelLoadingCallback
    from lmstrix.lmstudio.naming import ModelQueryDict as ModelQueryDict
    from lmstrix.lmstudio.naming import ModelSpecifierDict as ModelSpecifierDict
    from lmstrix.lmstudio.naming import PredictionFirstTokenCallback as PredictionFirstTokenCallback
    from lmstrix.lmstudio.naming import PredictionFragmentCallback as PredictionFragmentCallback
    from lmstrix.lmstudio.naming import PredictionMessageCallback as PredictionMessageCallback
    from lmstrix.lmstudio.naming import PromptProcessingCallback as PromptProcessingCallback
    from lmstrix.lmstudio.results import ActResult as ActResult
    from lmstrix.lmstudio.results import ModelLoadResult as ModelLoadResult
    from lmstrix.lmstudio.results import PredictionEvent as PredictionEvent
    from lmstrix.lmstudio.results import PredictionResult as PredictionResult
    from lmstrix.lmstudio.results import PredictionRoundResult as PredictionRoundResult
    from lmstrix.lmstudio.results import PromptProcessing as PromptProcessing
    from lmstrix.lmstudio.results import ToolCallArguments as ToolCallArguments
    from lmstrix.lmstudio.results import ToolCallBroken as ToolCallBroken
    from lmstrix.lmstudio.results import ToolCallFinished as ToolCallFinished
    from lmstrix.lmstudio.results import ToolCallNamed as ToolCallNamed
    from lmstrix.lmstudio.results import ToolCallStarted as ToolCallStarted
    from lmstrix.lmstudio.specifying import AnyModelSpecifier as AnyModelSpecifier
    from lmstrix.lmstudio.sync_client import Client as Client
    from lmstrix.lmstudio.sync_client import configure_default_client as configure_default_client
    from lmstrix.lmstudio.sync_client import embedding_model as embedding_model
    from lmstrix.lmstudio.sync_client import get_default_client as get_default_client
    from lmstrix.lmstudio.sync_client import get_sync_api_timeout as get_sync_api_timeout
    from lmstrix.lmstudio.sync_client import list_downloaded_models as list_downloaded_models
    from lmstrix.lmstudio.sync_client import list_loaded_models as list_loaded_models
    from lmstrix.lmstudio.sync_client import llm as llm
    from lmstrix.lmstudio.sync_client import prepare_file as prepare_file
    from lmstrix.lmstudio.sync_client import prepare_image as prepare_image
    from lmstrix.lmstudio.sync_client import reset_default_client as reset_default_client
    from lmstrix.lmstudio.sync_client import set_sync_api_timeout as set_sync_api_timeout
    from lmstrix.lmstudio.sync_models import LLM as LLM
    from lmstrix.lmstudio.sync_models import EmbeddingModel as EmbeddingModel
    from lmstrix.lmstudio.sync_models import SyncModelHandle as SyncModelHandle
    from lmstrix.lmstudio.sync_stream import PredictionStream as PredictionStream
    from lmstrix.lmstudio.sync_system import AnyDownloadedModel as AnyDownloadedModel
    from lmstrix.lmstudio.sync_system import AvailableModel as AvailableModel
    from lmstrix.lmstudio.sync_system import DownloadedEmbeddingModel as DownloadedEmbeddingModel
    from lmstrix.lmstudio.sync_system import DownloadedLlm as DownloadedLlm
    from lmstrix.lmstudio.sync_system import DownloadedModel as DownloadedModel
    from lmstrix.lmstudio.sync_system import ModelDownloadOption as ModelDownloadOption
    from lmstrix.lmstudio.timeouts import Timeouts as Timeouts
    from lmstrix.lmstudio.tools import RawTool as RawTool
    from lmstrix.lmstudio.tools import ToolDefinition as ToolDefinition
    from lmstrix.lmstudio.tools import ToolFunctionDef as ToolFunctionDef
    from lmstrix.lmstudio.tools import ToolFunctionDefDict as ToolFunctionDefDict
    from lmstrix.protocol.lmstudio.chats import AnyChatMessage as AnyChatMessage
    from lmstrix.protocol.lmstudio.chats import AssistantResponse as AssistantResponse
    from lmstrix.protocol.lmstudio.chats import ChatHistoryData as ChatHistoryData
    from lmstrix.protocol.lmstudio.chats import FileHandle as FileHandle
    from lmstrix.protocol.lmstudio.chats import SystemPrompt as SystemPrompt
    from lmstrix.protocol.lmstudio.chats import TextData as TextData
    from lmstrix.protocol.lmstudio.chats import ToolCallRequest as ToolCallRequest
    from lmstrix.protocol.lmstudio.chats import ToolCallRequestData as ToolCallRequestData
    from lmstrix.protocol.lmstudio.chats import ToolCallResultData as ToolCallResultData
    from lmstrix.protocol.lmstudio.chats import ToolResultMessage as ToolResultMessage
    from lmstrix.protocol.lmstudio.chats import UserMessage as UserMessage
    from lmstrix.protocol.lmstudio.errors import (
        SerializedLMSExtendedError as SerializedLMSExtendedError,
    )
    from lmstrix.protocol.lmstudio.models import DownloadProgressUpdate as DownloadProgressUpdate
    from lmstrix.protocol.lmstudio.models import EmbeddingModelInfo as EmbeddingModelInfo
    from lmstrix.protocol.lmstudio.models import (
        EmbeddingModelInstanceInfo as EmbeddingModelInstanceInfo,
    )
    from lmstrix.protocol.lmstudio.models import LlmInfo as LlmInfo
    from lmstrix.protocol.lmstudio.models import LlmInstanceInfo as LlmInstanceInfo
    from lmstrix.protocol.lmstudio.models import ModelInfo as ModelInfo
    from lmstrix.protocol.lmstudio.models import ModelInstanceInfo as ModelInstanceInfo
    from lmstrix.protocol.lmstudio.models import ModelQuery as ModelQuery
    from lmstrix.protocol.lmstudio.models import ModelSpecifier as ModelSpecifier
    from lmstrix.protocol.lmstudio.models import ModelUsage as ModelUsage
    from lmstrix.protocol.lmstudio.predictions import LlmPredictionFragment as LlmPredictionFragment
    from lmstrix.protocol.lmstudio.predictions import LlmPredictionStats as LlmPredictionStats

_HOME = {
    "ActResult": "lmstrix.lmstudio.results",
    "AnyAsyncDownloadedModel": "lmstrix.lmstudio.async_system",
    "AnyChatMessage": "lmstrix.protocol.lmstudio.chats",
    "AnyChatMessageDict": "lmstrix.lmstudio.history",
    "AnyDownloadedModel": "lmstrix.lmstudio.sync_system",
    "AnyLMStudioStruct": "lmstrix.lmstudio.naming",
    "AnyLoadConfig": "lmstrix.lmstudio.configs",
    "AnyModelSpecifier": "lmstrix.lmstudio.specifying",
    "AssistantResponse": "lmstrix.protocol.lmstudio.chats",
    "AssistantResponseContent": "lmstrix.lmstudio.history",
    "AsyncAvailableModel": "lmstrix.lmstudio.async_system",
    "AsyncClient": "lmstrix.lmstudio.async_client",
    "AsyncDownloadedEmbeddingModel": "lmstrix.lmstudio.async_system",
    "AsyncDownloadedLlm": "lmstrix.lmstudio.async_system",
    "AsyncDownloadedModel": "lmstrix.lmstudio.async_system",
    "AsyncEmbeddingModel": "lmstrix.lmstudio.async_models",
    "AsyncLLM": "lmstrix.lmstudio.async_models",
    "AsyncModelDownloadOption": "lmstrix.lmstudio.async_system",
    "AsyncPredictionStream": "lmstrix.lmstudio.async_stream",
    "AvailableModel": "lmstrix.lmstudio.sync_system",
    "BaseModel": "lmstrix.lmstudio.formats",
    "Cancellation": "lmstrix.lmstudio.cancelling",
    "Chat": "lmstrix.lmstudio.history",
    "ChatHistoryData": "lmstrix.protocol.lmstudio.chats",
    "ChatHistoryDataDict": "lmstrix.lmstudio.history",
    "Client": "lmstrix.lmstudio.sync_client",
    "DictObject": "lmstrix.lmstudio.formats",
    "DictSchema": "lmstrix.lmstudio.formats",
    "DownloadFinalizedCallback": "lmstrix.lmstudio.naming",
    "DownloadProgressCallback": "lmstrix.lmstudio.naming",
    "DownloadProgressUpdate": "lmstrix.protocol.lmstudio.models",
    "DownloadedEmbeddingModel": "lmstrix.lmstudio.sync_system",
    "DownloadedLlm": "lmstrix.lmstudio.sync_system",
    "DownloadedModel": "lmstrix.lmstudio.sync_system",
    "EmbeddingLoadModelConfig": "lmstrix.lmstudio.configs",
    "EmbeddingLoadModelConfigDict": "lmstrix.lmstudio.configs",
    "EmbeddingModel": "lmstrix.lmstudio.sync_models",
    "EmbeddingModelInfo": "lmstrix.protocol.lmstudio.models",
    "EmbeddingModelInstanceInfo": "lmstrix.protocol.lmstudio.models",
    "FileHandle": "lmstrix.protocol.lmstudio.chats",
    "FileHandleDict": "lmstrix.lmstudio.history",
    "FileHandleInput": "lmstrix.lmstudio.history",
    "FileType": "lmstrix.lmstudio.naming",
    "GpuSetting": "lmstrix.lmstudio.configs",
    "LLM": "lmstrix.lmstudio.sync_models",
    "LMStudioCancelledError": "lmstrix.lmstudio.errors",
    "LMStudioChannelClosedError": "lmstrix.lmstudio.errors",
    "LMStudioClientError": "lmstrix.lmstudio.errors",
    "LMStudioError": "lmstrix.lmstudio.errors",
    "LMStudioFileNotFoundError": "lmstrix.lmstudio.errors",
    "LMStudioModelNotFoundError": "lmstrix.lmstudio.errors",
    "LMStudioOSError": "lmstrix.lmstudio.errors",
    "LMStudioPredictionError": "lmstrix.lmstudio.errors",
    "LMStudioPresetNotFoundError": "lmstrix.lmstudio.errors",
    "LMStudioRuntimeError": "lmstrix.lmstudio.errors",
    "LMStudioServerError": "lmstrix.lmstudio.errors",
    "LMStudioTimeoutError": "lmstrix.lmstudio.errors",
    "LMStudioUnknownMessageWarning": "lmstrix.lmstudio.errors",
    "LMStudioValueError": "lmstrix.lmstudio.errors",
    "LMStudioWebsocketError": "lmstrix.lmstudio.errors",
    "LlmInfo": "lmstrix.protocol.lmstudio.models",
    "LlmInstanceInfo": "lmstrix.protocol.lmstudio.models",
    "LlmLoadModelConfig": "lmstrix.lmstudio.configs",
    "LlmLoadModelConfigDict": "lmstrix.lmstudio.configs",
    "LlmPredictionConfig": "lmstrix.lmstudio.configs",
    "LlmPredictionConfigDict": "lmstrix.lmstudio.configs",
    "LlmPredictionFragment": "lmstrix.protocol.lmstudio.predictions",
    "LlmPredictionStats": "lmstrix.protocol.lmstudio.predictions",
    "LlmStructuredPredictionSetting": "lmstrix.lmstudio.configs",
    "LocalFileInput": "lmstrix.lmstudio.files",
    "ModelDownloadOption": "lmstrix.lmstudio.sync_system",
    "ModelInfo": "lmstrix.protocol.lmstudio.models",
    "ModelInstanceInfo": "lmstrix.protocol.lmstudio.models",
    "ModelLoadResult": "lmstrix.lmstudio.results",
    "ModelLoadingCallback": "lmstrix.lmstudio.naming",
    "ModelQuery": "lmstrix.protocol.lmstudio.models",
    "ModelQueryDict": "lmstrix.lmstudio.naming",
    "ModelSchema": "lmstrix.lmstudio.formats",
    "ModelSpecifier": "lmstrix.protocol.lmstudio.models",
    "ModelSpecifierDict": "lmstrix.lmstudio.naming",
    "ModelUsage": "lmstrix.protocol.lmstudio.models",
    "PredictionEvent": "lmstrix.lmstudio.results",
    "PredictionFirstTokenCallback": "lmstrix.lmstudio.naming",
    "PredictionFragmentCallback": "lmstrix.lmstudio.naming",
    "PredictionMessageCallback": "lmstrix.lmstudio.naming",
    "PredictionResult": "lmstrix.lmstudio.results",
    "PredictionRoundResult": "lmstrix.lmstudio.results",
    "PredictionStream": "lmstrix.lmstudio.sync_stream",
    "PromptProcessing": "lmstrix.lmstudio.results",
    "PromptProcessingCallback": "lmstrix.lmstudio.naming",
    "RawTool": "lmstrix.lmstudio.tools",
    "ResponseSchema": "lmstrix.lmstudio.formats",
    "SerializedLMSExtendedError": "lmstrix.protocol.lmstudio.errors",
    "SyncModelHandle": "lmstrix.lmstudio.sync_models",
    "SystemPrompt": "lmstrix.protocol.lmstudio.chats",
    "SystemPromptContent": "lmstrix.lmstudio.history",
    "TextData": "lmstrix.protocol.lmstudio.chats",
    "TextDataDict": "lmstrix.lmstudio.history",
    "Timeouts": "lmstrix.lmstudio.timeouts",
    "ToolCallArguments": "lmstrix.lmstudio.results",
    "ToolCallBroken": "lmstrix.lmstudio.results",
    "ToolCallFinished": "lmstrix.lmstudio.results",
    "ToolCallNamed": "lmstrix.lmstudio.results",
    "ToolCallRequest": "lmstrix.protocol.lmstudio.chats",
    "ToolCallRequestData": "lmstrix.protocol.lmstudio.chats",
    "ToolCallResultData": "lmstrix.protocol.lmstudio.chats",
    "ToolCallStarted": "lmstrix.lmstudio.results",
    "ToolDefinition": "lmstrix.lmstudio.tools",
    "ToolFunctionDef": "lmstrix.lmstudio.tools",
    "ToolFunctionDefDict": "lmstrix.lmstudio.tools",
    "ToolResultMessage": "lmstrix.protocol.lmstudio.chats",
    "UserMessage": "lmstrix.protocol.lmstudio.chats",
    "UserMessageContent": "lmstrix.lmstudio.history",
    "UserMessageDict": "lmstrix.lmstudio.history",
    "ValidationError": "msgspec",
    "configure_default_client": "lmstrix.lmstudio.sync_client",
    "embedding_model": "lmstrix.lmstudio.sync_client",
    "get_default_client": "lmstrix.lmstudio.sync_client",
    "get_sync_api_timeout": "lmstrix.lmstudio.sync_client",
    "list_downloaded_models": "lmstrix.lmstudio.sync_client",
    "list_loaded_models": "lmstrix.lmstudio.sync_client",
    "llm": "lmstrix.lmstudio.sync_client",
    "prepare_file": "lmstrix.lmstudio.sync_client",
    "prepare_image": "lmstrix.lmstudio.sync_client",
    "reset_default_client": "lmstrix.lmstudio.sync_client",
    "set_sync_api_timeout": "lmstrix.lmstudio.sync_client",
}

__all__ = [
    "LLM",
    "ActResult",
    "AnyAsyncDownloadedModel",
    "AnyChatMessage",
    "AnyChatMessageDict",
    "AnyDownloadedModel",
    "AnyLMStudioStruct",
    "AnyLoadConfig",
    "AnyModelSpecifier",
    "AssistantResponse",
    "AssistantResponseContent",
    "AsyncAvailableModel",
    "AsyncClient",
    "AsyncDownloadedEmbeddingModel",
    "AsyncDownloadedLlm",
    "AsyncDownloadedModel",
    "AsyncEmbeddingModel",
    "AsyncLLM",
    "AsyncModelDownloadOption",
    "AsyncPredictionStream",
    "AvailableModel",
    "BaseModel",
    "Cancellation",
    "Chat",
    "ChatHistoryData",
    "ChatHistoryDataDict",
    "Client",
    "DictObject",
    "DictSchema",
    "DownloadFinalizedCallback",
    "DownloadProgressCallback",
    "DownloadProgressUpdate",
    "DownloadedEmbeddingModel",
    "DownloadedLlm",
    "DownloadedModel",
    "EmbeddingLoadModelConfig",
    "EmbeddingLoadModelConfigDict",
    "EmbeddingModel",
    "EmbeddingModelInfo",
    "EmbeddingModelInstanceInfo",
    "FileHandle",
    "FileHandleDict",
    "FileHandleInput",
    "FileType",
    "GpuSetting",
    "LMStudioCancelledError",
    "LMStudioChannelClosedError",
    "LMStudioClientError",
    "LMStudioError",
    "LMStudioFileNotFoundError",
    "LMStudioModelNotFoundError",
    "LMStudioOSError",
    "LMStudioPredictionError",
    "LMStudioPresetNotFoundError",
    "LMStudioRuntimeError",
    "LMStudioServerError",
    "LMStudioTimeoutError",
    "LMStudioUnknownMessageWarning",
    "LMStudioValueError",
    "LMStudioWebsocketError",
    "LlmInfo",
    "LlmInstanceInfo",
    "LlmLoadModelConfig",
    "LlmLoadModelConfigDict",
    "LlmPredictionConfig",
    "LlmPredictionConfigDict",
    "LlmPredictionFragment",
    "LlmPredictionStats",
    "LlmStructuredPredictionSetting",
    "LocalFileInput",
    "ModelDownloadOption",
    "ModelInfo",
    "ModelInstanceInfo",
    "ModelLoadResult",
    "ModelLoadingCallback",
    "ModelQuery",
    "ModelQueryDict",
    "ModelSchema",
    "ModelSpecifier",
    "ModelSpecifierDict",
    "ModelUsage",
    "PredictionEvent",
    "PredictionFirstTokenCallback",
    "PredictionFragmentCallback",
    "PredictionMessageCallback",
    "PredictionResult",
    "PredictionRoundResult",
    "PredictionStream",
    "PromptProcessing",
    "PromptProcessingCallback",
    "RawTool",
    "ResponseSchema",
    "SerializedLMSExtendedError",
    "SyncModelHandle",
    "SystemPrompt",
    "SystemPromptContent",
    "TextData",
    "TextDataDict",
    "Timeouts",
    "ToolCallArguments",
    "ToolCallBroken",
    "ToolCallFinished",
    "ToolCallNamed",
    "ToolCallRequest",
    "ToolCallRequestData",
    "ToolCallResultData",
    "ToolCallStarted",
    "ToolDefinition",
    "ToolFunctionDef",
    "ToolFunctionDefDict",
    "ToolResultMessage",
    "UserMessage",
    "UserMessageContent",
    "UserMessageDict",
    "ValidationError",
    "configure_default_client",
    "embedding_model",
    "get_default_client",
    "get_sync_api_timeout",
    "list_downloaded_models",
    "list_loaded_models",
    "llm",
    "prepare_file",
    "prepare_image",
    "reset_default_client",
    "set_sync_api_timeout",
]


def __getattr__(name: str) -> object:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'lmstrix.lmstudio' has no attribute {name!r}") from None
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return __all__
