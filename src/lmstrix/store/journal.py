"""Tests and their journal: what is about to be tried is on the disk before it is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.errors import StoreError
from lmstrix.results import (
    FailureKind,
    Probe,
    ProbeKind,
    ProbeOutcome,
    TestKey,
    TestResult,
    TestStatus,
)
from lmstrix.store.database import Database
from lmstrix.store.machine import machine_id
from lmstrix.store.models import RESULT
from lmstrix.store.owner import Owner, is_alive, this_process

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from lmstrix.types import LoadConfig

_PROBE = "SELECT p.id, p.test_id, p.kind, p.tokens, p.started_at, p.finished_at, p.outcome"
_LOADABLE = "identity = ? AND provider = ? AND machine = ? AND load = ?"
_EFFECTIVE = "identity = ? AND kv_types = ? AND template = ? AND suite = ?"
_SETTLED = (TestStatus.COMPLETED, TestStatus.FAILED)


class Journal(Database):
    """The part of the store that knows tests and probes."""

    def begin_test(self, result: TestResult) -> int:
        """Record a test that begins, owned by this process; returns its id."""
        values = _columns(result, this_process())
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        with self._writing() as db:
            added = db.execute(
                f"INSERT INTO tests ({names}) VALUES ({marks})",  # noqa: S608  # our own names
                tuple(values.values()),
            )
            test_id = _number(added)
            _save(db, msgspec.structs.replace(result, id=test_id), this_process())
        return test_id

    def save_test(self, result: TestResult) -> None:
        """Record how the test `result.id` stands now; it belongs to this process from here on."""
        with self._writing() as db:
            if not _save(db, result, this_process()):
                raise self._gone("test", result.id)

    def loadable_results(self, key: TestKey) -> list[TestResult]:
        """Tests whose loadable and processable limits hold for `key`, the newest first."""
        return self._results(_LOADABLE, _loadable(key))

    def effective_results(self, key: TestKey) -> list[TestResult]:
        """Tests whose effective limit holds for `key`, the newest first."""
        return self._results(
            _EFFECTIVE, (key.identity, _kv_types(key.load), key.template, key.suite)
        )

    def latest_result(self, key: TestKey) -> TestResult | None:
        """The newest of `loadable_results` that ran to its end, else the newest."""
        found = self.loadable_results(key)
        return next((r for r in found if r.status in _SETTLED), found[0] if found else None)

    def interrupted(self) -> list[TestResult]:
        """Tests of this machine that nobody finished and nothing newer replaced, newest first.

        Those that a living process is at are not among them.
        """
        rows = self._rows(
            "SELECT data, status, owner_pid, owner_started FROM tests t"
            " WHERE settled = 0 AND machine = ? AND NOT EXISTS ("
            "  SELECT 1 FROM tests n WHERE n.identity = t.identity AND n.provider = t.provider"
            "  AND n.machine = t.machine AND n.load = t.load AND n.id > t.id"
            " ) ORDER BY id DESC",
            (machine_id(),),
        )
        return [
            msgspec.structs.replace(self._decoded(RESULT, data), status=TestStatus.INTERRUPTED)
            for data, status, pid, started in rows
            if status != TestStatus.TESTING.value or not is_alive(Owner(pid, started))
        ]

    def begin_probe(self, test_id: int, kind: ProbeKind, tokens: int, *, at: float) -> int:
        """Record a probe that is about to start; on return it survives a power loss."""
        owner = this_process()
        with self._writing() as db:
            if db.execute("SELECT 1 FROM tests WHERE id = ?", (test_id,)).fetchone() is None:
                raise self._gone("test", test_id)
            added = db.execute(
                "INSERT INTO probes (test_id, kind, tokens, started_at, owner_pid, owner_started)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (test_id, kind.value, tokens, at, *owner),
            )
            return _number(added)

    def finish_probe(self, probe_id: int, outcome: ProbeOutcome, *, at: float) -> None:
        """Record how a probe went. Its owner's word replaces what others took for its end."""
        with self._writing() as db:
            if not _finish(db, probe_id, outcome, at):
                raise self._gone("probe", probe_id)

    def probes(self, test_id: int) -> list[Probe]:
        """The probes of a test in the order they were begun."""
        return self._probes("WHERE p.test_id = ? ORDER BY p.id", (test_id,))

    def known_sizes(self, key: TestKey) -> list[Probe]:
        """Finished probes of every test whose loadable limit holds for `key`, oldest first."""
        return self._probes(
            f"JOIN tests ON tests.id = p.test_id WHERE p.finished_at IS NOT NULL AND {_LOADABLE}"
            " ORDER BY p.id",
            _loadable(key),
        )

    def settle_abandoned(self, *, at: float) -> list[Probe]:
        """Finish the probes of processes that are no more as crashes, and return them.

        Their tests become interrupted. Processes that still run, and other machines, are left
        alone.
        """
        if self._row("SELECT 1 FROM tests WHERE status = 'testing'") is None and (
            self._row("SELECT 1 FROM probes WHERE finished_at IS NULL") is None
        ):
            return []
        crash = ProbeOutcome(
            ok=False,
            failure=FailureKind.CRASH,
            detail="The tool or the machine ended during this probe.",
        )
        here = (machine_id(),)
        with self._writing() as db:
            abandoned = [
                msgspec.structs.replace(self._probe(row), finished_at=at, outcome=crash)
                for *row, pid, started in db.execute(
                    f"{_PROBE}, p.owner_pid, p.owner_started FROM probes p"
                    " JOIN tests t ON t.id = p.test_id"
                    " WHERE p.finished_at IS NULL AND t.machine = ? ORDER BY p.id",
                    here,
                ).fetchall()
                if not is_alive(Owner(pid, started))
            ]
            for probe in abandoned:
                _finish(db, probe.id, crash, at)
            for data, pid, started in db.execute(
                "SELECT data, owner_pid, owner_started FROM tests"
                " WHERE status = 'testing' AND machine = ?",
                here,
            ).fetchall():
                if not is_alive(Owner(pid, started)):
                    result = self._decoded(RESULT, data)
                    result = msgspec.structs.replace(result, status=TestStatus.INTERRUPTED)
                    _save(db, result, Owner(pid, started))
        return abandoned

    def _results(self, where: str, values: tuple[Any, ...]) -> list[TestResult]:
        rows = self._rows(f"SELECT data FROM tests WHERE {where} ORDER BY id DESC", values)  # noqa: S608  # our own words
        return [self._decoded(RESULT, row[0]) for row in rows]

    def _probes(self, where: str, values: tuple[Any, ...]) -> list[Probe]:
        return [self._probe(row) for row in self._rows(f"{_PROBE} FROM probes p {where}", values)]

    def _probe(self, row: Sequence[Any]) -> Probe:
        return Probe(
            id=row[0],
            test_id=row[1],
            kind=ProbeKind(row[2]),
            tokens=row[3],
            started_at=row[4],
            finished_at=row[5],
            outcome=None if row[6] is None else self._decoded(OUTCOME, row[6]),
        )

    def _gone(self, what: str, number: int) -> StoreError:
        return StoreError(
            f"There is no {what} {number} in the store {self.path}: it was reset meanwhile.",
            path=self.path,
            hint="Start the test again.",
        )


