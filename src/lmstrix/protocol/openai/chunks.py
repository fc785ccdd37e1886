"""What an answer is made of: chunks of a stream, and whole answers.

One set of structs is read by a client and written by a server. Every field may be missing.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from lmstrix.protocol.openai.errors import ServerError  # noqa: TC001  # msgspec resolves it at run time
from lmstrix.protocol.openai.messages import CallFunction  # noqa: TC001  # this too

_S = TypeVar("_S")

_MOST_TOKENS = 2**53  # more than any server can mean


class CallDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of a tool call; `id` and the name come with its first piece."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: CallFunction | None = None


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to the message, or the whole message."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None  # llama.cpp, LM Studio, older vLLM
    reasoning: str | None = None  # vLLM
    tool_calls: tuple[CallDelta, ...] | None = None
    refusal: str | None = None


class TopToken(msgspec.Struct, frozen=True):
    """One of the tokens that might have been."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None


class TokenChance(msgspec.Struct, frozen=True):
    """A token of the answer with its log probability."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top_logprobs: tuple[TopToken, ...] = ()


class Chances(msgspec.Struct, frozen=True, omit_defaults=True):
    """Log probabilities: `content` for chats, parallel lists for completions."""

    content: tuple[TokenChance, ...] | None = None
    tokens: tuple[str, ...] | None = None
    token_logprobs: tuple[float | None, ...] | None = None
    top_logprobs: tuple[dict[str, float] | None, ...] | None = None
    text_offset: tuple[int, ...] | None = None


class Choice(msgspec.Struct, frozen=True):
    """One alternative of a client's view: `delta`, `message` or `text`, by what was asked.

    `stop_reason` is vLLM's: the stop string that ended the answer, or a token's number.
    """

    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Chances | None = None
    message: Delta | None = None
    stop_reason: str | int | None = None


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
    """llama.cpp: how much of the prompt is done; `processed` has `cache` in it."""

    total: int = 0
    cache: int = 0
    processed: int = 0


class Verbose(msgspec.Struct, frozen=True):
    """What llama.cpp adds to the end when asked for `verbose`."""

    stop_type: str | None = None
    stopping_word: str | None = None


class RunStats(msgspec.Struct, frozen=True):
    """What LM Studio tells below `/api/v0`."""

    tokens_per_second: float | None = None
    time_to_first_token: float | None = None
    generation_time: float | None = None
    stop_reason: str | None = None


class Chunk(msgspec.Struct, frozen=True):
    """One event of a stream, or a whole answer. Unknown fields are passed over."""

    choices: tuple[Choice, ...] | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    prompt_progress: PromptProgress | None = None
    verbose: Verbose | None = msgspec.field(name="__verbose", default=None)
    stats: RunStats | None = None
    error: ServerError | str | None = None


class _Bare(msgspec.Struct, frozen=True):
    """A chunk without what is said beside the answer, each part for a judgement of its own."""

    choices: tuple[Choice, ...] | None = None
    usage: Any = None
    timings: Any = None
    error: ServerError | str | None = None


_chunks = msgspec.json.Decoder(Chunk)
_bare = msgspec.json.Decoder(_Bare)


def decode_chunk(data: bytes) -> Chunk:
    """The chunk in `data`. Raises `msgspec.DecodeError` for what is none.

    Counts and times that make no sense are left out: they are no reason to lose an answer.
    """
    try:
        return _chunks.decode(data)
    except msgspec.ValidationError:
        bare = _bare.decode(data)
        return Chunk(
            choices=bare.choices,
            usage=_sensible(bare.usage, Usage),
            timings=_sensible(bare.timings, Timings),
            error=bare.error,
        )


def _sensible(value: Any, kind: type[_S]) -> _S | None:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None


def sensible_count(tokens: int | None) -> int | None:
    """A count of tokens, `None` where it cannot be one."""
    return tokens if tokens is not None and 0 <= tokens < _MOST_TOKENS else None
