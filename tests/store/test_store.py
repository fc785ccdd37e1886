from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lmstrix.results import ProbeKind, TestKey, TestStatus
from lmstrix.store import LegacyTest, Store, backups, machine_id
from lmstrix.types import Listing

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

DONE = TestStatus.COMPLETED


def copies(store: Store) -> list[Path]:
    return sorted((store.path.parent / "backups").iterdir())


def record_tests(store: Store, make: Any, *keys: str, status: TestStatus = DONE) -> None:
    models = tuple(make.model(key) for key in keys)
    store.record_listing("embedded", "local", Listing(models=models), at=1.0)
    for model in models:
        result = make.result(make.key(model.identity), model_key=model.key, status=status)
        store.begin_probe(store.begin_test(result), ProbeKind.LOAD, 512, at=1.0)


def test_small_texts_are_kept_replaced_and_forgotten(store: Store) -> None:
    assert store.get_state("last") is None
    store.set_state("last", "tiny")
    store.set_state("last", "other")
    assert store.get_state("last") == "other"
    store.set_state("last", None)
    assert store.get_state("last") is None


def test_results_are_those_of_the_file_by_any_provider_on_this_machine(
    store: Store, make: Any
) -> None:
    model = make.model()
    embedded = store.begin_test(make.result())
    served = store.begin_test(
        make.result(TestKey(identity=model.identity, provider="ollama", machine=machine_id()))
    )
    store.begin_test(make.result(make.key(machine="another")))
    store.begin_test(make.result(make.key("another file")))
    assert [result.id for result in store.results(model)] == [served, embedded]


def test_results_without_a_file_are_those_of_the_key_by_its_own_provider(
    store: Store, make: Any
) -> None:
    model = make.model(identity=None)
    own = store.begin_test(make.result(make.key("tiny")))
    store.begin_test(make.result(TestKey(identity="tiny", provider="ollama", machine=machine_id())))
    assert [result.id for result in store.results(model)] == [own]


def test_reset_forgets_the_tests_of_the_named_models_only(store: Store, make: Any) -> None:
    record_tests(store, make, "a", "b")
    store.record_legacy([(make.model("a"), LegacyTest(tps=1.0))], at=1.0)
    assert store.reset_tests([make.model("a")]) == 2
    a, b = store.entries()
    assert (a.result, a.legacy) == (None, None)
    assert b.result is not None
    assert store.known_sizes(make.key("identity of a")) == []
    assert store.integrity() == ()


def test_reset_of_all_takes_a_backup_that_still_has_everything(store: Store, make: Any) -> None:
    record_tests(store, make, "a", "b")
    before = list(store.entries())
    assert store.reset_tests() == 2
    assert [entry.result for entry in store.entries()] == [None, None]
    (copy,) = copies(store)
    with Store.open(copy) as kept:
        assert list(kept.entries()) == before
        assert len(kept.probes(before[0].result.id)) == 1


def test_reset_leaves_a_test_that_is_running_alone(store: Store, make: Any) -> None:
    record_tests(store, make, "a", status=TestStatus.TESTING)
    assert store.reset_tests() == 0
    store._connection.execute("UPDATE tests SET owner_started = 'gone'")
    assert store.reset_tests() == 1


def test_reset_of_nothing_forgets_nothing(store: Store, make: Any) -> None:
    record_tests(store, make, "a")
    assert store.reset_tests([]) == 0
    assert next(store.entries()).result is not None


def test_the_number_of_a_test_that_was_reset_is_not_used_again(store: Store, make: Any) -> None:
    first = store.begin_test(make.result(status=TestStatus.FAILED))
    store.reset_tests()
    assert store.begin_test(make.result()) > first


def test_a_backup_is_one_file_that_can_take_the_stores_place(store: Store, make: Any) -> None:
    record_tests(store, make, "a")
    copy = store.backup()
    before = list(store.entries())
    store.close()
    for file in store.path.parent.glob("lmstrix.db*"):
        file.unlink()
    copy.rename(store.path)
    with Store.open(store.path) as restored:
        assert list(restored.entries()) == before
        restored.set_state("last", "a")


def test_only_the_newest_backups_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "KEPT", 3)
    made = []
    for number in range(5):
        store.set_state("number", str(number))
        made.append(store.backup())
    assert copies(store) == made[2:]
    with Store.open(made[-1]) as newest:
        assert newest.get_state("number") == "4"


def test_an_existing_store_opens_in_a_few_milliseconds(store: Store, path: Path) -> None:
    def opening() -> float:
        began = time.perf_counter()
        Store.open(path).close()
        return time.perf_counter() - began

    assert min(opening() for _ in range(10)) < 0.01
