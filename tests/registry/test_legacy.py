"""The registry of LMStrix 1.x, sound and damaged."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmstrix.errors import LMStrixError, NotFoundError
from lmstrix.registry.legacy import find_legacy, import_legacy, match_legacy, read_legacy
from lmstrix.results import TestStatus
from lmstrix.store import Store
from lmstrix.types import ModelType

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lmstrix.registry.legacy import LegacyImport
    from lmstrix.store import Entry


def record(number: int = 0, **changes: Any) -> dict[str, Any]:
    """An entry as 1.0.83 writes it."""
    return {
        "id": f"acme/model-{number}",
        "path": f"acme/model-{number}-GGUF/model-{number}-Q4_K_M.gguf",
        "size_bytes": 4_000_000_000 + number,
        "ctx_in": 131_072,
        "ctx_out": 4096,
        "has_tools": True,
        "has_vision": False,
        "capabilities": {"vision": False, "trained_for_tool_use": True},
        "tested_max_context": 31_744,
        "loadable_max_context": None,
        "context_test_status": "completed",
        "context_test_date": "2025-08-01T12:00:00.123456",
        "ttft_seconds": 0.4,
        "tps": 38.7,
        "description": "Answers.",
        "keywords": ["arch-llama", "chat"],
        "last_known_good_context": 31_744,
        "last_known_bad_context": None,
        "short_id": f"model-{number}",
        **changes,
    }


def document(*records: dict[str, Any], indent: int | None = 2) -> str:
    llms = {one.get("path", str(i)): one for i, one in enumerate(records)}
    return json.dumps({"llms": llms, "path": "/home/u/.lmstudio"}, indent=indent)


def read(text: str) -> LegacyImport:
    return read_legacy(text.encode())


def keys(found: LegacyImport) -> list[str]:
    return [model.key for model, _ in found.items]


def test_an_entry_is_read_whole() -> None:
    found = read(document(record(7)))
    assert found.problems == ()
    ((model, legacy),) = found.items
    assert model.key == "acme/model-7"
    assert model.provider == "lmstudio"
    assert model.path == "acme/model-7-GGUF/model-7-Q4_K_M.gguf"
    assert model.size_bytes == 4_000_000_007
    assert model.declared_context_tokens == 131_072
    assert (model.tools, model.vision, model.reasoning) == (True, False, False)
    assert model.tags == ("arch-llama", "chat")
    assert legacy.tested_max_context == 31_744
    assert legacy.status is TestStatus.COMPLETED
    assert legacy.date == "2025-08-01T12:00:00.123456"
    assert (legacy.ttft_s, legacy.tps) == (0.4, 38.7)
    assert legacy.extra["short_id"] == "model-7"
    assert legacy.extra["ctx_out"] == 4096
    assert legacy.extra["capabilities"] == {"vision": False, "trained_for_tool_use": True}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, ModelType.LLM),
        ({"id": "nomic-embed-text"}, ModelType.EMBEDDING),
        ({"has_vision": True}, ModelType.VLM),
        ({"capabilities": {"vision": True}}, ModelType.VLM),
    ],
)
def test_the_kind_of_a_model_is_told_as_1x_told_it(
    changes: dict[str, Any], kind: ModelType
) -> None:
    ((model, _),) = read(document(record(**changes))).items
    assert model.type is kind


def test_an_older_name_of_the_id_is_understood() -> None:
    one = record()
    one["model_id"] = one.pop("id")
    assert keys(read(document(one))) == ["acme/model-0"]


def test_a_test_that_never_ended_counts_as_interrupted() -> None:
    ((_, legacy),) = read(document(record(context_test_status="testing"))).items
    assert legacy.status is TestStatus.INTERRUPTED
    assert legacy.extra["context_test_status"] == "testing"


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("ctx_in", "many", "'many'"),
        ("ctx_in", 4096.5, "4096.5"),
        ("ctx_in", True, "True"),
        ("size_bytes", -1, "-1"),
        ("size_bytes", 10**30, "1000000"),
        ("tested_max_context", [1], "[1]"),
        ("tps", float("nan"), "nan"),
        ("tps", float("inf"), "inf"),
        ("context_test_status", "sleeping", "'sleeping'"),
        ("context_test_status", 7, "7"),
        ("keywords", "chat", "'chat'"),
        ("capabilities", [], "[]"),
        ("description", 5, "5"),
    ],
)
def test_a_bad_field_is_named_and_the_rest_of_its_entry_kept(
    field: str, value: Any, shown: str
) -> None:
    found = read(document(record(1), record(2, **{field: value}), record(3)))
    assert len(found.items) == 3
    assert any(field in one and shown in one and "model-2" in one for one in found.problems)


def test_an_entry_that_is_no_object_is_named_and_left_out() -> None:
    text = json.dumps({"llms": {"a": None, "b": [1], "c": "x", "d": record(4)}})
    found = read(text)
    assert keys(found) == ["acme/model-4"]
    assert [problem[0] for problem in found.problems] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "text",
    ["[]", "7", '"x"', "{}", '{"llms": null}', '{"llms": []}', "", "{", "\0\0\0", "nonsense"],
)
def test_a_file_of_another_shape_gives_nothing_and_says_so(text: str) -> None:
    found = read(text)
    assert found.items == ()
    assert found.problems


def test_no_models_are_no_problem() -> None:
    assert read('{"llms": {}}').problems == ()


@pytest.mark.parametrize("indent", [2, None])
def test_a_file_cut_short_anywhere_loses_only_what_was_cut(indent: int | None) -> None:
    text = document(*(record(i) for i in range(5)), indent=indent)
    whole = read(text).items
    ends = [
        text.index(f'"short_id": "model-{i}"') + len(f'"short_id": "model-{i}"') for i in range(5)
    ]
    for cut in range(0, len(text), 7):
        found = read(text[:cut])
        closed = sum("}" in text[end:cut] for end in ends)
        assert found.items == whole[:closed], cut
        assert found.problems


def test_damage_in_the_middle_costs_only_the_entries_it_is_in() -> None:
    text = document(*(record(i) for i in range(6)))
    torn = text.replace('"ctx_in": 131072', '"ctx_in": 13\x01}', 2)  # entries 0 and 1
    torn = torn.replace('"id": "acme/model-4",', '"id": "acme/model-4"')  # no comma
    found = read(torn)
    assert keys(found) == ["acme/model-2", "acme/model-3", "acme/model-5"]
    for number in (0, 1, 4):
        assert any(f"model-{number}-" in problem for problem in found.problems), number


def test_damage_between_entries_costs_none() -> None:
    text = document(record(0), record(1), record(2))
    torn = text.replace('},\n    "acme/model-1', '}, , ] x\n    "acme/model-1')
    assert torn != text
    assert keys(read(torn)) == ["acme/model-0", "acme/model-1", "acme/model-2"]


def test_bytes_that_are_no_text_cost_only_their_own_place() -> None:
    data = document(record(0), record(1)).encode().replace(b"Answers.", b"Answ\xffrs.", 1)
    found = read_legacy(data)
    assert len(found.items) == 2
    assert "UTF-8" in found.problems[0]


def test_half_a_surrogate_pair_is_left_out_and_named() -> None:
    text = document(record(0), record(1)).replace("Answers.", "\\ud800", 1)
    found = read(text)
    assert keys(found) == ["acme/model-1"]
    assert "model-0" in found.problems[0]


def test_a_nest_without_bottom_does_not_stop_the_import() -> None:
    text = '{"llms": {"a": ' + "[" * 100_000 + ', "b": ' + json.dumps(record(3)) + "}}"
    assert keys(read(text)) == ["acme/model-3"]


def test_a_deep_nest_in_a_field_leaves_out_its_entry_alone() -> None:
    nest = "[" * 900 + "]" * 900
    text = document(record(0), record(1)).replace('"Answers."', nest, 1)
    text = text.replace('"description"', '"unknown"', 1)
    assert "acme/model-1" in keys(read(text))


def test_of_two_entries_of_one_model_the_one_tested_last_is_kept() -> None:
    newer = record(1, context_test_date="2025-09-01T00:00:00", tested_max_context=8192)
    text = json.dumps({"llms": {"acme/model-1": newer, "path": record(1)}})
    found = read(text)
    ((_, legacy),) = found.items
    assert legacy.tested_max_context == 8192
    assert "acme/model-1" in found.problems[0]


def test_the_file_is_never_touched(tmp_path: Path) -> None:
    path = tmp_path / "lmstrix.json"
    for text in (document(record()), document(record())[:300], "[]"):
        path.write_text(text)
        path.chmod(0o444)
        before = (hashlib.sha256(path.read_bytes()).digest(), path.stat())
        import_legacy(path)
        after = (hashlib.sha256(path.read_bytes()).digest(), path.stat())
        assert before[0] == after[0]
        for fact in ("st_mtime_ns", "st_ctime_ns", "st_size", "st_ino", "st_mode"):
            assert getattr(before[1], fact) == getattr(after[1], fact)
        assert [one.name for one in tmp_path.iterdir()] == ["lmstrix.json"]
        path.chmod(0o644)


def test_a_file_that_is_not_there_or_is_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        import_legacy(tmp_path / "lmstrix.json")
    with pytest.raises(LMStrixError) as caught:
        import_legacy(tmp_path)
    assert str(tmp_path) in caught.value.message


def test_the_file_is_found_in_lm_studios_home(home: Path, tmp_path: Path) -> None:
    assert find_legacy() is None
    lmstudio = tmp_path / "lms"
    lmstudio.mkdir()
    (home / ".lmstudio-home-pointer").write_text(f"{lmstudio}\n")
    assert find_legacy() is None
    (lmstudio / "lmstrix.json").write_text("{}")
    assert find_legacy() == lmstudio / "lmstrix.json"


def test_ten_thousand_models_are_read_and_stored(tmp_path: Path) -> None:
    text = document(*(record(i) for i in range(10_000)))
    began = time.process_time()
    found = read(text)
    assert len(found.items) == 10_000
    assert len(read(text[:-2_000]).items) == 9_997
    assert time.process_time() - began < 10
    with Store.open(tmp_path / "lmstrix.db") as store:
        assert len(store.record_legacy(found.items, at=1.0).new) == 10_000


def test_what_was_read_is_found_in_the_store_again(tmp_path: Path) -> None:
    found = read(document(record(1), record(2)))
    with Store.open(tmp_path / "lmstrix.db") as store:
        store.record_legacy(found.items, at=1.0)
        entries = list(store.entries())
    assert [(entry.model, entry.legacy) for entry in entries] == list(found.items)


def test_a_test_goes_to_the_models_of_its_file_else_of_its_key(
    make_entry: Callable[..., Entry],
) -> None:
    found = read(document(record(1), record(2), record(3)))
    file = "/data/models/acme/model-1-GGUF/model-1-Q4_K_M.gguf"
    entries = [
        make_entry("from-folder", path=file),
        make_entry("from-studio", provider="lmstudio", path=file.replace("/", "\\")),
        make_entry("acme/model-2", provider="lmstudio"),
        make_entry("acme/model-3", provider="ollama"),
        make_entry("namesake", path="/elsewhere/model-3-Q4_K_M.gguf"),
    ]
    paired = [(model.key, model.provider) for model, _ in match_legacy(found.items, entries)]
    assert paired == [
        ("from-folder", "embedded"),
        ("from-studio", "lmstudio"),
        ("acme/model-2", "lmstudio"),
        ("acme/model-3", "lmstudio"),  # its own, from the file
    ]
    only = match_legacy(found.items, entries, keep_unmatched=False)
    assert len(only) == 3


def test_entries_behind_a_lost_closing_brace_are_read() -> None:
    raw = document(*(record(i) for i in range(4)))
    start = raw.index("}", raw.index('"capabilities"'))
    found = read_legacy((raw[:start] + raw[start + 1 :]).encode())
    assert [item[0].key for item in found.items] == [f"acme/model-{i}" for i in range(4)]


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(record())), ANY_JSON))
def test_whatever_is_in_an_entry_its_neighbours_are_read(changes: dict[str, Any]) -> None:
    found = read(document(record(1), record(2) | changes | {"path": "odd"}, record(3)))
    assert {"acme/model-1", "acme/model-3"} <= set(keys(found))


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_change_anywhere_costs_at_most_two_entries(data: st.DataObject) -> None:
    raw = bytearray(document(*(record(i) for i in range(4))).encode())
    start = raw.index(b"acme")
    place = data.draw(st.integers(start, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255))
    assert len(read_legacy(bytes(raw)).items) >= 2
