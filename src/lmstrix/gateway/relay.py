"""Answers passed on byte for byte, where the server behind speaks the caller's dialect itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from lmstrix.errors import LMStrixError, StalledError, UsageError
from lmstrix.gateway.errors import error_body, problem_of
from lmstrix.gateway.responding import EVENT_STREAM, problem_response, until_gone
from lmstrix.types import Phase

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from lmstrix.config import Timeouts
    from lmstrix.gateway.gateway import Held
    from lmstrix.types import WireRequest

_Fields = dict[str, msgspec.Raw]


def can_relay(held: Held, dialect: str) -> bool:
    """Whether the server behind speaks `dialect` itself."""
    return dialect in held.provider.dialects


def with_model(body: bytes, model: str) -> bytes:
    """As `with_fields`, for the field `model`."""
    return with_fields(body, model=model)


def with_fields(body: bytes, **fields: object) -> bytes:
    """The JSON object `body` with some of its fields set; all else stays as it was written.

    Raises `UsageError` for what is no JSON object.
    """
    try:
        written = msgspec.json.decode(body, type=_Fields)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise UsageError(f"The request is no JSON object: {problem}.") from None
    written |= {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    return msgspec.json.encode(written)


class Relaying(Response):
    """The answer of the server behind, unparsed, with its status and content type.

    `holding` gives the instance and is left when the answer is over; `wire` may depend on it. A
    stream in which nothing comes for longer than the settings allow is ended as stalled; a whole
    answer may take as long as it takes. That the caller goes away closes the connection behind.
    """

    def __init__(
        self,
        request: Request,
        holding: AbstractAsyncContextManager[Held],
        dialect: str,
        wire: WireRequest | Callable[[Held], WireRequest],
        *,
        stream: bool,
    ) -> None:
        super().__init__()
        self._request = request
        self._holding = holding
        self._dialect = dialect
        self._wire = wire
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay until the end, or until nobody is left to take it."""
        await until_gone(self._request, self._relay(scope, receive, send))

    async def _relay(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._begun = self._events = False
        try:
            async with self._holding as held, held.turn:
                await self._pass_on(held, send)
        except LMStrixError as error:
            problem = problem_of(error)
            if not self._begun:
                await problem_response(scope["path"], problem)(scope, receive, send)
                return
            if not self._stream:
                raise
            body = error_body(scope["path"], problem)
            last = b"data: " + body + b"\n\n" if self._events else body + b"\n"
            await send({"type": "http.response.body", "body": last, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass_on(self, held: Held, send: Send) -> None:
        timeouts = held.session.timeouts
        wire = self._wire(held) if callable(self._wire) else self._wire
        with _StallTimer(held, timeouts, armed=self._stream) as timer:
            async with held.provider.relay(held.instance, self._dialect, wire) as relayed:
                kind = relayed.content_type
                headers = [(b"content-type", kind.encode("latin-1"))]
                if relayed.length is not None:
                    headers.append((b"content-length", str(relayed.length).encode()))
                self._events = kind.startswith(EVENT_STREAM)
                if self._events:
                    headers.append((b"cache-control", b"no-cache"))
                self._begun = True
                await send(
                    {"type": "http.response.start", "status": relayed.status, "headers": headers}
                )
                async for piece in relayed.chunks():
                    timer.moved()
                    await send({"type": "http.response.body", "body": piece, "more_body": True})


class _StallTimer:
    """Ends the task it was entered in when nothing moves for too long.

    To move costs one assignment: the timer looks when it fires, and waits for the rest.
    """

    def __init__(self, held: Held, timeouts: Timeouts, *, armed: bool) -> None:
        self._held = held
        self._armed = armed
        self._loop = asyncio.get_running_loop()
        self._limit_s = timeouts.prompt_s + timeouts.first_token_s
        self._tokens_s = timeouts.tokens_s
        self._seen = self._loop.time()
        self._phase = Phase.FIRST_TOKEN
        self._stalled = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancels = task, task.cancelling()
        self._arm()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if (
            self._stalled
            and kind is asyncio.CancelledError
            and self._task.uncancel() <= self._cancels
        ):
            raise StalledError(
                f"The answer of {self._held.instance.model_key} stalled: nothing came for "
                f"{self._limit_s:g} s ({self._phase}).",
                phase=self._phase,
                after_s=self._limit_s,
                hint="Allow more with --timeout, or see `lmstrix doctor`.",
            ) from None

    def moved(self) -> None:
        """Something has come."""
        self._seen = self._loop.time()
        if self._phase is not Phase.TOKENS:
            self._limit_s, self._phase = self._tokens_s, Phase.TOKENS
            self._arm()

    def _arm(self) -> None:
        if self._armed:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._seen + self._limit_s, self._look)

    def _look(self) -> None:
        if self._loop.time() >= self._seen + self._limit_s:
            self._stalled = True
            self._task.cancel()
        else:
            self._arm()
