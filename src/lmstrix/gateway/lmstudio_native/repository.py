"""The namespace `repository`: searching and fetching models, without the internet."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from lmstrix.errors import NotFoundError
from lmstrix.gateway.fetching import Fetching
from lmstrix.gateway.repository import steps_of
from lmstrix.protocol.lmstudio import endpoints
from lmstrix.protocol.lmstudio.models import (
    DownloadProgressUpdate,
    ModelSearchResultDownloadOptionData,
    ModelSearchResultEntryData,
)
from lmstrix.protocol.lmstudio.parameters import DownloadMessage, DownloadOptions, SearchResults

if TYPE_CHECKING:
    from lmstrix.gateway.lmstudio_native.connection import Handlers, OpenChannel
    from lmstrix.gateway.repository import Repository
    from lmstrix.protocol.lmstudio.envelopes import Auth
    from lmstrix.protocol.lmstudio.parameters import (
        DownloadModelParameter,
        DownloadOptionsParameter,
        SearchParameter,
    )

_MOST_RESULTS = 25
_USUAL_RESULTS = 10
_TELL_S = 0.1
# What an instance takes beyond its file, for a first guess before anything was fetched.
_OVERHEAD = 1.2


class Repositories:
    """The namespace on one gateway."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def register(self, handlers: Handlers) -> None:
        """Answer its calls and serve its channel."""
        handlers.answer(endpoints.SEARCH_MODELS, self._search)
        handlers.answer(endpoints.GET_DOWNLOAD_OPTIONS, self._options)
        handlers.serve(endpoints.DOWNLOAD_MODEL, self._download)

    async def _search(self, auth: Auth, parameter: SearchParameter) -> SearchResults:
        opts = parameter.opts
        if opts.compatibility_types is not None and "gguf" not in opts.compatibility_types:
            return SearchResults(results=[])
        term = opts.search_term or ""
        found = await self._repository.search(
            term, limit=min(opts.limit or _USUAL_RESULTS, _MOST_RESULTS)
        )
        return SearchResults(
            results=[
                ModelSearchResultEntryData(
                    name=name,
                    identifier={"type": "catalog", "identifier": name},
                    exact=name.casefold() == term.casefold(),
                    staff_pick=False,
                )
                for name, _ in found
            ]
        )

    async def _options(self, auth: Auth, parameter: DownloadOptionsParameter) -> DownloadOptions:
        from lmstrix.context.fit import machine_memory  # noqa: PLC0415  # only a search needs it

        name = str(parameter.model_search_result_identifier.get("identifier", ""))
        offers = await self._repository.named(name)
        free_bytes = machine_memory().budget_bytes
        return DownloadOptions(
            results=[
                ModelSearchResultDownloadOptionData(
                    name=offer.key,
                    quantization=offer.quantization,
                    size_bytes=offer.size_bytes,
                    fit_estimation=(
                        "fitWithoutGPU"
                        if offer.size_bytes * _OVERHEAD <= free_bytes
                        else "willNotFit"
                    ),
                    recommended=len(offers) == 1,
                    download_identifier=offer.id,
                    indexed_model_identifier=offer.path,
                    compatibility_type="gguf",
                )
                for offer in offers
            ]
        )

    async def _download(
        self, auth: Auth, parameter: DownloadModelParameter, channel: OpenChannel
    ) -> None:
        offers = await self._repository.named(parameter.download_identifier)
        if len(offers) != 1:
            raise NotFoundError(f"{parameter.download_identifier!r} is no download's identifier.")
        offer = offers[0]
        loop = asyncio.get_running_loop()
        began_s, told_s = loop.time(), 0.0

        async def tell(step: Fetching) -> None:
            took_s = max(loop.time() - began_s, 0.001)
            await channel.send(
                DownloadMessage(
                    type="downloadProgress",
                    update=DownloadProgressUpdate(
                        downloaded_bytes=step.done_bytes,
                        total_bytes=step.total_bytes,
                        speed_bytes_per_second=step.done_bytes / took_s,
                    ),
                )
            )

        async def work() -> None:
            nonlocal told_s
            entry = await self._repository.there(offer)
            if entry is None:
                async with aclosing(steps_of(self._repository, offer)) as steps:
                    async for step in steps:
                        if not isinstance(step, Fetching):
                            entry = step
                        elif step.path is not None or loop.time() - told_s >= _TELL_S:
                            told_s = loop.time()
                            await tell(step)
            assert entry is not None
            await channel.send(DownloadMessage(type="startFinalizing"))
            await channel.send(DownloadMessage(type="success", default_identifier=entry.model.key))

        await channel.until("cancel", work())
