"""Messages, tools and images as OpenAI's API writes them, from and to `lmstrix.types`."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from lmstrix.errors import UsageError
from lmstrix.types import Image, Message, Role, Tool, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What OpenAI calls the one who speaks, where it is not what we call it.
_ROLES = {"developer": Role.SYSTEM, "function": Role.TOOL}
TOOL_WORDS = frozenset({"auto", "none", "required"})


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A piece of text within a message."""

    text: str


class ImageUrl(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where an image is: a `data:` address that holds it."""

    url: str
    detail: str | None = None


class ImagePart(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """An image within a message."""

    image_url: ImageUrl | str


Part: TypeAlias = TextPart | ImagePart


class CallFunction(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is called. OpenAI writes the arguments as JSON text, some servers as an object."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Call(msgspec.Struct, frozen=True):
    """A tool call of an assistant's message."""

    id: str = ""
    type: str = "function"
    function: CallFunction = CallFunction()


class ChatMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message on the wire."""

    role: str
    content: str | tuple[Part, ...] | None = None
    tool_calls: tuple[Call, ...] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    reasoning_content: str | None = None


class FunctionSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function that is offered; `parameters` is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool that is offered. OpenAI's own tools, which are no functions, have no `function`."""

    type: str = "function"
    function: FunctionSpec | None = None


class NamedFunction(msgspec.Struct, frozen=True):
    """The name of a function."""

    name: str


class NamedTool(msgspec.Struct, frozen=True):
    """The tool that must be called."""

    function: NamedFunction
    type: Literal["function"] = "function"


def encode_message(message: Message, *, reasoning: bool) -> ChatMessage:
    """The message on the wire; `reasoning` is whether the server takes back what was thought."""
    content: str | tuple[Part, ...] = message.content
    if message.images:
        text = (TextPart(message.content),) if message.content else ()
        content = (*text, *(ImagePart(ImageUrl(data_url(image))) for image in message.images))
    calls = tuple(
        Call(id=call.id, function=CallFunction(call.name, call.arguments))
        for call in message.tool_calls
    )
    return ChatMessage(
        role=message.role.value,
        content=content,
        tool_calls=calls or None,
        tool_call_id=message.tool_call_id,
        name=message.name,
        reasoning_content=message.reasoning or None if reasoning else None,
    )


def encode_tools(tools: Sequence[Tool]) -> tuple[ToolSpec, ...]:
    """The tools on the wire."""
    return tuple(
        ToolSpec(
            function=FunctionSpec(
                tool.name, tool.description or None, dict(tool.parameters) or empty_parameters()
            )
        )
        for tool in tools
    )


def empty_parameters() -> dict[str, Any]:
    """The JSON Schema of a tool that takes nothing."""
    return {"type": "object", "properties": {}}


def encode_tool_choice(choice: str) -> str | NamedTool:
    """`auto`, `none` and `required` are words of the wire format; anything else names a tool."""
    return choice if choice in TOOL_WORDS else NamedTool(NamedFunction(choice))


def decode_messages(messages: Iterable[ChatMessage]) -> tuple[Message, ...]:
    """The messages of a client's request. Raises `UsageError` for what has no meaning here."""
    return tuple(_decode_message(message) for message in messages)


def _decode_message(message: ChatMessage) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        try:
            role = Role(message.role)
        except ValueError:
            raise UsageError(f"There is no role {message.role!r}.") from None
    content = message.content or ""
    parts = (TextPart(content),) if isinstance(content, str) else content
    text = "".join(part.text for part in parts if isinstance(part, TextPart))
    images = tuple(_image(part) for part in parts if isinstance(part, ImagePart))
    return Message(
        role,
        text,
        images=images,
        tool_calls=decode_calls(message.tool_calls or ()),
        tool_call_id=message.tool_call_id,
        name=message.name,
        reasoning=message.reasoning_content or "",
    )


def decode_calls(calls: Iterable[Call]) -> tuple[ToolCall, ...]:
    """The tool calls of an assistant's message."""
    return tuple(
        ToolCall(
            id=call.id,
            name=call.function.name or "",
            arguments=arguments_text(call.function.arguments) or "{}",
        )
        for call in calls
    )


def arguments_text(arguments: str | dict[str, Any] | None) -> str:
    """The arguments of a call as JSON text, however a server writes them."""
    if isinstance(arguments, dict):
        return msgspec.json.encode(arguments).decode()
    return arguments or ""


def decode_tools(tools: Iterable[ToolSpec]) -> tuple[Tool, ...]:
    """The tools of a client's request. Raises `UsageError` for one that is no function."""
    found = []
    for tool in tools:
        if tool.type != "function" or tool.function is None:
            raise UsageError(
                f"A tool of the type {tool.type!r} is not offered here.",
                hint="Describe it as a function.",
            )
        found.append(
            Tool(
                name=tool.function.name,
                description=tool.function.description or "",
                parameters=tool.function.parameters or {},
            )
        )
    return tuple(found)


def data_url(image: Image) -> str:
    """The image as a `data:` address (RFC 2397)."""
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode('ascii')}"


def _image(part: ImagePart) -> Image:
    address = part.image_url if isinstance(part.image_url, str) else part.image_url.url
    return image_from(address)


def image_from(address: str) -> Image:
    """The image that a `data:` address holds.

    Raises `UsageError` for any other address: what a client names is never fetched for it.
    """
    head, comma, body = address.partition(",")
    media_type, _, encoding = head.removeprefix("data:").partition(";")
    if not head.startswith("data:") or not comma or "base64" not in encoding:
        raise UsageError(
            "An image must be in the request itself, as a data: address in base64.",
            hint="Read the image, and send data:image/png;base64,… instead of its address.",
        )
    try:
        return Image(base64.b64decode(body, validate=True), media_type or "image/png")
    except (binascii.Error, ValueError):
        raise UsageError("An image of the request is not valid base64.") from None
