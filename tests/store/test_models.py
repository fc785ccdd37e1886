from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmstrix.results import Limit, TestStatus, Verdict
from lmstrix.store import LegacyTest, ListingChange, Store
from lmstrix.store.models import subject
from lmstrix.types import Listing, LoadConfig, Model, ModelType

if TYPE_CHECKING:
    from pathlib import Path


def listed(store: Store, *models: Model, at: float = 1.0, complete: bool = True) -> ListingChange:
    return store.record_listing(
        "embedded", "local", Listing(models=models, complete=complete), at=at
    )


def test_what_was_listed_comes_back_as_it_was(store: Store, make: Any) -> None:
    model = make.model(
        "tiny", type=ModelType.VLM, size_bytes=4096, tags=("a", "b"), declared_context_tokens=8192
    )
    assert listed(store, model, at=5.0).new == ("tiny",)
    (entry,) = store.entries()
    assert (entry.model, entry.added_at, entry.seen_at) == (model, 5.0, 5.0)
    assert entry.missing_since is None
    assert store.entry("embedded", "local", "tiny") == entry
    assert store.entry("embedded", "local", "other") is None


def test_a_second_listing_tells_new_known_changed_and_missing_apart(
    store: Store, make: Any
) -> None:
    listed(store, make.model("stays"), make.model("grows"), make.model("goes"))
    change = listed(
        store, make.model("stays"), make.model("grows", size_bytes=9), make.model("comes"), at=2.0
    )
    assert change == ListingChange(
        new=("comes",), known=("stays",), changed=("grows",), missing=("goes",)
    )
    entries = {entry.model.key: entry for entry in store.entries()}
    assert entries["goes"].missing_since == 2.0
    assert entries["stays"].added_at == 1.0
    assert entries["stays"].seen_at == 2.0
    assert entries["grows"].model.size_bytes == 9


@pytest.mark.parametrize("present", [(), ("tiny",)])
def test_an_incomplete_listing_marks_nothing_missing(
    store: Store, make: Any, present: tuple[str, ...]
) -> None:
    listed(store, make.model("tiny"), make.model("other"))
    change = listed(store, *map(make.model, present), at=2.0, complete=False)
    assert change.missing == ()
    assert [entry.missing_since for entry in store.entries()] == [None, None]


def test_an_empty_listing_deletes_nothing_and_all_can_come_back(store: Store, make: Any) -> None:
    test_id = store.begin_test(make.result())
    listed(store, make.model("tiny"))
    assert listed(store, at=2.0).missing == ("tiny",)
    assert listed(store, at=3.0).missing == ()
    assert store.entry("embedded", "local", "tiny").missing_since == 2.0
    assert listed(store, make.model("tiny"), at=4.0).known == ("tiny",)
    back = store.entry("embedded", "local", "tiny")
    assert back.missing_since is None
    assert back.result.id == test_id


def test_listings_of_two_servers_leave_each_other_alone(store: Store, make: Any) -> None:
    listed(store, make.model("tiny"))
    store.record_listing("embedded", "elsewhere", Listing(), at=2.0)
    store.record_listing("other", "local", Listing(), at=2.0)
    assert [entry.missing_since for entry in store.entries()] == [None]


def test_a_file_that_moved_keeps_its_results_and_its_entry(store: Store, make: Any) -> None:
    listed(store, make.model("old/name", identity="content", path="/old"))
    test_id = store.begin_test(make.result(make.key("content")))
    change = listed(store, make.model("new/name", identity="content", path="/new"), at=2.0)
    assert change == ListingChange(changed=("new/name",))
    (entry,) = store.entries()
    assert (entry.model.path, entry.added_at, entry.result.id) == ("/new", 1.0, test_id)


