from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmstrix.errors import StoreError
from lmstrix.results import (
    FailureKind,
    LengthPoint,
    Limit,
    Probe,
    ProbeKind,
    ProbeOutcome,
    Score,
    TestKey,
    TestResult,
    TestStatus,
    Verdict,
)
from lmstrix.store import Store
from lmstrix.types import LoadConfig, MemoryUse

if TYPE_CHECKING:
    from pathlib import Path

OK = ProbeOutcome(ok=True)


def test_a_test_is_saved_and_found_as_it_was(store: Store, make: Any) -> None:
    test_id = store.begin_test(make.result())
    done = make.result(
        id=test_id,
        status=TestStatus.COMPLETED,
        finished_at=200.0,
        loadable=Limit(verdict=Verdict.FOUND, tokens=4096, below_tokens=4352, evidence=("a",)),
        curve=(LengthPoint(tokens=512, samples=8, mean=0.9, by_family={"keyed": 0.9}),),
    )
    store.save_test(done)
    assert store.latest_result(make.key()) == done


def test_the_memory_limits_hold_for_file_load_provider_and_machine(store: Store, make: Any) -> None:
    wide = LoadConfig(parallel=4)
    test_id = store.begin_test(make.result(make.key(load=wide, template="t1", suite="s1")))
    assert [r.id for r in store.loadable_results(make.key(load=wide, template="t2"))] == [test_id]
    for other in (
        make.key("another file", load=wide),
        make.key(load=LoadConfig(parallel=2)),
        make.key(load=wide, machine="another"),
        msgspec.structs.replace(make.key(load=wide), provider="another"),
    ):
        assert store.loadable_results(other) == []
        assert store.latest_result(other) is None


def test_the_effective_limit_holds_for_file_kv_types_template_and_suite(
    store: Store, make: Any
) -> None:
    def key(**fields: Any) -> Any:
        return make.key(**{"template": "t", "suite": "s", **fields})

    test_id = store.begin_test(make.result(key(load=LoadConfig(kv_type_k="q8_0", parallel=4))))
    elsewhere = key(load=LoadConfig(kv_type_k="q8_0"), machine="another")
    assert [r.id for r in store.effective_results(elsewhere)] == [test_id]
    for other in (
        key(load=LoadConfig(kv_type_k="f16")),
        key(load=LoadConfig(kv_type_k="q8_0"), template="u"),
        key(load=LoadConfig(kv_type_k="q8_0"), suite="u"),
    ):
        assert store.effective_results(other) == []


def test_context_size_and_idle_time_are_no_part_of_the_key(store: Store, make: Any) -> None:
    test_id = store.begin_test(make.result(make.key(load=LoadConfig(context_tokens=512, ttl_s=1))))
    assert [r.id for r in store.loadable_results(make.key())] == [test_id]


def test_the_newest_test_that_ended_is_the_latest(store: Store, make: Any) -> None:
    ids = [store.begin_test(make.result()) for _ in range(3)]
    assert store.latest_result(make.key()).id == ids[2]
    store.save_test(make.result(id=ids[0], status=TestStatus.FAILED))
    store.save_test(make.result(id=ids[2], status=TestStatus.INTERRUPTED))
    assert store.latest_result(make.key()).id == ids[0]
    assert [r.id for r in store.loadable_results(make.key())] == ids[::-1]


def test_an_interrupted_test_is_found_behind_an_older_result_until_a_newer_replaces_it(
    store: Store, make: Any
) -> None:
    store.begin_test(make.result(status=TestStatus.COMPLETED))
    stopped = store.begin_test(make.result(status=TestStatus.INTERRUPTED))
    small = make.key(load=LoadConfig(kv_type_k="q8_0"))
    other_load = store.begin_test(make.result(small, status=TestStatus.INTERRUPTED))
    store.begin_test(make.result(make.key("another file"), status=TestStatus.COMPLETED))
    elsewhere = make.key(machine="another machine")
    store.begin_test(make.result(elsewhere, status=TestStatus.INTERRUPTED))
    assert [found.id for found in store.interrupted()] == [other_load, stopped]
    store.begin_test(make.result(status=TestStatus.FAILED))
    assert [found.id for found in store.interrupted()] == [other_load]


