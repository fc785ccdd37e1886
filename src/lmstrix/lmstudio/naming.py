"""Names the SDK has for types, for those who annotate with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from lmstrix.protocol.lmstudio.chats import AssistantResponse
from lmstrix.protocol.lmstudio.models import DownloadProgressUpdate
from lmstrix.protocol.lmstudio.predictions import LlmPredictionFragment
from lmstrix.protocol.lmstudio.shape import Shape

DownloadFinalizedCallback: TypeAlias = Callable[[], Any]
DownloadProgressCallback: TypeAlias = Callable[[DownloadProgressUpdate], Any]
ModelLoadingCallback: TypeAlias = Callable[[float], Any]
PredictionFirstTokenCallback: TypeAlias = Callable[[], Any]
PredictionFragmentCallback: TypeAlias = Callable[[LlmPredictionFragment], Any]
PredictionMessageCallback: TypeAlias = Callable[[AssistantResponse], Any]
PromptProcessingCallback: TypeAlias = Callable[[float], Any]

AnyLMStudioStruct: TypeAlias = Shape
FileType: TypeAlias = Literal[
    "image", "text/plain", "application/pdf", "application/word", "text/other", "unknown"
]
ModelQueryDict: TypeAlias = Mapping[str, Any]
ModelSpecifierDict: TypeAlias = Mapping[str, Any]
