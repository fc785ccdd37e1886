"""The outermost layer: who may come in, how much they may ask, and what is remembered of it."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING

from lmstrix import __version__
from lmstrix.errors import LMStrixError
from lmstrix.gateway import visit as visits
from lmstrix.gateway.admission import Admission, hops_of
from lmstrix.gateway.errors import FAULT, Kind, Problem
from lmstrix.gateway.intake import Intake, too_large
from lmstrix.gateway.responding import ClientGoneError, problem_response
from lmstrix.gateway.visit import Visit
from lmstrix.hops import come_through

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from lmstrix.gateway.options import GatewayOptions

IDENTITY_HEADER = "x-lmstrix-gateway"
_IDENTITY = (IDENTITY_HEADER.encode(), __version__.encode())
_NOT_COUNTED = frozenset({"/health"})

_log = logging.getLogger(__name__)


class Guard:
    """Lets through what `options` allow; says in every response who answers.

    WebSockets are let through without a token: theirs comes in their first message, and the
    dialect that has them looks at it.
    """

    def __init__(self, app: ASGIApp, options: GatewayOptions) -> None:
        self._app = app
        self._options = options
        self._admission = Admission(options)
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        loop = asyncio.get_running_loop()
        method, path = scope.get("method", "SOCKET"), scope["path"]
        visit = Visit(method=method, path=path, begun_at=loop.time())
        fields = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        outgoing = _Outgoing(send, visit, self._admission.reader(fields))
        preflight = method == "OPTIONS" and "access-control-request-method" in fields
        needs_token = scope["type"] == "http" and not preflight
        refusal = self._refusal(path, fields, needs_token=needs_token)
        try:
            if refusal is not None:
                await problem_response(path, refusal)(scope, receive, outgoing.send)
            elif preflight:
                await _answer_preflight(fields, outgoing)
            else:
                await self._serve(scope, receive, outgoing, hops_of(fields))
        finally:
            if visits.log.isEnabledFor(logging.INFO):
                visits.log.info("%s", visit.line(now=loop.time()))

    def _refusal(
        self, path: str, fields: Mapping[str, str], *, needs_token: bool
    ) -> Problem | None:
        refusal = self._admission.refusal(path, fields, needs_token=needs_token)
        if refusal is not None:
            return refusal
        length = fields.get("content-length", "")
        if length.isdigit() and int(length) > self._options.max_body_bytes:
            return too_large(self._options.max_body_bytes)
        if self._active >= self._options.max_requests and path not in _NOT_COUNTED:
            return Problem(
                status=503,
                kind=Kind.BUSY,
                message=f"{self._active} requests are being answered already. Ask again later.",
                retry_after_s=1,
            )
        return None

    async def _serve(self, scope: Scope, receive: Receive, outgoing: _Outgoing, hops: int) -> None:
        visits.begin(outgoing.visit)
        limits = self._options
        limit_s = None
        if scope["type"] == "http":
            limit_s = limits.request_timeout_s
            receive = Intake(
                receive, most_bytes=limits.max_body_bytes, within_s=limits.body_timeout_s
            ).receive
        # A WebSocket stays open between requests; what runs in it is limited where it is served.
        counted = scope["type"] == "http" and scope["path"] not in _NOT_COUNTED
        self._active += counted
        try:
            with come_through(hops + 1):
                async with asyncio.timeout(limit_s) as limit:
                    await self._app(scope, receive, outgoing.send)
        except ClientGoneError:
            pass  # nobody is left to be told
        except Exception as error:  # noqa: BLE001  # the last net: it is logged and said
            late = limit.expired()
            if not late:
                _log_failure(outgoing.visit, error)
            if not outgoing.visit.status:
                problem = _too_late(limit_s or 0) if late else FAULT
                await problem_response(scope["path"], problem)(scope, receive, outgoing.send)
        finally:
            self._active -= counted


class _Outgoing:
    """What is sent, with who answers, and to which foreign origin it may be shown."""

    def __init__(self, send: Send, visit: Visit, reader: str | None) -> None:
        self.visit = visit
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._fields = [_IDENTITY]
        if reader is not None:
            self._fields.append((b"access-control-allow-origin", reader.encode("latin-1")))
            self._fields.append((b"vary", b"origin"))

    async def send(self, message: Message) -> None:
        """As an ASGI application calls it."""
        kind = message["type"]
        if kind == "http.response.body":
            if self.visit.first_at is None:
                self.visit.first_at = self._loop.time()
        elif kind in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            self.visit.status = message.get("status", 101)
            message["headers"] = [*message.get("headers", ()), *self._fields]
        await self._send(message)


def _too_late(limit_s: float) -> Problem:
    return Problem(
        status=504, kind=Kind.TIMEOUT, message=f"The answer was not done within {limit_s:g} s."
    )


def _log_failure(visit: Visit, error: Exception) -> None:
    known = error if isinstance(error, LMStrixError) else error.__cause__
    if isinstance(known, LMStrixError):
        _log.warning("%s %s broke off: %s", visit.method, visit.path, type(known).__name__)
        return
    # Where it happened, without the words of the exception: they may be somebody's prompt.
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s %s: %s\n%s", visit.method, visit.path, type(error).__name__, frames)


async def _answer_preflight(fields: Mapping[str, str], outgoing: _Outgoing) -> None:
    """Tell a page of an allowed origin that it may send what it wants to."""
    allowed = [
        (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
        (b"access-control-max-age", b"600"),
    ]
    if wanted := fields.get("access-control-request-headers"):
        allowed.append((b"access-control-allow-headers", wanted.encode("latin-1")))
    await outgoing.send({"type": "http.response.start", "status": 204, "headers": allowed})
    await outgoing.send({"type": "http.response.body", "body": b""})
