"""Embeddings."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from lmstrix.errors import ContextOverflowError
from lmstrix.gateway.describing import describe
from lmstrix.gateway.reading import read_body
from lmstrix.gateway.responding import json_response, until_gone
from lmstrix.protocol.ollama.durations import keep_alive_s
from lmstrix.protocol.ollama.messages import (
    EmbeddingsReply,
    EmbeddingsRequest,
    EmbedReply,
    EmbedRequest,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from lmstrix.gateway.gateway import Gateway
    from lmstrix.gateway.ollama.shelf import Shelf

_SPARE_TOKENS = 4  # marks that the model puts around a text, and a letter cut in two


class Vectors:
    """The endpoints, on one gateway."""

    def __init__(self, gateway: Gateway, shelf: Shelf) -> None:
        self._gateway = gateway
        self._shelf = shelf

    @describe("Vectors of texts", body=EmbedRequest, answer=EmbedReply)
    async def embed(self, request: Request) -> Response:
        """`POST /api/embed`. A text that does not fit is cut only where `truncate` says so."""
        wish = await read_body(request, EmbedRequest)
        return json_response(await until_gone(request, self._embed(wish)))

    @describe("The vector of a text, in the older form", body=EmbeddingsRequest)
    async def embeddings(self, request: Request) -> Response:
        """`POST /api/embeddings`."""
        wish = await read_body(request, EmbeddingsRequest)
        newer = EmbedRequest(
            model=wish.model, input=wish.prompt, options=wish.options, keep_alive=wish.keep_alive
        )
        found = (await until_gone(request, self._embed(newer))).embeddings or ((),)
        return json_response(EmbeddingsReply(embedding=found[0]))

    async def _embed(self, wish: EmbedRequest) -> EmbedReply:
        clock = asyncio.get_running_loop().time
        began_s = clock()
        chosen = await self._shelf.find(wish.model)
        ttl_s = keep_alive_s(wish.keep_alive)
        texts = (wish.input,) if isinstance(wish.input, str) else wish.input or ()
        texts = tuple(text for text in texts if text or len(texts) > 1)
        if not texts:
            async with self._gateway.hold(chosen.name, ttl_s=ttl_s):
                return EmbedReply(model=wish.model, embeddings=())
        async with self._gateway.hold(chosen.name, ttl_s=ttl_s):
            loaded_s = clock()
            try:
                _, vectors = await self._gateway.embed(chosen.name, texts, ttl_s=ttl_s)
            except ContextOverflowError:
                if not wish.truncate:
                    raise
                texts = await self._shortened(chosen.name, texts)
                _, vectors = await self._gateway.embed(chosen.name, texts, ttl_s=ttl_s)
        return EmbedReply(
            model=wish.model,
            embeddings=tuple(_cut(vector, wish.dimensions) for vector in vectors),
            total_duration=round((clock() - began_s) * 1e9),
            load_duration=round((loaded_s - began_s) * 1e9),
        )

    async def _shortened(self, name: str, texts: Sequence[str]) -> tuple[str, ...]:
        """The texts, each cut at its end to what the model takes."""
        async with self._gateway.hold(name) as held:
            instance, provider = held.instance, held.provider
            if instance.context_tokens is None:
                return tuple(texts)
            most = instance.context_tokens - _SPARE_TOKENS
            short = []
            for text in texts:
                tokens = await provider.tokenize(instance, text)
                if len(tokens) > most:
                    short.append(await provider.detokenize(instance, tokens[:most]))
                else:
                    short.append(text)
            return tuple(short)


def _cut(vector: Sequence[float], dimensions: int | None) -> tuple[float, ...]:
    """The first `dimensions` of a vector, again of length one; all of it without."""
    if not dimensions or dimensions >= len(vector):
        return tuple(vector)
    cut = vector[:dimensions]
    norm = math.sqrt(sum(one * one for one in cut)) or 1.0
    return tuple(one / norm for one in cut)
