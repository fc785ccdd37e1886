"""Ask every provider for its models and remember the answers.

What a provider cannot tell is never taken for gone: one that is down, slow, or lists only a part
changes nothing about the models it does not name.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec

from lmstrix.errors import LMStrixError, StoreError, UnreachableError
from lmstrix.registry.facts import status
from lmstrix.registry.legacy import match_legacy
from lmstrix.results import TestStatus
from lmstrix.store import ListingChange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lmstrix.providers import Provider
    from lmstrix.store import Entry, Store
    from lmstrix.types import Listing, Model


class ServerScan(msgspec.Struct, frozen=True, kw_only=True):
    """What one server said; the model keys are those of `change`.

    `unreachable` is why there was no answer, empty when there was one. `complete` is false when
    only a part could be read, and `problems` then says what was not.
    """

    provider: str
    server: str
    change: ListingChange = ListingChange()
    complete: bool = False
    problems: tuple[str, ...] = ()
    unreachable: str = ""

    @property
    def found(self) -> int:
        """How many models it named."""
        return len(self.change.new) + len(self.change.known) + len(self.change.changed)


class ScanReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a scan found, one item per server, in the order the providers were given."""

    servers: tuple[ServerScan, ...] = ()

    @property
    def found(self) -> int:
        """How many models were named by all servers together."""
        return sum(server.found for server in self.servers)

    @property
    def reached_any(self) -> bool:
        """Whether at least one server answered."""
        return any(not server.unreachable for server in self.servers)


async def scan(
    store: Store,
    providers: Sequence[Provider],
    *,
    timeout_s: float | None = None,
    refresh: bool = False,
    update: bool = True,
    clock: Callable[[], float] = time.time,
) -> ScanReport:
    """Ask all `providers` at once and record each answer as it comes.

    One that has not answered after `timeout_s` counts as unreachable. With `update=False` the
    store is only compared, not written. With `refresh` every file is read anew, even one that
    looks unchanged since the last scan. Raises `StoreError`; a provider's own mistake is raised
    too, after the others are done.
    """
    entries = tuple(store.entries())

    async def ask(provider: Provider) -> ServerScan:
        try:
            async with asyncio.timeout(timeout_s):
                known = [] if refresh else _known(provider, entries)
                listing = await provider.list_models(known=known)
        except TimeoutError:
            return _silent(provider, "no answer in time")
        except (UnreachableError, OSError) as error:
            return _silent(provider, str(error))
        except StoreError:
            raise
        except LMStrixError as error:
            return ServerScan(
                provider=provider.name, server=provider.server, problems=(error.message,)
            )
        if update:
            change = store.record_listing(provider.name, provider.server, listing, at=clock())
        else:
            change = preview(provider.name, provider.server, listing, entries)
        return ServerScan(
            provider=provider.name,
            server=provider.server,
            change=change,
            complete=listing.complete,
            problems=listing.problems,
        )

    answers = await asyncio.gather(*map(ask, providers), return_exceptions=True)
    servers: list[ServerScan] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        servers.append(answer)
    if update and any(server.change.new for server in servers):
        _spread_legacy(store, clock())
    return ScanReport(servers=tuple(servers))


def _known(provider: Provider, entries: Iterable[Entry]) -> list[Model]:
    place = (provider.name, provider.server)
    return [e.model for e in entries if (e.model.provider, e.model.server) == place]


def preview(
    provider: str, server: str, listing: Listing, entries: Iterable[Entry]
) -> ListingChange:
    """What recording `listing` would change, by what the store holds now."""
    before = {
        entry.model.key: entry
        for entry in entries
        if (entry.model.provider, entry.model.server) == (provider, server)
    }
    listed = {model.key: model for model in listing.models}
    gone = {key: entry for key, entry in before.items() if key not in listed}
    moved = {entry.model.identity: key for key, entry in gone.items()} if listing.complete else {}
    new: list[str] = []
    known: list[str] = []
    changed: list[str] = []
    for key, model in listed.items():
        if key in before:
            (known if before[key].model == model else changed).append(key)
        elif model.identity and model.identity in moved:
            changed.append(key)
            del gone[moved.pop(model.identity)]
        else:
            new.append(key)
    missing = (key for key, entry in gone.items() if entry.missing_since is None)
    return ListingChange(
        new=tuple(new),
        known=tuple(known),
        changed=tuple(changed),
        missing=tuple(missing) if listing.complete else (),
    )


def reset_candidates(
    entries: Iterable[Entry], *, failed: bool = False, servers: Iterable[Provider] | None = None
) -> list[Model]:
    """The models whose test data `scan --reset` clears: all, or those that `failed`.

    `servers` limits them to what these providers hold. Hand the models to `Store.reset_tests`.
    """
    among = None if servers is None else {(one.name, one.server) for one in servers}
    return [
        entry.model
        for entry in entries
        if (entry.result is not None or entry.legacy is not None)
        and (not failed or _has_failed(entry))
        and (among is None or (entry.model.provider, entry.model.server) in among)
    ]


def _has_failed(entry: Entry) -> bool:
    tested = status(entry) if entry.result or not entry.legacy else entry.legacy.status
    return tested is TestStatus.FAILED


def _silent(provider: Provider, why: str) -> ServerScan:
    return ServerScan(
        provider=provider.name, server=provider.server, unreachable=why or "no answer"
    )


def _spread_legacy(store: Store, at: float) -> None:
    """Give models just found what LMStrix 1.x, imported before, knew of the same file."""
    entries = list(store.entries())
    imported = [(entry.model, entry.legacy) for entry in entries if entry.legacy is not None]
    if imported:
        plain = [entry for entry in entries if entry.legacy is None]
        store.record_legacy(match_legacy(imported, plain, keep_unmatched=False), at=at)
