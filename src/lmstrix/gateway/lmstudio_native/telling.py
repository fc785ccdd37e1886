"""From the items of an answer to the messages of a `predict` channel. Pure: times are passed in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from lmstrix.gateway.lmstudio_facts import STOP_REASONS
from lmstrix.protocol.lmstudio.chats import ToolCallRequest
from lmstrix.protocol.lmstudio.errors import SerializedLMSExtendedError
from lmstrix.protocol.lmstudio.predictions import (
    Candidate,
    LlmPredictionFragment,
    LlmPredictionStats,
    PredictedToken,
    PredictMessage,
    PromptProgress,
)
from lmstrix.types import Fragment, FragmentKind, Phase, Progress, Stats, StopReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmstrix.types import StreamItem

_NO_ID = -1  # a client wants a number for each token; engines tell texts alone
_ARGUMENTS = msgspec.json.Decoder(dict[str, object])


class Telling:
    """One answer on its way: items in, messages out; `stats` once it has ended.

    `reasoning` are the marks around what was thought, each a fragment of its own as in LM Studio;
    `None` tells thought and answer not apart. Times are seconds on any clock that only goes
    forward.
    """

    def __init__(self, *, reasoning: tuple[str, str] | None, started_s: float) -> None:
        self._marks = reasoning
        self._started_s = started_s
        self._first_s: float | None = None
        self._thinks = False
        self._progress = -1.0
        self._call: _CallText | None = None
        self._tokens = 0
        self._prompt_tokens: int | None = None
        self._ended: Stats | None = None
        self.texts: list[str] = []

    def feed(self, item: StreamItem, *, now_s: float) -> Iterator[PredictMessage]:
        """The messages that one item stands for."""
        if isinstance(item, Fragment):
            if self._first_s is None and (item.text or item.call is not None):
                self._first_s = now_s
            self._tokens += item.tokens
            if item.kind is FragmentKind.TOOL_CALL:
                yield from self._end_thought()
                yield from self._call_piece(item)
            elif item.text:
                yield from self._end_call()
                yield from self._text(item)
        elif isinstance(item, Progress):
            yield from self._read(item)
        else:
            yield from self._end_thought()
            yield from self._end_call()
            self._ended = item

    def stats(self, *, now_s: float, cancelled: bool = False) -> LlmPredictionStats:
        """How it went; of an answer that was cancelled, as far as it came."""
        ended = self._ended or Stats(stop_reason=StopReason.CANCELLED)
        prompt, predicted = ended.prompt_tokens, ended.predicted_tokens
        prompt = self._prompt_tokens if prompt is None else prompt
        predicted = self._tokens if predicted is None else predicted
        first_s = None if self._first_s is None else self._first_s - self._started_s
        reason = StopReason.CANCELLED if cancelled else ended.stop_reason
        return LlmPredictionStats(
            stop_reason=STOP_REASONS[reason],
            tokens_per_second=_finite(ended.tokens_per_s or self._rate(predicted, now_s)),
            time_to_first_token_sec=_finite(first_s),
            total_time_sec=_finite(now_s - self._started_s),
            prompt_tokens_count=prompt,
            predicted_tokens_count=predicted,
            total_tokens_count=None if prompt is None else prompt + predicted,
        )

    def _rate(self, predicted: int, now_s: float) -> float | None:
        if self._first_s is None or now_s <= self._first_s or not predicted:
            return None
        return predicted / (now_s - self._first_s)

    def _read(self, item: Progress) -> Iterator[PredictMessage]:
        """Progress of the prompt, told only where it is progress."""
        if item.phase is not Phase.PROMPT or item.fraction is None:
            return
        fraction = min(1.0, max(0.0, item.fraction))
        total, done = item.total_tokens or 0, item.processed_tokens or 0
        self._prompt_tokens = item.total_tokens
        if fraction <= self._progress:
            return
        self._progress = fraction
        yield PredictMessage(
            type="promptProcessingProgress",
            progress=fraction,
            details=PromptProgress(
                cached_token_count=item.cached_tokens or 0,
                total_prompt_token_count=total,
                processed_prompt_token_count=done,
                unprocessed_prompt_token_count=max(0, total - done),
            ),
        )

    def _text(self, item: Fragment) -> Iterator[PredictMessage]:
        thought = item.kind is FragmentKind.REASONING and self._marks is not None
        if thought and not self._thinks:
            assert self._marks is not None
            self._thinks = True
            yield self._fragment(self._marks[0], 0, "reasoningStartTag")
        elif not thought:
            yield from self._end_thought()
        yield self._fragment(item.text, item.tokens, "reasoning" if thought else "none", item)

    def _end_thought(self) -> Iterator[PredictMessage]:
        if self._thinks:
            assert self._marks is not None
            self._thinks = False
            yield self._fragment(self._marks[1], 0, "reasoningEndTag")

    def _fragment(
        self, text: str, tokens: int, kind: str, source: Fragment | None = None
    ) -> PredictMessage:
        self.texts.append(text)
        return PredictMessage(
            type="fragment",
            fragment=LlmPredictionFragment(
                content=text,
                tokens_count=tokens,
                contains_drafted=False,
                reasoning_type=kind,
                is_structural=False,
                tokens=_tokens(source) if source is not None and source.logprobs else None,
            ),
        )

    def _call_piece(self, item: Fragment) -> Iterator[PredictMessage]:
        part = item.call
        number = part.index if part is not None else 0
        if self._call is None or self._call.number != number:
            yield from self._end_call()
            call_id = part.id if part is not None else ""
            self._call = _CallText(number, call_id)
            yield PredictMessage(type="toolCallGenerationStart", tool_call_id=call_id or None)
        if part is not None and part.name:
            self._call.name += part.name
            yield PredictMessage(type="toolCallGenerationNameReceived", name=part.name)
        if item.text:
            self._call.arguments += item.text
            yield PredictMessage(
                type="toolCallGenerationArgumentFragmentGenerated", content=item.text
            )

    def _end_call(self) -> Iterator[PredictMessage]:
        call, self._call = self._call, None
        if call is not None:
            yield call.end()


class _CallText:
    """A tool call as far as it has come."""

    def __init__(self, number: int, call_id: str) -> None:
        self.number = number
        self.id = call_id
        self.name = ""
        self.arguments = ""

    def end(self) -> PredictMessage:
        """The whole call, or why it is none."""
        try:
            arguments = _ARGUMENTS.decode(self.arguments or "{}")
        except msgspec.DecodeError:
            error = SerializedLMSExtendedError(
                title=f"The model's call of {self.name or 'a tool'} has arguments that are no JSON "
                "object."
            )
            return PredictMessage(
                type="toolCallGenerationFailed",
                error=error.to_dict(),
                raw_content=self.arguments,
            )
        request = ToolCallRequest(
            type="function", name=self.name, id=self.id or None, arguments=arguments
        )
        return PredictMessage(
            type="toolCallGenerationEnd",
            tool_call_request=request,
            raw_content=self.arguments,
        )


def _tokens(fragment: Fragment) -> tuple[PredictedToken, ...]:
    return tuple(
        PredictedToken(
            text=token.text,
            id=_NO_ID,
            log_prob=token.logprob,
            candidates=tuple(
                Candidate(text=text, id=_NO_ID, log_prob=chance) for text, chance in token.top
            ),
        )
        for token in fragment.logprobs
    )


def _finite(value: float | None) -> float | None:
    """No client reads NaN or infinity."""
    return value if value is not None and math.isfinite(value) else None
