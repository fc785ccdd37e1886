"""`lmstrix infer` with schemas, tools, pictures and log probabilities, on the shipped model."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    from conftest import Run

    Ask: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
GREEDY = ("--temperature", "0")


@pytest.fixture
def schema(tmp_path: Path) -> str:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA), encoding="utf-8")
    return str(path)


@pytest.fixture
def ask(lmstrix: Run) -> Ask:
    """`ask("n?", ...)`: the command on the shipped model."""
    lmstrix("scan")

    def infer(prompt: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return lmstrix("infer", prompt, "tiny-chat", *GREEDY, *arguments)

    return infer


@pytest.mark.parametrize("extra", [(), ("--stream",)])
def test_an_answer_obeys_the_schema_in_a_file(ask: Ask, schema: str, extra: tuple[str, ...]):
    done = ask("n?", "--schema", schema, *extra)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(json.loads(done.stdout)) == ["n"]


@pytest.mark.parametrize("extra", [(), ("--stream",)])
def test_json_that_broke_off_is_printed_and_said_to_be_cut(
    ask: Ask, schema: str, extra: tuple[str, ...]
):
    done = ask("n?", "--schema", schema, "--out-ctx", "2", *extra)
    assert done.returncode == 1
    assert done.stdout.startswith("{")
    assert "The JSON is not whole: the answer broke off at its longest, 2 tokens." in done.stderr
    assert "--out-ctx" in done.stderr


def test_a_tool_call_is_printed_and_not_made(ask: Ask, tmp_path: Path):
    offer = ("--tool", f"add={json.dumps(SCHEMA)}", "--tool-choice", "required")
    file = tmp_path / "kept.txt"
    for extra in ((), ("--stream",)):
        done = ask("Add 2 and 3.", *offer, *extra, "--save-response", str(file))
        assert done.returncode == 0
        assert file.read_text(encoding="utf-8") == done.stdout
        call = re.fullmatch(r"add\((.*)\)", done.stdout.splitlines()[-1])
        assert call
        assert list(json.loads(call[1])) == ["n"]
    told = ask("Add 2 and 3.", *offer, "--format", "json")
    [found] = json.loads(told.stdout)["tool_calls"]
    assert found["name"] == "add"
    assert list(json.loads(found["arguments"])) == ["n"]


def test_yaml_and_json_hold_the_same_answer(ask: Ask, schema: str):
    import yaml

    found = json.loads(ask("n?", "--schema", schema, "--format", "json").stdout)
    same = yaml.safe_load(ask("n?", "--schema", schema, "--format", "yaml").stdout)
    assert same["text"] == found["text"]
    assert same["tool_calls"] == found["tool_calls"] == []


def test_pictures_are_refused_before_a_blind_model_is_loaded(
    ask: Ask, lmstrix: Run, tmp_path: Path
):
    picture = tmp_path / "dot.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    done = ask("What is on it?", "--image", str(picture))
    assert done.returncode == 1
    assert "cannot show images to this model" in done.stderr
    assert json.loads(lmstrix("ps", "--format", "json").stdout) == []


def test_log_probabilities_are_part_of_the_data(ask: Ask):
    found = json.loads(ask("Capital of Poland?", "--logprobs", "2", "--format", "json").stdout)
    assert "".join(token["text"] for token in found["logprobs"]).strip() == "Warsaw."
    assert all(token["logprob"] <= 0 and len(token["top"]) == 2 for token in found["logprobs"])
    plain = json.loads(ask("Capital of Poland?", "--format", "json").stdout)
    assert "logprobs" not in plain


def test_log_probabilities_have_no_place_in_text(ask: Ask):
    done = ask("Hello", "--logprobs", "2")
    assert done.returncode == 2
    assert "--format json" in done.stderr
