"""The models that were ever seen. Nothing here deletes one: what is gone is marked missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.results import TestResult, TestStatus
from lmstrix.store.database import Database
from lmstrix.store.machine import is_here, machine_id
from lmstrix.types import Listing, Model

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

_PAGE = 1000
_ENTRY = """
    SELECT m.id, m.data, m.added_at, m.seen_at, m.missing_since, m.legacy,
           (SELECT t.data FROM tests t
            WHERE t.identity = m.subject AND t.provider = m.provider AND t.machine = ?
            ORDER BY t.settled DESC, t.kv_types IN ('/', 'f16/f16') DESC,
                     CAST(t.load AS TEXT) = '{}' DESC, t.id DESC LIMIT 1)
    FROM models m
"""


class LegacyTest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What LMStrix 1.x knew of a model. `extra` is the rest of its entry, word for word."""

    tested_max_context: int | None = None
    status: TestStatus = TestStatus.UNTESTED
    date: str | None = None
    ttft_s: float | None = None
    tps: float | None = None
    description: str | None = None
    keywords: tuple[str, ...] = ()
    extra: dict[str, Any] = {}


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A model with what is known of it.

    `seen_at` is `None` for a model only known from an import. `result` is its newest test on
    this machine and provider that ran to its end, else its newest test; one with the KV cache,
    then one with all settings, that a model is loaded with unasked comes before others.
    """

    model: Model
    added_at: float
    seen_at: float | None = None
    missing_since: float | None = None
    result: TestResult | None = None
    legacy: LegacyTest | None = None


class ListingChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a listing changed, by model key. `missing` are those gone since the last one."""

    new: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def subject(model: Model) -> str:
    """What a model's results are found by: the identity of its file, else its key.

    What holds on another machine holds there alone.
    """
    name = model.identity or model.key
    return name if is_here(model.server) else f"{name} at {model.server}"


