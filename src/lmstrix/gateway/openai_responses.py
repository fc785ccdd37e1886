"""OpenAI's Responses API, with the conversations that the server keeps."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import msgspec
from starlette.routing import Route

from lmstrix.errors import LMStrixError, NotFoundError
from lmstrix.gateway.describing import describe
from lmstrix.gateway.errors import openai_error, problem_of
from lmstrix.gateway.reading import read_body
from lmstrix.gateway.responding import EVENT_STREAM, Streaming, json_response, until_gone
from lmstrix.protocol.openai.response_events import ResponseWriter
from lmstrix.protocol.openai.responses import RESPONSES, ResponseRequest
from lmstrix.types import Fragment, Stats

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request as HTTPRequest
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from lmstrix.gateway.gateway import Gateway
    from lmstrix.types import Message, Request

# Enough for a day's programs, small enough not to matter.
_MOST_KEPT = 1000
_MOST_KEPT_BYTES = 64 * 2**20


class Kept(NamedTuple):
    """A response as it was sent, and the conversation up to it."""

    body: bytes
    messages: tuple[Message, ...]


class Responses:
    """Responses by their id, in memory alone; those not used for longest are forgotten."""

    def __init__(self, most: int = _MOST_KEPT, most_bytes: int = _MOST_KEPT_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[Kept, int]] = OrderedDict()

    def find(self, response_id: str) -> Kept:
        """The response. Raises `NotFoundError`."""
        if (found := self._kept.get(response_id)) is None:
            raise NotFoundError(
                f"No response {response_id!r} is kept.",
                hint="Begin anew, without previous_response_id.",
            )
        self._kept.move_to_end(response_id)
        return found[0]

    def keep(self, response_id: str, kept: Kept) -> None:
        """Keep a response; one that alone is too much is not kept."""
        size = len(kept.body) + len(msgspec.json.encode(kept.messages))
        self._kept[response_id] = kept, size
        self._bytes += size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed

    def forget(self, response_id: str) -> None:
        """Forget a response. Raises `NotFoundError`."""
        self.find(response_id)
        self._bytes -= self._kept.pop(response_id)[1]


def routes(gateway: Gateway) -> list[BaseRoute]:
    """The routes of the Responses API."""
    rooms = Rooms(gateway)
    return [
        Route(RESPONSES, rooms.create, methods=["POST"]),
        Route(RESPONSES + "/{response_id}", rooms.show, methods=["GET"]),
        Route(RESPONSES + "/{response_id}", rooms.delete, methods=["DELETE"]),
    ]


class Rooms:
    """The endpoints, with the responses they keep."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._responses = Responses()

    @describe("A response", body=ResponseRequest, stream=EVENT_STREAM)
    async def create(self, request: HTTPRequest) -> Response:
        """`POST /v1/responses`."""
        wish = await read_body(request, ResponseRequest)
        before: tuple[Message, ...] = ()
        if wish.previous_response_id:
            before = self._responses.find(wish.previous_response_id).messages
        question = wish.request(before)
        entry = await self._gateway.find(wish.model)
        answer = _Answer(
            wish,
            question,
            ResponseWriter(
                wish,
                response_id=f"resp_{uuid4().hex}",
                model=entry.model.key,
                created=int(time.time()),
            ),
            (*before, *wish.messages()),
        )
        if wish.stream:
            return Streaming(self._streamed(answer))
        return json_response(await until_gone(request, self._whole(answer)))

    @describe("A response that is kept")
    async def show(self, request: HTTPRequest) -> Response:
        """`GET /v1/responses/{response_id}`."""
        kept = self._responses.find(request.path_params["response_id"])
        return json_response(msgspec.Raw(kept.body))

    @describe("Forget a response")
    async def delete(self, request: HTTPRequest) -> Response:
        """`DELETE /v1/responses/{response_id}`."""
        response_id = request.path_params["response_id"]
        self._responses.forget(response_id)
        return json_response({"id": response_id, "object": "response", "deleted": True})

    async def _whole(self, answer: _Answer) -> dict[str, Any]:
        asked = self._gateway.answer(answer.wish.model, answer.question, ttl_s=answer.wish.ttl)
        async with asked as answering:
            async for item in answering:
                if type(item) is Fragment:
                    answer.writer.piece(item)
                elif isinstance(item, Stats):
                    return self._finish(answer, item)
        raise AssertionError  # a provider's stream ends in statistics

    async def _streamed(self, answer: _Answer) -> AsyncGenerator[bytes, None]:
        writer, begun = answer.writer, False
        asked = self._gateway.answer(answer.wish.model, answer.question, ttl_s=answer.wish.ttl)
        try:
            async with asked as answering:
                async for item in answering:
                    events = []
                    if not begun and isinstance(item, Fragment | Stats):
                        events, begun = writer.begin(), True
                    if type(item) is Fragment:
                        events += writer.piece(item)
                    elif isinstance(item, Stats):
                        events += writer.end(item)
                        self._finish(answer, item)
                    if events:
                        yield b"".join(events)
        except LMStrixError as error:
            if not begun:
                raise
            told: dict[str, Any] = openai_error(problem_of(error))["error"]  # type: ignore[assignment]  # it is a dict
            yield b"".join(writer.failed({"code": "server_error", "message": told["message"]}))

    def _finish(self, answer: _Answer, stats: Stats) -> dict[str, Any]:
        """The whole response, kept unless the client does not want that."""
        response = answer.writer.whole(stats)
        if answer.wish.store is not False:
            messages = (*answer.said, answer.writer.message())
            self._responses.keep(response["id"], Kept(msgspec.json.encode(response), messages))
        return response


class _Answer(NamedTuple):
    """One answer under way; `said` is the conversation up to it."""

    wish: ResponseRequest
    question: Request
    writer: ResponseWriter
    said: tuple[Message, ...]
