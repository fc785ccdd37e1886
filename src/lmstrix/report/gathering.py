"""Read from the store what a report is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.report.material import Card, Material, Measured, measured, newest_of_each
from lmstrix.store import machine_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lmstrix.results import TestResult
    from lmstrix.store import Entry, Store
    from lmstrix.types import Model


def gather(
    store: Store,
    entries: Iterable[Entry],
    *,
    made_at: float,
    version: str,
    engine_of: Callable[[Model], str],
) -> Material:
    """All that is known of `entries`. `engine_of` says what runs a model now, empty if unknown."""
    cards = [
        Card(
            number=number,
            entry=entry,
            tests=tuple(
                _measured(store, result, engine_of(entry.model))
                if result.key.provider == entry.model.provider
                else _measured(store, result, "")
                for result in newest_of_each(store.results(entry.model), entry.result)
            ),
        )
        for number, entry in enumerate(entries)
    ]
    return Material(cards=tuple(cards), made_at=made_at, machine=machine_id(), version=version)


def _measured(store: Store, result: TestResult, engine_now: str) -> Measured:
    return measured(result, store.known_sizes(result.key), engine_now=engine_now)
