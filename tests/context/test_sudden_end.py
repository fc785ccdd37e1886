from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the processes that die are forked")

_SCRIPT = Path(__file__).with_name("walking.py")
ANSWERS = ("answer", "answer at length")
# Every state transition of a test, and what is done between two of them.
POINTS = [
    f"{moment} {step} ({stage})"
    for step, moments, stages in [
        ("settle_abandoned", ("before", "after"), ("start",)),
        ("begin_test", ("before", "after"), ("start",)),
        ("begin_probe", ("before", "after"), ("load", "process", *ANSWERS)),
        ("load", ("before", "after"), ("load", "process")),
        ("unload", ("before", "after"), ("load", "answer at length")),
        ("stream", ("before", "during"), ("process", *ANSWERS)),
        ("finish_probe", ("before", "after"), ("load", "process", *ANSWERS)),
        ("save_test", ("before", "after"), ("load", "process", *ANSWERS)),
    ]
    for stage in stages
    for moment in moments
]


def sizes(probes: list[dict[str, Any]], *kinds: str) -> list[int]:
    return [probe["tokens"] for probe in probes if probe["kind"] in kinds]


def test_a_test_killed_at_any_transition_goes_on_and_finds_the_same(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(_SCRIPT), str(tmp_path)], check=True)
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found["whole"]["points"]) == set(POINTS)
    for point in POINTS:
        check(found["whole"], found["resumed"][point])


def check(whole: dict[str, Any], resumed: dict[str, Any]) -> None:
    """What came of a test that was killed and taken up again, beside one that nobody killed."""
    before, after = resumed["before"], resumed["probes"]
    killed = [probe for probe in before if probe.get("finished_at") is None]
    assert len(killed) <= 1

    # Nothing that was finished is done again, nor what killed the tool.
    done = before if resumed["result"]["id"] == 1 else []
    assert [probe["id"] for probe in after[: len(done)]] == [probe["id"] for probe in done]
    fresh = after[len(done) :]
    for kinds in ("load", "process"):
        assert not set(sizes(done, kinds)) & set(sizes(fresh, kinds))
    answers = [
        (p["tokens"], p["outcome"]["scores"][0]["cluster"])
        for p in after
        if p["kind"] == "answer" and p["outcome"].get("scores")
    ]
    assert len(answers) == len(set(answers))

    result, expected = resumed["result"], whole["result"]
    assert result["status"] == "completed"
    assert all(probe["outcome"] is not None for probe in after)
    if not killed:
        for limit in ("loadable", "processable", "effective"):
            assert result[limit]["tokens"] == expected[limit]["tokens"]
            assert result[limit]["verdict"] == expected[limit]["verdict"]
        return
    fatal = next(probe for probe in after if probe["id"] == killed[0]["id"])
    assert fatal["outcome"]["failure"] == "crash"
    if fatal["kind"] == "load":
        assert result["loadable"]["tokens"] < fatal["tokens"]
        assert max(resumed["loaded"]) < fatal["tokens"]
    elif fatal["kind"] == "process":
        assert result["loadable"]["tokens"] == expected["loadable"]["tokens"]
        assert result["processable"]["tokens"] < fatal["tokens"]
    else:
        assert result["processable"]["tokens"] == expected["processable"]["tokens"]
        if fatal["tokens"] > 1024:
            assert result["effective"]["tokens"] < fatal["tokens"]
        else:
            assert result["effective"]["tokens"] == expected["effective"]["tokens"]
