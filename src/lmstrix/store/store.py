"""The store as its users see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.errors import StoreError
from lmstrix.store.journal import OUTCOME, Journal
from lmstrix.store.machine import machine_id
from lmstrix.store.models import LEGACY, MODEL, RESULT, Models, subject
from lmstrix.store.owner import Owner, is_alive

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from lmstrix.results import TestResult
    from lmstrix.types import Model


_CONTENTS: tuple[tuple[str, str, msgspec.json.Decoder[Any]], ...] = (
    ("models", "data", MODEL),
    ("models", "legacy", LEGACY),
    ("tests", "data", RESULT),
    ("probes", "outcome", OUTCOME),
)


class Store(Models, Journal):
    """One SQLite file, safe under many threads and processes at once.

    Every method is one transaction: it happened whole or not at all, and what it returned from
    is on the disk. All may raise `StoreError`, its children, and `BusyError` when another
    process holds the store for longer than ten seconds.
    """

    def get_state(self, name: str) -> str | None:
        """A small text kept under `name`, such as the last model used."""
        row = self._row("SELECT value FROM state WHERE name = ?", (name,))
        return None if row is None else str(row[0])

    def set_state(self, name: str, value: str | None) -> None:
        """Keep a small text under `name`; `None` forgets it."""
        with self._writing() as db:
            if value is None:
                db.execute("DELETE FROM state WHERE name = ?", (name,))
            else:
                db.execute(
                    "INSERT OR REPLACE INTO state (name, value) VALUES (?, ?)", (name, value)
                )

    def results(self, model: Model) -> list[TestResult]:
        """Every test of a model's file on this machine, by any provider, the newest first.

        Where there is no file to read, those of its key by its own provider.
        """
        found = self._results("identity = ? AND machine = ?", (subject(model), machine_id()))
        if model.identity:
            return found
        return [result for result in found if result.key.provider == model.provider]

    def reset_tests(self, models: Iterable[Model] | None = None) -> int:
        """Forget what was tested of `models`, or of all; a backup is taken first.

        Models themselves stay. Tests that run at this moment are left alone. Returns how many
        tests were forgotten, those of LMStrix 1.x among them.
        """
        self.backup()
        wanted = None if models is None else {(m.provider, subject(m)) for m in models}
        with self._writing() as db:
            tests = [
                (test,)
                for test, provider, identity, status, pid, started in db.execute(
                    "SELECT id, provider, identity, status, owner_pid, owner_started FROM tests"
                )
                if (wanted is None or (provider, identity) in wanted)
                and not (status == "testing" and is_alive(Owner(pid, started)))
            ]
            legacy = [
                (model,)
                for model, provider, identity in db.execute(
                    "SELECT id, provider, subject FROM models WHERE legacy IS NOT NULL"
                )
                if wanted is None or (provider, identity) in wanted
            ]
            db.executemany("DELETE FROM tests WHERE id = ?", tests)
            db.executemany("UPDATE models SET legacy = NULL WHERE id = ?", legacy)
        return len(tests) + len(legacy)

    def integrity(self) -> tuple[str, ...]:
        """What is wrong with the file, one sentence each; empty when it is sound."""
        problems: list[str] = []
        try:
            with self._reading() as db:
                problems.extend(_problems(db))
        except StoreError as error:
            problems.append(error.message)  # so damaged that SQLite gave up looking
        return tuple(problems)


def _problems(db: sqlite3.Connection) -> Iterator[str]:
    for (text,) in db.execute("PRAGMA integrity_check"):
        if text != "ok":
            yield f"SQLite says: {text}."
    for table, row, parent, _ in db.execute("PRAGMA foreign_key_check"):
        yield f"Row {row} of {table} belongs to nothing in {parent}."
    for table, column, decoder in _CONTENTS:
        for row, data in db.execute(
            f"SELECT id, {column} FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608  # our own names
        ):
            try:
                decoder.decode(data)
            except msgspec.DecodeError as error:
                yield f"Row {row} of {table} cannot be read: {error}."
