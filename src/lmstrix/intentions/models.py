"""What is there: scan for models, list them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.intentions.facade import Facade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.registry.scan import ScanReport
    from lmstrix.store import Entry


class Models(Facade):
    """The models that are known."""

    async def scan(
        self,
        *,
        timeout_s: float | None = None,
        provider: str | None = None,
        server: str | None = None,
        refresh: bool = False,
        update: bool = True,
    ) -> ScanReport:
        """Find the models of every provider and remember them.

        `provider` and `server` limit where to look; `update=False` only reports. A provider
        that cannot be reached is in the report, not an error; its models stay as they were.
        """
        from lmstrix.registry.scan import scan

        wanted = await self._open.discover(provider=provider, server=server)
        return await scan(
            self._open.store, wanted, timeout_s=timeout_s, refresh=refresh, update=update
        )

    async def list_models(
        self,
        filter: str = "",  # noqa: A002  # the name users know from the command line
        *,
        keywords: Sequence[str] = (),
        sort: str = "id",
        reverse: bool = False,
    ) -> list[Entry]:
        """The models in the store, filtered and sorted; no server is asked.

        Raises `FilterError` for a filter or sort that cannot be read.
        """
        from lmstrix.registry import matches_keywords, parse_filter, sort_entries

        wanted = parse_filter(filter)
        chosen = [
            entry
            for entry in self._open.entries()
            if wanted.matches(entry) and matches_keywords(entry, keywords)
        ]
        return sort_entries(chosen, sort, reverse=reverse)
