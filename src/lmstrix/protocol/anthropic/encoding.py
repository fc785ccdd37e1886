"""The server's side of an answer: items in, events of a stream or one message out."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from lmstrix.protocol.anthropic.messages import (
    STOP_REASONS,
    AnswerMessage,
    BlockDelta,
    BlockStart,
    BlockStop,
    Failure,
    InputDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    Problem,
    SignatureDelta,
    Stop,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
    Usage,
)
from lmstrix.types import Fragment, FragmentKind, Phase, Progress, Stats, StopReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lmstrix.protocol.anthropic.messages import ContentBlock, Delta, StreamEvent
    from lmstrix.types import StreamItem

_Key: TypeAlias = tuple[FragmentKind, int]

_encode = msgspec.json.Encoder().encode


class AnswerEncoder:
    """Items of one answer in, the bytes of server-sent events out.

    `model` is the name that the client used. Nothing is said before the prompt is being
    processed, so that a request that is refused until then can still be answered with a status.
    """

    def __init__(self, model: str, *, stops: Sequence[str] = (), thinking: bool = True) -> None:
        self._model = model
        self._stops = stops
        self._thinking = thinking
        self._started = False
        self._index = -1
        self._open: _Key | None = None
        self._called = False
        self._input_tokens = self._cached_tokens = 0

    def feed(self, item: StreamItem) -> bytes:
        """The events that `item` stands for; often none."""
        if isinstance(item, Fragment):
            return self._fragment(item)
        if isinstance(item, Progress):
            return self._progress(item)
        return self._end(item)

    def fail(self, kind: str, message: str) -> bytes:
        """The event for an error in the middle of the answer."""
        return event_bytes(Failure(Problem(kind, message)))

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        usage = Usage(self._input_tokens, 0, 0, self._cached_tokens)
        message = AnswerMessage(id=new_id("msg"), model=self._model, usage=usage)
        return event_bytes(MessageStart(message))

    def _progress(self, item: Progress) -> bytes:
        if item.phase is not Phase.PROMPT:
            return b""
        if self._started:
            return event_bytes(Ping())
        self._cached_tokens = item.cached_tokens or 0
        self._input_tokens = (item.total_tokens or 0) - self._cached_tokens
        return self._start()

    def _fragment(self, item: Fragment) -> bytes:
        if item.kind is FragmentKind.REASONING and not self._thinking:
            return self._start()
        key = (item.kind, item.call.index if item.call is not None else 0)
        before = b""
        if key != self._open:
            if not item.text and item.call is None:
                return self._start()
            before = self._start() + self._close() + self._begin(key, item)
        if not item.text:
            return before
        return before + event_bytes(BlockDelta(self._index, _delta(item)))

    def _begin(self, key: _Key, item: Fragment) -> bytes:
        self._open = key
        self._index += 1
        block: ContentBlock = TextBlock()
        if item.kind is FragmentKind.REASONING:
            block = ThinkingBlock()
        elif item.kind is FragmentKind.TOOL_CALL and item.call is not None:
            self._called = True
            block = ToolUseBlock(item.call.id or new_id("toolu"), item.call.name)
        return event_bytes(BlockStart(self._index, block))

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        signed = b""
        if self._open[0] is FragmentKind.REASONING:
            signed = event_bytes(BlockDelta(self._index, SignatureDelta("")))
        self._open = None
        return signed + event_bytes(BlockStop(self._index))

    def _end(self, stats: Stats) -> bytes:
        before = self._start() + self._close()
        stop = _stop(stats, self._stops, called=self._called)
        return before + event_bytes(MessageDelta(stop, _usage(stats))) + event_bytes(MessageStop())


def whole_message(
    items: Iterable[StreamItem],
    model: str,
    *,
    stops: Sequence[str] = (),
    thinking: bool = True,
) -> AnswerMessage:
    """The answer in one piece."""
    blocks: list[ContentBlock] = []
    stats = Stats(stop_reason=StopReason.END)
    texts: list[str] = []
    key: _Key | None = None
    first: Fragment | None = None

    def close() -> None:
        if first is not None:
            blocks.append(_block(first, "".join(texts)))
            texts.clear()

    for item in items:
        if isinstance(item, Stats):
            stats = item
        if not isinstance(item, Fragment) or (not item.text and item.call is None):
            continue
        if item.kind is FragmentKind.REASONING and not thinking:
            continue
        now = (item.kind, item.call.index if item.call is not None else 0)
        if now != key:
            close()
            key, first = now, item
        texts.append(item.text)
    close()
    called = any(isinstance(block, ToolUseBlock) for block in blocks)
    stop = _stop(stats, stops, called=called)
    return AnswerMessage(
        id=new_id("msg"),
        model=model,
        content=tuple(blocks),
        stop_reason=stop.stop_reason,
        stop_sequence=stop.stop_sequence,
        usage=_usage(stats),
    )


def event_bytes(event: StreamEvent) -> bytes:
    """An event on the wire: its name is the type of what it holds."""
    name = type(event).__struct_config__.tag
    return b"event: " + str(name).encode() + b"\ndata: " + _encode(event) + b"\n\n"


def new_id(prefix: str) -> str:
    """An id that nobody else has."""
    return f"{prefix}_{secrets.token_hex(12)}"


def _delta(item: Fragment) -> Delta:
    if item.kind is FragmentKind.REASONING:
        return ThinkingDelta(item.text)
    if item.kind is FragmentKind.TOOL_CALL:
        return InputDelta(item.text)
    return TextDelta(item.text)


def _block(first: Fragment, text: str) -> ContentBlock:
    if first.kind is FragmentKind.REASONING:
        return ThinkingBlock(text)
    if first.kind is FragmentKind.TOOL_CALL and first.call is not None:
        return ToolUseBlock(first.call.id or new_id("toolu"), first.call.name, _input(text))
    return TextBlock(text)


def _input(text: str) -> msgspec.Raw:
    """The tool's input; what is no JSON object, though it should be, is an empty one."""
    try:
        msgspec.json.decode(text or "{}", type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeError):
        return msgspec.Raw(b"{}")
    return msgspec.Raw((text or "{}").encode())


def _stop(stats: Stats, stops: Sequence[str], *, called: bool) -> Stop:
    if stats.stop_reason is StopReason.STOP_STRING:
        only = stops[0] if len(stops) == 1 else None  # not every server tells which it was
        return Stop("stop_sequence", stats.stop_string or only)
    if called and stats.stop_reason is StopReason.END:
        return Stop("tool_use")
    return Stop(STOP_REASONS.get(stats.stop_reason, "end_turn"))


def _usage(stats: Stats) -> Usage:
    cached = stats.cached_tokens or 0
    return Usage(
        max(0, (stats.prompt_tokens or 0) - cached), stats.predicted_tokens or 0, 0, cached
    )
