"""Several protocols of one server are several views of one set of models; one of them counts.

Pure: what the kinds of providers prefer is asked of whoever knows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lmstrix.config import Settings
    from lmstrix.store import Entry


def configured_views(settings: Settings) -> dict[str, str]:
    """By address, the provider that the settings name for a server."""
    return {one.root: one.provider for one in settings.servers.values() if one.provider}


def one_view_each(
    entries: Iterable[Entry], settings: Settings, preference_of: Callable[[str], int]
) -> list[Entry]:
    """`entries` without those of views that do not count.

    The view of a server is that of the provider that is set, for all or for this server, else of
    the one preferred among those that have listed its models. `preference_of` is asked only
    where there are several. What runs on this machine is no server's.
    """
    entries = list(entries)
    seen: dict[str, set[str]] = {}
    for entry in entries:
        model = entry.model
        if entry.seen_at is not None and "://" in model.server:
            seen.setdefault(model.server, set()).add(model.provider)
    named = configured_views(settings)
    chosen = {
        server: _choose(views, (settings.provider, named.get(server)), preference_of)
        for server, views in seen.items()
        if len(views) > 1
    }
    if not chosen:
        return entries
    return [
        entry
        for entry in entries
        if chosen.get(entry.model.server, entry.model.provider) == entry.model.provider
    ]


def _choose(
    views: set[str], names: Iterable[str | None], preference_of: Callable[[str], int]
) -> str:
    for name in names:
        if name in views:
            return name
    return max(sorted(views), key=preference_of)