OUTCOME = msgspec.json.Decoder(ProbeOutcome)


def _number(added: sqlite3.Cursor) -> int:
    assert added.lastrowid is not None
    return added.lastrowid


def _save(db: sqlite3.Connection, result: TestResult, owner: Owner) -> bool:
    values = _columns(result, owner)
    names = ", ".join(f"{name} = ?" for name in values)
    done = db.execute(
        f"UPDATE tests SET {names} WHERE id = ?",  # noqa: S608  # our own names
        (*values.values(), result.id),
    )
    return bool(done.rowcount)


def _finish(db: sqlite3.Connection, probe_id: int, outcome: ProbeOutcome, at: float) -> bool:
    done = db.execute(
        "UPDATE probes SET finished_at = ?, outcome = ? WHERE id = ?",
        (at, msgspec.json.encode(outcome), probe_id),
    )
    return bool(done.rowcount)


def _loadable(key: TestKey) -> tuple[Any, ...]:
    return key.identity, key.provider, key.machine, _load(key.load)


def _load(load: LoadConfig) -> bytes:
    """The load settings as text to compare by; the context size and idle time are no part."""
    return msgspec.json.encode(msgspec.structs.replace(load, context_tokens=None, ttl_s=None))


def _kv_types(load: LoadConfig) -> str:
    return f"{load.kv_type_k or ''}/{load.kv_type_v or ''}"


def _columns(result: TestResult, owner: Owner) -> dict[str, Any]:
    key = result.key
    return {
        "identity": key.identity,
        "provider": key.provider,
        "machine": key.machine,
        "load": _load(key.load),
        "kv_types": _kv_types(key.load),
        "template": key.template,
        "suite": key.suite,
        "model_key": result.model_key,
        "status": result.status.value,
        "settled": int(result.status in _SETTLED),
        "data": msgspec.json.encode(result),
        "owner_pid": owner.pid,
        "owner_started": owner.started,
    }
