"""`lmstrix test --curve` and `--tune`, run as a user runs them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lmstrix.cli.commands.test import parse_layers
from lmstrix.errors import UsageError


def test_a_curve_is_mapped_within_its_budget_and_goes_on(lmstrix: Any):
    lmstrix("scan")
    words = ("test", "tiny-chat-overclaimed", "--curve", "--fast", "--threshold", "2048")
    first = lmstrix(*words, "--budget", "4s")
    assert first.returncode == 0, first.stderr
    assert "quality and speed by prompt length" in first.stdout
    whole = lmstrix(*words, "--format", "json")
    (result,) = json.loads(whole.stdout)
    assert [point["tokens"] for point in result["curve"]] == [1024, 1448, 2048]
    assert all(point["samples"] >= 24 for point in result["curve"])
    again = lmstrix(*words, "--format", "json")
    assert json.loads(again.stdout)[0]["probes"] == result["probes"]


def test_load_settings_are_compared_and_one_is_recommended(lmstrix: Any):
    lmstrix("scan")
    words = ("test", "tiny-chat", "--tune", "--fast", "--threshold", "1024")
    planned = lmstrix(*words, "--dry-run")
    assert planned.stdout.count("tiny-chat  (declared") == 5
    done = lmstrix(*words)
    assert done.returncode == 0, done.stderr
    assert "KV cache q8_0, flash attention on" in done.stdout
    assert "Recommended: " in done.stdout
    (tuning,) = json.loads(lmstrix(*words, "--format", "json").stdout)
    assert len(tuning["tried"]) == 5
    assert all(one["result"]["loadable"]["tokens"] == 1024 for one in tuning["tried"])


@pytest.mark.parametrize(
    "words",
    [
        ["test", "tiny-chat", "--tune", "--curve"],
        ["test", "tiny-chat", "--tune-layers", "1"],
        ["test", "tiny-chat", "--tune", "--tune-layers", "many"],
    ],
)
def test_what_contradicts_itself_is_refused(lmstrix: Any, words: list[str]):
    assert lmstrix(*words).returncode == 2


def test_layers_are_numbers():
    assert parse_layers(None) == ()
    assert parse_layers("0, 20") == (0, 20)
    with pytest.raises(UsageError):
        parse_layers("0,-1")
