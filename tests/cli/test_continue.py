"""`test --continue`: what was interrupted is found and taken up as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.results import TestAsk, TestStatus
from lmstrix.store import Store
from lmstrix.types import LoadConfig

if TYPE_CHECKING:
    from conftest import Run

    from lmstrix.config import Places


def test_an_interrupted_test_behind_an_older_result_is_continued_as_it_was_loaded(
    lmstrix: Run, places: Places
) -> None:
    lmstrix("scan")
    fast = ("--threshold", "512", "--fast", "-q")
    assert lmstrix("test", "tiny-chat", *fast).returncode == 0
    with Store.open(places.database) as store:
        (done,) = [entry.result for entry in store.entries() if entry.result is not None]
        load = LoadConfig(kv_type_k="q8_0", kv_type_v="q8_0")
        for key in (done.key, replace(done.key, load=load)):
            store.begin_test(replace(done, key=key, status=TestStatus.INTERRUPTED))
        for left in (load, done.key.load):  # the newest first, one at a time
            again = lmstrix("test", "--continue", *fast, "--format", "json")
            [result] = json.loads(again.stdout)
            assert result["status"] == "completed"
            assert result["key"]["load"].get("kv_type_k") == left.kv_type_k
        assert store.interrupted() == []
    assert lmstrix("test", "--continue").returncode == 3


def test_an_interrupted_test_is_continued_with_the_options_it_had_unless_given_anew(
    lmstrix: Run, places: Places
) -> None:
    lmstrix("scan")
    assert lmstrix("test", "tiny-chat", "--ctx", "512", "-q").returncode == 0
    with Store.open(places.database) as store:
        (done,) = [entry.result for entry in store.entries() if entry.result is not None]
        assert done.asked == TestAsk(context_tokens=512)
        for given, loaded in (((), 768), (("--ctx", "1024"), 1024)):
            asked = TestAsk(context_tokens=768, fast=True, force=True)
            store.begin_test(replace(done, asked=asked, status=TestStatus.INTERRUPTED))
            again = lmstrix("test", "--continue", *given, "--format", "json")
            [result] = json.loads(again.stdout)
            assert result["status"] == "completed"
            assert result["loadable"]["tokens"] == loaded
            assert result["asked"] == {"context_tokens": loaded, "fast": True, "force": True}
            tried = {probe.tokens for probe in store.probes(result["id"])}
            assert tried == {loaded}