class Models(Database):
    """The part of the store that knows the models."""

    def record_listing(
        self, provider: str, server: str, listing: Listing, *, at: float
    ) -> ListingChange:
        """Take in what a provider listed.

        A file that came back under another key is the same model, by its identity. Models that
        an incomplete listing lacks are not marked missing.
        """
        listed = {model.key: model for model in listing.models}
        with self._writing() as db:
            rows = {
                key: (row, data, identity, missing)
                for row, key, data, identity, missing in db.execute(
                    "SELECT id, key, data, subject, missing_since FROM models"
                    " WHERE provider = ? AND server = ?",
                    (provider, server),
                )
            }
            absent = {key: row for key, row in rows.items() if key not in listed}
            moved = {row[2]: key for key, row in absent.items()} if listing.complete else {}
            imported = dict(
                db.execute(
                    "SELECT key, id FROM models"
                    " WHERE provider = ? AND server <> ? AND seen_at IS NULL",
                    (provider, server),
                ).fetchall()
            )
            new: list[str] = []
            known: list[str] = []
            changed: list[str] = []
            inserts: list[tuple[Any, ...]] = []
            updates: list[tuple[Any, ...]] = []
            for key, model in listed.items():
                content = (server, key, subject(model), msgspec.json.encode(model), at)
                if (before := rows.get(key)) is not None:
                    (known if before[1] == content[3] else changed).append(key)
                    updates.append((*content, before[0]))
                elif model.identity and (old := moved.pop(subject(model), None)) is not None:
                    changed.append(key)
                    updates.append((*content, absent.pop(old)[0]))
                elif (row := imported.get(key)) is not None:
                    changed.append(key)
                    updates.append((*content, row))
                else:
                    new.append(key)
                    inserts.append((provider, *content, at))
            db.executemany(
                "UPDATE models SET server = ?, key = ?, subject = ?, data = ?, seen_at = ?,"
                " missing_since = NULL WHERE id = ?",
                updates,
            )
            db.executemany(
                "INSERT INTO models (provider, server, key, subject, data, seen_at, added_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                inserts,
            )
            missing = [key for key, row in absent.items() if row[3] is None]
            if listing.complete:
                _mark_missing(db, provider, server, missing, at)
        return ListingChange(
            new=tuple(new),
            known=tuple(known),
            changed=tuple(changed),
            missing=tuple(missing) if listing.complete else (),
        )

    def mark_unseen(self, provider: str, server: str, keys: Iterable[str], *, at: float) -> None:
        """Mark models missing that turned out to be gone; the next listing may bring them back."""
        with self._writing() as db:
            _mark_missing(db, provider, server, keys, at)

    def record_legacy(
        self, items: Iterable[tuple[Model, LegacyTest]], *, at: float
    ) -> ListingChange:
        """Take in what LMStrix 1.x knew. Models seen since keep their newer description.

        A model new to the store has no `seen_at` until a listing of its provider names it,
        whatever `server` it was imported under.
        """
        new: list[tuple[Any, ...]] = []
        known: list[tuple[Any, ...]] = []
        with self._writing() as db:
            rows = {
                (provider, key): row
                for row, provider, key in db.execute("SELECT id, provider, key FROM models")
            }
            # Where a model is named twice the last holds.
            for model, legacy in {(m.provider, m.key): (m, old) for m, old in items}.values():
                blob = msgspec.json.encode(legacy)
                if (row := rows.get((model.provider, model.key))) is not None:
                    known.append((blob, row, model.key))
                    continue
                data = msgspec.json.encode(model)
                new.append(
                    (blob, model.provider, model.server, model.key, subject(model), data, at)
                )
            db.executemany("UPDATE models SET legacy = ? WHERE id = ?", [k[:2] for k in known])
            db.executemany(
                "INSERT INTO models (legacy, provider, server, key, subject, data, added_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                new,
            )
        return ListingChange(
            new=tuple(values[3] for values in new), known=tuple(values[2] for values in known)
        )

    def servers(self) -> list[tuple[str, str]]:
        """Provider and server of every place where models were found."""
        rows = self._rows("SELECT DISTINCT provider, server FROM models", ())
        return [(provider, server) for provider, server in rows]

    def entries(self) -> Iterator[Entry]:
        """Every model ever seen, in the order of their first appearance.

        Read a page at a time, so that neither memory nor a long read transaction grows with
        the number of models; what is written meanwhile may or may not be in it.
        """
        after = 0
        while True:
            page = self._rows(
                f"{_ENTRY} WHERE m.id > ? ORDER BY m.id LIMIT ?", (machine_id(), after, _PAGE)
            )
            for row in page:
                yield self._entry(row)
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def entry(self, provider: str, server: str, key: str) -> Entry | None:
        """One model, or `None` when it was never seen."""
        row = self._row(
            f"{_ENTRY} WHERE m.provider = ? AND m.server = ? AND m.key = ?",
            (machine_id(), provider, server, key),
        )
        return None if row is None else self._entry(row)

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        _, data, added_at, seen_at, missing_since, legacy, result = row
        return Entry(
            model=self._decoded(MODEL, data),
            added_at=added_at,
            seen_at=seen_at,
            missing_since=missing_since,
            result=None if result is None else self._decoded(RESULT, result),
            legacy=None if legacy is None else self._decoded(LEGACY, legacy),
        )


MODEL = msgspec.json.Decoder(Model)
RESULT = msgspec.json.Decoder(TestResult)
LEGACY = msgspec.json.Decoder(LegacyTest)


def _mark_missing(
    db: sqlite3.Connection, provider: str, server: str, keys: Iterable[str], at: float
) -> None:
    db.executemany(
        "UPDATE models SET missing_since = ? WHERE provider = ? AND server = ? AND key = ?"
        " AND missing_since IS NULL",
        [(at, provider, server, key) for key in keys],
    )
