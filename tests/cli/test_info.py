"""`info`, `about` and `reset`: what is known, and how test results are forgotten."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import yaml
from msgspec.structs import replace

from lmstrix import __version__
from lmstrix.registry.columns import COLUMNS
from lmstrix.results import LengthPoint, TestStatus
from lmstrix.store import LegacyTest, Store
from lmstrix.types import LoadConfig, Model

if TYPE_CHECKING:
    from conftest import Run

    from lmstrix.config import Places

FAST = ("--fast", "--threshold", "512", "-q")


def test_info_shows_every_field_that_the_list_has_and_the_tests(
    lmstrix: Run, places: Places
) -> None:
    lmstrix("scan")
    lmstrix("test", "tiny-chat", *FAST)
    with Store.open(places.database) as store:
        [result] = [entry.result for entry in store.entries() if entry.result is not None]
        curve = (LengthPoint(tokens=300, samples=12, mean=0.75, low=0.5, high=0.875),)
        load = LoadConfig(kv_type_k="q8_0", kv_type_v="q8_0")
        store.begin_test(replace(result, key=replace(result.key, load=load), curve=curve))
    shown = lmstrix("info", "tiny-chat")
    assert (shown.returncode, shown.stderr) == (0, "")
    for fact in ("1.7 MB", "llama", "Q8_0", "8,192", "tools", "gguf", "xllamacpp", "Loaded "):
        assert fact in shown.stdout
    for fact in ("fast, threshold_tokens 512", "kv_type_k q8_0", "0.50 to 0.88"):
        assert fact in shown.stdout
    assert shown.stdout.count("All 3 markers (start, middle, end) were found.") == 2
    whole = json.loads(lmstrix("info", "tiny-chat", "--format", "json").stdout)
    listed = json.loads(lmstrix("list", "--show", "json").stdout)
    [same] = [one for one in listed if one["key"] == "tiny-chat"]
    assert set(same) == {column.field for column in COLUMNS.values()}
    assert {name: whole[name] for name in same} == same
    assert [test["key"]["load"].get("kv_type_k") for test in whole["tests"]] == ["q8_0", None]
    assert (whole["embedding"], whole["loaded"], whole["legacy"]) == (False, [], None)
    assert yaml.safe_load(lmstrix("info", "tiny-chat", "--show", "yaml").stdout) == whole


def test_info_tells_whether_a_model_is_loaded(lmstrix: Run) -> None:
    lmstrix("scan")
    assert "Loaded         no" in lmstrix("info", "-m", "tiny-chat").stdout
    lmstrix("load", "tiny-chat", "--in-ctx", "512", "--id", "mine")
    assert "Loaded         as mine with context 512" in lmstrix("info", "tiny-chat").stdout
    [instance] = json.loads(lmstrix("info", "tiny-chat", "--format", "json").stdout)["loaded"]
    assert (instance["id"], instance["context_tokens"]) == ("mine", 512)
    assert "Loaded         no" in lmstrix("info", "tiny-embed").stdout


def test_info_of_no_model_or_of_an_unknown_one_is_refused(lmstrix: Run) -> None:
    lmstrix("scan")
    assert lmstrix("info", "nosuch").returncode == 3
    assert lmstrix("info").returncode == 2


def test_info_tells_what_1_x_knew(lmstrix: Run, places: Places) -> None:
    lmstrix("scan")
    model = Model(key="old", provider="lmstudio", server="local", description="An old one.")
    legacy = LegacyTest(tested_max_context=31744, status=TestStatus.COMPLETED, keywords=("a", "b"))
    with Store.open(places.database) as store:
        store.record_legacy([(model, legacy)], at=1.0)
    shown = lmstrix("info", "old").stdout
    assert "tested_max_context 31,744, status completed, keywords a b" in shown
    whole = json.loads(lmstrix("info", "old", "--format", "json").stdout)
    assert msgspec.convert(whole["legacy"], LegacyTest) == legacy


def test_about_tells_versions_places_and_counts(lmstrix: Run, places: Places) -> None:
    facts = json.loads(lmstrix("about", "--format", "json").stdout)
    assert (facts["lmstrix"], facts["models"], facts["tested"]) == (__version__, 0, 0)
    assert not places.database.exists(), "to ask makes nothing"
    lmstrix("scan")
    lmstrix("test", "tiny-chat", *FAST)
    told = lmstrix("about").stdout
    assert f"lmstrix          {__version__}\n" in told
    assert str(places.database) in told
    assert "models           3\ntested           1\n" in told


def test_reset_forgets_one_model_after_a_backup(lmstrix: Run, places: Places) -> None:
    lmstrix("scan")
    assert "No test results" in lmstrix("reset", "tiny-chat").stderr
    assert not places.backups.exists()
    for name in ("tiny-chat", "tiny-embed"):
        lmstrix("test", name, *FAST)
    done = lmstrix("reset", "tiny-chat")
    assert done.returncode == 0
    assert f"Forgot the results of 1 test; a backup is in {places.backups}." in done.stderr
    assert lmstrix("list", "status:completed", "--show", "id").stdout == "tiny-embed\n"
    [backup] = places.backups.iterdir()
    with Store.open(backup) as store:
        assert sum(entry.result is not None for entry in store.entries()) == 2
    assert "of 1 test;" in lmstrix("reset", "--all").stderr
    assert lmstrix("list", "status:completed").returncode == 3


def test_reset_must_be_told_what(lmstrix: Run) -> None:
    lmstrix("scan")
    assert lmstrix("reset").returncode == 2
    assert lmstrix("reset", "tiny-chat", "--all").returncode == 2
    assert lmstrix("reset", "nosuch").returncode == 3


def test_reset_leaves_a_test_alone_that_runs(lmstrix: Run, places: Places) -> None:
    lmstrix("scan")
    lmstrix("test", "tiny-chat", *FAST)
    with Store.open(places.database) as store:
        [result] = [entry.result for entry in store.entries() if entry.result is not None]
        store.save_test(replace(result, status=TestStatus.TESTING))  # as this living process's
        assert "the test runs at this moment" in lmstrix("reset", "tiny-chat").stderr
        assert sum(entry.result is not None for entry in store.entries()) == 1
