"""What predictions, loads and rounds of tool use come to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import msgspec

from lmstrix.lmstudio.errors import LMStudioRuntimeError
from lmstrix.lmstudio.formats import build
from lmstrix.protocol.lmstudio.predictions import (
    LlmPredictionFragment,
    PredictedToken,
    PromptProgress,
)

if TYPE_CHECKING:
    from lmstrix.lmstudio.configs import LlmLoadModelConfig, LlmPredictionConfig
    from lmstrix.protocol.lmstudio.chats import ToolCallRequest
    from lmstrix.protocol.lmstudio.models import LlmInfo
    from lmstrix.protocol.lmstudio.predictions import LlmPredictionStats


class ModelLoadResult(msgspec.Struct, kw_only=True, frozen=True):
    """A loaded model."""

    identifier: str
    instance_reference: str
    path: str


class PredictionResult(msgspec.Struct, kw_only=True, frozen=True):
    """A whole answer.

    `content` is everything the model wrote, `parsed` that as a dictionary where a structure was
    asked for, else the text again. What was reasoning and what was not are also apart. `tokens`
    have log probabilities where they were asked for.
    """

    content: str
    parsed: Any
    stats: LlmPredictionStats
    model_info: LlmInfo
    load_config: LlmLoadModelConfig
    prediction_config: LlmPredictionConfig
    reasoning_content: str = ""
    non_reasoning_content: str = ""
    tool_call_requests: tuple[ToolCallRequest, ...] = ()
    tokens: tuple[PredictedToken, ...] = ()
    response_type: type | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(content={self.content!r})"

    def __str__(self) -> str:
        return (
            json.dumps(self.parsed, indent=2, sort_keys=True) if self.structured else self.content
        )

    @property
    def structured(self) -> bool:
        """Whether `parsed` is a structure, not the text again."""
        return self.parsed is not self.content

    @property
    def value(self) -> Any:
        """`parsed` as an instance of the class that was given as the response format.

        Raises `LMStudioValueError` where it does not fit, `LMStudioRuntimeError` where no class
        was given.
        """
        if self.response_type is None:
            raise LMStudioRuntimeError("The response format was no class to make a value of.")
        return build(self.response_type, self.parsed)

    def to_history_content(self) -> str:
        """The text to be remembered in a conversation."""
        return self.content


class PredictionRoundResult(PredictionResult, kw_only=True, frozen=True):
    """A whole answer within several rounds of tool use."""

    round_index: int

    @classmethod
    def from_result(cls, result: PredictionResult, round_index: int) -> Self:
        """The same answer with its round."""
        copied = {name: getattr(result, name) for name in result.__struct_fields__}
        return cls(round_index=round_index, **copied)


class ActResult(msgspec.Struct, kw_only=True, frozen=True):
    """What several rounds of tool use took."""

    rounds: int
    total_time_seconds: float


class PromptProcessing(msgspec.Struct, frozen=True):
    """How far the prompt is processed: `progress` is 0..1, `details` count tokens."""

    progress: float
    details: PromptProgress | None = None


class ToolCallStarted(msgspec.Struct, frozen=True):
    """The model begins to write the call number `index` of this answer."""

    index: int
    id: str | None = None


class ToolCallNamed(msgspec.Struct, frozen=True):
    """Which tool it is."""

    index: int
    name: str


class ToolCallArguments(msgspec.Struct, frozen=True):
    """A piece of its arguments, JSON only when joined."""

    index: int
    content: str


class ToolCallFinished(msgspec.Struct, frozen=True):
    """The whole call. `raw` is what the model wrote for it."""

    index: int
    request: ToolCallRequest
    raw: str | None = None


class ToolCallBroken(msgspec.Struct, frozen=True):
    """The model wrote what is no call."""

    index: int
    error: str
    raw: str | None = None


PredictionEvent: TypeAlias = (
    LlmPredictionFragment
    | PromptProcessing
    | ToolCallStarted
    | ToolCallNamed
    | ToolCallArguments
    | ToolCallFinished
    | ToolCallBroken
)
