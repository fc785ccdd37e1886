"""`POST /api/v1/chat` of LM Studio's REST interface, with conversations that the server keeps."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from msgspec import UNSET
from msgspec.structs import replace
from starlette.routing import Route

from lmstrix.errors import LMStrixError, NotFoundError, UnsupportedError
from lmstrix.gateway.describing import describe
from lmstrix.gateway.errors import lmstudio_error, problem_of
from lmstrix.gateway.reading import read_body
from lmstrix.gateway.responding import EVENT_STREAM, Streaming, json_response, until_gone
from lmstrix.protocol.lmstudio import rest
from lmstrix.protocol.lmstudio.rest_chat import (
    ChatEnd,
    ChatError,
    ChatEvents,
    ChatRequest,
    ChatResult,
    ImageInput,
    MessageOutput,
    ReasoningOutput,
    event_bytes,
)
from lmstrix.protocol.openai.messages import image_from
from lmstrix.types import (
    Fragment,
    Instance,
    LoadConfig,
    Message,
    Request,
    Role,
    Sampling,
    Stats,
    Timeline,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from msgspec import UnsetType
    from starlette.requests import Request as HTTPRequest
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from lmstrix.gateway.gateway import Gateway
    from lmstrix.protocol.lmstudio.rest_chat import ChatEvent
    from lmstrix.types import StreamItem

_T = TypeVar("_T")

# Kept conversations: enough for a day's programs, small enough not to matter.
_MOST_KEPT = 1000
_MOST_KEPT_BYTES = 64 * 2**20


def routes(gateway: Gateway) -> list[BaseRoute]:
    """The one route."""
    return [Route(rest.V1_CHAT, Chats(gateway).chat, methods=["POST"])]


class Conversations:
    """Conversations by the id of their last answer; those not used for longest are forgotten.

    What was said is kept in memory alone.
    """

    def __init__(self, most: int = _MOST_KEPT, most_bytes: int = _MOST_KEPT_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[Message, ...]] = OrderedDict()

    def find(self, response_id: str) -> tuple[Message, ...]:
        """What was said up to that answer. Raises `NotFoundError`."""
        if (found := self._kept.get(response_id)) is None:
            raise NotFoundError(
                f"No answer {response_id!r} is kept.",
                hint="Begin anew, without previous_response_id.",
            )
        self._kept.move_to_end(response_id)
        return found

    def keep(self, messages: tuple[Message, ...]) -> str:
        """Keep a conversation; gives the id of its last answer."""
        response_id = f"resp_{uuid4().hex}"
        self._kept[response_id] = messages
        self._bytes += _size(messages)
        while len(self._kept) > 1 and (
            len(self._kept) > self._most or self._bytes > self._most_bytes
        ):
            _, forgotten = self._kept.popitem(last=False)
            self._bytes -= _size(forgotten)
        return response_id


class Chats:
    """The endpoint, with the conversations it keeps."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._conversations = Conversations()

    @describe("A turn of a conversation", body=ChatRequest, answer=ChatResult, stream=EVENT_STREAM)
    async def chat(self, request: HTTPRequest) -> Response:
        """`POST /api/v1/chat`."""
        wish = await read_body(request, ChatRequest)
        if wish.integrations:
            raise UnsupportedError(
                "Tools that the server runs (integrations) are not offered here.",
                hint="Leave integrations out, or run the tools yourself: POST /v1/chat/completions",
            )
        said = self._said(wish)
        await self._gateway.find(wish.model)
        if wish.stream:
            return Streaming(self._streamed(wish, said))
        return json_response(await until_gone(request, self._whole(wish, said)))

    def _said(self, wish: ChatRequest) -> tuple[Message, ...]:
        """The conversation with the new input."""
        before: tuple[Message, ...] = ()
        if wish.previous_response_id is not UNSET:
            before = self._conversations.find(wish.previous_response_id)
        if wish.system_prompt is not UNSET:
            others = (message for message in before if message.role is not Role.SYSTEM)
            before = (Message(Role.SYSTEM, wish.system_prompt), *others)
        return (*before, _input_message(wish))

    async def _whole(self, wish: ChatRequest, said: tuple[Message, ...]) -> ChatResult:
        answer = _Answer(self._gateway, wish, said)
        async with aclosing(answer.events()) as events:
            async for _ in events:
                pass
        return self._finish(wish, said, answer.result())

    async def _streamed(
        self, wish: ChatRequest, said: tuple[Message, ...]
    ) -> AsyncGenerator[bytes, None]:
        answer = _Answer(self._gateway, wish, said)
        try:
            async with aclosing(answer.events()) as events:
                async for event in events:
                    yield event_bytes(event)
            yield event_bytes(ChatEnd(self._finish(wish, said, answer.result())))
        except LMStrixError as error:
            yield event_bytes(ChatError(_detail(error)))
            yield event_bytes(ChatEnd(answer.result()))

    def _finish(
        self, wish: ChatRequest, said: tuple[Message, ...], result: ChatResult
    ) -> ChatResult:
        """The result, with the id under which the conversation goes on where it is kept."""
        response_id: str | UnsetType = UNSET
        if wish.store:
            response_id = self._conversations.keep((*said, _answer_message(result)))
        return replace(result, response_id=response_id)


