"""The connection: opening, migrating, transactions, backups, and errors in plain words."""

from __future__ import annotations

import sqlite3
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from lmstrix.config.atomic_write import NO_ROOM
from lmstrix.errors import BusyError, StoreError, StoreFullError, StoreVersionError
from lmstrix.store.backups import copy_database
from lmstrix.store.migrations import APPLICATION_ID, MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

T = TypeVar("T")

BUSY_S = 10.0
_MAGIC = b"SQLite format 3\0"
_SQLITE_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)


class Database:
    """One connection, used by one thread at a time; the lock sees to that."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Self:
        """Open the store at `path`, made where `create` and nothing is there.

        An older schema is migrated, after a backup. Raises `StoreVersionError` for a newer one
        and `StoreError` for a file that is damaged or no store; neither file is touched.
        """
        with translated(path):
            written = _version_in_header(path)
            if written is None:
                if not create:
                    raise StoreError(
                        f"There is no store at {path}.",
                        path=path,
                        hint="Run `lmstrix scan` to make one.",
                    )
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            connection = connect(path)
            try:
                if (written or 0) < len(MIGRATIONS):
                    _migrate(connection, path)
                else:
                    _version(connection, path)
            except BaseException:
                connection.close()
                raise
        return cls(connection, path)

    def close(self) -> None:
        """Let go of the file. Closing twice is allowed."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def backup(self) -> Path:
        """Copy the whole store into `backups` beside it and return the copy's path.

        The copy is consistent while others write. The ten newest are kept.
        """
        with self._reading() as db:
            return copy_database(db, self.path)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, translated(self.path):
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that has the write lock from its start, so that it cannot fail midway."""
        with self._lock, translated(self.path):
            db = self._connection
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                # A full disk can make SQLite roll back by itself.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _row(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        with self._reading() as db:
            row: tuple[Any, ...] | None = db.execute(sql, values).fetchone()
            return row

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._reading() as db:
            return db.execute(sql, values).fetchall()

    def _decoded(self, decoder: msgspec.json.Decoder[T], data: bytes) -> T:
        try:
            return decoder.decode(data)
        except msgspec.DecodeError as error:
            raise StoreError(
                f"The store {self.path} holds something that cannot be read: {error}.",
                path=self.path,
                hint=_restore_hint(self.path),
            ) from error


def connect(path: Path) -> sqlite3.Connection:
    """A connection with our settings; the file need not exist."""
    connection = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        # A journal entry must outlive a power loss, and all other writes are rare. EXTRA is FULL
        # in WAL mode; without WAL it also makes the removal of the rollback journal durable.
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("PRAGMA foreign_keys = ON")
        if sys.platform == "darwin":
            # There a plain fsync leaves the data in the drive's cache.
            connection.execute("PRAGMA fullfsync = ON")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's and the file system's errors into ours."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise  # a mistake of ours
    except sqlite3.DatabaseError as error:
        raise _store_error(error, path) from error
    except OSError as error:
        if error.errno in NO_ROOM:
            raise _full(path) from error
        raise _denied(path, error.strerror or str(error)) from error


def _store_error(error: sqlite3.DatabaseError, path: Path) -> StoreError | BusyError:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code in _SQLITE_NO_ROOM:
        return _full(path)
    match code & 0xFF:  # the extended codes keep their family in the low byte
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return BusyError(
                f"Another process has been writing to the store {path} for {BUSY_S:.0f} s.",
                hint="Wait until it is done and run the command again.",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _damaged(path, str(error))
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return _denied(path, str(error))
    return StoreError(
        f"The store {path} cannot be used: {error}.",
        path=path,
        hint="Check the disk it is on, or set LMSTRIX_HOME to a folder on another.",
    )


def _full(path: Path) -> StoreFullError:
    return StoreFullError(
        f"No room left to write the store {path} (disk full, or a quota or limit on file"
        " sizes). What was there before is intact.",
        path=path,
        hint="Free some space on that disk and run the command again.",
    )


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"The store {path} is damaged or is no LMStrix store ({why}). Nothing was written to it.",
        path=path,
        hint=_restore_hint(path),
    )


def _restore_hint(path: Path) -> str:
    return (
        f"Move it away and copy the newest file of {path.parent / 'backups'} to its place, or go"
        " on with an empty store."
    )


def _denied(path: Path, why: str) -> StoreError:
    return StoreError(
        f"The store {path} cannot be opened for writing: {why}.",
        path=path,
        hint=f"You need read and write rights for that file and for the folder {path.parent};"
        " LMSTRIX_HOME chooses another folder.",
    )


def _newer(path: Path, found: int) -> StoreVersionError:
    return StoreVersionError(
        f"The store {path} was written by a newer LMStrix (schema {found}; this one knows up to"
        f" {len(MIGRATIONS)}). Nothing was changed.",
        path=path,
        found=found,
        known=len(MIGRATIONS),
        hint="Update LMStrix, or set LMSTRIX_HOME to use another store.",
    )


def _version_in_header(path: Path) -> int | None:
    """The schema's number by the file's first hundred bytes, before SQLite may touch anything.

    `None` when there is no file, 0 for an empty one. A newer number may still be in the log.
    Offsets: https://www.sqlite.org/fileformat.html, section 1.3.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return None
    if header and (len(header) < 100 or not header.startswith(_MAGIC)):
        raise _damaged(path, "its beginning is not that of a SQLite file")
    found = int.from_bytes(header[60:64], "big")
    if found > len(MIGRATIONS) and int.from_bytes(header[68:72], "big") == APPLICATION_ID:
        raise _newer(path, found)
    return found


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema's number, after making sure that the database is ours."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    mark: int = connection.execute("PRAGMA application_id").fetchone()[0]
    if mark != APPLICATION_ID:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version or tables or mark:
            raise _damaged(path, "it is another program's database")
    if version > len(MIGRATIONS):
        raise _newer(path, version)
    return version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    from filelock import FileLock, Timeout  # noqa: PLC0415  # once in the life of a store

    # Switching to WAL does not wait for its lock: while one process does it, no other may even
    # read. Therefore a store without a schema is only opened under this lock.
    try:
        with FileLock(f"{path}.migration-lock", timeout=BUSY_S * 3):
            version = _version(connection, path)
            if version == 0:
                # Where the file system cannot share memory between processes (some network
                # folders) SQLite declines and keeps its rollback journal: slower, as safe.
                connection.execute("PRAGMA journal_mode = WAL")
            elif version < len(MIGRATIONS):
                copy_database(connection, path)
            _apply(connection, path)
            # Into the header, so that the next to open it need not come here.
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except Timeout as error:
        raise BusyError(
            f"Another process has been preparing the store {path} for {BUSY_S * 3:.0f} s.",
            hint="Wait until it is done and run the command again.",
        ) from error


def _apply(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statements in MIGRATIONS[_version(connection, path) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
