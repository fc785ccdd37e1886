"""The client's side of an answer: events in, items of a provider's stream out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import ContextOverflowError, GenerationError, ProtocolError
from lmstrix.protocol.anthropic.messages import (
    STOP_REASONS,
    BlockDelta,
    BlockStart,
    Failure,
    InputDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolUseBlock,
    Usage,
)
from lmstrix.types import CallPart, Fragment, FragmentKind, Stats, StopReason

if TYPE_CHECKING:
    from lmstrix.errors import LMStrixError
    from lmstrix.types import StreamItem

_REASONS = {word: reason for reason, word in STOP_REASONS.items()}
_events = msgspec.json.Decoder(StreamEvent)
_TOO_LONG = re.compile(r"prompt is too long: (\d+) tokens > (\d+)")


class AnswerDecoder:
    """Events of one streamed answer in; `Fragment` items and at last `Stats` out.

    Events and deltas of types that nobody knows yet are passed over, as the API's reference asks
    of its clients. `text` is the answer so far, for errors that break it off.
    """

    def __init__(self) -> None:
        self.done = False
        self._texts: list[str] = []
        self._calls: dict[int, CallPart] = {}
        self._usage = Usage()
        self._reason: StopReason = StopReason.END

    @property
    def text(self) -> str:
        """The answer so far, without reasoning."""
        return "".join(self._texts)

    def feed(self, data: bytes) -> list[StreamItem]:
        """The items that one event's data stands for.

        Raises `GenerationError` for an error in the stream and `ProtocolError` for what is no
        event.
        """
        try:
            event = _events.decode(data)
        except msgspec.ValidationError:
            return []
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise ProtocolError(f"The server sent what is no event: {problem}.") from None
        return self._take(event)

    def _take(self, event: StreamEvent) -> list[StreamItem]:
        if isinstance(event, Failure):
            raise GenerationError(f"The server broke off: {event.error.message}", partial=self.text)
        if isinstance(event, MessageStart):
            self._usage = event.message.usage
        elif isinstance(event, BlockStart) and isinstance(event.content_block, ToolUseBlock):
            block, index = event.content_block, len(self._calls)
            self._calls[event.index] = CallPart(index)
            part = CallPart(index, block.id, block.name)
            return [Fragment("", 0, FragmentKind.TOOL_CALL, part)]
        elif isinstance(event, BlockDelta):
            return self._delta(event)
        elif isinstance(event, MessageDelta):
            self._reason = _REASONS.get(event.delta.stop_reason or "", StopReason.END)
            self._usage = _later(self._usage, event.usage)
        elif isinstance(event, MessageStop):
            self.done = True
            return [self._stats()]
        return []

    def _delta(self, event: BlockDelta) -> list[StreamItem]:
        delta = event.delta
        if isinstance(delta, TextDelta):
            self._texts.append(delta.text)
            return [Fragment(delta.text)]
        if isinstance(delta, ThinkingDelta):
            return [Fragment(delta.thinking, kind=FragmentKind.REASONING)]
        if isinstance(delta, InputDelta):
            call = self._calls.get(event.index)
            return [Fragment(delta.partial_json, kind=FragmentKind.TOOL_CALL, call=call)]
        return []

    def _stats(self) -> Stats:
        cached = self._usage.cache_read_input_tokens or 0
        made = self._usage.cache_creation_input_tokens or 0
        return Stats(
            stop_reason=self._reason,
            prompt_tokens=(self._usage.input_tokens or 0) + cached + made,
            cached_tokens=cached,
            predicted_tokens=self._usage.output_tokens,
        )


def error_from(body: bytes, *, status: int) -> LMStrixError:
    """The error that an unsuccessful response stands for."""
    try:
        error = msgspec.json.decode(body, type=Failure).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ProtocolError(f"The server answered with status {status} and no reason.")
    if found := _TOO_LONG.search(error.message):
        return ContextOverflowError(
            f"The server refused: {error.message}",
            prompt_tokens=int(found[1]),
            context_tokens=int(found[2]),
            hint="Shorten the prompt.",
        )
    return GenerationError(f"The server refused: {error.message}")


def _later(first: Usage, last: Usage) -> Usage:
    """Counts at the end are of the whole; those that are not told again still hold."""
    return Usage(
        first.input_tokens if last.input_tokens is None else last.input_tokens,
        last.output_tokens,
        first.cache_creation_input_tokens
        if last.cache_creation_input_tokens is None
        else last.cache_creation_input_tokens,
        first.cache_read_input_tokens
        if last.cache_read_input_tokens is None
        else last.cache_read_input_tokens,
    )
