"""Answers as a server writes them: whole, or in the chunks of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lmstrix.protocol.openai.chunks import (
    CallDelta,
    Chances,
    Delta,
    PromptDetails,
    TokenChance,
    TopToken,
)
from lmstrix.protocol.openai.messages import Call, CallFunction
from lmstrix.types import Fragment, FragmentKind, StopReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lmstrix.types import Stats, TokenLogprob

_FINISH = {
    StopReason.LENGTH: "length",
    StopReason.CONTEXT: "length",
    StopReason.TOOL_CALLS: "tool_calls",
}
_ANSWER = FragmentKind.ANSWER


class UsageTotal(msgspec.Struct, frozen=True, omit_defaults=True):
    """Token counts of one request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails | None = None


class ChatChoice(msgspec.Struct, frozen=True):
    """One alternative of a chunk."""

    delta: Delta
    logprobs: Chances | None = None
    finish_reason: str | None = None
    index: int = 0


class ChatChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a streamed chat completion."""

    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[ChatChoice, ...]
    usage: UsageTotal | None = None


class AnswerMessage(msgspec.Struct, frozen=True):
    """The message of a whole answer."""

    role: str
    content: str | None
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    tool_calls: tuple[Call, ...] | msgspec.UnsetType = msgspec.UNSET
    refusal: str | None = None


class ChatAlternative(msgspec.Struct, frozen=True):
    """One alternative of a whole answer."""

    message: AnswerMessage
    logprobs: Chances | None = None
    finish_reason: str = "stop"
    index: int = 0


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole chat completion."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: tuple[ChatAlternative, ...]
    usage: UsageTotal | None = None


class TextChoice(msgspec.Struct, frozen=True):
    """One alternative of a completion, or of a piece of one."""

    text: str
    logprobs: Chances | None = None
    finish_reason: str | None = None
    index: int = 0


class TextAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A completion, whole or one event of a streamed one."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: tuple[TextChoice, ...]
    usage: UsageTotal | None = None


_encode = msgspec.json.Encoder().encode


def usage_of(stats: Stats, tokens: int) -> UsageTotal | None:
    """Token counts; `None` where the server behind does not tell how long the prompt was.

    `tokens` are those that came, for a server that does not count its answer.
    """
    predicted = tokens if stats.predicted_tokens is None else stats.predicted_tokens
    if stats.prompt_tokens is None:
        return None
    cached = stats.cached_tokens
    return UsageTotal(
        stats.prompt_tokens,
        predicted,
        stats.prompt_tokens + predicted,
        None if cached is None else PromptDetails(cached),
    )


def finish_reason(stats: Stats) -> str:
    """Why the answer ended, in OpenAI's words."""
    return _FINISH.get(stats.stop_reason, "stop")


class ChatWriter:
    """Writes one chat completion: items in, chunks or the whole answer out.

    `created` is Unix seconds; `usage` is whether a stream ends with token counts.
    """

    def __init__(self, *, answer_id: str, model: str, created: int, usage: bool = False) -> None:
        self._id = answer_id
        self._model = model
        self._created = created
        self._usage = usage
        self._tokens = 0

    def begin(self) -> bytes:
        """The first event: who speaks."""
        return self._event(ChatChoice(Delta(role="assistant", content="")))

    def piece(self, fragment: Fragment) -> bytes:
        """The event for one fragment."""
        self._tokens += fragment.tokens
        kind = fragment.kind
        if kind is _ANSWER:
            delta = Delta(content=fragment.text)
        elif kind is FragmentKind.REASONING:
            delta = Delta(reasoning_content=fragment.text)
        else:
            delta = Delta(tool_calls=(_call_delta(fragment),))
        chances = _chances(fragment.logprobs) if fragment.logprobs else None
        return self._event(ChatChoice(delta, chances))

    def end(self, stats: Stats) -> bytes:
        """The last events: why it ended, the token counts if wanted, and the end's mark."""
        last = self._event(ChatChoice(Delta(), None, finish_reason(stats)))
        if self._usage:
            counts = ChatChunk(
                id=self._id,
                created=self._created,
                model=self._model,
                choices=(),
                usage=usage_of(stats, self._tokens),
            )
            last += event(_encode(counts))
        return last + event(b"[DONE]")

    def whole(self, fragments: Sequence[Fragment], stats: Stats) -> ChatAnswer:
        """The whole answer."""
        text = text_of(fragments, _ANSWER)
        thought = text_of(fragments, FragmentKind.REASONING)
        calls = calls_of(fragments)
        logprobs = tuple(one for fragment in fragments for one in fragment.logprobs)
        message = AnswerMessage(
            "assistant",
            text if text or not calls else None,
            thought or msgspec.UNSET,
            calls or msgspec.UNSET,
        )
        chances = _chances(logprobs) if logprobs else None
        return ChatAnswer(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=(ChatAlternative(message, chances, finish_reason(stats)),),
            usage=usage_of(stats, _count(fragments)),
        )

    def _event(self, choice: ChatChoice) -> bytes:
        chunk = ChatChunk(id=self._id, created=self._created, model=self._model, choices=(choice,))
        return event(_encode(chunk))


