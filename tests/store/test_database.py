from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.errors import BusyError, StoreError, StoreVersionError
from lmstrix.results import ProbeKind
from lmstrix.store import Store, database
from lmstrix.store.migrations import APPLICATION_ID, MIGRATIONS
from lmstrix.types import Listing

if TYPE_CHECKING:
    from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_a_store_is_made_with_its_folder_and_opened_again(path: Path) -> None:
    with Store.open(path) as store:
        store.set_state("last", "tiny")
    with Store.open(path, create=False) as store:
        assert store.get_state("last") == "tiny"
        assert store._row("PRAGMA journal_mode") == ("wal",)


@pytest.mark.skipif(os.name != "posix", reason="folder modes are a POSIX matter")
def test_only_its_user_may_look_into_a_new_stores_folder(store: Store) -> None:
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_store_that_must_exist_is_not_made(path: Path) -> None:
    with pytest.raises(StoreError, match="There is no store"):
        Store.open(path, create=False)
    assert not path.parent.exists()


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    Store.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    before = contents(path.parent)
    with pytest.raises(StoreVersionError) as caught:
        Store.open(path)
    assert (caught.value.found, caught.value.known) == (len(MIGRATIONS) + 1, len(MIGRATIONS))
    assert "newer LMStrix" in caught.value.message
    assert contents(path.parent) == before


def test_a_newer_version_that_is_only_in_the_log_is_refused_too(path: Path) -> None:
    Store.open(path).close()
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        newer.commit()
        with pytest.raises(StoreVersionError):
            Store.open(path)
    newer.close()