def test_a_probe_is_in_the_journal_before_and_after(store: Store, make: Any) -> None:
    test_id = store.begin_test(make.result())
    probe_id = store.begin_probe(test_id, ProbeKind.LOAD, 4096, at=10.0)
    begun = Probe(id=probe_id, test_id=test_id, kind=ProbeKind.LOAD, tokens=4096, started_at=10.0)
    assert store.probes(test_id) == [begun]
    assert store.known_sizes(make.key()) == []
    outcome = ProbeOutcome(
        ok=False,
        failure=FailureKind.OUT_OF_MEMORY,
        memory=MemoryUse(kv_bytes=5),
        scores=(Score(family="keyed", cluster=1, depth=0.5, score=1.0),),
    )
    store.finish_probe(probe_id, outcome, at=12.0)
    finished = msgspec.structs.replace(begun, finished_at=12.0, outcome=outcome)
    assert store.probes(test_id) == [finished]
    assert store.known_sizes(make.key()) == [finished]


def test_known_sizes_come_from_all_tests_of_the_same_key(store: Store, make: Any) -> None:
    for load in (LoadConfig(), LoadConfig(), LoadConfig(parallel=2)):
        test_id = store.begin_test(make.result(make.key(load=load)))
        probe_id = store.begin_probe(test_id, ProbeKind.LOAD, 1024 * test_id, at=1.0)
        store.finish_probe(probe_id, OK, at=2.0)
    assert [p.tokens for p in store.known_sizes(make.key())] == [1024, 2048]


def test_what_is_not_there_cannot_be_continued(store: Store, make: Any) -> None:
    with pytest.raises(StoreError, match="no test 77"):
        store.begin_probe(77, ProbeKind.LOAD, 1, at=1.0)
    with pytest.raises(StoreError, match="no probe 77"):
        store.finish_probe(77, OK, at=1.0)
    with pytest.raises(StoreError, match="no test 77"):
        store.save_test(make.result(id=77))


