"""What programs call models by."""

from __future__ import annotations

import pytest

from lmstrix.errors import AmbiguousModelError, ModelNotFoundError
from lmstrix.gateway.names import Names
from lmstrix.store import Entry
from lmstrix.types import Model

FOLDER = "/models/hugging-quants/Llama-3.2-1B-Instruct-Q8_0-GGUF"


def entry(key: str, path: str | None = None) -> Entry:
    model = Model(key=key, provider="embedded", server="embedded", path=path)
    return Entry(model=model, added_at=0, seen_at=0)


ENTRIES = [
    entry("llama-3.2-1b", f"{FOLDER}/llama-3.2-1b-instruct-q8_0.gguf"),
    entry("qwen/qwen3-4b", "/models/qwen/Qwen3-4B/qwen3-4b.gguf"),
    entry("qwen/qwen3-8b", "/models/qwen/Qwen3-8B/qwen3-8b.gguf"),
]


def named(name: str, **aliases: str) -> str:
    spelled = {alias.replace("_", "-").replace("STAR", "*"): to for alias, to in aliases.items()}
    return Names(ENTRIES, spelled).find(name).model.key


@pytest.mark.parametrize(
    "name",
    [
        "llama-3.2-1b",
        "LLAMA-3.2-1B",
        "llama",
        "hugging-quants/llama-3.2-1b-instruct",
        "hugging-quants/Llama-3.2-1B-Instruct-Q8_0-GGUF/llama-3.2-1b-instruct-q8_0.gguf",
        "Hugging-Quants/",
        f"{FOLDER}/llama-3.2-1b-instruct-q8_0.gguf",
    ],
)
def test_a_key_its_beginning_or_the_beginning_of_a_path_names_a_model(name: str) -> None:
    assert named(name) == "llama-3.2-1b"


def test_an_alias_comes_before_a_name_and_a_pattern_after_all_names() -> None:
    assert named("qwen/qwen3-4b", STAR="llama") == "qwen/qwen3-4b"
    assert Names(ENTRIES, {"qwen/qwen3-4b": "llama"}).find("qwen/qwen3-4b").model.key == (
        "llama-3.2-1b"
    )
    assert named("gpt-4o", STAR="llama") == "llama-3.2-1b"


def test_the_longest_pattern_decides_whatever_the_case() -> None:
    aliases = {"STAR": "qwen3-4b", "claude_STAR": "qwen3-8b", "claude_opus_STAR": "llama"}
    assert named("Claude-Opus-9", **aliases) == "llama-3.2-1b"
    assert named("claude-haiku", **aliases) == "qwen/qwen3-8b"
    assert named("other", **aliases) == "qwen/qwen3-4b"


def test_what_may_mean_two_models_is_not_guessed() -> None:
    with pytest.raises(AmbiguousModelError):
        named("qwen")


def test_a_name_of_nothing_is_refused_with_the_nearest() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        named("qwen3-4c")
    assert "qwen/qwen3-4b" in caught.value.nearest
