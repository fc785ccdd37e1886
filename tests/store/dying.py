"""Takes one named step on a store again and again, dying a little later each time.

    dying.py STEP FOLDER

Makes `FOLDER/before` and `FOLDER/after`, the store without the step and with it, and
`FOLDER/0`, `FOLDER/1` ...: what was left by a process that was killed (as by `kill -9`) at its
first SQL statement, its second, and so on; every 40 instructions inside a statement are a point
too. The last of them was killed after the step had returned, with the store still open.
A process of its own, since it forks: pytest's has threads.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstrix.results import ProbeKind, ProbeOutcome, TestKey, TestResult, TestStatus
from lmstrix.store import LegacyTest, Store, database, machine_id
from lmstrix.store.migrations import MIGRATIONS
from lmstrix.types import Listing, Model

if TYPE_CHECKING:
    from collections.abc import Callable


def model(key: str, **fields: Any) -> Model:
    return Model(key=key, provider="embedded", server="local", identity=f"of {key}", **fields)


KEY = TestKey(identity="of a", provider="embedded", machine=machine_id())
TESTING = TestResult(key=KEY, model_key="a", status=TestStatus.TESTING, started_at=1.0)
DONE = TestResult(id=1, key=KEY, model_key="a", status=TestStatus.COMPLETED, started_at=1.0)


def prepare(path: Path) -> None:
    """What every step but the making of a store begins with."""
    with Store.open(path) as store:
        listing = Listing(models=(model("a"), model("b"), model("c")))
        store.record_listing("embedded", "local", listing, at=1.0)
        store.record_legacy([(model("b"), LegacyTest(tested_max_context=9))], at=1.0)
        store.set_state("last", "b")
        store.begin_test(TESTING)
        store.begin_probe(1, ProbeKind.LOAD, 1024, at=1.0)
        # As if its owner had died: no process has this mark.
        store._connection.execute("UPDATE probes SET owner_started = 'gone'")
        store._connection.execute("UPDATE tests SET owner_started = 'gone'")


def relist(store: Store) -> object:
    listing = Listing(models=(model("a", size_bytes=5), model("new")))
    return store.record_listing("embedded", "local", listing, at=2.0).missing


STEPS: dict[str, Callable[[Store], object]] = {
    "record a listing": relist,
    "import what 1.x knew": lambda s: len(
        s.record_legacy([(model("a"), LegacyTest()), (model("z"), LegacyTest())], at=2.0).new
    ),
    "mark a model missing": lambda s: s.mark_unseen("embedded", "local", ["a"], at=2.0),
    "begin a test": lambda s: s.begin_test(TESTING),
    "begin a probe": lambda s: s.begin_probe(1, ProbeKind.PROCESS, 2048, at=2.0),
    "finish a probe": lambda s: s.finish_probe(1, ProbeOutcome(ok=True), at=2.0),
    "complete a test": lambda s: s.save_test(DONE),
    "settle what was abandoned": lambda s: len(s.settle_abandoned(at=2.0)),
    "reset": lambda s: s.reset_tests(),
    "back up": lambda s: s.backup().suffix,
    "remember": lambda s: s.set_state("last", "a"),
    "forget": lambda s: s.set_state("last", None),
}
NAME = "lmstrix.db"
OPENINGS = ("make a store", "migrate")


def take(path: Path, step: str, *, returned: Callable[[], object] = lambda: None) -> None:
    if step == "migrate":
        newer = ("ALTER TABLE state ADD COLUMN note TEXT", "UPDATE models SET missing_since = 7")
        database.MIGRATIONS = (*MIGRATIONS, newer)  # type: ignore[misc]  # a future version
    with Store.open(path) as store:
        if step in STEPS:
            STEPS[step](store)
        returned()


def dies_at(path: Path, step: str, point: int) -> None:
    """Take the step, and die at `point` where it has so many."""
    passed = 0

    def count(_statement: str = "") -> int:
        nonlocal passed
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1
        return 0

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = real(*args, **options)
        connection.set_trace_callback(count)
        connection.set_progress_handler(count, 40)
        return connection

    real = sqlite3.connect
    sqlite3.connect = connect  # type: ignore[assignment]
    take(path, step, returned=count)


def main(step: str, folder: Path) -> None:
    before, after = folder / "before", folder / "after"
    before.mkdir()
    if step != "make a store":
        prepare(before / NAME)
    for point in itertools.count():
        left = folder / str(point)
        shutil.copytree(before, left)
        child = os.fork()
        if child == 0:
            dies_at(left / NAME, step, point)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:  # it lived: there are no more points
            left.rename(after)
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
