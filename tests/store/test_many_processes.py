from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.store import Store

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 8

WRITER = """
import sys
from pathlib import Path
from lmstrix.results import *
from lmstrix.store import Store, machine_id
from lmstrix.types import Listing, Model
path, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
key = TestKey(identity="shared", provider="embedded", machine=machine_id())
testing = TestResult(key=key, model_key=name, status=TestStatus.TESTING, started_at=1.0)
for number in range(rounds):
    with Store.open(path) as store:
        test = store.begin_test(testing)
        probe = store.begin_probe(test, ProbeKind.LOAD, 1000 + number, at=1.0)
        models = tuple(
            Model(key=f"{name}-{n}", provider="embedded", server=name) for n in range(number + 1)
        )
        store.record_listing("embedded", name, Listing(models=models), at=float(number))
        store.finish_probe(probe, ProbeOutcome(ok=True), at=2.0)
        assert store.settle_abandoned(at=3.0) == []
        store.set_state("last", name)
        if number == rounds // 2:
            store.backup()
"""


@pytest.mark.parametrize("processes", [2, 8])
def test_processes_that_make_and_write_one_store_at_once_lose_nothing(
    path: Path, make: Any, processes: int
) -> None:
    path.parent.mkdir()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), f"w{number}", str(ROUNDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:  # all are at the line: the first opening is a race
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
        problems = [writer.communicate(timeout=60)[1] for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert problems == [""] * processes
    with Store.open(path) as store:
        assert store.integrity() == ()
        found = {entry.model.key for entry in store.entries()}
        assert found == {f"w{w}-{n}" for w in range(processes) for n in range(ROUNDS)}
        results = store.loadable_results(make.key("shared"))
        assert len(results) == len({result.id for result in results}) == processes * ROUNDS
        sizes = [probe.tokens for probe in store.known_sizes(make.key("shared"))]
        assert sorted(sizes) == sorted([1000 + n for n in range(ROUNDS)] * processes)
        assert len(list(path.parent.glob("backups/*.db"))) == processes


def test_a_reader_sees_whole_listings_only(path: Path, make: Any) -> None:
    rounds = 60
    with (
        Store.open(path) as reader,
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), "w", str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer,
    ):
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
        counts = [0]
        while counts[-1] < rounds:
            seen = [entry.seen_at for entry in reader.entries()]
            assert len(set(seen)) <= 1  # all rows are of one listing
            assert seen == [] or seen[0] == len(seen) - 1
            counts.append(len(seen))
            assert writer.poll() in (None, 0)
    assert counts == sorted(counts)
