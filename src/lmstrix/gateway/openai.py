"""OpenAI's API: models, chats, completions, embeddings. `openai_responses` has the rest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

import msgspec
from starlette.routing import Route

from lmstrix.errors import LMStrixError, UnsupportedError, UsageError
from lmstrix.gateway import openai_responses
from lmstrix.gateway.describing import describe
from lmstrix.gateway.errors import openai_error, problem_of
from lmstrix.gateway.relay import Relaying, with_model
from lmstrix.gateway.responding import EVENT_STREAM, Streaming, json_response, until_gone
from lmstrix.protocol.openai import models, requests
from lmstrix.protocol.openai.answers import ChatAnswer, ChatWriter, TextAnswer, TextWriter, event
from lmstrix.protocol.openai.embeddings import (
    EMBEDDINGS,
    EmbeddingAnswer,
    EmbeddingRequest,
    encode_vectors,
)
from lmstrix.types import Fragment, ModelType, Stats, WireRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request as HTTPRequest
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from lmstrix.gateway.gateway import Gateway
    from lmstrix.store import Entry
    from lmstrix.types import Request

    Writer: TypeAlias = ChatWriter | TextWriter
    Wish: TypeAlias = requests.ChatRequest | requests.CompletionRequest

DIALECT = "openai"

_encode = msgspec.json.Encoder().encode


class _Named(msgspec.Struct):
    """As much of a request as must be known to pass it on."""

    model: str | None = None
    stream: bool | None = None
    ttl: float | None = None


def routes(gateway: Gateway) -> list[BaseRoute]:
    """The routes of OpenAI's API."""
    rooms = Rooms(gateway)
    return [
        Route(models.MODELS, rooms.list_models, methods=["GET"]),
        Route(models.MODELS + "/{name:path}", rooms.show_model, methods=["GET"]),
        Route(requests.CHAT, rooms.chat, methods=["POST"]),
        Route(requests.COMPLETIONS, rooms.complete, methods=["POST"]),
        Route(EMBEDDINGS, rooms.embed, methods=["POST"]),
        *openai_responses.routes(gateway),
    ]