def test_a_copy_beside_the_original_is_a_model_with_the_same_results(
    store: Store, make: Any
) -> None:
    original, copy = make.model("a", identity="content"), make.model("b", identity="content")
    listed(store, original)
    test_id = store.begin_test(make.result(make.key("content")))
    assert listed(store, original, copy, at=2.0) == ListingChange(new=("b",), known=("a",))
    assert [entry.result.id for entry in store.entries()] == [test_id, test_id]


def test_a_file_that_changed_under_its_name_loses_its_results(store: Store, make: Any) -> None:
    listed(store, make.model("tiny", identity="before"))
    store.begin_test(make.result(make.key("before")))
    listed(store, make.model("tiny", identity="after"), at=2.0)
    (entry,) = store.entries()
    assert entry.result is None


def test_a_model_without_a_file_is_known_by_its_key(store: Store, make: Any) -> None:
    listed(store, make.model("remote", identity=None))
    test_id = store.begin_test(make.result(make.key("remote")))
    assert store.entry("embedded", "local", "remote").result.id == test_id


def test_an_entry_shows_the_newest_test_that_ended_before_one_that_did_not(
    store: Store, make: Any
) -> None:
    listed(store, make.model("tiny"))
    first = store.begin_test(make.result())
    assert store.entry("embedded", "local", "tiny").result.status is TestStatus.TESTING
    done = make.result(
        id=first, status=TestStatus.COMPLETED, loadable=Limit(verdict=Verdict.FOUND, tokens=512)
    )
    store.save_test(done)
    store.begin_test(make.result())
    assert store.entry("embedded", "local", "tiny").result == done


def test_a_result_with_the_usual_load_settings_is_shown_before_one_with_others(
    store: Store, make: Any
) -> None:
    listed(store, make.model("tiny"))
    quantized = LoadConfig(kv_type_k="q8_0", kv_type_v="q8_0")
    only = store.begin_test(make.result(make.key(load=quantized), status=TestStatus.COMPLETED))
    assert store.entry("embedded", "local", "tiny").result.id == only
    usual = store.begin_test(make.result(status=TestStatus.COMPLETED))
    slow = make.key(load=LoadConfig(flash_attention=False))
    store.begin_test(make.result(slow, status=TestStatus.COMPLETED))
    store.begin_test(make.result(make.key(load=quantized), status=TestStatus.COMPLETED))
    store.begin_test(make.result())
    assert store.entry("embedded", "local", "tiny").result.id == usual


def test_results_of_another_machine_are_not_shown(store: Store, make: Any) -> None:
    listed(store, make.model("tiny"))
    store.begin_test(make.result(make.key(machine="another")))
    assert store.entry("embedded", "local", "tiny").result is None


def test_a_model_found_gone_is_marked_until_it_is_listed_again(store: Store, make: Any) -> None:
    listed(store, make.model("tiny"), make.model("other"))
    store.mark_unseen("embedded", "local", ["tiny", "never known"], at=7.0)
    store.mark_unseen("embedded", "local", ["tiny"], at=8.0)
    assert [entry.missing_since for entry in store.entries()] == [7.0, None]
    listed(store, make.model("tiny"), make.model("other"), at=9.0)
    assert [entry.missing_since for entry in store.entries()] == [None, None]


def test_what_1x_knew_is_kept_word_for_word(store: Store, make: Any) -> None:
    legacy = LegacyTest(
        tested_max_context=31744,
        status=TestStatus.COMPLETED,
        date="2025-07-31T12:00:00",
        ttft_s=0.5,
        tps=40.0,
        keywords=("arch-llama",),
        extra={"short_id": "t", "odd": {"nested": [1, None]}},
    )
    assert store.record_legacy([(make.model("tiny"), legacy)], at=3.0).new == ("tiny",)
    (entry,) = store.entries()
    assert (entry.legacy, entry.seen_at, entry.added_at) == (legacy, None, 3.0)
    assert store.record_legacy([(make.model("tiny"), legacy)], at=4.0).known == ("tiny",)
    assert len(list(store.entries())) == 1


