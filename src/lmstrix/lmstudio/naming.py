"""Names the SDK has for the types of listeners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from lmstrix.protocol.lmstudio.chats import AssistantResponse
from lmstrix.protocol.lmstudio.models import DownloadProgressUpdate
from lmstrix.protocol.lmstudio.predictions import LlmPredictionFragment

DownloadFinalizedCallback: TypeAlias = Callable[[], Any]
DownloadProgressCallback: TypeAlias = Callable[[DownloadProgressUpdate], Any]
ModelLoadingCallback: TypeAlias = Callable[[float], Any]
PredictionFirstTokenCallback: TypeAlias = Callable[[], Any]
PredictionFragmentCallback: TypeAlias = Callable[[LlmPredictionFragment], Any]
PredictionMessageCallback: TypeAlias = Callable[[AssistantResponse], Any]
PromptProcessingCallback: TypeAlias = Callable[[float], Any]
