"""Answers: whole messages, the events of a stream, token counts, models and errors."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from lmstrix.types import StopReason

# What ends an answer, by its names there.
STOP_REASONS = {
    StopReason.END: "end_turn",
    StopReason.STOP_STRING: "stop_sequence",
    StopReason.LENGTH: "max_tokens",
    StopReason.CONTEXT: "model_context_window_exceeded",
    StopReason.TOOL_CALLS: "tool_use",
}


class TextBlock(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A piece of the answer."""

    text: str = ""


class ThinkingBlock(msgspec.Struct, frozen=True, tag_field="type", tag="thinking"):
    """A piece of reasoning. Nothing here signs it."""

    thinking: str = ""
    signature: str = ""


class ToolUseBlock(msgspec.Struct, frozen=True, tag_field="type", tag="tool_use"):
    """A tool that the model wants to be run."""

    id: str
    name: str
    input: msgspec.Raw | dict[str, Any] = msgspec.field(default_factory=dict)


ContentBlock: TypeAlias = TextBlock | ThinkingBlock | ToolUseBlock


class Usage(msgspec.Struct, frozen=True):
    """Token counts; what was read from the cache is not part of `input_tokens`."""

    input_tokens: int | None = None
    output_tokens: int = 0
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class AnswerMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, or its beginning."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: tuple[ContentBlock, ...] = ()
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Usage = Usage()


class TextDelta(msgspec.Struct, frozen=True, tag_field="type", tag="text_delta"):
    """More of a text block."""

    text: str


class ThinkingDelta(msgspec.Struct, frozen=True, tag_field="type", tag="thinking_delta"):
    """More of a thinking block."""

    thinking: str


class SignatureDelta(msgspec.Struct, frozen=True, tag_field="type", tag="signature_delta"):
    """The signature of a thinking block."""

    signature: str


class InputDelta(msgspec.Struct, frozen=True, tag_field="type", tag="input_json_delta"):
    """More of a tool's input, JSON only when joined."""

    partial_json: str


Delta: TypeAlias = TextDelta | ThinkingDelta | SignatureDelta | InputDelta


class MessageStart(msgspec.Struct, frozen=True, tag_field="type", tag="message_start"):
    """The answer begins."""

    message: AnswerMessage


class BlockStart(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_start"):
    """A block begins."""

    index: int
    content_block: ContentBlock


class BlockDelta(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_delta"):
    """A block goes on."""

    index: int
    delta: Delta


class BlockStop(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_stop"):
    """A block ends."""

    index: int


class Stop(msgspec.Struct, frozen=True):
    """Why the answer ended."""

    stop_reason: str | None = None
    stop_sequence: str | None = None


class MessageDelta(msgspec.Struct, frozen=True, tag_field="type", tag="message_delta"):
    """The answer has ended; the counts are those of all of it."""

    delta: Stop
    usage: Usage


class MessageStop(msgspec.Struct, frozen=True, tag_field="type", tag="message_stop"):
    """Nothing follows."""


class Ping(msgspec.Struct, frozen=True, tag_field="type", tag="ping"):
    """A sign of life."""


class Problem(msgspec.Struct, frozen=True):
    """What went wrong."""

    type: str = "api_error"
    message: str = ""


class Failure(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """An error, as a response or in a stream."""

    error: Problem


StreamEvent: TypeAlias = (
    MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | Ping | Failure
)


class TokenCount(msgspec.Struct, frozen=True):
    """The answer to a request for a count."""

    input_tokens: int


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the list of models."""

    id: str
    type: Literal["model"] = "model"
    display_name: str
    created_at: str
    lifecycle: str = "active"
    max_input_tokens: int | None = None


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """The list of models; one page has them all."""

    data: tuple[ModelInfo, ...]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None
