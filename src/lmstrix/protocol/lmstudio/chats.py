"""Conversations: messages, their parts, and tools."""

# ruff: noqa: TC003  # msgspec reads annotations when it runs

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

from lmstrix.protocol.lmstudio.shape import Shape


class TextData(Shape, kw_only=True, tag_field="type", tag="text"):
    """A text within a message."""

    type: ClassVar[str] = "text"
    text: str


class FileHandle(Shape, kw_only=True, tag_field="type", tag="file"):
    """A file that was uploaded.

    `file_type` is `image`, `text/plain`, `application/pdf`, `application/word`, `text/other` or
    `unknown`. `identifier` is known to the client alone that uploaded it.
    """

    type: ClassVar[str] = "file"
    name: str
    identifier: str
    size_bytes: int
    file_type: str


class ToolCallRequest(Shape, kw_only=True):
    """A model's wish to have a tool run, with its arguments by name. `type` is `function`."""

    type: str
    name: str
    id: str | None = None
    arguments: Mapping[str, Any] | None = None


class ToolCallRequestData(Shape, kw_only=True, tag_field="type", tag="toolCallRequest"):
    """A tool call within an assistant's message."""

    type: ClassVar[str] = "toolCallRequest"
    tool_call_request: ToolCallRequest


class ToolCallResultData(Shape, kw_only=True, tag_field="type", tag="toolCallResult"):
    """What a tool answered."""

    type: ClassVar[str] = "toolCallResult"
    content: str
    tool_call_id: str | None = None
    name: str | None = None


Part: TypeAlias = TextData | FileHandle | ToolCallRequestData | ToolCallResultData


class SystemPrompt(Shape, kw_only=True, tag_field="role", tag="system"):
    """What the model is told to be."""

    role: ClassVar[str] = "system"
    content: list[TextData | FileHandle]


class UserMessage(Shape, kw_only=True, tag_field="role", tag="user"):
    """What the user says, with the files that belong to it."""

    role: ClassVar[str] = "user"
    content: list[TextData | FileHandle]


class AssistantResponse(Shape, kw_only=True, tag_field="role", tag="assistant"):
    """What the model said, and the tools it called."""

    role: ClassVar[str] = "assistant"
    content: list[TextData | FileHandle | ToolCallRequestData]


class ToolResultMessage(Shape, kw_only=True, tag_field="role", tag="tool"):
    """What tools answered."""

    role: ClassVar[str] = "tool"
    content: list[ToolCallResultData]


AnyChatMessage: TypeAlias = SystemPrompt | UserMessage | AssistantResponse | ToolResultMessage


class ChatHistoryData(Shape, kw_only=True):
    """A conversation."""

    messages: list[AnyChatMessage]


class LlmToolFunction(Shape, kw_only=True):
    """A tool as the model is told of it. `parameters` is a JSON Schema of an object."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None


class LlmTool(Shape, kw_only=True):
    """A tool that is offered to a model."""

    type: str
    function: LlmToolFunction


class LlmApplyPromptTemplateOpts(Shape, kw_only=True):
    """How a prompt template is applied."""

    omit_bos_token: bool | None = None
    omit_eos_token: bool | None = None
    tool_definitions: list[LlmTool] | None = None