class TextWriter:
    """Writes one completion, as `ChatWriter` does a chat completion."""

    def __init__(self, *, answer_id: str, model: str, created: int, usage: bool = False) -> None:
        self._id = answer_id
        self._model = model
        self._created = created
        self._usage = usage
        self._tokens = 0

    def begin(self) -> bytes:
        """Nothing: a completion has no one who speaks."""
        return b""

    def piece(self, fragment: Fragment) -> bytes:
        """The event for one fragment."""
        self._tokens += fragment.tokens
        chances = _lists(fragment.logprobs) if fragment.logprobs else None
        return self._event(TextChoice(fragment.text, chances))

    def end(self, stats: Stats) -> bytes:
        """The last events."""
        last = self._event(TextChoice("", None, finish_reason(stats)))
        if self._usage:
            last += event(_encode(self._answer((), usage_of(stats, self._tokens))))
        return last + event(b"[DONE]")

    def whole(self, fragments: Sequence[Fragment], stats: Stats) -> TextAnswer:
        """The whole answer."""
        logprobs = tuple(one for fragment in fragments for one in fragment.logprobs)
        choice = TextChoice(
            "".join(fragment.text for fragment in fragments),
            _lists(logprobs) if logprobs else None,
            finish_reason(stats),
        )
        return self._answer((choice,), usage_of(stats, _count(fragments)))

    def _event(self, choice: TextChoice) -> bytes:
        return event(_encode(self._answer((choice,), None)))

    def _answer(self, choices: tuple[TextChoice, ...], usage: UsageTotal | None) -> TextAnswer:
        return TextAnswer(
            id=self._id, created=self._created, model=self._model, choices=choices, usage=usage
        )


def _count(fragments: Iterable[Fragment]) -> int:
    return sum(fragment.tokens for fragment in fragments)


def event(data: bytes) -> bytes:
    """A server-sent event."""
    return b"data: " + data + b"\n\n"


def text_of(fragments: Iterable[Fragment], kind: FragmentKind) -> str:
    """The joined text of one kind."""
    return "".join(fragment.text for fragment in fragments if fragment.kind is kind)


def calls_of(fragments: Iterable[Fragment]) -> tuple[Call, ...]:
    """The tool calls, their pieces joined, in the order they were begun."""
    found: dict[int, list[str]] = {}
    for fragment in fragments:
        if (part := fragment.call) is not None:
            known = found.setdefault(part.index, ["", "", ""])
            known[0] = known[0] or part.id
            known[1] = known[1] or part.name
            known[2] += fragment.text
    return tuple(
        Call(id=name_or(index, call_id), function=CallFunction(name, arguments or "{}"))
        for index, (call_id, name, arguments) in sorted(found.items())
    )


def name_or(index: int, call_id: str) -> str:
    """The id of a call; one is made where the server behind gives none."""
    return call_id or f"call_{index}"


def _call_delta(fragment: Fragment) -> CallDelta:
    part = fragment.call
    assert part is not None
    if not part.name:
        return CallDelta(part.index, function=CallFunction(arguments=fragment.text))
    return CallDelta(
        part.index,
        name_or(part.index, part.id),
        "function",
        CallFunction(part.name, fragment.text),
    )


def _chances(logprobs: Iterable[TokenLogprob]) -> Chances:
    return Chances(
        content=tuple(
            TokenChance(
                one.text,
                one.logprob,
                tuple(one.text.encode()),
                tuple(TopToken(text, value, tuple(text.encode())) for text, value in one.top),
            )
            for one in logprobs
        )
    )


def _lists(logprobs: Sequence[TokenLogprob]) -> Chances:
    offsets, at = [], 0
    for one in logprobs:
        offsets.append(at)
        at += len(one.text)
    return Chances(
        tokens=tuple(one.text for one in logprobs),
        token_logprobs=tuple(one.logprob for one in logprobs),
        top_logprobs=tuple(dict(one.top) for one in logprobs),
        text_offset=tuple(offsets),
    )