@pytest.mark.parametrize(
    "damage",
    [b"not a database, and long enough to be one " * 100, b"SQLite format 3\0", b"x"],
    ids=["text", "cut short", "one byte"],
)
def test_a_file_that_is_no_store_is_never_overwritten(path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    with pytest.raises(StoreError, match="damaged") as caught:
        Store.open(path)
    assert "backups" in caught.value.hint
    assert contents(path.parent) == {path.name: damage}


def test_another_programs_database_is_never_taken_for_ours(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's"):
        Store.open(path)
    assert path.read_bytes() == before


def test_damage_inside_the_file_is_named_and_not_written_to(path: Path, make: Any) -> None:
    with Store.open(path) as store:
        models = tuple(make.model(f"m{n}") for n in range(500))
        store.record_listing("embedded", "local", Listing(models=models), at=1.0)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    before = path.read_bytes()
    with pytest.raises(StoreError, match="damaged"), Store.open(path) as store:
        list(store.entries())
    with Store.open(path) as store:
        assert store.integrity() != ()
    assert path.read_bytes() == before


def test_content_that_cannot_be_understood_is_named(store: Store, make: Any) -> None:
    store.record_listing("embedded", "local", Listing(models=(make.model(),)), at=1.0)
    assert store.integrity() == ()
    store._connection.execute("UPDATE models SET data = CAST('{\"key\": 1}' AS BLOB)")
    with pytest.raises(StoreError, match="cannot be read"):
        list(store.entries())
    (problem,) = store.integrity()
    assert problem.startswith("Row 1 of models cannot be read")


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with Store.open(path) as store:
        assert list(store.entries()) == []


def test_a_folder_in_the_place_of_the_store_is_an_error(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(path)


def test_a_file_in_the_place_of_the_folder_is_an_error(path: Path) -> None:
    path.parent.write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(path)


AS_NOBODY = """
import os, sys
from pathlib import Path
from lmstrix.errors import StoreError
from lmstrix.store import Store
import filelock
if os.geteuid() == 0:
    os.setuid(65534)
try:
    with Store.open(Path(sys.argv[1])) as store:
        store.set_state("a", "b")
except StoreError as error:
    print(error.message, error.hint)
else:
    print("no error")
"""


@pytest.mark.skipif(os.name != "posix", reason="rights work otherwise on Windows")
@pytest.mark.parametrize(
    ("folder_mode", "exists"), [(0o000, True), (0o555, True), (0o555, False)],
    ids=["unreadable", "read-only", "read-only and empty"],
)  # fmt: skip
def test_a_folder_without_rights_is_named_with_what_to_do(
    tmp_path: Path,
    folder_mode: int,
    exists: bool,  # noqa: FBT001  # a case
) -> None:
    path = tmp_path / "data" / "lmstrix.db"
    path.parent.mkdir()
    if exists:
        Store.open(path).close()
    opened = [tmp_path, *tmp_path.parents]
    modes = {folder: folder.stat().st_mode for folder in opened if folder.owner() != "nobody"}
    try:
        if os.geteuid() == 0:  # pytest keeps its folders to one user
            for folder in opened[:-1]:
                folder.chmod(folder.stat().st_mode | 0o055)
        path.parent.chmod(folder_mode)
        told = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(path)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    finally:
        path.parent.chmod(0o755)
        for folder, mode in modes.items():
            folder.chmod(mode)
    assert "cannot be opened for writing" in told
    assert "rights" in told


def test_an_older_schema_is_migrated_after_a_backup(
    path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(path) as store:
        store.record_listing("embedded", "local", Listing(models=(make.model(),)), at=1.0)
    step = ("ALTER TABLE state ADD COLUMN note TEXT", "UPDATE models SET missing_since = 7.0")
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, step))
    with Store.open(path) as store:
        assert store._row("PRAGMA user_version") == (len(MIGRATIONS) + 1,)
        assert [entry.missing_since for entry in store.entries()] == [7.0]
        assert store._rows("SELECT note FROM state") == []
    monkeypatch.undo()
    (backup,) = (path.parent / "backups").glob("*.db")
    with Store.open(backup) as store:
        assert [entry.missing_since for entry in store.entries()] == [None]


def test_a_migration_that_fails_midway_leaves_the_old_schema(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(path).close()
    step = ("ALTER TABLE state ADD COLUMN note TEXT", "SELECT no_such_function()")
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, step))
    with pytest.raises(StoreError):
        Store.open(path)
    monkeypatch.undo()
    with Store.open(path) as store:
        assert store._row("PRAGMA user_version") == (len(MIGRATIONS),)
        assert store.integrity() == ()
        columns = store._rows("SELECT name FROM pragma_table_info('state')")
        assert ("note",) not in columns


def test_a_write_ahead_log_cut_anywhere_leaves_whole_transactions(
    path: Path, tmp_path: Path
) -> None:
    store = Store.open(path)
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(5):
        store.set_state("number", str(number))
    log = path.with_name("lmstrix.db-wal").read_bytes()
    main = path.read_bytes()
    store.close()
    found = set()
    for length in range(0, len(log) + 1, 700):
        cut = tmp_path / f"cut{length}" / "lmstrix.db"
        cut.parent.mkdir()
        cut.write_bytes(main)
        cut.with_name("lmstrix.db-wal").write_bytes(log[:length])
        with Store.open(cut) as survivor:
            assert survivor.integrity() == ()
            found.add(survivor.get_state("number"))
            survivor.set_state("number", "after")
        shutil.rmtree(cut.parent)
    assert found >= {None, "0", "1", "2", "3"}


@pytest.mark.skipif(os.name != "posix", reason="SQLite names this VFS on POSIX only")
def test_without_shared_memory_the_store_works_with_a_rollback_journal(
    path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(file: object, **options: Any) -> sqlite3.Connection:
        return real(f"file:{file}?vfs=unix-dotfile", uri=True, **options)

    real = sqlite3.connect
    monkeypatch.setattr("lmstrix.store.database.sqlite3.connect", connect)
    for number in range(2):
        with Store.open(path) as store:
            assert store._row("PRAGMA journal_mode") == ("delete",)
            assert store._row("PRAGMA synchronous") == (3,)
            test_id = store.begin_test(make.result())
            store.begin_probe(test_id, ProbeKind.LOAD, 512, at=1.0)
            assert len(store.loadable_results(make.key())) == number + 1
            assert store.integrity() == ()


def test_a_store_that_stays_busy_is_said_to_be_busy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(path).close()
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    with Store.open(path) as one, Store.open(path) as other, one._writing():
        with pytest.raises(BusyError, match="Another process"):
            other.set_state("a", "b")
        assert other.get_state("a") is None


def test_one_store_serves_many_threads(store: Store, make: Any) -> None:
    test_id = store.begin_test(make.result())
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for size in range(20):
                store.begin_probe(test_id, ProbeKind.LOAD, number * 100 + size, at=1.0)
                assert store.latest_result(make.key()) is not None
        except BaseException as problem:  # noqa: BLE001  # the test's thread must see it
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len({probe.tokens for probe in store.probes(test_id)}) == 160


def test_an_error_inside_a_transaction_undoes_it(store: Store) -> None:
    def fail() -> None:
        with store._writing() as db:
            db.execute("INSERT INTO state VALUES ('a', 'b')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert store.get_state("a") is None
    store.set_state("a", "c")
    assert store.get_state("a") == "c"


def test_the_mark_of_a_store_is_in_its_header(store: Store) -> None:
    assert store._row("PRAGMA application_id") == (APPLICATION_ID,)
