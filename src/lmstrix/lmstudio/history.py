"""Conversations: built up message by message, copied, and read from what others wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Protocol, Self, TypeAlias, TypedDict, TypeVar, runtime_checkable

import msgspec

from lmstrix.lmstudio.errors import LMStudioRuntimeError, LMStudioValueError
from lmstrix.protocol.lmstudio.chats import (
    AnyChatMessage,
    AssistantResponse,
    ChatHistoryData,
    FileHandle,
    SystemPrompt,
    TextData,
    ToolCallRequest,
    ToolCallRequestData,
    ToolCallResultData,
    ToolResultMessage,
    UserMessage,
)
from lmstrix.protocol.lmstudio.shape import Shape

ShapeT = TypeVar("ShapeT", bound=Shape)


class TextDataDict(TypedDict):
    """`TextData` as a dictionary."""

    type: str
    text: str


class FileHandleDict(TypedDict):
    """`FileHandle` as a dictionary."""

    type: str
    name: str
    identifier: str
    sizeBytes: int
    fileType: str


class UserMessageDict(TypedDict):
    """`UserMessage` as a dictionary."""

    role: str
    content: Sequence[Any]


class ChatHistoryDataDict(TypedDict):
    """`ChatHistoryData` as a dictionary. A text does for a message's content."""

    messages: Sequence[Mapping[str, Any]]


@runtime_checkable
class Spoken(Protocol):
    """What a server answered, to become part of a conversation."""

    def to_history_content(self) -> str:
        """The text to be remembered."""
        ...


FileHandleInput: TypeAlias = FileHandle | Mapping[str, Any]
PartInput: TypeAlias = str | TextData | FileHandle | Mapping[str, Any]
AnyChatMessageDict: TypeAlias = Mapping[str, Any]
SystemPromptContent: TypeAlias = TextData
UserMessageContent: TypeAlias = TextData | FileHandle
AssistantResponseContent: TypeAlias = TextData | FileHandle
ToolCallRequestInput: TypeAlias = ToolCallRequest | ToolCallRequestData | Mapping[str, Any]
ToolCallResultInput: TypeAlias = ToolCallResultData | Mapping[str, Any]


class Chat:
    """A conversation, kept on this side and sent whole with each question."""

    def __init__(
        self,
        initial_prompt: str | TextData | Mapping[str, Any] | None = None,
        *,
        _initial_history: ChatHistoryData | None = None,
    ) -> None:
        if _initial_history is not None and initial_prompt is not None:
            raise LMStudioValueError(
                "Chat context accepts an initial history or a system prompt, not both"
            )
        self._history = _initial_history or ChatHistoryData(messages=[])
        if initial_prompt is not None:
            self.add_system_prompt(initial_prompt)

    @property
    def messages(self) -> Sequence[AnyChatMessage]:
        """The messages so far, oldest first."""
        return tuple(self._history.messages)

    def __str__(self) -> str:
        text = json.dumps(self.to_dict(), indent=2, sort_keys=True)
        return f"{type(self).__name__}.from_history({text})"

    def __len__(self) -> int:
        return len(self._history.messages)

    def __bool__(self) -> bool:
        return True  # a chat without messages is a chat

    def to_dict(self) -> dict[str, Any]:
        """The conversation as on the wire."""
        return self._history.to_dict()

    @property
    def data(self) -> ChatHistoryData:
        """The conversation as it is sent. It changes with the chat."""
        return self._history

    @classmethod
    def from_history(cls, history: str | Chat | ChatHistoryData | Mapping[str, Any]) -> Self:
        """A chat of its own from a text, another chat, or a conversation as on the wire."""
        if isinstance(history, Chat):
            return cls(_initial_history=deepcopy(history.data))
        if isinstance(history, ChatHistoryData):
            return cls(_initial_history=deepcopy(history))
        made = cls()
        if isinstance(history, str):
            made.add_user_message(history)
            return made
        messages = history.get("messages") if isinstance(history, Mapping) else None
        if messages is None:
            raise LMStudioValueError(
                f"Expected a {cls.__name__}, ChatHistoryData, or a dict with a 'messages' key"
            )
        for message in messages:
            made.append(message)
        return made

    def copy(self) -> Self:
        """A chat of its own with the same messages."""
        return type(self).from_history(self)

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: object) -> Self:
        return self.copy()

    def append(
        self, message: AnyChatMessage | Mapping[str, Any] | tuple[str, Any]
    ) -> AnyChatMessage:
        """Add a copy of a whole message: one of another chat, a dictionary, or role and content."""
        if isinstance(message, AnyChatMessage):
            return self.add_entry(message.role, message.to_dict()["content"])
        if isinstance(message, Mapping) and {"role", "content"} <= set(message):
            return self.add_entry(message["role"], message["content"])
        if isinstance(message, tuple) and len(message) == 2:
            return self.add_entry(*message)
        raise LMStudioValueError(f"{message!r} is not a valid chat entry")

    def add_entry(self, role: str, content: Any) -> AnyChatMessage:
        """Add a message by the name of its role: `user`, `system`, `assistant` or `tool`."""
        if role == "user":
            return self.add_user_message(content)
        parts = [content] if _is_one(content) else list(content)
        if role == "tool":
            return self.add_tool_results(parts)
        if role == "assistant":
            if not parts:
                raise LMStudioValueError(f"Unable to parse assistant response content: {content}")
            return self.add_assistant_response(parts[0], parts[1:])
        if role != "system":
            raise LMStudioValueError(f"Unknown history role: {role}")
        if len(parts) != 1:
            raise LMStudioValueError(f"{role!r} role does not support multi-part message content.")
        return self.add_system_prompt(parts[0])

    def add_system_prompt(self, prompt: str | TextData | Mapping[str, Any]) -> SystemPrompt:
        """Add what the model is told to be."""
        self._refuse_consecutive(SystemPrompt, "system prompts")
        part = None if isinstance(prompt, FileHandle) else _text(prompt)
        if part is None:
            raise LMStudioValueError(f"Unable to parse system prompt: {prompt}")
        message = SystemPrompt(content=[part])
        self._history.messages.append(message)
        return message

    def add_user_message(
        self,
        content: PartInput | Iterable[PartInput],
        *,
        images: Sequence[FileHandleInput] = (),
        _files: Sequence[FileHandleInput] = (),
    ) -> UserMessage:
        """Add what the user says, with files and images; it joins a user's message before it."""
        given: list[Any] = [content] if _is_one(content) else list(content)  # type: ignore[arg-type]
        parts = [_part(item, "user message") for item in (*given, *_files, *images)]
        if not parts:
            raise LMStudioValueError("Empty user messages are not supported.")
        last = self._history.messages[-1] if self._history.messages else None
        if isinstance(last, UserMessage):
            last.content.extend(parts)
            return last
        message = UserMessage(content=parts)
        self._history.messages.append(message)
        return message

    def add_assistant_response(
        self,
        response: PartInput | Spoken,
        tool_call_requests: Iterable[ToolCallRequestInput] = (),
    ) -> AssistantResponse:
        """Add what the model said, and the tools it called."""
        self._refuse_consecutive(AssistantResponse, "assistant responses")
        message = AssistantResponse(
            content=[
                assistant_part(response),
                *(_call(request) for request in tool_call_requests),
            ]
        )
        self._history.messages.append(message)
        return message

    def add_tool_results(self, results: Iterable[ToolCallResultInput]) -> ToolResultMessage:
        """Add what several tools answered, as one message."""
        message = ToolResultMessage(content=[_result(result) for result in results])
        self._history.messages.append(message)
        return message

    def add_tool_result(self, result: ToolCallResultInput) -> ToolResultMessage:
        """Add what a tool answered."""
        return self.add_tool_results([result])

    def _refuse_consecutive(self, kind: type[Shape], what: str) -> None:
        if self._history.messages and isinstance(self._history.messages[-1], kind):
            raise LMStudioRuntimeError(f"Multi-part or consecutive {what} are not supported.")


