"""One answer of an Ollama server, from the question to its end."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from lmstrix.errors import ContextOverflowError, GenerationError, ProtocolError
from lmstrix.protocol.ollama.durations import keep_alive_of
from lmstrix.protocol.ollama.lines import LineDecoder
from lmstrix.protocol.ollama.messages import EmbedReply, EmbedRequest, Reply
from lmstrix.protocol.ollama.options import load_options
from lmstrix.protocol.ollama.requests import encode_request
from lmstrix.protocol.ollama.stream import AnswerDecoder
from lmstrix.types import WireRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from lmstrix.providers.ollama.talk import Talk
    from lmstrix.types import Instance, LoadConfig, Request, StreamItem


async def answer(
    talk: Talk,
    instance: Instance,
    request: Request,
    *,
    check: Callable[[Instance, Request], Awaitable[None]],
) -> AsyncGenerator[StreamItem, None]:
    """The items of the answer to `request`, which `check` lets through."""
    await check(instance, request)
    sent = question(instance, request)
    lines, decoder = LineDecoder(), _decoder(instance, request)
    begun = False
    try:
        async with talk.http.open(sent.method, sent.path, sent.body) as incoming:
            if incoming.status != HTTPStatus.OK:
                raise talk.refused(incoming, await incoming.read_all(), model=instance.model_key)
            while not decoder.done and (data := await incoming.read()):
                for item in decoder.items(lines.feed(data)):
                    begun = True
                    yield item
            for item in decoder.items(lines.finish()):
                yield item
            if not decoder.done:
                raise ConnectionResetError("it has no end")  # as it is elsewhere
            return
    except ContextOverflowError as problem:
        raise sized(problem, instance) from None
    except (OSError, ProtocolError) as problem:
        if begun:
            raise GenerationError(
                f"The answer of {instance.model_key} from {talk.http.root} broke off: {problem}",
                partial=decoder.text,
                hint="Ask again; Ollama's own log may say more.",
            ) from None
    for item in await _in_one_piece(talk, instance, request):
        yield item


async def _in_one_piece(talk: Talk, instance: Instance, request: Request) -> list[StreamItem]:
    sent = question(instance, request, stream=False)
    try:
        body = await talk.tell(sent.method, sent.path, sent.body, model=instance.model_key)
    except ContextOverflowError as problem:
        raise sized(problem, instance) from None
    decoder = _decoder(instance, request)
    items = decoder.feed(body)
    if not decoder.done:
        raise ProtocolError(
            f"{talk.http.root} sent an answer that has no end.", hint="Is that an Ollama server?"
        )
    return items


async def rendered(talk: Talk, instance: Instance, request: Request) -> str | None:
    """The prompt of `request` as the model sees it; `None` where the server does not tell."""
    sent = question(instance, request, stream=False)
    fields: dict[str, object] = msgspec.json.decode(sent.body)
    fields["_debug_render_only"] = True
    reply = await talk.post(sent.path, fields, Reply, model=instance.model_key)
    return None if reply.debug_info is None else reply.debug_info.rendered_template


async def embedded(
    talk: Talk, instance: Instance, texts: Sequence[str]
) -> Sequence[Sequence[float]]:
    """One unit vector per text. Raises `ContextOverflowError` for one that does not fit."""
    loaded = options_of(instance)
    wish = EmbedRequest(
        model=instance.model_key,
        input=tuple(texts),
        truncate=False,
        options=load_options(loaded) or None,
        keep_alive=keep_alive_of(loaded.ttl_s),
    )
    try:
        found = await talk.post("/api/embed", wish, EmbedReply, model=instance.model_key)
    except ContextOverflowError as problem:
        raise sized(problem, instance) from None
    vectors = found.embeddings or ()
    if len(vectors) != len(texts):
        raise ProtocolError(
            f"{talk.http.root} sent {len(vectors)} vectors for {len(texts)} texts.",
            hint="Ask again with fewer texts.",
        )
    return vectors


def _decoder(instance: Instance, request: Request) -> AnswerDecoder:
    return AnswerDecoder(
        max_tokens=request.sampling.max_tokens,
        context_tokens=instance.context_tokens,
        raw=request.prompt is not None,
    )


def question(instance: Instance, request: Request, *, stream: bool = True) -> WireRequest:
    """What is sent to ask `request`."""
    path, body = encode_request(
        request, model=instance.model_key, loaded=options_of(instance), stream=stream
    )
    return WireRequest(method="POST", path=path, body=body)


def options_of(instance: Instance) -> LoadConfig:
    """What the instance was loaded with, as far as it is known."""
    config = instance.config
    if config.context_tokens is None and instance.context_tokens is not None:
        return replace(config, context_tokens=instance.context_tokens)
    return config


def sized(problem: ContextOverflowError, instance: Instance) -> ContextOverflowError:
    """The error with the context of the instance, which Ollama rarely tells with it."""
    return ContextOverflowError(
        problem.message,
        prompt_tokens=problem.prompt_tokens,
        context_tokens=problem.context_tokens or instance.context_tokens or 0,
        hint=problem.hint,
    )
