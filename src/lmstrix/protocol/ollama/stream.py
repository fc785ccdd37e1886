"""An answer as a client reads it: lines in, items of a provider's stream out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import ProtocolError
from lmstrix.protocol.ollama.errors import error_text, raised
from lmstrix.protocol.ollama.messages import Reply
from lmstrix.protocol.reasoning import ReasoningSplitter
from lmstrix.types import CallPart, Fragment, FragmentKind, Stats, StopReason, TokenLogprob

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lmstrix.protocol.ollama.messages import WireLogprob, WireToolCall
    from lmstrix.types import StreamItem

_ANSWER, _REASONING, _CALL = FragmentKind.ANSWER, FragmentKind.REASONING, FragmentKind.TOOL_CALL

_MOST_TOKENS = 1 << 40  # a larger count is none
_MEASURED = frozenset(
    name for name in Reply.__struct_fields__ if name.endswith(("_count", "_duration"))
)
_replies = msgspec.json.Decoder(Reply)


class AnswerDecoder:
    """Lines of one streamed answer in; `Fragment` items and at last `Stats` out.

    `max_tokens` is what the request allowed and `context_tokens` what the instance holds, where
    known: they tell an answer that ended for its length from one that filled the context.
    `raw` answers are plain completions, in which `<think>` is text. `text` is the answer so far,
    for errors that break it off. After `done` nothing that comes counts.
    """

    def __init__(
        self,
        *,
        max_tokens: int | None = None,
        context_tokens: int | None = None,
        raw: bool = False,
    ) -> None:
        self.done = False
        self._max_tokens = max_tokens
        self._context_tokens = context_tokens
        self._splitter = None if raw else ReasoningSplitter()
        self._texts: list[str] = []
        self._owed = 0  # tokens of text that the splitter held back
        self._calls = 0

    @property
    def text(self) -> str:
        """The answer so far, without reasoning."""
        return "".join(self._texts)

    def items(self, lines: Iterable[bytes]) -> Iterator[StreamItem]:
        """The items that lines stand for, one by one; raises as `feed` does."""
        for line in lines:
            yield from self.feed(line)

    def feed(self, line: bytes) -> list[StreamItem]:
        """The items that one line stands for.

        Raises `ContextOverflowError` or `GenerationError` for an error in the stream and
        `ProtocolError` for what is no reply.
        """
        if self.done:
            return []
        reply = self._decode(line)
        items: list[StreamItem] = []
        thinking, text, calls = reply.thinking, reply.response, None
        if (message := reply.message) is not None:
            thinking, text, calls = message.thinking, message.content, message.tool_calls
        logprobs = () if reply.logprobs is None else tuple(map(_logprob, reply.logprobs))
        if thinking:
            items.append(Fragment(thinking, len(logprobs) or 1, _REASONING, None, logprobs))
            logprobs = ()
        if text:
            tokens = len(logprobs) or 1
            if self._splitter is None or self._splitter.passes:
                self._texts.append(text)
                items.append(Fragment(text, tokens, _ANSWER, None, logprobs))
            else:
                items += self._split(self._splitter.feed(text), tokens, logprobs)
        if calls:
            items += self._called(calls)
        if reply.done:
            if self._splitter is not None:
                items += self._split(self._splitter.close(), 0, ())
            self.done = True
            items.append(self._stats(reply))
        return items

    def _decode(self, line: bytes) -> Reply:
        try:
            reply = _decoded(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise ProtocolError(
                f"The server sent an unreadable piece of an answer: {problem}.",
                hint="Ask again; if it stays so, that server does not speak Ollama's dialect.",
            ) from None
        if reply.error is not None:
            raise raised(error_text(reply.error), partial=self.text)
        return reply

    def _split(
        self, pieces: list[tuple[str, bool]], tokens: int, logprobs: tuple[TokenLogprob, ...]
    ) -> Iterator[Fragment]:
        self._owed += tokens
        for text, is_reasoning in pieces:
            tokens, self._owed = self._owed, 0
            if not is_reasoning:
                self._texts.append(text)
            kind = _REASONING if is_reasoning else _ANSWER
            yield Fragment(text, tokens, kind, None, logprobs)
            logprobs = ()

    def _called(self, calls: Iterable[WireToolCall]) -> Iterator[Fragment]:
        """Calls come whole; older servers give them no id."""
        for call in calls:
            at = self._calls
            self._calls += 1
            part = CallPart(at, call.id or f"call_{at}", call.function.name)
            yield Fragment(call.function.arguments_text, 1, _CALL, part)

    def _stats(self, last: Reply) -> Stats:
        return Stats(
            stop_reason=self._stop_reason(last),
            prompt_tokens=_count(last.prompt_eval_count),
            predicted_tokens=_count(last.eval_count),
            prompt_s=_seconds(last.prompt_eval_duration),
            predict_s=_seconds(last.eval_duration),
        )

    def _stop_reason(self, last: Reply) -> StopReason:
        if last.done_reason != "length":
            return StopReason.TOOL_CALLS if self._calls else StopReason.END
        prompt, predicted = _count(last.prompt_eval_count), _count(last.eval_count)
        allowed, context = self._max_tokens, self._context_tokens
        if allowed is not None and (predicted is None or predicted >= allowed):
            return StopReason.LENGTH
        if context is not None and prompt is not None and predicted is not None:
            # An engine may stop a token short of its context; a server's own limit is far from it.
            return StopReason.CONTEXT if prompt + predicted >= context - 1 else StopReason.LENGTH
        return StopReason.CONTEXT


def _decoded(line: bytes) -> Reply:
    """A reply. Counts and times that make no sense are no reason to lose an answer."""
    try:
        return _replies.decode(line)
    except msgspec.ValidationError:
        fields = msgspec.json.decode(line)
        if not isinstance(fields, dict):
            raise
        told = {name: value for name, value in fields.items() if name not in _MEASURED}
        return msgspec.convert(told, Reply)


def _logprob(wire: WireLogprob) -> TokenLogprob:
    top = tuple((other.token, other.logprob) for other in wire.top_logprobs or ())
    return TokenLogprob(wire.token, wire.logprob, top)


def _count(told: int | None) -> int | None:
    return told if told is not None and 0 <= told < _MOST_TOKENS else None


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None or nanoseconds < 0 else nanoseconds / 1e9
