"""`POST /api/v1/chat`: the request, the result, and the typed events of a streamed answer.

A streamed answer is a sequence of server-sent events whose name is also the `type` inside. The
server's side is `ChatEvents`: items of a provider's stream in, events out, every part of the
answer between its start and its end. The client's side is `read_event`. Events and fields are
those of LM Studio's documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lmstrix.errors import ProtocolError
from lmstrix.protocol.lmstudio.rest import ErrorDetail  # noqa: TC001  # read at run time
from lmstrix.types import Fragment, FragmentKind, Phase, Progress, Stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmstrix.types import StreamItem

Reasoning: TypeAlias = Literal["off", "low", "medium", "high", "on"]


# The request


class TextInput(Struct, frozen=True, tag="message"):
    """A text of the user."""

    content: str


class PlainTextInput(Struct, frozen=True, tag="text"):
    """The same under the name that some examples have."""

    content: str


class ImageInput(Struct, frozen=True, tag="image"):
    """A picture as a `data:` address."""

    data_url: str


Input: TypeAlias = TextInput | PlainTextInput | ImageInput


class ChatRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One turn of a conversation; `previous_response_id` continues one that was stored."""

    model: str
    input: str | tuple[Input, ...]
    system_prompt: str | UnsetType = UNSET
    integrations: tuple[object, ...] = ()
    stream: bool = False
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    min_p: float | UnsetType = UNSET
    repeat_penalty: float | UnsetType = UNSET
    max_output_tokens: int | UnsetType = UNSET
    reasoning: Reasoning | UnsetType = UNSET
    context_length: int | UnsetType = UNSET
    store: bool = True
    previous_response_id: str | UnsetType = UNSET


# The result


class MessageOutput(Struct, frozen=True, tag="message"):
    """A piece of the answer."""

    content: str


class ReasoningOutput(Struct, frozen=True, tag="reasoning"):
    """What the model thought before it."""

    content: str


class ToolCallOutput(Struct, frozen=True, kw_only=True, tag="tool_call"):
    """A tool that the server ran."""

    tool: str
    arguments: dict[str, object] = {}
    output: str = ""
    provider_info: object = None


class InvalidToolCallOutput(Struct, frozen=True, kw_only=True, tag="invalid_tool_call"):
    """A tool call that could not be run."""

    reason: str
    metadata: object = None


Output: TypeAlias = MessageOutput | ReasoningOutput | ToolCallOutput | InvalidToolCallOutput


class ChatStats(Struct, frozen=True, kw_only=True):
    """How the answer went. Zero where the server was not told."""

    input_tokens: int = 0
    total_output_tokens: int = 0
    reasoning_output_tokens: int = 0
    tokens_per_second: float = 0.0
    time_to_first_token_seconds: float = 0.0
    model_load_time_seconds: float | UnsetType = UNSET


class ChatResult(Struct, frozen=True, kw_only=True):
    """The whole answer; `response_id` only where it was stored."""

    model_instance_id: str
    output: tuple[Output, ...] = ()
    stats: ChatStats = ChatStats()
    response_id: str | UnsetType = UNSET


# The events


class ChatStart(Struct, frozen=True, tag="chat.start"):
    """The request was taken."""

    model_instance_id: str


class LoadStart(Struct, frozen=True, tag="model_load.start"):
    """The model is not loaded yet."""

    model_instance_id: str


class LoadProgress(Struct, frozen=True, tag="model_load.progress"):
    """How far the load is, 0..1."""

    model_instance_id: str
    progress: float


class LoadEnd(Struct, frozen=True, tag="model_load.end"):
    """It is loaded."""

    model_instance_id: str
    load_time_seconds: float


class PromptStart(Struct, frozen=True, tag="prompt_processing.start"):
    """The model begins to read."""


class PromptProgress(Struct, frozen=True, tag="prompt_processing.progress"):
    """How far it has read, 0..1."""

    progress: float


class PromptEnd(Struct, frozen=True, tag="prompt_processing.end"):
    """It has read everything."""


class ReasoningStart(Struct, frozen=True, tag="reasoning.start"):
    """It begins to think."""


class ReasoningDelta(Struct, frozen=True, tag="reasoning.delta"):
    """A piece of what it thinks."""

    content: str


class ReasoningEnd(Struct, frozen=True, tag="reasoning.end"):
    """It has thought."""


class MessageStart(Struct, frozen=True, tag="message.start"):
    """It begins to answer."""


class MessageDelta(Struct, frozen=True, tag="message.delta"):
    """A piece of the answer."""

    content: str


class MessageEnd(Struct, frozen=True, tag="message.end"):
    """It has answered."""


class ChatError(Struct, frozen=True, tag="error"):
    """Something went wrong; what came before holds."""

    error: ErrorDetail


class ChatEnd(Struct, frozen=True, tag="chat.end"):
    """All of it once more, as without streaming."""

    result: ChatResult


class OtherEvent(Struct, frozen=True):
    """An event of a server that knows more than this; `type` is its name."""

    type: str


ChatEvent: TypeAlias = (
    ChatStart
    | LoadStart
    | LoadProgress
    | LoadEnd
    | PromptStart
    | PromptProgress
    | PromptEnd
    | ReasoningStart
    | ReasoningDelta
    | ReasoningEnd
    | MessageStart
    | MessageDelta
    | MessageEnd
    | ChatError
    | ChatEnd
)