class _Answer:
    """One answer under way."""

    def __init__(self, gateway: Gateway, wish: ChatRequest, said: tuple[Message, ...]) -> None:
        self._gateway = gateway
        self._wish = wish
        self._said = said
        self._events = ChatEvents()

    def result(self) -> ChatResult:
        """What it came to so far."""
        return self._events.result()

    async def events(self) -> AsyncGenerator[ChatEvent, None]:
        """Its events, from the load to the last piece; `chat.end` is left to the caller."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        first_s: float | None = None
        for event in self._events.start(self._wish.model):
            yield event
        items: asyncio.Queue[StreamItem | Instance | None] = asyncio.Queue()
        pump = loop.create_task(self._pump(items))
        try:
            while (item := await items.get()) is not None:
                if isinstance(item, Instance):
                    took_s, started_s = loop.time() - started_s, loop.time()
                    events = self._events.loaded(item.id, round(took_s, 3))
                else:
                    if first_s is None and isinstance(item, Fragment):
                        first_s = loop.time() - started_s
                    events = self._events.feed(_timed(item, first_s))
                for event in events:
                    yield event
            await pump
        finally:
            pump.cancel()
            await asyncio.wait([pump])

    async def _pump(self, items: asyncio.Queue[StreamItem | Instance | None]) -> None:
        """Put progress, the instance once it is there, its answer, and `None` at the end."""
        wish = self._wish
        request = Request(messages=self._said, sampling=_sampling(wish), think=_think(wish))
        try:
            async with self._gateway.answer(
                wish.model, request, config=_load_config(wish), on_progress=items.put_nowait
            ) as answering:
                items.put_nowait(answering.held.instance)
                async for item in answering:
                    items.put_nowait(item)
        finally:
            items.put_nowait(None)


def _timed(item: StreamItem, first_s: float | None) -> StreamItem:
    """The item; statistics without times get the time of the first fragment."""
    if not isinstance(item, Stats) or item.timeline is not None:
        return item
    return replace(item, timeline=Timeline(requested_at=0.0, first_token_s=first_s))


def _input_message(wish: ChatRequest) -> Message:
    if isinstance(wish.input, str):
        return Message(Role.USER, wish.input)
    texts = [item.content for item in wish.input if not isinstance(item, ImageInput)]
    images = [image_from(item.data_url) for item in wish.input if isinstance(item, ImageInput)]
    return Message(Role.USER, "\n".join(texts), images=tuple(images))


def _answer_message(result: ChatResult) -> Message:
    said = "".join(part.content for part in result.output if isinstance(part, MessageOutput))
    thought = "".join(part.content for part in result.output if isinstance(part, ReasoningOutput))
    return Message(Role.ASSISTANT, said, reasoning=thought)


def _sampling(wish: ChatRequest) -> Sampling:
    return Sampling(
        temperature=_set(wish.temperature),
        top_k=_set(wish.top_k),
        top_p=_set(wish.top_p),
        min_p=_set(wish.min_p),
        repeat_penalty=_set(wish.repeat_penalty),
        max_tokens=_set(wish.max_output_tokens),
    )


def _think(wish: ChatRequest) -> bool | str | None:
    if wish.reasoning is UNSET:
        return None
    return {"off": False, "on": True}.get(wish.reasoning, wish.reasoning)


def _load_config(wish: ChatRequest) -> LoadConfig | None:
    return None if wish.context_length is UNSET else LoadConfig(context_tokens=wish.context_length)


def _set(value: _T | UnsetType) -> _T | None:
    return None if value is UNSET else value


def _size(messages: Iterable[Message]) -> int:
    return sum(
        len(message.content) + len(message.reasoning) + sum(len(one.data) for one in message.images)
        for message in messages
    )


def _detail(error: LMStrixError) -> rest.ErrorDetail:
    told = lmstudio_error(problem_of(error))["error"]
    assert isinstance(told, dict)
    return rest.ErrorDetail(type=str(told["type"]), message=str(told["message"]))