class Rooms:
    """The endpoints, on one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._created = int(time.time())

    @describe("The models", answer=models.ServedList)
    async def list_models(self, request: HTTPRequest) -> Response:  # noqa: ARG002  # Starlette passes it
        """`GET /v1/models`."""
        entries = await self._gateway.models()
        return json_response(models.ServedList(data=tuple(self._served(e) for e in entries)))

    @describe("One model", answer=models.Served)
    async def show_model(self, request: HTTPRequest) -> Response:
        """`GET /v1/models/{name}`."""
        entry = await self._gateway.find(request.path_params["name"])
        return json_response(self._served(entry))

    def _served(self, entry: Entry) -> models.Served:
        model = entry.model
        return models.Served(
            id=model.key,
            created=int(model.modified_at or self._created),
            owned_by="lmstrix",
            type=model.type.value,
            max_context_length=model.declared_context_tokens or msgspec.UNSET,
        )

    @describe("A chat", body=requests.ChatRequest, answer=ChatAnswer, stream=EVENT_STREAM)
    async def chat(self, request: HTTPRequest) -> Response:
        """`POST /v1/chat/completions`."""
        body = await request.body()
        entry, named = await self._named(body)
        # Chat templates know no developer; whoever translates makes a system message of it.
        if b'"developer"' not in body and self._speaks(entry):
            return self._relay(request, requests.CHAT, body, entry, named)
        wish = requests.decode_chat(body)
        writer = ChatWriter(
            answer_id=f"chatcmpl-{uuid4().hex}",
            model=entry.model.key,
            created=int(time.time()),
            usage=wish.wants_usage,
        )
        return await self._answer(request, named, wish.request(), writer)

    @describe(
        "A completion", body=requests.CompletionRequest, answer=TextAnswer, stream=EVENT_STREAM
    )
    async def complete(self, request: HTTPRequest) -> Response:
        """`POST /v1/completions`."""
        body = await request.body()
        entry, named = await self._named(body)
        if self._speaks(entry):
            return self._relay(request, requests.COMPLETIONS, body, entry, named)
        wish = requests.decode_completion(body)
        if wish.echo:
            raise UsageError("A prompt is not sent back with its completion here.")
        writer = TextWriter(
            answer_id=f"cmpl-{uuid4().hex}",
            model=entry.model.key,
            created=int(time.time()),
            usage=wish.wants_usage,
        )
        return await self._answer(request, named, wish.request(), writer)

    @describe("Embeddings", body=EmbeddingRequest, answer=EmbeddingAnswer)
    async def embed(self, request: HTTPRequest) -> Response:
        """`POST /v1/embeddings`."""
        wish = requests.decode_as(await request.body(), EmbeddingRequest)
        if not wish.model:
            raise _nameless()
        if wish.dimensions is not None:
            raise UsageError("Embeddings have the length their model gives them, no other.")
        texts = wish.texts()
        entry = await self._gateway.find(wish.model)
        work = self._gateway.embed(wish.model, texts, ttl_s=wish.ttl)
        _, vectors = await until_gone(request, work)
        as_base64 = wish.encoding_format == "base64"
        content = encode_vectors(vectors, model=entry.model.key, as_base64=as_base64)
        return json_response(msgspec.Raw(content))

    async def _named(self, body: bytes) -> tuple[Entry, _Named]:
        named = requests.decode_as(body, _Named)
        if not named.model:
            raise _nameless()
        return await self._gateway.find(named.model), named

    def _speaks(self, entry: Entry) -> bool:
        """Whether the server behind speaks this dialect itself."""
        opened = self._gateway.client._open  # noqa: SLF001  # the gateway is of the same house
        return DIALECT in opened.provider_of(entry.model).dialects

    def _relay(
        self, request: HTTPRequest, path: str, body: bytes, entry: Entry, named: _Named
    ) -> Response:
        assert named.model is not None
        if entry.model.type is ModelType.EMBEDDING:
            raise UnsupportedError(f"{entry.model.key} makes embeddings, no text.")
        if named.model != entry.model.key:
            body = with_model(body, entry.model.key)
        return Relaying(
            request,
            self._gateway.hold(named.model, ttl_s=named.ttl),
            DIALECT,
            WireRequest(method="POST", path=path, body=body),
            stream=bool(named.stream),
        )

    async def _answer(
        self, request: HTTPRequest, named: _Named, question: Request, writer: Writer
    ) -> Response:
        if named.stream:
            return Streaming(self._streamed(named, question, writer))
        return json_response(await until_gone(request, self._whole(named, question, writer)))

    async def _whole(
        self, named: _Named, question: Request, writer: Writer
    ) -> ChatAnswer | TextAnswer:
        assert named.model is not None
        fragments: list[Fragment] = []
        async with self._gateway.answer(named.model, question, ttl_s=named.ttl) as answering:
            async for item in answering:
                if type(item) is Fragment:
                    fragments.append(item)
                elif isinstance(item, Stats):
                    return writer.whole(fragments, item)
        raise AssertionError  # a provider's stream ends in statistics

    async def _streamed(
        self, named: _Named, question: Request, writer: Writer
    ) -> AsyncGenerator[bytes, None]:
        assert named.model is not None
        begun = False
        try:
            async with self._gateway.answer(named.model, question, ttl_s=named.ttl) as answering:
                async for item in answering:
                    if type(item) is Fragment:
                        piece = writer.piece(item)
                        yield piece if begun else writer.begin() + piece
                        begun = True
                    elif isinstance(item, Stats):
                        yield writer.end(item) if begun else writer.begin() + writer.end(item)
        except LMStrixError as error:
            if not begun:
                raise
            yield event(_encode(openai_error(problem_of(error))))


def _nameless() -> UsageError:
    return UsageError(
        "The request names no model.", hint="Say which in `model`; GET /v1/models lists them."
    )
