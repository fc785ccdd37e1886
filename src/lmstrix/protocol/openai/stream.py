"""An answer as a client reads it: events in, items of a provider's stream out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import ProtocolError
from lmstrix.protocol.openai.chunks import (
    Chunk,
    Delta,
    Timings,
    Usage,
    decode_chunk,
    sensible_count,
)
from lmstrix.protocol.openai.errors import raised
from lmstrix.protocol.openai.messages import arguments_text
from lmstrix.protocol.reasoning import ReasoningSplitter
from lmstrix.types import (
    CallPart,
    Fragment,
    FragmentKind,
    Phase,
    Progress,
    Stats,
    StopReason,
    TokenLogprob,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lmstrix.protocol.events import Event
    from lmstrix.protocol.openai.chunks import CallDelta, Chances, Choice, PromptProgress
    from lmstrix.types import StreamItem

DONE = b"[DONE]"

_REASONING, _TOOL_CALL = FragmentKind.REASONING, FragmentKind.TOOL_CALL
_CALLED = frozenset({"tool_calls", "function_call"})
# LM Studio's words for the end of an answer, below `/api/v0`.
_LMSTUDIO_STOPS = {
    "eosFound": StopReason.END,
    "stopStringFound": StopReason.STOP_STRING,
    "maxPredictedTokensReached": StopReason.LENGTH,
    "contextLengthReached": StopReason.CONTEXT,
    "toolCalls": StopReason.TOOL_CALLS,
    "userStopped": StopReason.CANCELLED,
}


class AnswerDecoder:
    """Events of one streamed answer in; `Progress`, `Fragment` and at last `Stats` out.

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
        self._counted = 0
        self._calls: list[str] = []  # ids of the tool calls, by their index here
        self._at: dict[int, int] = {}  # the server's index of a call -> ours
        self._finish: str | None = None
        self._ended_by: StopReason | None = None
        self._stop_string: str | None = None
        self._usage: Usage | None = None
        self._timings: Timings | None = None
        self._progress: PromptProgress | None = None

    @property
    def text(self) -> str:
        """The answer so far, without reasoning."""
        return "".join(self._texts)

    def items(self, events: Iterable[Event]) -> Iterator[StreamItem]:
        """The items that events stand for, one by one; raises as `feed` does."""
        for event in events:
            yield from self.feed(event.data)

    def feed(self, data: bytes) -> list[StreamItem]:
        """The items that one event's data stands for.

        Raises `ContextOverflowError` or `GenerationError` for an error object in the stream
        and `ProtocolError` for what is no chunk.
        """
        if self.done:
            return []
        if data == DONE:
            return self._end()
        return self._read(self._decode(data))

    def whole(self, body: bytes) -> list[StreamItem]:
        """The items of an answer that came in one piece, `Stats` the last; raises as `feed`."""
        items = self._read(self._decode(body))
        if self._finish is None and not items:
            raise ProtocolError("The server sent an answer without a choice.")
        return items + self._end()

    def close(self) -> list[StreamItem]:
        """The items at the end of the connection.

        A server that leaves out the end's mark has still told why the answer ended. Nothing
        when it has not: then the answer is broken off, and `done` stays false.
        """
        return [] if self.done or self._finish is None else self._end()

    def _decode(self, data: bytes) -> Chunk:
        try:
            return decode_chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise ProtocolError(
                f"The server sent an unreadable piece of an answer: {problem}.",
                hint="Ask again; if it stays so, that server does not speak OpenAI's format.",
            ) from None

    def _read(self, chunk: Chunk) -> list[StreamItem]:
        if chunk.error is not None:
            raise raised(chunk.error, partial=self.text)
        items: list[StreamItem] = []
        if chunk.prompt_progress is not None:
            items.append(self._advance(chunk.prompt_progress))
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.timings is not None:
            self._timings = chunk.timings
        if chunk.verbose is not None and chunk.verbose.stop_type == "word":
            self._ended_by = StopReason.STOP_STRING
            self._stop_string = chunk.verbose.stopping_word
        if chunk.stats is not None and chunk.stats.stop_reason is not None:
            self._ended_by = _LMSTUDIO_STOPS.get(chunk.stats.stop_reason)
        if chunk.choices:
            self._take(chunk.choices[0], items)
        return items

    def _end(self) -> list[StreamItem]:
        items: list[StreamItem] = []
        if self._splitter is not None:
            items += self._split(self._splitter.close(), 0, ())
        self.done = True
        items.append(self._stats())
        return items

    def _advance(self, progress: PromptProgress) -> Progress:
        self._progress = progress
        return Progress(
            phase=Phase.PROMPT,
            fraction=progress.processed / progress.total if progress.total else None,
            processed_tokens=progress.processed,
            total_tokens=progress.total,
            cached_tokens=progress.cache,
        )

    def _take(self, choice: Choice, items: list[StreamItem]) -> None:
        if choice.finish_reason is not None:
            self._finish = choice.finish_reason
            if isinstance(choice.stop_reason, str):
                self._ended_by = StopReason.STOP_STRING
        text = choice.text
        logprobs = () if choice.logprobs is None else _logprobs(choice.logprobs)
        delta = choice.delta or choice.message
        if delta is not None:
            self._take_delta(delta, items)
            text = delta.content
        if text:
            tokens = self._tokens(len(logprobs))
            if self._splitter is None or self._splitter.passes:
                self._texts.append(text)
                items.append(Fragment(text, tokens, logprobs=logprobs))
            else:
                items += self._split(self._splitter.feed(text), tokens, logprobs)

    def _take_delta(self, delta: Delta, items: list[StreamItem]) -> None:
        thought = delta.reasoning_content or delta.reasoning
        if thought:
            items.append(Fragment(thought, self._tokens(0), _REASONING))
        if delta.tool_calls:
            tokens = self._tokens(0)
            for call in delta.tool_calls:
                items.append(self._call(call, tokens))
                tokens = 0

    def _split(
        self, pieces: list[tuple[str, bool]], tokens: int, logprobs: tuple[TokenLogprob, ...]
    ) -> Iterator[Fragment]:
        self._owed += tokens
        for text, is_reasoning in pieces:
            tokens, self._owed = self._owed, 0
            if is_reasoning:
                yield Fragment(text, tokens, _REASONING, logprobs=logprobs)
            else:
                self._texts.append(text)
                yield Fragment(text, tokens, logprobs=logprobs)
            logprobs = ()

    def _call(self, call: CallDelta, tokens: int) -> Fragment:
        """A piece of a call. Some servers number every call 0, some none: a new id tells."""
        name = (call.function.name if call.function else None) or ""
        theirs = call.index if call.index is not None else len(self._at) if call.id else 0
        ours = self._at.get(theirs)
        if ours is None or (call.id and name and self._calls[ours] not in ("", call.id)):
            ours = self._at[theirs] = len(self._calls)
            self._calls.append(call.id or "")
        text = arguments_text(call.function.arguments) if call.function else ""
        part = CallPart(ours, call.id or "", name)
        return Fragment(text, tokens, _TOOL_CALL, part)

    def _tokens(self, told: int) -> int:
        """How many tokens this piece stands for: the server's count, else `told`, else one."""
        if self._timings is None or self._timings.predicted_n is None:
            return told or 1
        new = max(self._timings.predicted_n - self._counted, 0)
        self._counted += new
        return new

    def _stats(self) -> Stats:
        usage, timings = self._usage, self._timings
        prompt = cached = predicted = None
        if usage is not None:
            prompt = sensible_count(usage.prompt_tokens)
            predicted = sensible_count(usage.completion_tokens)
            if usage.prompt_tokens_details is not None:
                cached = sensible_count(usage.prompt_tokens_details.cached_tokens)
        if predicted is None and timings is not None:
            predicted = timings.predicted_n
        if self._progress is not None:
            prompt = self._progress.total if prompt is None else prompt
            cached = self._progress.cache if cached is None else cached
        return Stats(
            stop_reason=self._stop_reason(prompt, predicted),
            stop_string=self._stop_string,
            prompt_tokens=prompt,
            cached_tokens=cached,
            predicted_tokens=predicted,
            prompt_s=_seconds(timings.prompt_ms if timings else None),
            predict_s=_seconds(timings.predicted_ms if timings else None),
        )

    def _stop_reason(self, prompt: int | None, predicted: int | None) -> StopReason:
        if self._finish in _CALLED:
            return StopReason.TOOL_CALLS
        if self._ended_by is not None:
            return self._ended_by
        if self._finish != "length":
            return StopReason.TOOL_CALLS if self._calls else StopReason.END
        allowed, context = self._max_tokens, self._context_tokens
        if allowed is not None and predicted is not None and predicted >= allowed:
            return StopReason.LENGTH
        if context is not None and prompt is not None and predicted is not None:
            # An engine may stop a token short of its context; a server's own limit is far from it.
            return StopReason.CONTEXT if prompt + predicted >= context - 1 else StopReason.LENGTH
        return (
            StopReason.LENGTH if allowed is not None and predicted is None else StopReason.CONTEXT
        )


def _logprobs(chances: Chances) -> tuple[TokenLogprob, ...]:
    if chances.content is not None:
        return tuple(
            TokenLogprob(
                token.token,
                token.logprob,
                tuple((top.token, top.logprob) for top in token.top_logprobs),
            )
            for token in chances.content
        )
    tokens, values = chances.tokens or (), chances.token_logprobs or ()
    tops = chances.top_logprobs or (None,) * len(tokens)
    return tuple(
        TokenLogprob(
            token,
            value,
            tuple(sorted((top or {}).items(), key=lambda pair: -pair[1])),
        )
        for token, value, top in zip(tokens, values, tops, strict=False)
        if value is not None
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
