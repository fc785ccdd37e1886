"""The models of one Ollama server: listed, shown, fetched, made, copied, deleted."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.errors import LMStrixError, UnreachableError
from lmstrix.protocol.ollama import models as wire
from lmstrix.protocol.ollama.options import read_options
from lmstrix.providers.ollama.describing import described, parameters_of
from lmstrix.types import Listing, Model

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from lmstrix.providers.ollama.talk import Talk
    from lmstrix.types import Progress

_SHOWN_AT_ONCE = 4


class Library:
    """What a server has on its disk."""

    def __init__(self, talk: Talk, provider: str) -> None:
        self._talk = talk
        self._provider = provider
        self._server = talk.http.root

    async def version(self) -> str:
        """The server's version."""
        return (await self._talk.get("/api/version", wire.Version)).version

    async def list(self, known: Sequence[Model]) -> Listing:
        """Every model. One of the same digest as in `known` is not asked about again."""
        tags = await self._talk.get("/api/tags", wire.Tags)
        before = {(model.key, model.identity): model for model in known}
        gate = asyncio.Semaphore(_SHOWN_AT_ONCE)

        async def described_or_why(one: wire.Listed) -> Model | str:
            key = one.model or one.name or ""
            old = before.get((key, one.digest))
            if old is not None and one.digest:
                return old
            async with gate:
                try:
                    return await self.describe(key, one)
                except UnreachableError:
                    raise
                except LMStrixError as problem:
                    return f"{key} cannot be described: {problem.message}"

        found = await asyncio.gather(*(described_or_why(one) for one in tags.models or ()))
        models = tuple(one for one in found if isinstance(one, Model))
        problems = tuple(one for one in found if isinstance(one, str))
        return Listing(models=models, complete=not problems, problems=problems)

    async def describe(self, key: str, listed: wire.Listed | None = None) -> Model:
        """One model, by what is shown of it and, where it was listed, by that."""
        shown = await self.show(key)
        listed = listed or wire.Listed()
        return described(key, listed, shown, provider=self._provider, server=self._server)

    async def show(self, key: str) -> wire.Shown:
        """What the server tells of a model. Raises `ModelNotFoundError`."""
        return await self._talk.post("/api/show", wire.Named(model=key), wire.Shown, model=key)

    async def sampling_defaults(self, key: str) -> Mapping[str, object]:
        """What the model's own parameters set, by the names of `Sampling`."""
        sampling = read_options(await self._parameters(key)).sampling
        return {
            name: value
            for name in sampling.__struct_fields__
            if (value := getattr(sampling, name)) is not None
        }

    async def pull(self, key: str) -> AsyncGenerator[Progress, None]:
        """Have the server fetch a model."""
        body = wire.Named(model=key, stream=True)
        async with aclosing(self._talk.work("/api/pull", body, model=key)) as work:
            async for progress in work:
                yield progress

    async def create(self, wish: wire.Create) -> AsyncGenerator[Progress, None]:
        """Have the server make a model of another."""
        body = replace(wish, stream=True)
        async with aclosing(self._talk.work("/api/create", body, model=wish.from_ or "")) as work:
            async for progress in work:
                yield progress

    async def copy(self, source: str, destination: str) -> None:
        """Give a model a second name."""
        body = wire.Copy(source=source, destination=destination)
        await self._talk.tell("POST", "/api/copy", body, model=source)

    async def delete(self, key: str) -> None:
        """Delete a model."""
        await self._talk.tell("DELETE", "/api/delete", wire.Named(model=key), model=key)

    async def default_context(self, key: str) -> int | None:
        """`num_ctx` among the model's own parameters."""
        found = (await self._parameters(key)).get("num_ctx")
        return int(found) if isinstance(found, float) else None

    async def save_default_context(self, key: str, tokens: int) -> str | None:
        """Make the model anew of itself with that `num_ctx`; its new digest."""
        wish = wire.Create(model=key, from_=key, parameters={"num_ctx": tokens})
        async with aclosing(self.create(wish)) as work:
            async for _ in work:
                pass
        tags = await self._talk.get("/api/tags", wire.Tags)
        named = (one for one in tags.models or () if key in (one.model, one.name))
        return next((one.digest for one in named), None)

    async def _parameters(self, key: str) -> dict[str, object]:
        return parameters_of((await self.show(key)).parameters or "")
