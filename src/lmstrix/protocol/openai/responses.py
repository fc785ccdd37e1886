"""OpenAI's Responses API (`POST /v1/responses`): what a client asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.errors import UsageError
from lmstrix.protocol.openai.messages import (
    TOOL_WORDS,
    image_from,
)
from lmstrix.types import Message, Request, Role, Sampling, Tool, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RESPONSES = "/v1/responses"

_TEXTS = frozenset({"input_text", "output_text", "text", "refusal"})


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a message: text or an image."""

    type: str
    text: str = ""
    refusal: str = ""
    image_url: str | None = None


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A message, a tool call, its result, or reasoning; `type` may be left out of messages."""

    type: str = "message"
    role: str = "user"
    content: str | tuple[Part, ...] | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str | tuple[Part, ...] = ""


class FunctionTool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that is offered. Tools of other types run at OpenAI's."""

    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolName(msgspec.Struct, frozen=True, kw_only=True):
    """The tool that must be called."""

    type: str = "function"
    name: str = ""


class TextFormat(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer must be: `text`, `json_object` or `json_schema`."""

    type: str = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class TextOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How text is answered."""

    format: TextFormat | None = None
    verbosity: str | None = None


class ReasoningOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much is thought."""

    effort: str | None = None
    summary: str | None = None


class ResponseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client sends."""

    model: str
    input: str | tuple[Item, ...] = ""
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: str | ToolName | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    stream: bool | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None
    metadata: dict[str, str] | None = None
    truncation: str | None = None
    top_logprobs: int | None = None
    user: str | None = None
    ttl: float | None = None

    def messages(self) -> tuple[Message, ...]:
        """The messages of `input` alone. Raises `UsageError` for what has no meaning here."""
        if isinstance(self.input, str):
            return (Message(Role.USER, self.input),) if self.input else ()
        return tuple(merged(_message(item) for item in self.input if item.type != "reasoning"))

    def request(self, before: Sequence[Message]) -> Request:
        """The question, after what was said `before`. Raises `UsageError`."""
        if self.background:
            raise UsageError("An answer in the background is not offered here.")
        system = (Message(Role.SYSTEM, self.instructions),) if self.instructions else ()
        said = (*before, *self.messages())
        if not said:
            raise UsageError("A response needs an input.", hint="Send `input`.")
        return Request(
            messages=(*system, *said),
            sampling=Sampling(
                temperature=self.temperature,
                top_p=self.top_p,
                max_tokens=self.max_output_tokens,
            ),
            tools=tuple(_tool(tool) for tool in self.tools),
            tool_choice=_choice(self.tool_choice),
            schema=_schema(self.text),
            think=_think(self.reasoning),
            logprobs=self.top_logprobs or None,
        )


def merged(messages: Iterator[Message]) -> Iterator[Message]:
    """The messages with tool calls that follow each other as one message, as chats have them."""
    last: Message | None = None
    for message in messages:
        if last is not None and last.tool_calls and message.tool_calls:
            last = msgspec.structs.replace(last, tool_calls=last.tool_calls + message.tool_calls)
            continue
        if last is not None:
            yield last
        last = message
    if last is not None:
        yield last


def _message(item: Item) -> Message:
    if item.type == "function_call":
        call = ToolCall(id=item.call_id, name=item.name, arguments=item.arguments or "{}")
        return Message(Role.ASSISTANT, "", tool_calls=(call,))
    if item.type == "function_call_output":
        return Message(Role.TOOL, _text(item.output), tool_call_id=item.call_id)
    if item.type != "message":
        raise UsageError(f"An input of the type {item.type!r} has no meaning here.")
    role = Role.SYSTEM if item.role == "developer" else None
    try:
        role = role or Role(item.role)
    except ValueError:
        raise UsageError(f"There is no role {item.role!r}.") from None
    content = item.content or ""
    parts = () if isinstance(content, str) else content
    images = tuple(image_from(part.image_url or "") for part in parts if part.type == "input_image")
    return Message(role, _text(content), images=images)


def _text(content: str | tuple[Part, ...]) -> str:
    if isinstance(content, str):
        return content
    unknown = {part.type for part in content} - _TEXTS - {"input_image"}
    if unknown:
        raise UsageError(f"Content of the type {min(unknown)!r} has no meaning here.")
    return "".join(part.text or part.refusal for part in content)


def _tool(tool: FunctionTool) -> Tool:
    if tool.type != "function":
        raise UsageError(
            f"A tool of the type {tool.type!r} is not offered here.",
            hint="Describe it as a function.",
        )
    return Tool(
        name=tool.name, description=tool.description or "", parameters=tool.parameters or {}
    )


def _choice(choice: str | ToolName | None) -> str | None:
    if isinstance(choice, ToolName):
        return choice.name
    if choice is not None and choice not in TOOL_WORDS:
        raise UsageError(f"The tool_choice {choice!r} has no meaning here.")
    return choice


def _schema(text: TextOptions | None) -> Mapping[str, object] | None:
    wanted = text.format if text else None
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "object"}
    if wanted.type == "json_schema" and wanted.schema:
        return wanted.schema
    raise UsageError(f"The text format {wanted.type!r} has no meaning here.")


def _think(reasoning: ReasoningOptions | None) -> bool | str | None:
    effort = reasoning.effort if reasoning else None
    return False if effort in ("none", "minimal") else effort