def assistant_part(response: PartInput | Spoken) -> TextData | FileHandle:
    """The part of an assistant's message for what was answered."""
    if isinstance(response, Spoken):
        return TextData(text=response.to_history_content())
    return _part(response, "assistant response")


def _is_one(content: Any) -> bool:
    return isinstance(content, str | Mapping | Shape) or not isinstance(content, Iterable)


def _text(item: Any) -> TextData | None:
    if isinstance(item, str):
        return TextData(text=item)
    if isinstance(item, TextData):
        return TextData(text=item.text)
    if isinstance(item, Mapping) and isinstance(item.get("text"), str):
        return TextData(text=item["text"])
    return None


def _part(item: Any, what: str) -> TextData | FileHandle:
    text = _text(item)
    if text is not None:
        return text
    if isinstance(item, FileHandle):
        return item  # shared: a handle that is filled in later is filled in here
    if isinstance(item, Mapping) and {"name", "identifier"} <= set(item):
        return _converted(FileHandle, {"type": "file", **item}, what)
    raise LMStudioValueError(f"Unable to parse {what} content: {item}")


def _call(request: ToolCallRequestInput) -> ToolCallRequestData:
    if isinstance(request, ToolCallRequestData):
        return request
    if isinstance(request, ToolCallRequest):
        return ToolCallRequestData(tool_call_request=request)
    if isinstance(request, Mapping) and request.get("type") == "toolCallRequest":
        return _converted(ToolCallRequestData, request, "tool call request")
    if isinstance(request, Mapping) and "name" in request:
        whole = {"type": "function", **request}
        call = _converted(ToolCallRequest, whole, "tool call request")
        return ToolCallRequestData(tool_call_request=call)
    raise LMStudioValueError(f"Unable to parse tool call request content: {request}")


def _result(result: ToolCallResultInput) -> ToolCallResultData:
    if isinstance(result, ToolCallResultData):
        return result
    if isinstance(result, Mapping) and "content" in result:
        return _converted(ToolCallResultData, {"type": "toolCallResult", **result}, "tool result")
    raise LMStudioValueError(f"Unable to parse tool result: {result}")


def _converted(kind: type[ShapeT], data: Mapping[str, Any], what: str) -> ShapeT:
    try:
        return kind.from_dict(data)
    except (msgspec.ValidationError, ValueError) as problem:
        raise LMStudioValueError(f"Unable to parse {what} content: {problem}") from None