def test_of_a_model_imported_twice_at_once_the_last_holds(store: Store, make: Any) -> None:
    items = [(make.model("tiny"), LegacyTest(tps=tps)) for tps in (1.0, 2.0)]
    assert store.record_legacy(items, at=3.0).new == ("tiny",)
    (entry,) = store.entries()
    assert entry.legacy == LegacyTest(tps=2.0)


def test_an_imported_model_becomes_the_listed_one_whatever_its_server(
    store: Store, make: Any
) -> None:
    legacy = LegacyTest(tested_max_context=4096)
    imported = Model(key="tiny", provider="embedded", server="unknown")
    store.record_legacy([(imported, legacy)], at=3.0)
    assert listed(store, make.model("tiny"), at=4.0).changed == ("tiny",)
    (entry,) = store.entries()
    assert (entry.model, entry.legacy, entry.seen_at) == (make.model("tiny"), legacy, 4.0)


def test_an_import_never_overwrites_what_a_listing_said(store: Store, make: Any) -> None:
    seen = make.model("tiny", size_bytes=4096)
    listed(store, seen)
    old = Model(key="tiny", provider="embedded", server="unknown", size_bytes=1)
    store.record_legacy([(old, LegacyTest(tps=1.0))], at=3.0)
    (entry,) = store.entries()
    assert (entry.model, entry.legacy) == (seen, LegacyTest(tps=1.0))


def test_ten_thousand_models_are_recorded_and_read_quickly(store: Store, make: Any) -> None:
    models = [
        make.model(f"publisher/model-{n}", path=f"/models/{n}.gguf", size_bytes=n)
        for n in range(10_000)
    ]
    assert len(listed(store, *models).new) == 10_000
    best = min(_seconds_to_read(store, 10_000) for _ in range(3))
    assert best < 0.25
    assert len(listed(store, *models, at=2.0).known) == 10_000


def _seconds_to_read(store: Store, expected: int) -> float:
    began = time.perf_counter()
    assert sum(1 for _ in store.entries()) == expected
    return time.perf_counter() - began


def test_models_may_be_written_while_entries_are_read(store: Store, make: Any) -> None:
    listed(store, *(make.model(f"m{n:05}") for n in range(2500)))
    reading = store.entries()
    first = next(reading)
    listed(store, at=2.0)
    rest = list(reading)
    assert first.missing_since is None
    assert len(rest) == 2499
    assert rest[-1].missing_since == 2.0


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
_MODELS = st.builds(
    Model,
    key=_TEXT,
    provider=st.just("embedded"),
    server=st.just("local"),
    type=st.sampled_from(ModelType),
    path=st.none() | _TEXT,
    size_bytes=st.integers(0, 2**62),
    parameters=st.none() | st.integers(0, 2**62),
    identity=st.none() | _TEXT,
    modified_at=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    tags=st.lists(_TEXT, max_size=3).map(tuple),
)


@settings(max_examples=25, deadline=None)
@given(listings=st.lists(st.lists(_MODELS, max_size=6, unique_by=lambda m: m.key), max_size=4))
def test_after_any_listings_the_last_is_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, listings: list[list[Model]]
) -> None:
    path: Path = tmp_path_factory.mktemp("any") / "lmstrix.db"
    with Store.open(path) as store:
        for at, models in enumerate(listings, 1):
            change = listed(store, *models, at=at)
            assert {*change.new, *change.known, *change.changed} == {m.key for m in models}
        last = {model.key: model for model in listings[-1]} if listings else {}
        present = {e.model.key: e.model for e in store.entries() if e.missing_since is None}
        assert present == last
        assert store.integrity() == ()


def test_what_holds_on_another_machine_holds_there_alone(store: Store) -> None:
    here, near, far = (
        Model(key="m", provider="ollama", server=server, identity="the same file")
        for server in ("http://127.0.0.1:11434", "http://localhost:9", "http://10.0.0.7:11434")
    )
    assert subject(here) == subject(near) == "the same file"
    assert subject(far) not in ("the same file", subject(here))
