"""Chat completions and completions as OpenAI's API has them, with llama.cpp's additions.

`ChatRequest` and `CompletionRequest` are what a client sends; `Chunk` is one event of the
streamed answer to either. `AnswerDecoder` turns a sequence of events into the items of a
provider's stream. The additions (`return_progress`, `timings`, `verbose` …) are llama.cpp's,
described in its `tools/server/README.md`; a server that does not know them ignores them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import (
    ContextOverflowError,
    GenerationError,
    LMStrixError,
    ProtocolError,
)
from lmstrix.types import Fragment, FragmentKind, Phase, Progress, Stats, StopReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lmstrix.protocol.events import Event
    from lmstrix.types import Request, StreamItem

DONE = b"[DONE]"


class ChatMessage(msgspec.Struct, frozen=True):
    """A message on the wire."""

    role: str
    content: str


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream carries besides the answer."""

    include_usage: bool = True


class _Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What both kinds of request have. Whatever is `None` is not sent."""

    model: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    max_tokens: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    cache_prompt: bool | None = None
    return_progress: bool | None = None
    timings_per_token: bool | None = None
    verbose: bool | None = None


class ChatRequest(_Request, frozen=True, kw_only=True, omit_defaults=True):
    """`POST /v1/chat/completions`."""

    messages: tuple[ChatMessage, ...]


class CompletionRequest(_Request, frozen=True, kw_only=True, omit_defaults=True):
    """`POST /v1/completions`."""

    prompt: str


class Delta(msgspec.Struct, frozen=True):
    """What a chunk adds to the message."""

    content: str | None = None
    reasoning_content: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """One alternative; `delta` belongs to chat completions, `text` to completions."""

    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class PromptDetails(msgspec.Struct, frozen=True):
    """How the prompt tokens came about."""

    cached_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """The server's own token counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class Timings(msgspec.Struct, frozen=True):
    """llama.cpp's own times. `prompt_n` counts what was processed, not what was cached."""

    prompt_n: int | None = None
    prompt_ms: float | None = None
    predicted_n: int | None = None
    predicted_ms: float | None = None


class PromptProgress(msgspec.Struct, frozen=True):
    """How much of the prompt is done; `processed` has `cache` in it."""

    total: int = 0
    cache: int = 0
    processed: int = 0


class Verbose(msgspec.Struct, frozen=True):
    """What llama.cpp adds to the end when asked for `verbose`."""

    stop_type: str | None = None


class ServerError(msgspec.Struct, frozen=True):
    """An error object, as the body of a response or in the middle of a stream."""

    message: str = ""
    type: str | None = None
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class Chunk(msgspec.Struct, frozen=True):
    """One event of a stream. Every field may be missing; unknown ones are passed over."""

    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    timings: Timings | None = None
    prompt_progress: PromptProgress | None = None
    verbose: Verbose | None = msgspec.field(name="__verbose", default=None)
    error: ServerError | str | None = None


class _ErrorBody(msgspec.Struct, frozen=True):
    error: ServerError | str


_chunks = msgspec.json.Decoder(Chunk)
_errors = msgspec.json.Decoder(_ErrorBody)
encode = msgspec.json.Encoder().encode


def request_for(request: Request, *, llama: bool) -> tuple[str, ChatRequest | CompletionRequest]:
    """The path below the server's root and the body that asks for a streamed answer.

    Only what `request` sets is sent. `llama` adds what llama.cpp's server alone knows:
    progress of the prompt, token counts per chunk and, where stop strings are set, whether one
    of them ended the answer.
    """
    sampling = request.sampling
    fields: dict[str, object] = {
        name: value
        for name in sampling.__struct_fields__
        if (value := getattr(sampling, name)) is not None
    }
    fields |= {"stream": True, "stream_options": StreamOptions()}
    if request.cache_prompt is not None:
        fields["cache_prompt"] = request.cache_prompt
    if llama:
        fields |= {"return_progress": True, "timings_per_token": True}
        if sampling.stop:
            fields["verbose"] = True
    if request.prompt is not None:
        fields["prompt"] = request.prompt
        return "/v1/completions", msgspec.convert(fields, CompletionRequest)
    fields["messages"] = tuple(
        ChatMessage(message.role.value, message.content) for message in request.messages
    )
    return "/v1/chat/completions", msgspec.convert(fields, ChatRequest)


