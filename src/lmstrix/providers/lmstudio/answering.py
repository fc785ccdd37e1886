"""LM Studio's messages as the items of an answer, and its errors as ours. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

import msgspec

from lmstrix.errors import ContextOverflowError, GenerationError
from lmstrix.protocol.lmstudio.errors import read_error
from lmstrix.protocol.lmstudio.predictions import PredictMessage
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
    from collections.abc import Iterator

    from lmstrix.protocol.lmstudio.errors import SerializedLMSExtendedError
    from lmstrix.protocol.lmstudio.predictions import LlmPredictionFragment, LlmPredictionStats
    from lmstrix.types import Instance, StreamItem

_MESSAGE = msgspec.json.Decoder(PredictMessage)
_KINDS = {"none": FragmentKind.ANSWER, "reasoning": FragmentKind.REASONING}
_TAGS = frozenset({"reasoningStartTag", "reasoningEndTag"})
_REASONS = {
    "eosFound": StopReason.END,
    "stopStringFound": StopReason.STOP_STRING,
    "toolCalls": StopReason.TOOL_CALLS,
    "maxPredictedTokensReached": StopReason.LENGTH,
    "contextLengthReached": StopReason.CONTEXT,
    "userStopped": StopReason.CANCELLED,
}
# How LM Studio's engines say that a prompt does not fit; the first number is the prompt's.
_OVERFLOWS = (
    re.compile(r"keep the first (\d+) tokens.*context length of only (\d+)", re.DOTALL),
    re.compile(r"n_keep: (\d+) ?>= ?n_ctx: (\d+)"),
    re.compile(r"prompt has ([\d,]+) tokens, .*?holds? ([\d,]+)", re.DOTALL),
    re.compile(r"request \((\d+) tokens\) exceeds.*?context size \((\d+)", re.DOTALL),
)
_FITS_NOT = re.compile(
    r"(exceed|longer than|greater than|overflow|not enough|too (long|large)).*context"
    r"|context.*(exceed|overflow|not enough|too small)",
    re.IGNORECASE | re.DOTALL,
)


class Answer:
    """One answer on its way: messages in, items out; `done` once the last has come."""

    def __init__(self, instance: Instance) -> None:
        self.done = False
        self._instance = instance
        self._texts: list[str] = []
        self._cached: int | None = None
        self._prompt_tokens: int | None = None
        self._call = -1
        self._call_id = ""
        self._named = False
        self._wrote = False

    @property
    def begun(self) -> bool:
        """Whether a piece of the answer has come."""
        return bool(self._texts) or self._call >= 0

    @property
    def text(self) -> str:
        """What has come of the answer, reasoning left out."""
        return "".join(self._texts)

    def feed(self, raw: msgspec.Raw) -> Iterator[StreamItem]:
        """The items of a message; nothing for one that is not understood.

        Raises `GenerationError` or `ContextOverflowError` where the server ends in one.
        """
        try:
            message = _MESSAGE.decode(raw)
        except msgspec.DecodeError:
            return
        if message.type == "fragment" and message.fragment is not None:
            yield self._fragment(message.fragment)
        elif message.type == "promptProcessingProgress" and message.progress is not None:
            yield self._progress(message)
        elif message.type.startswith("toolCallGeneration"):
            yield from self._tool_call(message)
        elif message.type == "error":
            self.fail(read_error(message.error))
        elif message.type == "success" and message.stats is not None:
            yield self._stats(message.stats)

    def fail(self, error: SerializedLMSExtendedError) -> NoReturn:
        """Raise what an error of the server means."""
        raise generation_error(error, self._instance, partial=self.text)

    def _fragment(self, fragment: LlmPredictionFragment) -> Fragment:
        kind = _KINDS.get(fragment.reasoning_type)
        if kind is None:  # the tags around reasoning are no part of it; what is new is told
            is_tag = fragment.reasoning_type in _TAGS
            text = "" if is_tag else fragment.content
            return Fragment(text, fragment.tokens_count, FragmentKind.REASONING)
        if kind is FragmentKind.ANSWER:
            self._texts.append(fragment.content)
        logprobs = tuple(
            TokenLogprob(
                token.text,
                token.log_prob,
                tuple(
                    (other.text, other.log_prob)
                    for other in token.candidates
                    if other.log_prob is not None
                ),
            )
            for token in fragment.tokens or ()
            if token.log_prob is not None
        )
        return Fragment(fragment.content, fragment.tokens_count, kind, logprobs=logprobs)

    def _progress(self, message: PredictMessage) -> Progress:
        details = message.details
        if details is None:
            return Progress(phase=Phase.PROMPT, fraction=message.progress)
        self._cached = details.cached_token_count
        self._prompt_tokens = total = details.total_prompt_token_count
        return Progress(
            phase=Phase.PROMPT,
            fraction=message.progress,
            # What is done of the whole prompt, that which was cached included.
            processed_tokens=total - details.unprocessed_prompt_token_count,
            total_tokens=total,
            cached_tokens=details.cached_token_count,
        )

    def _tool_call(self, message: PredictMessage) -> Iterator[Fragment]:
        step = message.type.removeprefix("toolCallGeneration")
        if step == "Start":
            self._call += 1
            self._call_id = message.tool_call_id or ""
            self._named = self._wrote = False
        elif step == "NameReceived":
            yield self._name(message.name or "")
        elif step == "ArgumentFragmentGenerated":
            self._wrote = True
            yield self._piece(message.content or "", tokens=1)
        elif step == "Failed":
            self.fail(read_error(message.error))
        elif step == "End" and message.tool_call_request is not None:
            call = message.tool_call_request
            self._call_id = call.id or self._call_id
            self._call = max(self._call, 0)
            if not self._named:
                yield self._name(call.name)
            if not self._wrote:
                yield self._piece(msgspec.json.encode(call.arguments or {}).decode(), tokens=0)
            self._named = self._wrote = False

    def _name(self, name: str) -> Fragment:
        self._named = True
        call_id = self._call_id or f"call_{self._call}"
        return Fragment("", 0, FragmentKind.TOOL_CALL, CallPart(self._call, call_id, name))

    def _piece(self, text: str, *, tokens: int) -> Fragment:
        return Fragment(text, tokens, FragmentKind.TOOL_CALL, CallPart(self._call))

    def _stats(self, stats: LlmPredictionStats) -> Stats:
        self.done = True
        reason = _REASONS.get(stats.stop_reason)
        told = self._instance
        if stats.stop_reason in ("failed", "modelUnloaded"):
            raise GenerationError(
                f"The answer of {told.model_key} broke off on the server ({stats.stop_reason}).",
                partial=self.text,
                hint="Its own log may say why: lms log stream",
            )
        prompt = stats.prompt_tokens_count
        prompt = self._prompt_tokens if prompt is None else prompt
        context = told.context_tokens
        if reason is StopReason.CONTEXT and not self.begun and prompt and context:
            raise overflow(prompt, context)
        predicted, rate = stats.predicted_tokens_count, stats.tokens_per_second
        return Stats(
            stop_reason=reason or StopReason.END,
            prompt_tokens=prompt,
            cached_tokens=self._cached,
            predicted_tokens=predicted,
            prompt_s=stats.time_to_first_token_sec,
            predict_s=predicted / rate if predicted and rate else None,
        )


def generation_error(
    error: SerializedLMSExtendedError, instance: Instance, *, partial: str = ""
) -> GenerationError:
    """What an error means that ended an answer."""
    said = " ".join(str(part) for part in (error.title, error.cause) if part)
    data = error.error_data if isinstance(error.error_data, dict) else {}
    if "promptTokens" in data and "contextLength" in data:
        return overflow(int(data["promptTokens"]), int(data["contextLength"]))
    for pattern in _OVERFLOWS:
        if match := pattern.search(said):
            prompt, context = (int(number.replace(",", "")) for number in match.groups()[:2])
            return overflow(prompt, context)
    if _FITS_NOT.search(said) and instance.context_tokens is not None:
        return overflow(instance.context_tokens + 1, instance.context_tokens)
    return GenerationError(
        f"The answer of {instance.model_key} broke off: {said or 'no reason was told'}",
        partial=partial,
        hint=str(error.suggestion) if error.suggestion else "",
    )


def overflow(prompt_tokens: int, context_tokens: int) -> ContextOverflowError:
    """The error for a prompt that does not fit."""
    return ContextOverflowError(
        f"The prompt has {prompt_tokens:,} tokens, the instance holds {context_tokens:,}.",
        prompt_tokens=prompt_tokens,
        context_tokens=context_tokens,
        hint="Load a larger context with --in_ctx, or let the prompt be cut with --overflow.",
    )
