"""Requests for a message: written by a client, read by a server.

Blocks of messages are read leniently, by one type with every field: what a newer client adds is
passed over as long as nothing is lost by it, and refused by name where something would be.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from lmstrix.errors import UsageError
from lmstrix.types import Image, Message, Request, Role, Sampling, Tool, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MESSAGES = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"
VERSION = "2023-06-01"

_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the content of an image or document is: `base64` and `text` hold it themselves."""

    type: str
    media_type: str = ""
    data: str = ""
    content: str | tuple[Block, ...] = ""


class Block(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of a message, of whatever type; see the type for which fields it has."""

    type: str
    text: str = ""
    source: Source | str | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw | UnsetType = UNSET
    tool_use_id: str = ""
    content: str | tuple[Block, ...] | UnsetType = UNSET
    is_error: bool = False
    thinking: str = ""
    signature: str | UnsetType = UNSET
    title: str | None = None


class Turn(msgspec.Struct, frozen=True):
    """A message of the conversation."""

    role: str
    content: str | tuple[Block, ...]


class ToolSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool that is offered. `type` names Anthropic's own tools; `custom` is anybody's."""

    name: str = ""
    description: str = ""
    input_schema: dict[str, Any] | None = None
    type: str | None = None


class ToolChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a tool must be called: `auto`, `any`, `none`, or the `tool` of that `name`."""

    type: str
    name: str = ""


class Thinking(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether to reason first: `enabled`, `disabled` or `adaptive`, shown or `omitted`."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class OutputFormat(msgspec.Struct, frozen=True):
    """The JSON Schema that the answer must obey."""

    schema: dict[str, Any]
    type: str = "json_schema"


class OutputConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the answer must be, and how much work is put into it."""

    format: OutputFormat | None = None
    effort: str | None = None


class CountRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`POST /v1/messages/count_tokens`."""

    model: str
    messages: tuple[Turn, ...]
    system: str | tuple[Block, ...] = ""
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None

    def request(self) -> Request:
        """What a client asks. Raises `UsageError` for what has no meaning here."""
        return self._request(Sampling())

    def _request(self, sampling: Sampling) -> Request:
        if not self.messages:
            raise UsageError("A conversation needs a message: `messages` is empty.")
        system = _text(self.system)
        before = (Message(Role.SYSTEM, system),) if system else ()
        config = self.output_config or OutputConfig()
        return Request(
            messages=(*before, *(one for turn in self.messages for one in _messages(turn))),
            sampling=sampling,
            tools=tuple(_tool(tool) for tool in self.tools),
            tool_choice=self._choice(),
            schema=config.format.schema if config.format is not None else None,
            think=self._think(config),
        )

    def _choice(self) -> str | None:
        choice = self.tool_choice
        if choice is None:
            return None
        if choice.type == "tool":
            return choice.name
        if choice.type not in _CHOICES:
            raise UsageError(f"There is no tool_choice of the type {choice.type!r}.")
        return _CHOICES[choice.type]

    def _think(self, config: OutputConfig) -> bool | str | None:
        if self.thinking is None:
            return None
        if self.thinking.type == "disabled":
            return False
        effort = _EFFORTS.get(config.effort or "")
        return effort or (True if self.thinking.type == "enabled" else None)


class MessagesRequest(CountRequest, frozen=True, kw_only=True, omit_defaults=True):
    """`POST /v1/messages`."""

    max_tokens: int
    stream: bool = False
    stop_sequences: tuple[str, ...] = ()
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None

    @property
    def shows_thinking(self) -> bool:
        """Whether reasoning is to be part of the answer."""
        thinking = self.thinking
        return thinking is None or (thinking.display != "omitted" and thinking.type != "disabled")

    def request(self) -> Request:
        """What a client asks. Raises `UsageError` for what has no meaning here."""
        sampling = Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            stop=self.stop_sequences or None,
            max_tokens=self.max_tokens,
        )
        return self._request(sampling)


def _messages(turn: Turn) -> Iterator[Message]:
    """The messages of one turn: results of tools come first, each a message of its own."""
    try:
        role = Role(turn.role)
    except ValueError:
        raise UsageError(f"There is no role {turn.role!r}.") from None
    if isinstance(turn.content, str):
        yield Message(role, turn.content)
        return
    results = [block for block in turn.content if block.type == "tool_result"]
    rest = [block for block in turn.content if block.type != "tool_result"]
    images: list[Image] = []
    for block in results:
        content = () if block.content is UNSET else block.content
        text = _text(content)
        images += _images(content)
        mark = "Error: " if block.is_error else ""
        yield Message(Role.TOOL, mark + text, tool_call_id=block.tool_use_id)
    images += _images(rest)
    calls = tuple(_call(block) for block in rest if block.type == "tool_use")
    reasoning = "".join(block.thinking for block in rest if block.type == "thinking")
    if rest or images:
        yield Message(
            role, _text(rest), images=tuple(images), tool_calls=calls, reasoning=reasoning
        )


# Blocks that are read elsewhere, or hold what only Anthropic's own servers can read.
_SILENT = frozenset({"image", "tool_use", "thinking", "redacted_thinking"})


def _text(content: str | Iterable[Block]) -> str:
    """The text of blocks, joined. Raises `UsageError` for one that would be lost."""
    if isinstance(content, str):
        return content
    return "\n".join(piece for block in content if (piece := _text_of(block)) is not None)


def _text_of(block: Block) -> str | None:
    if block.type == "text":
        return block.text
    if block.type == "document" and isinstance(block.source, Source):
        title = f"{block.title}\n" if block.title else ""
        if block.source.type == "text":
            return title + block.source.data
        if block.source.type == "content":
            return title + _text(block.source.content)
    if block.type == "search_result":
        title = f"{block.title}\n" if block.title else ""
        return title + _text(() if block.content is UNSET else block.content)
    if block.type in _SILENT:
        return None
    raise UsageError(
        f"A block of the type {block.type!r} cannot be read here.",
        hint="Send text, images in base64, tool_use and tool_result.",
    )


def _images(content: str | Iterable[Block]) -> list[Image]:
    if isinstance(content, str):
        return []
    return [_image(block) for block in content if block.type == "image"]


def _image(block: Block) -> Image:
    source = block.source
    if not isinstance(source, Source) or source.type != "base64":
        raise UsageError(
            "An image must be in the request itself, in base64.",
            hint="Read the image and send its bytes instead of its address.",
        )
    try:
        return Image(base64.b64decode(source.data, validate=True), source.media_type or "image/png")
    except (binascii.Error, ValueError):
        raise UsageError("An image of the request is not valid base64.") from None


def _call(block: Block) -> ToolCall:
    given = "{}" if block.input is UNSET else bytes(block.input).decode()
    return ToolCall(id=block.id, name=block.name, arguments=given)


def _tool(tool: ToolSpec) -> Tool:
    if tool.type not in (None, "custom") or tool.input_schema is None:
        raise UsageError(
            f"The tool {tool.name or tool.type!r} is one of Anthropic's own servers "
            f"({tool.type or 'it has no input_schema'}).",
            hint="Describe a tool with name, description and input_schema.",
        )
    return Tool(name=tool.name, description=tool.description, parameters=tool.input_schema)


# The client's side


def encode_request(request: Request, *, model: str, stream: bool = True) -> MessagesRequest:
    """The body that asks for `request`.

    Raises `UsageError` where the format has no way to say it: it wants a limit of the answer and
    knows no plain completions.
    """
    sampling = request.sampling
    if sampling.max_tokens is None or request.prompt is not None:
        raise UsageError(
            "Anthropic's API takes conversations with a limit of the answer's tokens.",
            hint="Set max_tokens, and send messages.",
        )
    system = [message.content for message in request.messages if message.role is Role.SYSTEM]
    return MessagesRequest(
        model=model,
        messages=tuple(_turns(request.messages)),
        system="\n\n".join(system),
        max_tokens=sampling.max_tokens,
        stream=stream,
        stop_sequences=sampling.stop or (),
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        tools=tuple(
            ToolSpec(
                name=tool.name,
                description=tool.description,
                input_schema=dict(tool.parameters) or {"type": "object", "properties": {}},
            )
            for tool in request.tools
        ),
        tool_choice=_encode_choice(request.tool_choice),
        thinking=_encode_thinking(request.think),
        output_config=(
            None
            if request.schema is None
            else OutputConfig(format=OutputFormat(schema=dict(request.schema)))
        ),
    )


def _turns(messages: Iterable[Message]) -> Iterator[Turn]:
    """Turns that alternate: results of tools are part of what the user says next."""
    role, blocks = "", list[Block]()
    for message in messages:
        if message.role is Role.SYSTEM:
            continue
        speaker = "assistant" if message.role is Role.ASSISTANT else "user"
        if speaker != role and blocks:
            yield Turn(role, tuple(blocks))
            blocks = []
        role = speaker
        blocks += _blocks(message)
    if blocks:
        yield Turn(role, tuple(blocks))


def _blocks(message: Message) -> Iterator[Block]:
    if message.role is Role.TOOL:
        yield Block(
            type="tool_result",
            tool_use_id=message.tool_call_id or "",
            content=message.content,
        )
        return
    for image in message.images:
        data = base64.b64encode(image.data).decode("ascii")
        yield Block(type="image", source=Source("base64", image.media_type, data))
    if message.content:
        yield Block(type="text", text=message.content)
    for call in message.tool_calls:
        arguments = msgspec.Raw((call.arguments or "{}").encode())
        yield Block(type="tool_use", id=call.id, name=call.name, input=arguments)


def _encode_choice(choice: str | None) -> ToolChoice | None:
    if choice is None:
        return None
    words = {meant: word for word, meant in _CHOICES.items()}
    return ToolChoice(words[choice]) if choice in words else ToolChoice("tool", choice)


def _encode_thinking(think: bool | str | None) -> Thinking | None:  # noqa: FBT001  # a value of `Request`
    if think is None:
        return None
    return Thinking("adaptive" if think else "disabled")
