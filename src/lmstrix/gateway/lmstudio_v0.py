"""Answers of LM Studio's REST version 0: OpenAI's, with how it went, of what model, by what."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

import msgspec
from msgspec import UNSET
from starlette.routing import Route

from lmstrix.errors import LMStrixError, UsageError
from lmstrix.gateway.describing import describe
from lmstrix.gateway.errors import openai_error, problem_of
from lmstrix.gateway.lmstudio_facts import STOP_REASONS, context_of
from lmstrix.gateway.responding import EVENT_STREAM, Streaming, json_response, until_gone
from lmstrix.protocol.lmstudio.rest import AdditionsV0, ModelInfoV0, RuntimeV0, StatsV0
from lmstrix.protocol.openai import requests
from lmstrix.protocol.openai.answers import ChatAnswer, ChatWriter, TextAnswer, TextWriter, event
from lmstrix.protocol.openai.embeddings import EmbeddingAnswer, EmbeddingRequest, encode_vectors
from lmstrix.types import Fragment, Stats

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from msgspec import UnsetType
    from starlette.requests import Request as HTTPRequest
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from lmstrix.gateway.gateway import Gateway, Held
    from lmstrix.types import Request

    Writer: TypeAlias = ChatWriter | TextWriter
    Wish: TypeAlias = requests.ChatRequest | requests.CompletionRequest

_EVENT = b"data: "
_encode = msgspec.json.Encoder().encode


def routes(gateway: Gateway) -> list[BaseRoute]:
    """The three routes."""
    answers = Answers(gateway)
    return [
        Route("/api/v0/chat/completions", answers.chat, methods=["POST"]),
        Route("/api/v0/completions", answers.complete, methods=["POST"]),
        Route("/api/v0/embeddings", answers.embed, methods=["POST"]),
    ]


class Answers:
    """The endpoints, on one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @describe("A chat (version 0)", body=requests.ChatRequest, answer=ChatAnswer,
              stream=EVENT_STREAM)  # fmt: skip
    async def chat(self, request: HTTPRequest) -> Response:
        """`POST /api/v0/chat/completions`."""
        wish = requests.decode_chat(await request.body())
        return await self._answer(request, wish, wish.request(), "chatcmpl", ChatWriter)

    @describe("A completion (version 0)", body=requests.CompletionRequest, answer=TextAnswer,
              stream=EVENT_STREAM)  # fmt: skip
    async def complete(self, request: HTTPRequest) -> Response:
        """`POST /api/v0/completions`."""
        wish = requests.decode_completion(await request.body())
        return await self._answer(request, wish, wish.request(), "cmpl", TextWriter)

    @describe("Embeddings (version 0)", body=EmbeddingRequest, answer=EmbeddingAnswer)
    async def embed(self, request: HTTPRequest) -> Response:
        """`POST /api/v0/embeddings`."""
        wish = requests.decode_as(await request.body(), EmbeddingRequest)
        if not wish.model:
            raise _nameless()
        entry = await self._gateway.find(wish.model)
        work = self._gateway.embed(wish.model, wish.texts(), ttl_s=wish.ttl)
        _, vectors = await until_gone(request, work)
        as_base64 = wish.encoding_format == "base64"
        content = encode_vectors(vectors, model=entry.model.key, as_base64=as_base64)
        return json_response(msgspec.Raw(content))

    async def _answer(
        self,
        request: HTTPRequest,
        wish: Wish,
        question: Request,
        kind: str,
        writer_of: type[ChatWriter | TextWriter],
    ) -> Response:
        if not wish.model:
            raise _nameless()
        entry = await self._gateway.find(wish.model)
        writer = writer_of(
            answer_id=f"{kind}-{uuid4().hex}",
            model=entry.model.key,
            created=int(time.time()),
            usage=wish.wants_usage,
        )
        if wish.stream:
            return Streaming(self._streamed(wish, question, writer))
        return json_response(await until_gone(request, self._whole(wish, question, writer)))

    async def _whole(self, wish: Wish, question: Request, writer: Writer) -> dict[str, object]:
        assert wish.model is not None
        fragments: list[Fragment] = []
        async with self._gateway.answer(wish.model, question, ttl_s=wish.ttl) as answering:
            watch = _Watch()
            async for item in answering:
                if type(item) is Fragment:
                    watch.saw_fragment()
                    fragments.append(item)
                elif isinstance(item, Stats):
                    additions = _additions(answering.held, item, watch)
                    whole = msgspec.to_builtins(writer.whole(fragments, item))
                    return {**whole, **msgspec.to_builtins(additions)}
        raise AssertionError  # a provider's stream ends in statistics

    async def _streamed(
        self, wish: Wish, question: Request, writer: Writer
    ) -> AsyncGenerator[bytes, None]:
        assert wish.model is not None
        begun = False
        try:
            async with self._gateway.answer(wish.model, question, ttl_s=wish.ttl) as answering:
                watch = _Watch()
                async for item in answering:
                    if type(item) is Fragment:
                        watch.saw_fragment()
                        piece = writer.piece(item)
                        yield piece if begun else writer.begin() + piece
                        begun = True
                    elif isinstance(item, Stats):
                        additions = _additions(answering.held, item, watch)
                        end = _with_additions(writer.end(item), additions)
                        yield end if begun else writer.begin() + end
        except LMStrixError as error:
            if not begun:
                raise
            yield event(_encode(openai_error(problem_of(error))))


class _Watch:
    """When an answer began, and when its first fragment came."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self.first_s: float | UnsetType = UNSET

    def saw_fragment(self) -> None:
        """A fragment has come."""
        if self.first_s is UNSET:
            self.first_s = round(self._loop.time() - self._began_s, 6)

    @property
    def passed_s(self) -> float:
        """Seconds since it began."""
        return round(self._loop.time() - self._began_s, 6)


def _additions(held: Held, stats: Stats, watch: _Watch) -> AdditionsV0:
    model = held.entry.model
    return AdditionsV0(
        stats=StatsV0(
            tokens_per_second=stats.tokens_per_s or UNSET,
            time_to_first_token=watch.first_s,
            generation_time=watch.passed_s if stats.predict_s is None else stats.predict_s,
            stop_reason=STOP_REASONS[stats.stop_reason],
        ),
        model_info=ModelInfoV0(
            arch=model.architecture or "",
            quant=model.quantization or "",
            format=model.format,
            context_length=context_of(held.instance, model),
        ),
        runtime=_runtime(held),
    )


def _runtime(held: Held) -> RuntimeV0:
    name, _, number = held.provider.engine.partition(" ")
    return RuntimeV0(
        name=name or held.provider.name,
        version=number or version("lmstrix"),
        supported_formats=(held.entry.model.format,),
    )


def _with_additions(end: bytes, additions: AdditionsV0) -> bytes:
    """The last events of a stream, with what version 0 has beyond OpenAI in the first of them."""
    first, separator, rest = end.partition(b"\n\n")
    chunk = msgspec.json.decode(first.removeprefix(_EVENT), type=dict[str, msgspec.Raw])
    told = {**chunk, **msgspec.to_builtins(additions)}
    return _EVENT + _encode(told) + separator + rest


def _nameless() -> UsageError:
    return UsageError(
        "The request names no model.", hint="Say which in `model`; GET /api/v0/models lists them."
    )
