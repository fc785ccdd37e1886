"""Models that could be fetched: those in folders of this machine and on other gateways.

Which folders and gateways, is said when the gateway is started; nothing else is ever looked at.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import GGUFError, LMStrixError, NotFoundError, UnreachableError
from lmstrix.gateway.fetching import FolderSource, PeerSource, content_digest, fetch
from lmstrix.gateway.lmstudio_facts import path_of, publisher_of
from lmstrix.gguf import describe, find_models
from lmstrix.protocol.ollama.models import Tags
from lmstrix.providers.http import GATEWAY_FIELD, HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from lmstrix.gateway.fetching import Fetching
    from lmstrix.gateway.gateway import Gateway
    from lmstrix.store import Entry
    from lmstrix.types import Model

    FetchListener = Callable[["Fetching"], None]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A model that could be fetched. `name` is that of all its quantizations together.

    `digest` stands for its content where that is known, as `content_digest` has it.
    """

    id: str
    name: str
    key: str
    path: str
    source: FolderSource | PeerSource
    size_bytes: int
    quantization: str | None = None
    digest: str | None = None


class Repository:
    """What one gateway can fetch, and the fetching."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def offers(self) -> list[Offer]:
        """Everything there is now. A folder or gateway that cannot be read offers nothing."""
        places = self._gateway.options.repositories
        found = await asyncio.gather(*map(self._offers_at, places))
        return [offer for offers in found for offer in offers]

    async def search(self, term: str, *, limit: int) -> list[tuple[str, list[Offer]]]:
        """Names with their offers, those that have every word of `term` in them."""
        words = term.casefold().split()
        groups: dict[str, list[Offer]] = {}
        for offer in await self.offers():
            text = f"{offer.name} {offer.path} {offer.key}".casefold()
            if all(word in text for word in words):
                groups.setdefault(offer.name, []).append(offer)
        return list(groups.items())[:limit]

    async def named(self, name: str) -> list[Offer]:
        """The offers of that name, key, path or id. Raises `NotFoundError` without one."""
        low = name.casefold()
        found = [
            offer
            for offer in await self.offers()
            if low in (offer.id, offer.name.casefold(), offer.key.casefold(), offer.path.casefold())
        ]
        if not found:
            raise NotFoundError(
                f"Nothing called {name!r} can be fetched from here.",
                hint="This server fetches from the folders and gateways that `lmstrix serve "
                "--repository` names, and nothing from the internet.",
            )
        return found

    async def there(self, offer: Offer) -> Entry | None:
        """The same content, if it is here already."""
        if offer.digest is None:
            return None
        for entry in await self._gateway.models():
            if _digest_of(entry.model) == offer.digest:
                return entry
        return None

    async def fetch(self, offer: Offer, *, on_step: FetchListener | None = None) -> Entry:
        """The model, once it is here; cancelling the call leaves nothing behind."""
        folder = self._gateway.client.places.models
        if isinstance(offer.source, FolderSource):
            folder = folder.joinpath(*_folders_of(offer.path))
        paths: set[str] = set()
        async with aclosing(fetch(offer.source, folder, self._gateway.client.settings)) as steps:
            async for step in steps:
                if step.path is not None:
                    paths.add(str(step.path))
                if on_step is not None:
                    on_step(step)
        await self._gateway.scan()
        for entry in await self._gateway.models():
            if entry.model.path in paths:
                return entry
        raise LMStrixError(
            f"{offer.name} was fetched into {folder}, and is not found there.",
            hint="See what is wrong with it: lmstrix scan --verbose",
        )

    async def _offers_at(self, place: str) -> Sequence[Offer]:
        if "://" in place:
            return await _offers_of_peer(place, self._gateway)
        return await asyncio.to_thread(lambda: list(_offers_in(Path(place).expanduser())))


def _offers_in(folder: Path) -> Iterable[Offer]:
    for path in find_models([folder]).paths:
        try:
            model = describe(path, provider="", server="", folder=folder)
        except (GGUFError, OSError):
            continue  # a file that is no model is no offer
        where = path_of(model)
        yield Offer(
            id=_id_of(f"{path}"),
            name=where.rpartition("/")[0] if publisher_of(model) else model.key,
            key=model.key,
            path=where,
            source=FolderSource(path),
            size_bytes=model.size_bytes,
            quantization=model.quantization,
            digest=_digest_of(model),
        )


async def _offers_of_peer(url: str, gateway: Gateway) -> list[Offer]:
    server = HttpServer.known(url, gateway.client.settings)
    try:
        answer = await server.get("/api/tags")
        if not answer.ok or GATEWAY_FIELD not in answer.fields:
            return []
        models = msgspec.json.decode(answer.body, type=Tags).models or ()
    except (UnreachableError, msgspec.DecodeError, UnicodeDecodeError):
        return []
    offers = []
    for one in models:
        if one.model is None or one.digest is None:
            continue
        key = one.model.removesuffix(":latest")
        offers.append(
            Offer(
                id=_id_of(f"{server.root}/{one.model}"),
                name=key,
                key=key,
                path=key,
                source=PeerSource(server.root, one.model),
                size_bytes=one.size or 0,
                quantization=one.details.quantization_level if one.details else None,
                digest=one.digest,
            )
        )
    return offers


def _folders_of(path: str) -> Sequence[str]:
    return path.split("/")[:-1]


def _digest_of(model: Model) -> str | None:
    return None if model.identity is None else content_digest(model.identity)


def _id_of(place: str) -> str:
    return hashlib.blake2s(place.encode(), digest_size=12).hexdigest()


async def steps_of(repository: Repository, offer: Offer) -> AsyncGenerator[Fetching | Entry, None]:
    """How far the fetching is, and the model at its end; closing it gives the fetching up."""
    steps: asyncio.Queue[Fetching | None] = asyncio.Queue()
    work = asyncio.ensure_future(repository.fetch(offer, on_step=steps.put_nowait))
    work.add_done_callback(lambda _: steps.put_nowait(None))
    try:
        while (step := await steps.get()) is not None:
            yield step
        yield await work
    finally:
        work.cancel()
        await asyncio.wait([work])
