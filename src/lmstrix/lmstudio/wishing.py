"""What predictions and rounds of tool use may be asked with, for type checkers.

The names and their meaning are those of `predicting.Wishes` and `acting.ActWishes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lmstrix.lmstudio.cancelling import Cancellation
    from lmstrix.lmstudio.configs import AnyConfig
    from lmstrix.lmstudio.errors import LMStudioPredictionError
    from lmstrix.lmstudio.formats import ResponseSchema
    from lmstrix.lmstudio.results import PredictionEvent, PredictionRoundResult
    from lmstrix.lmstudio.timeouts import Timeouts
    from lmstrix.lmstudio.tools import Toolbox, ToolDefinition
    from lmstrix.protocol.lmstudio.chats import (
        AssistantResponse,
        ToolCallRequest,
        ToolResultMessage,
    )
    from lmstrix.protocol.lmstudio.predictions import LlmPredictionFragment


class PredictOptions(TypedDict, total=False):
    """Options of `respond` and `complete`, and of their streams."""

    response_format: ResponseSchema | None
    config: AnyConfig
    preset: str | None
    on_message: Callable[[AssistantResponse], Any] | None
    on_first_token: Callable[[], Any] | None
    on_prediction_fragment: Callable[[LlmPredictionFragment], Any] | None
    on_prompt_processing_progress: Callable[[float], Any] | None
    tools: Iterable[ToolDefinition] | Toolbox | None
    on_event: Callable[[PredictionEvent], Any] | None
    timeouts: Timeouts | None
    cancel: Cancellation | None


class ActOptions(TypedDict, total=False):
    """Options of `act`."""

    max_prediction_rounds: int | None
    max_parallel_tool_calls: int | None
    config: AnyConfig
    preset: str | None
    on_message: Callable[[AssistantResponse | ToolResultMessage], Any] | None
    on_first_token: Callable[[int], Any] | None
    on_prediction_fragment: Callable[[LlmPredictionFragment, int], Any] | None
    on_round_start: Callable[[int], Any] | None
    on_round_end: Callable[[int], Any] | None
    on_prediction_completed: Callable[[PredictionRoundResult], Any] | None
    on_prompt_processing_progress: Callable[[float, int], Any] | None
    handle_invalid_tool_request: (
        Callable[[LMStudioPredictionError, ToolCallRequest | None], str | None] | None
    )
    on_event: Callable[[PredictionEvent, int], Any] | None
    timeouts: Timeouts | None
    cancel: Cancellation | None