_encode = msgspec.json.Encoder().encode
_events = msgspec.json.Decoder(ChatEvent)
_names = msgspec.json.Decoder(OtherEvent)
_TYPES = frozenset(
    kind.__struct_config__.tag
    for kind in (
        ChatStart,
        LoadStart,
        LoadProgress,
        LoadEnd,
        PromptStart,
        PromptProgress,
        PromptEnd,
        ReasoningStart,
        ReasoningDelta,
        ReasoningEnd,
        MessageStart,
        MessageDelta,
        MessageEnd,
        ChatError,
        ChatEnd,
    )
)


def event_bytes(event: ChatEvent) -> bytes:
    """An event as it goes over the wire, its name first."""
    name = str(event.__struct_config__.tag).encode()
    return b"event: %s\ndata: %s\n\n" % (name, _encode(event))


def read_event(data: bytes) -> ChatEvent | OtherEvent:
    """The event that the data of one server-sent event stands for.

    One of a kind that is not known here is an `OtherEvent`. Raises `ProtocolError` for what is
    no event at all.
    """
    try:
        other = _names.decode(data)
        return _events.decode(data) if other.type in _TYPES else other
    except msgspec.DecodeError as problem:
        raise ProtocolError(f"The server sent an unreadable event: {problem}.") from None


class ChatEvents:
    """One answer on its way to a client, as events; `result` is what it came to.

    Feed it the items of a provider's stream, the load's progress included. Reasoning and answer
    may follow one another several times: each stretch is one output with a start and an end.
    """

    def __init__(self) -> None:
        self._instance_id = ""
        self._output: list[Output] = []
        self._pieces: list[str] = []
        self._open: FragmentKind | None = None
        self._reading = False
        self._loading = False
        self._load_s: float | UnsetType = UNSET
        self._reasoning_tokens = 0
        self._stats: Stats | None = None

    def start(self, instance_id: str) -> Iterator[ChatEvent]:
        """The request was taken; `instance_id` is the one that answers, or will once loaded."""
        self._instance_id = instance_id
        yield ChatStart(instance_id)

    def loaded(self, instance_id: str, load_s: float) -> Iterator[ChatEvent]:
        """The load that `feed` saw progress of has ended."""
        self._instance_id = instance_id
        if self._loading:
            self._loading = False
            self._load_s = load_s
            yield LoadEnd(instance_id, load_s)

    def feed(self, item: StreamItem) -> Iterator[ChatEvent]:
        """The events that one item stands for."""
        if isinstance(item, Progress):
            yield from self._progress(item)
        elif isinstance(item, Fragment):
            yield from self._fragment(item)
        else:
            yield from self._end_reading()
            yield from self._close()
            self._stats = item

    def result(self, response_id: str | UnsetType = UNSET) -> ChatResult:
        """The whole answer so far."""
        return ChatResult(
            model_instance_id=self._instance_id,
            output=tuple(self._output),
            stats=self._chat_stats(),
            response_id=response_id,
        )

    def _progress(self, item: Progress) -> Iterator[ChatEvent]:
        if item.phase is Phase.LOAD:
            if not self._loading:
                self._loading = True
                yield LoadStart(self._instance_id)
            if item.fraction is not None:
                yield LoadProgress(self._instance_id, item.fraction)
        elif item.phase is Phase.PROMPT and self._open is None:
            if not self._reading:
                self._reading = True
                yield PromptStart()
            if item.fraction is not None:
                yield PromptProgress(item.fraction)

    def _fragment(self, item: Fragment) -> Iterator[ChatEvent]:
        if item.kind is FragmentKind.TOOL_CALL or not item.text:
            return  # tools are run by the server alone in this dialect, and it has none
        yield from self._end_reading()
        if item.kind is not self._open:
            yield from self._close()
            self._open = item.kind
            yield ReasoningStart() if item.kind is FragmentKind.REASONING else MessageStart()
        self._pieces.append(item.text)
        if item.kind is FragmentKind.REASONING:
            self._reasoning_tokens += item.tokens
            yield ReasoningDelta(item.text)
        else:
            yield MessageDelta(item.text)

    def _end_reading(self) -> Iterator[ChatEvent]:
        if self._reading:
            self._reading = False
            yield PromptEnd()

    def _close(self) -> Iterator[ChatEvent]:
        text = "".join(self._pieces)
        self._pieces.clear()
        if self._open is FragmentKind.REASONING:
            self._output.append(ReasoningOutput(text))
            yield ReasoningEnd()
        elif self._open is not None:
            self._output.append(MessageOutput(text))
            yield MessageEnd()
        self._open = None

    def _chat_stats(self) -> ChatStats:
        stats = self._stats
        if stats is None:
            return ChatStats(model_load_time_seconds=self._load_s)
        return ChatStats(
            input_tokens=stats.prompt_tokens or 0,
            total_output_tokens=stats.predicted_tokens or 0,
            reasoning_output_tokens=self._reasoning_tokens,
            tokens_per_second=stats.tokens_per_s or 0.0,
            time_to_first_token_seconds=stats.time_to_first_token_s or 0.0,
            model_load_time_seconds=self._load_s,
        )
