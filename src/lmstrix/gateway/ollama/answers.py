"""Chats and completions."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from lmstrix.errors import LMStrixError, NotFoundError, UnsupportedError, UsageError
from lmstrix.gateway.describing import describe
from lmstrix.gateway.errors import ollama_error, problem_of
from lmstrix.gateway.reading import decode_body
from lmstrix.gateway.relay import Relaying, with_fields
from lmstrix.gateway.responding import Streaming, json_response, until_gone
from lmstrix.protocol.ollama.durations import keep_alive_s
from lmstrix.protocol.ollama.messages import (
    ChatRequest,
    DebugInfo,
    GenerateRequest,
    Reply,
    encode,
)
from lmstrix.protocol.ollama.options import load_options, read_options
from lmstrix.protocol.ollama.replies import AnswerEncoder, idle, join
from lmstrix.protocol.ollama.requests import CHAT, GENERATE, read_chat, read_generate
from lmstrix.providers.ollama.answering import options_of
from lmstrix.types import LoadConfig, Stats, WireRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request as HTTPRequest
    from starlette.responses import Response

    from lmstrix.gateway.gateway import Gateway, Held
    from lmstrix.gateway.ollama.shelf import Chosen, Shelf
    from lmstrix.protocol.ollama.options import ReadOptions
    from lmstrix.types import Request

_Body = TypeVar("_Body", ChatRequest, GenerateRequest)

DIALECT = "ollama"
NDJSON = "application/x-ndjson"
_MOST_LOGPROBS = 20


class Answers:
    """The endpoints, on one gateway."""

    def __init__(self, gateway: Gateway, shelf: Shelf) -> None:
        self._gateway = gateway
        self._shelf = shelf

    @describe("The next message of a chat", body=ChatRequest, answer=Reply, stream=NDJSON)
    async def chat(self, request: HTTPRequest) -> Response:
        """`POST /api/chat`."""
        wish = await read_wish(request, ChatRequest)
        chosen = await self._shelf.find(wish.model)
        options = read_options(chosen.options(wish.options))
        if not wish.messages:
            return await self._rest(request, wish, chosen, options)
        if self._speaks(chosen):
            return await self._relay(request, CHAT, wish, chosen, options)
        question = read_chat(wish, options.sampling, before=chosen.before())
        return await self._answer(request, wish, chosen, options, question)

    @describe("The completion of a text", body=GenerateRequest, answer=Reply, stream=NDJSON)
    async def generate(self, request: HTTPRequest) -> Response:
        """`POST /api/generate`."""
        wish = await read_wish(request, GenerateRequest)
        chosen = await self._shelf.find(wish.model)
        options = read_options(chosen.options(wish.options))
        if not wish.prompt:
            return await self._rest(request, wish, chosen, options)
        if self._speaks(chosen):
            return await self._relay(request, GENERATE, wish, chosen, options)
        question = read_generate(wish, options.sampling, before=chosen.before())
        return await self._answer(request, wish, chosen, options, question)

    def _speaks(self, chosen: Chosen) -> bool:
        """Whether the server behind speaks this dialect itself, and of this very model."""
        opened = self._gateway.client._open  # noqa: SLF001  # of the same house
        return chosen.made is None and DIALECT in opened.provider_of(chosen.entry.model).dialects

    async def _relay(
        self,
        request: HTTPRequest,
        path: str,
        wish: ChatRequest | GenerateRequest,
        chosen: Chosen,
        options: ReadOptions,
    ) -> Response:
        """Pass the request on, with the size that is loaded: Ollama loads anew without it."""
        body = await request.body()

        def wire(held: Held) -> WireRequest:
            loaded = load_options(options_of(held.instance)) | (wish.options or {})
            told = with_fields(body, model=held.instance.model_key, options=loaded)
            return WireRequest(method="POST", path=path, body=told)

        ttl_s = keep_alive_s(wish.keep_alive)
        holding = self._gateway.hold(chosen.name, config=_wished(options.load), ttl_s=ttl_s)
        return Relaying(request, holding, DIALECT, wire, stream=wish.stream is not False)

    async def _rest(
        self,
        request: HTTPRequest,
        wish: ChatRequest | GenerateRequest,
        chosen: Chosen,
        options: ReadOptions,
    ) -> Response:
        """Load the model, or unload it: what a request without a question asks for."""
        ttl_s = keep_alive_s(wish.keep_alive)
        chat = isinstance(wish, ChatRequest)
        if ttl_s == 0:
            model = chosen.entry.model
            for one in await self._gateway.instances():
                if (one.model_key, one.server) == (model.key, model.server):
                    await self._unload(one.id)
            return json_response(idle(wish.model, at=now(), chat=chat, reason="unload"))
        await until_gone(request, self._load(chosen, options.load, ttl_s))
        return json_response(idle(wish.model, at=now(), chat=chat, reason="load"))

    async def _load(self, chosen: Chosen, config: LoadConfig, ttl_s: float | None) -> None:
        if not self._gateway.options.jit:  # it is said here, not demanded by a question
            await self._gateway.load(chosen.name, config, ttl_s=ttl_s)
            return
        async with self._gateway.hold(chosen.name, config=_wished(config), ttl_s=ttl_s):
            pass

    async def _unload(self, instance_id: str) -> None:
        try:
            await self._gateway.unload(instance_id)
        except NotFoundError:
            return  # it ended by itself

    async def _answer(
        self,
        request: HTTPRequest,
        wish: ChatRequest | GenerateRequest,
        chosen: Chosen,
        options: ReadOptions,
        question: Request,
    ) -> Response:
        question = _allowed(question, wish, chosen, options)
        if wish.debug_render_only:
            return json_response(await until_gone(request, self._rendered(wish, chosen, question)))
        answer = self._replies(wish, chosen, options.load, question)
        if wish.stream is not False:
            return Streaming(_lines(answer), media_type=NDJSON)
        return json_response(await until_gone(request, _whole(answer)))

    async def _rendered(
        self, wish: ChatRequest | GenerateRequest, chosen: Chosen, question: Request
    ) -> Reply:
        async with self._gateway.hold(chosen.name) as held:
            prompt = await held.provider.render(held.instance, question)
        images = sum(len(message.images) for message in question.messages)
        info = DebugInfo(rendered_template=prompt, image_count=images or None)
        return Reply(model=wish.model, created_at=now(), done=False, debug_info=info)

    async def _replies(
        self,
        wish: ChatRequest | GenerateRequest,
        chosen: Chosen,
        config: LoadConfig,
        question: Request,
    ) -> AsyncGenerator[list[Reply], None]:
        """The replies, in the portions they come in."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        encoder = AnswerEncoder(wish.model, chat=isinstance(wish, ChatRequest))
        ttl_s = keep_alive_s(wish.keep_alive)
        async with self._gateway.answer(
            chosen.name, question, ttl_s=ttl_s, config=_wished(config)
        ) as answering:
            loaded_s = clock()
            async for item in answering:
                if isinstance(item, Stats):
                    yield encoder.finish(
                        item, at=now(), total_s=clock() - began_s, load_s=loaded_s - began_s
                    )
                elif replies := encoder.feed(item, at=now()):
                    yield replies


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


