"""Chats, completions and embeddings on the wire, as a client sends and a server answers them.

`None` stands for what was not said and is never sent. Durations are nanoseconds.
"""

from __future__ import annotations

import msgspec

encode = msgspec.json.Encoder().encode


class _Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A JSON object of which nothing need be there."""


class CalledFunction(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """The function of a tool call; `arguments` is a JSON object as it was written."""

    name: str
    # A factory, because a default that is Raw has no JSON Schema.
    arguments: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    index: int | None = None

    @property
    def arguments_text(self) -> str:
        """The arguments as JSON text; some programs send them as a string that holds JSON."""
        raw = bytes(self.arguments)
        if raw.startswith(b'"'):
            return msgspec.json.decode(raw, type=str)
        return raw.decode()


class WireToolCall(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """A tool call, always whole."""

    function: CalledFunction
    id: str | None = None


class WireMessage(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """A message; `images` are the bytes of their files (base64 on the wire)."""

    role: str
    content: str | None = None
    thinking: str | None = None
    images: tuple[bytes, ...] | None = None
    tool_calls: tuple[WireToolCall, ...] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class OfferedFunction(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """A function that is offered; `parameters` is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: dict[str, object] | None = None


class WireTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that is offered."""

    function: OfferedFunction
    type: str = "function"


class _Asking(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """What chats and completions have in common.

    `format` is `json` or a JSON Schema. `truncate` false makes the server refuse a prompt that
    does not fit instead of cutting it; servers before 0.12.6 do not know it.
    """

    model: str = ""
    stream: bool | None = None
    format: str | dict[str, object] | None = None
    options: dict[str, object] | None = None
    keep_alive: float | str | None = None
    think: bool | str | None = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    debug_render_only: bool | None = msgspec.field(name="_debug_render_only", default=None)


class ChatRequest(_Asking, frozen=True, kw_only=True, omit_defaults=True):
    """`POST /api/chat`. Without messages it loads the model; with `keep_alive` 0 it unloads it."""

    messages: tuple[WireMessage, ...] | None = None
    tools: tuple[WireTool, ...] | None = None


class GenerateRequest(_Asking, frozen=True, kw_only=True, omit_defaults=True):
    """`POST /api/generate`. Without a prompt it loads or unloads, as a chat does."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: tuple[int, ...] | None = None
    raw: bool | None = None
    images: tuple[bytes, ...] | None = None


class EmbedRequest(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """`POST /api/embed`."""

    model: str = ""
    input: str | tuple[str, ...] | None = None
    truncate: bool | None = None
    dimensions: int | None = None
    options: dict[str, object] | None = None
    keep_alive: float | str | None = None


class EmbeddingsRequest(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """`POST /api/embeddings`, the older form for one text."""

    model: str = ""
    prompt: str | None = None
    options: dict[str, object] | None = None
    keep_alive: float | str | None = None


class ReplyMessage(_Body, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a reply adds to the answer of a chat."""

    role: str | None = None
    content: str | None = None
    thinking: str | None = None
    tool_calls: tuple[WireToolCall, ...] | None = None


class WireLogprob(_Body, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A token's natural log probability; `bytes` are its UTF-8 bytes as numbers."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top_logprobs: tuple[WireLogprob, ...] | None = None


class DebugInfo(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """What a server tells that was asked to render only."""

    rendered_template: str = ""
    image_count: int | None = None


class Reply(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the answer to a chat (`message`) or a completion (`response`), or all of it.

    The counts and durations come with the last one, whose `done` is true. `error` comes alone.
    """

    model: str | None = None
    created_at: str | None = None
    message: ReplyMessage | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool | None = None
    done_reason: str | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    logprobs: tuple[WireLogprob, ...] | None = None
    debug_info: DebugInfo | None = msgspec.field(name="_debug_info", default=None)
    error: str | dict[str, object] | None = None


class EmbedReply(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to `/api/embed`: one unit vector per text."""

    model: str | None = None
    embeddings: tuple[tuple[float, ...], ...] | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None


class EmbeddingsReply(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to `/api/embeddings`."""

    embedding: tuple[float, ...] | None = None
