"""Answers on their way to a caller, given up as soon as the caller is gone."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lmstrix.errors import LMStrixError
from lmstrix.gateway.errors import FAULT, Kind, Problem, error_body, problem_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Mapping

    from starlette.requests import HTTPConnection, Request
    from starlette.types import Receive, Scope, Send

T = TypeVar("T")

EVENT_STREAM = "text/event-stream"


class ClientGoneError(Exception):
    """The caller has closed the connection: nobody is left to be answered."""


class RefusedError(Exception):
    """A request is not served, for a reason that is no `LMStrixError`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


async def until_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the caller closes the connection.

    The body of `request` must have been read. Raises `ClientGoneError`.
    """
    return await _until_gone(request.receive, work)


async def _until_gone(receive: Receive, work: Awaitable[T]) -> T:
    task = asyncio.current_task()
    assert task is not None
    before, gone = task.cancelling(), False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if gone and task.uncancel() <= before:
            raise ClientGoneError from None
        raise
    finally:
        watcher.cancel()


class Streaming(Response):
    """A body that is sent as its pieces are made; `pieces` is closed when the caller is gone.

    Nothing is sent before the first piece: an `LMStrixError` until then is answered with its
    status, in the shape of the path's dialect. One that comes later must be put into the stream
    by whoever makes the pieces.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        *,
        media_type: str = EVENT_STREAM,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(media_type=media_type, headers=headers)
        del self.headers["content-length"]
        if media_type == EVENT_STREAM:
            self.headers["cache-control"] = "no-cache"
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces until there are no more, or nobody is left to take them."""
        await _until_gone(receive, self._send(scope, receive, send))

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._pieces) as pieces:
            try:
                piece = await anext(pieces, b"")
            except LMStrixError as error:
                refusal = problem_response(scope["path"], problem_of(error))
                await refusal(scope, receive, send)
                return
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


_encode = msgspec.json.Encoder().encode


def json_response(
    content: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON document; structs and plain values alike."""
    return Response(
        _encode(content), status_code=status, media_type="application/json", headers=headers
    )


def problem_response(path: str, problem: Problem) -> Response:
    """A refusal in the shape of the dialect that `path` belongs to."""
    later = problem.retry_after_s
    headers = None if later is None else {"retry-after": str(later)}
    return Response(
        error_body(path, problem),
        status_code=problem.status,
        media_type="application/json",
        headers=headers,
    )


async def answer_problem(request: HTTPConnection, error: Exception) -> Response:
    """Starlette's handler for whatever a route raised."""
    problem = FAULT
    if isinstance(error, RefusedError):
        problem = error.problem
    elif isinstance(error, LMStrixError):
        problem = problem_of(error)
    return problem_response(request.url.path, problem)


async def answer_http_problem(request: HTTPConnection, error: Exception) -> Response:
    """Starlette's handler for what its routes refuse themselves: an unknown path or method."""
    assert isinstance(error, HTTPException)
    kind = Kind.NO_SUCH_PATH if error.status_code == HTTPStatus.NOT_FOUND else Kind.INVALID
    said = f"{error.detail}: {request.scope.get('method', '')} {request.url.path}"
    problem = Problem(status=error.status_code, kind=kind, message=f"{said}.")
    response = problem_response(request.url.path, problem)
    response.headers.update(error.headers or {})
    return response