DIES_IN_PROBE = """
import os, signal, sys
from pathlib import Path
from lmstrix.results import *
from lmstrix.store import Store, machine_id
store = Store.open(Path(sys.argv[1]))
key = TestKey(identity="identity of tiny", provider="embedded", machine=machine_id())
test = store.begin_test(
    TestResult(key=key, model_key="tiny", status=TestStatus.TESTING, started_at=1.0)
)
done = store.begin_probe(test, ProbeKind.LOAD, 1024, at=1.0)
store.finish_probe(done, ProbeOutcome(ok=True), at=2.0)
store.begin_probe(test, ProbeKind.PROCESS, 4096, at=3.0)
print("in the probe", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def in_a_probe(path: Path) -> Any:
    """A living process in the middle of a probe."""
    with subprocess.Popen(
        [sys.executable, "-c", DIES_IN_PROBE, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"in the probe"
        yield child
        child.kill()


def test_a_probe_whose_process_was_killed_counts_as_a_crash(
    path: Path, in_a_probe: subprocess.Popen[bytes], make: Any
) -> None:
    in_a_probe.kill()
    in_a_probe.wait()
    with Store.open(path) as store:
        (crashed,) = store.settle_abandoned(at=9.0)
        assert (crashed.tokens, crashed.kind) == (4096, ProbeKind.PROCESS)
        assert crashed.finished_at == 9.0
        assert crashed.outcome is not None
        assert crashed.outcome.failure is FailureKind.CRASH
        assert "ended during this probe" in crashed.outcome.detail
        assert [(p.tokens, p.outcome.ok) for p in store.known_sizes(make.key())] == [
            (1024, True),
            (4096, False),
        ]
        assert store.latest_result(make.key()).status is TestStatus.INTERRUPTED
        assert store.settle_abandoned(at=10.0) == []


def test_a_test_is_interrupted_only_once_its_process_is_gone(
    path: Path, in_a_probe: subprocess.Popen[bytes]
) -> None:
    with Store.open(path) as store:
        assert store.interrupted() == []
        in_a_probe.kill()
        in_a_probe.wait()
        assert [found.status for found in store.interrupted()] == [TestStatus.INTERRUPTED]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a process does not wait to be reaped")
def test_a_killed_process_that_nobody_waited_for_is_dead_too(
    path: Path, in_a_probe: subprocess.Popen[bytes]
) -> None:
    in_a_probe.kill()
    os.waitid(os.P_PID, in_a_probe.pid, os.WEXITED | os.WNOWAIT)
    with Store.open(path) as store:
        assert len(store.settle_abandoned(at=9.0)) == 1


def test_a_probe_of_a_living_process_is_left_alone(
    path: Path, in_a_probe: subprocess.Popen[bytes], make: Any
) -> None:
    with Store.open(path) as store:
        assert store.settle_abandoned(at=9.0) == []
        assert store.latest_result(make.key()).status is TestStatus.TESTING
        assert in_a_probe.poll() is None


def test_a_process_number_used_again_does_not_keep_a_probe_alive(store: Store, make: Any) -> None:
    test_id = store.begin_test(make.result())
    store.begin_probe(test_id, ProbeKind.LOAD, 512, at=1.0)
    store._connection.execute("UPDATE probes SET owner_started = 'another boot 1'")
    assert [p.tokens for p in store.settle_abandoned(at=2.0)] == [512]
    assert store.latest_result(make.key()).status is TestStatus.TESTING  # its owner is us, alive


def test_a_test_abandoned_between_probes_is_interrupted(store: Store, make: Any) -> None:
    store.begin_test(make.result())
    store._connection.execute("UPDATE tests SET owner_started = 'another boot 1'")
    assert store.settle_abandoned(at=2.0) == []
    assert store.latest_result(make.key()).status is TestStatus.INTERRUPTED


def test_an_interrupted_test_that_is_taken_up_belongs_to_who_took_it(
    store: Store, make: Any
) -> None:
    test_id = store.begin_test(make.result())
    store._connection.execute("UPDATE tests SET owner_started = 'another boot 1'")
    store.save_test(make.result(id=test_id))
    store.settle_abandoned(at=2.0)
    assert store.latest_result(make.key()).status is TestStatus.TESTING


def test_another_machines_probes_are_left_alone(store: Store, make: Any) -> None:
    test_id = store.begin_test(make.result(make.key(machine="another")))
    store.begin_probe(test_id, ProbeKind.LOAD, 512, at=1.0)
    store._connection.execute("UPDATE probes SET owner_started = 'another boot 1'")
    assert store.settle_abandoned(at=2.0) == []


_LIMITS = st.builds(
    Limit,
    verdict=st.sampled_from(Verdict),
    tokens=st.none() | st.integers(0, 2**40),
    failure=st.none() | st.sampled_from(FailureKind),
    evidence=st.lists(st.text(st.characters(codec="utf-8")), max_size=3).map(tuple),
)


_RESULTS = st.builds(
    TestResult,
    key=st.builds(
        TestKey,
        identity=st.just("i"),
        provider=st.just("p"),
        machine=st.just("m"),
        load=st.builds(LoadConfig, kv_type_k=st.none() | st.text(st.characters(codec="utf-8"))),
    ),
    model_key=st.just("k"),
    status=st.sampled_from(TestStatus),
    started_at=st.floats(0, 1e10),
    loadable=_LIMITS,
    effective=_LIMITS,
    tokens_per_s=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(result=_RESULTS)
def test_any_result_makes_the_round_trip(store: Store, result: TestResult) -> None:
    result = msgspec.structs.replace(result, id=store.begin_test(result))
    assert store.loadable_results(result.key)[0] == result
    assert store.effective_results(result.key)[0] == result