def error_from(body: bytes, *, status: int) -> LMStrixError:
    """The error that an unsuccessful response stands for."""
    try:
        error = _errors.decode(body).error
    except msgspec.DecodeError:
        return ProtocolError(f"The server answered with status {status} and no reason.")
    return _raised(error)


def _raised(error: ServerError | str, *, partial: str = "") -> GenerationError:
    if isinstance(error, str):
        return GenerationError(f"The server refused: {error}", partial=partial)
    if error.n_prompt_tokens is not None and error.n_ctx is not None:
        return ContextOverflowError(
            f"The prompt has {error.n_prompt_tokens:,} tokens, the instance holds {error.n_ctx:,}.",
            prompt_tokens=error.n_prompt_tokens,
            context_tokens=error.n_ctx,
            hint="Load the model with a larger context, or shorten the prompt.",
        )
    return GenerationError(f"The server refused: {error.message}", partial=partial)


class AnswerDecoder:
    """Events of one streamed answer in; `Progress`, `Fragment` and at last `Stats` out.

    `max_tokens` is what the request allowed: an answer that ended for its length before that
    filled the context. `text` is the answer so far, for errors that break it off.
    """

    def __init__(self, *, max_tokens: int | None = None) -> None:
        self.done = False
        self._max_tokens = max_tokens
        self._texts: list[str] = []
        self._counted = 0
        self._finish: str | None = None
        self._stop_type: str | None = None
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
        if data == DONE:
            self.done = True
            return [self._stats()]
        try:
            chunk = _chunks.decode(data)
        except msgspec.DecodeError as problem:
            raise ProtocolError(
                f"The server sent an unreadable piece of an answer: {problem}."
            ) from None
        if chunk.error is not None:
            raise _raised(chunk.error, partial=self.text)
        items: list[StreamItem] = []
        if chunk.prompt_progress is not None:
            items.append(self._advance(chunk.prompt_progress))
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.timings is not None:
            self._timings = chunk.timings
        if chunk.verbose is not None:
            self._stop_type = chunk.verbose.stop_type
        for choice in chunk.choices:
            self._take(choice, items)
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
        text = choice.text
        if (delta := choice.delta) is not None:
            if delta.reasoning_content:
                items.append(
                    Fragment(delta.reasoning_content, self._tokens(), FragmentKind.REASONING)
                )
            text = delta.content
        if text:
            self._texts.append(text)
            items.append(Fragment(text, self._tokens()))

    def _tokens(self) -> int:
        """How many tokens this piece stands for: the server's count, else one."""
        if self._timings is None or self._timings.predicted_n is None:
            return 1
        new = self._timings.predicted_n - self._counted
        self._counted += new
        return new

    def _stats(self) -> Stats:
        usage, timings = self._usage, self._timings
        prompt = cached = predicted = None
        if usage is not None:
            prompt, predicted = usage.prompt_tokens, usage.completion_tokens
            if usage.prompt_tokens_details is not None:
                cached = usage.prompt_tokens_details.cached_tokens
        if predicted is None and timings is not None:
            predicted = timings.predicted_n
        if self._progress is not None:
            prompt = self._progress.total if prompt is None else prompt
            cached = self._progress.cache if cached is None else cached
        return Stats(
            stop_reason=self._stop_reason(predicted),
            prompt_tokens=prompt,
            cached_tokens=cached,
            predicted_tokens=predicted,
            prompt_s=_seconds(timings.prompt_ms if timings else None),
            predict_s=_seconds(timings.predicted_ms if timings else None),
        )

    def _stop_reason(self, predicted: int | None) -> StopReason:
        if self._finish != "length":
            return StopReason.STOP_STRING if self._stop_type == "word" else StopReason.END
        allowed = self._max_tokens
        if allowed is None or (predicted is not None and predicted < allowed):
            return StopReason.CONTEXT
        return StopReason.LENGTH


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
