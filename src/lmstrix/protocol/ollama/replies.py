"""An answer as a server writes it: items of a provider's stream in, replies out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from lmstrix.errors import GenerationError
from lmstrix.protocol.ollama.messages import (
    CalledFunction,
    Reply,
    ReplyMessage,
    WireLogprob,
    WireToolCall,
)
from lmstrix.types import Fragment, FragmentKind, Stats, StopReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lmstrix.types import StreamItem

_ROLE = "assistant"
_LONG = frozenset({StopReason.LENGTH, StopReason.CONTEXT})


class _Call:
    """A tool call that is being written."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []


class AnswerEncoder:
    """Items of one answer in; the replies of `/api/chat`, or of `/api/generate`, out.

    `model` is the name the client used. A tool call is told when it is whole, since the dialect
    has no pieces of one. `started` is whether anything was told.
    """

    def __init__(self, model: str, *, chat: bool) -> None:
        self.started = False
        self._model = model
        self._chat = chat
        self._call: _Call | None = None
        self._told = 0

    def feed(self, item: StreamItem, *, at: str) -> list[Reply]:
        """The replies for one item that came `at` (RFC 3339); none for progress.

        Raises `GenerationError` for a tool call whose arguments are no JSON object.
        """
        if isinstance(item, Fragment):
            return self._fragment(item, at)
        return []

    def finish(self, stats: Stats, *, at: str, total_s: float, load_s: float) -> list[Reply]:
        """The last replies; raises as `feed` does.

        `load_s` is what it took until a loaded model was at hand, `total_s` all of it. A tool
        call that the end of its length has cut is told as the text it is.
        """
        cut = stats.stop_reason in _LONG
        replies = self._close(at, cut=cut)
        last = self._reply(at, "")
        replies.append(
            replace(
                last,
                done=True,
                done_reason="length" if cut else "stop",
                total_duration=_nanoseconds(total_s),
                load_duration=_nanoseconds(load_s),
                prompt_eval_count=stats.prompt_tokens,
                prompt_eval_duration=_nanoseconds(stats.prompt_s),
                eval_count=stats.predicted_tokens,
                eval_duration=_nanoseconds(stats.predict_s),
            )
        )
        self.started = True
        return replies

    def _fragment(self, item: Fragment, at: str) -> list[Reply]:
        part = item.call
        if item.kind is FragmentKind.TOOL_CALL and part is not None:
            replies = []
            if self._call is None or self._call.index != part.index:
                replies = self._close(at)
                self._call = _Call(part.index)
            self._call.id = part.id or self._call.id
            self._call.name = part.name or self._call.name
            self._call.pieces.append(item.text)
            return replies
        replies = self._close(at)
        if item.text or item.logprobs:
            self.started = True
            thought = item.kind is FragmentKind.REASONING
            reply = self._reply(at, "" if thought else item.text, item.text if thought else None)
            if item.logprobs:
                reply = replace(reply, logprobs=_logprobs(item))
            replies.append(reply)
        return replies

    def _close(self, at: str, *, cut: bool = False) -> list[Reply]:
        """The tool call under way, if any, whole."""
        call, self._call = self._call, None
        if call is None:
            return []
        text = "".join(call.pieces) or "{}"
        try:
            msgspec.json.decode(text, type=dict[str, object])
        except (msgspec.DecodeError, UnicodeDecodeError):
            if cut:
                return [self._reply(at, text)]
            raise GenerationError(
                f"The model called {call.name} with arguments that are no JSON object.",
                hint="Ask again, or allow a longer answer.",
            ) from None
        told, self._told = self._told, self._told + 1
        function = CalledFunction(index=told, name=call.name, arguments=msgspec.Raw(text.encode()))
        self.started = True
        calls = (WireToolCall(id=call.id or None, function=function),)
        message = ReplyMessage(role=_ROLE, content="", tool_calls=calls)
        return [Reply(model=self._model, created_at=at, message=message, done=False)]

    def _reply(self, at: str, text: str, thinking: str | None = None) -> Reply:
        if self._chat:
            message = ReplyMessage(role=_ROLE, content=text, thinking=thinking)
            return Reply(model=self._model, created_at=at, message=message, done=False)
        return Reply(model=self._model, created_at=at, response=text, thinking=thinking, done=False)


def join(replies: Sequence[Reply]) -> Reply:
    """All replies of an answer as one, as a client gets it that wants no stream."""
    last = replies[-1]
    logprobs = tuple(one for reply in replies for one in reply.logprobs or ()) or None
    messages = [reply.message for reply in replies if reply.message is not None]
    if not messages:
        return replace(
            last,
            response=_joined(reply.response for reply in replies),
            thinking=_joined(reply.thinking for reply in replies) or None,
            logprobs=logprobs,
        )
    calls = tuple(call for message in messages for call in message.tool_calls or ())
    message = ReplyMessage(
        role=_ROLE,
        content=_joined(message.content for message in messages),
        thinking=_joined(message.thinking for message in messages) or None,
        tool_calls=calls or None,
    )
    return replace(last, message=message, logprobs=logprobs)


def idle(model: str, *, at: str, chat: bool, reason: str) -> Reply:
    """The reply to a request that asks for nothing but to `load` or `unload` the model."""
    if chat:
        message = ReplyMessage(role=_ROLE, content="")
        return Reply(model=model, created_at=at, message=message, done=True, done_reason=reason)
    return Reply(model=model, created_at=at, response="", done=True, done_reason=reason)


def _joined(texts: Iterable[str | None]) -> str:
    return "".join(text for text in texts if text)


def _logprobs(item: Fragment) -> tuple[WireLogprob, ...]:
    return tuple(
        WireLogprob(
            token=one.text,
            logprob=one.logprob,
            bytes=tuple(one.text.encode()),
            top_logprobs=tuple(
                WireLogprob(token=text, logprob=logprob, bytes=tuple(text.encode()))
                for text, logprob in one.top
            )
            or None,
        )
        for one in item.logprobs
    )


def _nanoseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e9)
