"""Predictions: what is asked for, what comes back while a model writes, and how it ended."""

# ruff: noqa: TC001  # msgspec reads annotations when it runs

from __future__ import annotations

from typing import Any

from lmstrix.protocol.lmstudio.chats import ChatHistoryData, ToolCallRequest
from lmstrix.protocol.lmstudio.config import ConfigStack, Fields
from lmstrix.protocol.lmstudio.models import ModelSpecifier
from lmstrix.protocol.lmstudio.shape import Shape


class PredictRequest(Shape, kw_only=True):
    """What opens a `predict` channel."""

    model_specifier: ModelSpecifier
    history: ChatHistoryData
    prediction_config_stack: ConfigStack
    fuzzy_preset_identifier: str | None = None
    ignore_server_session_config: bool | None = None


class CompleteRawTextRequest(Shape, kw_only=True):
    """What opens a `completeRawText` channel: no chat template is applied."""

    model_specifier: ModelSpecifier
    raw_prompt: str
    prediction_config_stack: ConfigStack
    fuzzy_preset_identifier: str | None = None
    ignore_server_session_config: bool | None = None


class Candidate(Shape, kw_only=True, gc=False):
    """A token that could have come instead, with its natural log probability."""

    text: str
    id: int | None = None
    log_prob: float | None = None


class PredictedToken(Shape, kw_only=True):
    """A token with its natural log probability and the likeliest alternatives."""

    text: str
    id: int | None = None
    log_prob: float | None = None
    candidates: tuple[Candidate, ...] = ()


class LlmPredictionFragment(Shape, kw_only=True, gc=False):
    """A piece of the answer.

    `reasoning_type` is `none`, `reasoning`, `reasoningStartTag` or `reasoningEndTag`. `tokens`
    are there only where log probabilities were asked for; `is_structural` is not told by older
    servers.
    """

    content: str
    tokens_count: int
    contains_drafted: bool
    reasoning_type: str
    is_structural: bool | None = None
    tokens: tuple[PredictedToken, ...] | None = None


class LlmPredictionStats(Shape, kw_only=True):
    """How an answer went.

    `stop_reason` is `userStopped`, `modelUnloaded`, `failed`, `eosFound`, `stopStringFound`,
    `toolCalls`, `maxPredictedTokensReached` or `contextLengthReached`.
    """

    stop_reason: str
    stop_string: str | None = None
    tokens_per_second: float | None = None
    num_gpu_layers: float | None = None
    time_to_first_token_sec: float | None = None
    total_time_sec: float | None = None
    prompt_tokens_count: int | None = None
    predicted_tokens_count: int | None = None
    total_tokens_count: int | None = None
    used_draft_model_key: str | None = None
    total_draft_tokens_count: int | None = None
    accepted_draft_tokens_count: int | None = None
    rejected_draft_tokens_count: int | None = None
    ignored_draft_tokens_count: int | None = None


class PromptProgress(Shape, kw_only=True, gc=False):
    """How far the prompt is processed, in tokens."""

    cached_token_count: int
    total_prompt_token_count: int
    processed_prompt_token_count: int
    unprocessed_prompt_token_count: int


class PredictMessage(Shape, kw_only=True):
    """What a server sends on a `predict` channel; which fields there are depends on `type`.

    `promptProcessingProgress`: `progress` 0..1, `details`. `fragment`: `fragment`.
    `toolCallGenerationStart`: `tool_call_id`. `toolCallGenerationNameReceived`: `name`.
    `toolCallGenerationArgumentFragmentGenerated`: `content`. `toolCallGenerationEnd`:
    `tool_call_request`, `raw_content`. `toolCallGenerationFailed`: `error`, `raw_content`.
    `success`: `stats`, `model_info`, `load_model_config`, `prediction_config`. `error` (of old
    servers): `error`.
    """

    type: str
    fragment: LlmPredictionFragment | None = None
    progress: float | None = None
    details: PromptProgress | None = None
    tool_call_id: str | None = None
    name: str | None = None
    content: str | None = None
    tool_call_request: ToolCallRequest | None = None
    raw_content: str | None = None
    error: Any = None
    stats: LlmPredictionStats | None = None
    model_info: Any = None
    load_model_config: Fields | None = None
    prediction_config: Fields | None = None
