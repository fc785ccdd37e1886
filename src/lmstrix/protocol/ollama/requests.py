"""Questions as a client writes them and as a server reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.errors import UnsupportedError, UsageError
from lmstrix.protocol.ollama.durations import keep_alive_of
from lmstrix.protocol.ollama.messages import (
    CalledFunction,
    ChatRequest,
    GenerateRequest,
    OfferedFunction,
    WireMessage,
    WireTool,
    WireToolCall,
    encode,
)
from lmstrix.protocol.ollama.options import load_options, sampling_options
from lmstrix.types import Image, Message, Request, Role, Tool, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lmstrix.types import LoadConfig, Sampling

CHAT = "/api/chat"
GENERATE = "/api/generate"

_MEDIA_TYPES = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
    (b"BM", "image/bmp"),
)


def encode_request(
    request: Request, *, model: str, loaded: LoadConfig, stream: bool = True
) -> tuple[str, bytes]:
    """The path below the server's root and the body that asks for an answer.

    Only what `request` sets is sent, and two things that LMStrix owes: the options that the
    model was `loaded` with, without which Ollama loads it again at another size, and `truncate`
    false, without which it cuts a prompt that does not fit and says nothing. Raises `UsageError`
    for tool calls whose arguments are no JSON object and `UnsupportedError` for a tool choice,
    which the dialect has no word for.
    """
    fields: dict[str, Any] = {
        "model": model,
        "stream": stream,
        "truncate": False,
        "format": None if request.schema is None else dict(request.schema),
        "options": load_options(loaded) | sampling_options(request.sampling) or None,
        "keep_alive": keep_alive_of(loaded.ttl_s),
        "think": request.think,
        "logprobs": None if request.logprobs is None else True,
        "top_logprobs": request.logprobs or None,
    }
    if request.prompt is not None:
        raw = GenerateRequest(prompt=request.prompt, raw=True, **fields)
        return GENERATE, _with_extra(raw, request.extra)
    chat = ChatRequest(
        messages=tuple(encode_message(message) for message in request.messages),
        tools=_offered(request),
        **fields,
    )
    return CHAT, _with_extra(chat, request.extra)


def _with_extra(body: ChatRequest | GenerateRequest, extra: Mapping[str, object]) -> bytes:
    if not extra:
        return encode(body)
    known: dict[str, object] = msgspec.json.decode(encode(body))
    more = dict(extra)
    wished, set_here = more.pop("options", None), known.get("options") or {}
    if isinstance(wished, dict) and isinstance(set_here, dict):
        known["options"] = wished | set_here
    return encode(more | known)


def _offered(request: Request) -> tuple[WireTool, ...] | None:
    if not request.tools or request.tool_choice == "none":
        return None
    if request.tool_choice not in (None, "auto"):
        raise UnsupportedError(
            f"Ollama cannot be told which tool to call ({request.tool_choice}).",
            hint="Leave the choice to the model (auto), or offer no tool (none).",
        )
    return tuple(encode_tool(tool) for tool in request.tools)


def encode_tool(tool: Tool) -> WireTool:
    """The tool on the wire."""
    return WireTool(
        function=OfferedFunction(
            name=tool.name,
            description=tool.description or None,
            parameters=dict(tool.parameters) or {"type": "object", "properties": {}},
        )
    )


def encode_message(message: Message) -> WireMessage:
    """The message on the wire. Raises `UsageError` for arguments that are no JSON object."""
    calls = tuple(encode_call(call, index) for index, call in enumerate(message.tool_calls))
    return WireMessage(
        role=message.role.value,
        content=message.content,
        thinking=message.reasoning or None,
        images=tuple(image.data for image in message.images) or None,
        tool_calls=calls or None,
        tool_name=message.name,
        tool_call_id=message.tool_call_id,
    )


def encode_call(call: ToolCall, index: int) -> WireToolCall:
    """The call on the wire. Raises `UsageError` for arguments that are no JSON object."""
    try:
        msgspec.json.decode(call.arguments or "{}", type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UsageError(
            f"The arguments of the call of {call.name} are no JSON object.",
            hint="Ollama's dialect has no other: repair them, or leave the call out.",
        ) from None
    arguments = msgspec.Raw((call.arguments or "{}").encode())
    function = CalledFunction(index=index, name=call.name, arguments=arguments)
    return WireToolCall(id=call.id or None, function=function)


def read_chat(body: ChatRequest, sampling: Sampling, *, before: Iterable[Message] = ()) -> Request:
    """What a client asks, its conversation led by `before`, unless it has a system message.

    Raises `UsageError` for a role that nobody has.
    """
    messages = [_read_message(message) for message in body.messages or ()]
    return Request(
        messages=(*led_by(messages, before), *messages),
        sampling=sampling,
        tools=tuple(read_tool(tool) for tool in body.tools or ()),
        schema=_schema(body.format),
        think=body.think,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )


def read_generate(
    body: GenerateRequest, sampling: Sampling, *, before: Iterable[Message] = ()
) -> Request:
    """What a client asks; its `system` takes the place of the one in `before`.

    Raises `UsageError` for what a completion here does not have.
    """
    for name in ("suffix", "template", "context"):
        if getattr(body, name):
            raise UsageError(
                f"A completion takes no {name} here.",
                hint="Send the whole prompt as it is with raw, or use /api/chat.",
            )
    shared: dict[str, Any] = {
        "sampling": sampling,
        "schema": _schema(body.format),
        "think": body.think,
        "logprobs": (body.top_logprobs or 0) if body.logprobs else None,
    }
    if body.raw:
        if body.system or body.images:
            raise UsageError(
                "A raw prompt comes without a system message and without images.",
                hint="Leave raw out, or write the prompt with everything in it.",
            )
        return Request(prompt=body.prompt or "", **shared)
    system = [Message(Role.SYSTEM, body.system)] if body.system else []
    images = tuple(read_image(data) for data in body.images or ())
    question = Message(Role.USER, body.prompt or "", images=images)
    return Request(messages=(*led_by(system, before), *system, question), **shared)


def led_by(messages: list[Message], before: Iterable[Message]) -> list[Message]:
    """Those of `before` that belong ahead of `messages`, which may bring their own system."""
    own_system = any(message.role is Role.SYSTEM for message in messages)
    return [one for one in before if not (own_system and one.role is Role.SYSTEM)]


def read_messages(messages: Iterable[WireMessage]) -> tuple[Message, ...]:
    """The messages of a client. Raises `UsageError` for a role that nobody has."""
    return tuple(_read_message(message) for message in messages)


def _read_message(message: WireMessage) -> Message:
    try:
        role = Role(message.role.lower())
    except ValueError:
        raise UsageError(
            f"There is no role {message.role!r}.", hint="Use system, user, assistant or tool."
        ) from None
    calls = tuple(
        ToolCall(
            id=call.id or f"call_{index}",
            name=call.function.name,
            arguments=call.function.arguments_text,
        )
        for index, call in enumerate(message.tool_calls or ())
    )
    return Message(
        role,
        message.content or "",
        images=tuple(read_image(data) for data in message.images or ()),
        tool_calls=calls,
        tool_call_id=message.tool_call_id,
        name=message.tool_name,
        reasoning=message.thinking or "",
    )


def read_tool(tool: WireTool) -> Tool:
    """A tool that a client offers."""
    function = tool.function
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=function.parameters or {},
    )


def read_image(data: bytes) -> Image:
    """A picture; its kind is read from its first bytes."""
    for start, media_type in _MEDIA_TYPES:
        if data.startswith(start):
            return Image(data, media_type)
    return Image(data)


def _schema(wanted: str | dict[str, object] | None) -> dict[str, object] | None:
    if wanted is None or wanted == "":
        return None
    if wanted == "json":
        return {"type": "object"}
    if isinstance(wanted, str):
        raise UsageError(
            f"The format {wanted!r} has no meaning.", hint='Use "json", or a JSON Schema.'
        )
    return wanted