async def read_wish(request: HTTPRequest, kind: type[_Body]) -> _Body:
    """The body of a request, whatever type it claims to have. Raises `UsageError`."""
    body = await request.body()
    if not body.strip():
        raise UsageError("The request has no body.", hint="Send a JSON object.")
    return decode_body(body, kind)


def _wished(config: LoadConfig) -> LoadConfig | None:
    return None if config == LoadConfig() else config


def _allowed(
    question: Request,
    wish: ChatRequest | GenerateRequest,
    chosen: Chosen,
    options: ReadOptions,
) -> Request:
    """The question, made fit for the model. Raises what it asks in vain."""
    model = chosen.entry.model
    if not 0 <= (wish.top_logprobs or 0) <= _MOST_LOGPROBS:
        raise UsageError(f"top_logprobs must be between 0 and {_MOST_LOGPROBS}.")
    if wish.think and not model.reasoning:
        raise UnsupportedError(f'"{wish.model}" does not support thinking.')
    if question.think is not None and not model.reasoning:
        question = replace(question, think=None)  # not to think is what it does anyway
    if options.llama and model.provider == "embedded":
        question = replace(question, extra=dict(options.llama))
    return question


async def _lines(answer: AsyncGenerator[list[Reply], None]) -> AsyncGenerator[bytes, None]:
    """The replies as lines. What breaks off after the first is told in the last line."""
    told = False
    try:
        async for replies in answer:
            yield b"".join(encode(reply) + b"\n" for reply in replies)
            told = True
    except LMStrixError as error:
        if not told:
            raise
        yield encode(ollama_error(problem_of(error))) + b"\n"
    finally:
        await answer.aclose()


async def _whole(answer: AsyncGenerator[list[Reply], None]) -> Reply:
    return join([reply async for replies in answer for reply in replies])
