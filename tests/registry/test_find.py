"""From what a user types to the one model that is meant."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmstrix.errors import AmbiguousModelError, ModelNotFoundError, UsageError
from lmstrix.registry.find import find_entry, find_path, qualified_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lmstrix.store import Entry


@pytest.fixture
def known(make_entry: Callable[..., Entry]) -> list[Entry]:
    return [
        make_entry("meta/llama-3-8b", path="/models/meta/llama-3-8b-GGUF/llama-3-8b-Q4_K_M.gguf"),
        make_entry("meta/llama-3-8b-instruct", path="/models/meta/x/instruct.gguf"),
        make_entry("qwen/Qwen3-4B", name="Qwen Three"),
        make_entry("phi", provider="ollama", server="http://localhost:11434"),
    ]


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("meta/llama-3-8b", "meta/llama-3-8b"),
        ("embedded/meta/llama-3-8b", "meta/llama-3-8b"),
        ("ollama/phi", "phi"),
        ("/models/meta/llama-3-8b-GGUF/llama-3-8b-Q4_K_M.gguf", "meta/llama-3-8b"),
        ("/models/meta/llama-3-8b-GGUF/llama-3-8b-Q4_K_M", "meta/llama-3-8b"),
        ("/models/meta/other/../llama-3-8b-GGUF/llama-3-8b-Q4_K_M", "meta/llama-3-8b"),
        ("llama-3-8b-GGUF/llama-3-8b-Q4_K_M.gguf", "meta/llama-3-8b"),
        ("x\\instruct.gguf", "meta/llama-3-8b-instruct"),
        ("LLAMA-3-8B", "meta/llama-3-8b"),
        ("QWEN/qwen3-4b", "qwen/Qwen3-4B"),
        ("qwen3-4b.gguf", "qwen/Qwen3-4B"),
        ("qwen three", "qwen/Qwen3-4B"),
        ("qwen/q", "qwen/Qwen3-4B"),
        ("llama-3-8b-i", "meta/llama-3-8b-instruct"),
        (" qw ", "qwen/Qwen3-4B"),
    ],
)
def test_a_model_answers_to(known: list[Entry], query: str, key: str) -> None:
    assert find_entry(query, iter(known)).model.key == key


def test_an_exact_key_wins_over_longer_ones(make_entry: Callable[..., Entry]) -> None:
    entries = [make_entry("phi-large"), make_entry("phi")]
    assert find_entry("phi", entries).model.key == "phi"


@pytest.mark.parametrize("query", ["phi", "Phi", "Phi:Latest", "ollama/phi"])
def test_a_tag_that_ollama_adds_may_be_left_out(
    make_entry: Callable[..., Entry], query: str
) -> None:
    entries = [make_entry(key, provider="ollama") for key in ("phi:latest", "phi-mini:latest")]
    assert find_entry(query, entries).model.key == "phi:latest"


def test_the_right_case_wins_over_another(make_entry: Callable[..., Entry]) -> None:
    entries = [make_entry("Phi"), make_entry("phi")]
    assert find_entry("phi", entries).model.key == "phi"


def test_an_alias_leads_to_its_model_but_does_not_hide_a_key(known: list[Entry]) -> None:
    aliases = {"quick": "qwen3", "phi": "qwen3", "loop": "loop"}
    assert find_entry("quick", known, aliases=aliases).model.key == "qwen/Qwen3-4B"
    assert find_entry("phi", known, aliases=aliases).model.key == "phi"
    with pytest.raises(ModelNotFoundError):
        find_entry("loop", known, aliases=aliases)


def test_several_models_are_named_up_to_eight(make_entry: Callable[..., Entry]) -> None:
    entries = [make_entry(f"family/member-{i:02}") for i in range(11)]
    with pytest.raises(AmbiguousModelError) as caught:
        find_entry("member", entries)
    error = caught.value
    assert len(error.candidates) == 11
    assert "may mean 11 models" in error.message
    assert "member-07" in error.message
    assert "member-08" not in error.message
    assert "and 3 more" in error.message


def test_one_key_on_two_providers_needs_the_provider(make_entry: Callable[..., Entry]) -> None:
    entries = [make_entry("phi"), make_entry("phi", provider="ollama")]
    with pytest.raises(AmbiguousModelError) as caught:
        find_entry("phi", entries)
    assert caught.value.candidates == ("embedded/phi", "ollama/phi")
    assert find_entry("ollama/phi", entries).model.provider == "ollama"


def test_one_key_on_two_servers_names_the_servers(make_entry: Callable[..., Entry]) -> None:
    entries = [make_entry("phi", server="http://one"), make_entry("phi", server="http://two")]
    with pytest.raises(AmbiguousModelError) as caught:
        find_entry("phi", entries)
    assert caught.value.candidates == (
        "embedded/phi (on http://one)",
        "embedded/phi (on http://two)",
    )


@pytest.mark.parametrize("absence", [{"missing_since": 5.0}, {"seen_at": None}])
def test_a_model_that_is_there_comes_before_one_that_is_not(
    make_entry: Callable[..., Entry], absence: dict[str, Any]
) -> None:
    gone, there = make_entry("phi-a", **absence), make_entry("phi-b")
    assert find_entry("phi", [gone, there]) is there
    assert find_entry("phi-a", [gone, there]) is gone


def test_a_path_from_here_means_that_file_alone(
    make_entry: Callable[..., Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = make_entry("elsewhere", path="/models/tiny.gguf")
    here = make_entry("here", path=str(tmp_path / "tiny.gguf"))
    assert find_entry("./tiny.gguf", [elsewhere, here]) is here
    with pytest.raises(ModelNotFoundError):
        find_entry("./tiny.gguf", [elsewhere])
    assert find_entry("tiny.gguf", [elsewhere]) is elsewhere


def test_what_is_not_there_is_answered_with_the_nearest_names(known: list[Entry]) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        find_entry("lama-3-8b", known, aliases={"quick": "phi"})
    assert caught.value.nearest[0] == "meta/llama-3-8b"
    assert "meta/llama-3-8b" in caught.value.message
    assert "lmstrix scan" in caught.value.hint


def test_a_part_from_the_middle_is_a_hint_not_an_answer(known: list[Entry]) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        find_entry("instruct-x", known)
    assert caught.value.query == "instruct-x"
    with pytest.raises(ModelNotFoundError) as caught:
        find_entry("3-4b", known)
    assert caught.value.nearest == ("qwen/Qwen3-4B",)


def test_with_no_models_known_the_answer_is_to_scan() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        find_entry("phi", [])
    assert "no models are known yet" in caught.value.message
    assert "lmstrix scan" in caught.value.hint


@pytest.mark.parametrize("query", ["", "   "])
def test_an_empty_name_is_a_wrong_call(known: list[Entry], query: str) -> None:
    with pytest.raises(UsageError):
        find_entry(query, known)


KEYS = st.lists(
    st.text("abAB/-.", min_size=1, max_size=8).filter(str.strip),
    min_size=1,
    max_size=6,
    unique=True,
)


@settings(deadline=None)
@given(keys=KEYS, data=st.data())
def test_every_model_answers_to_its_own_key(
    make_entry: Callable[..., Entry], keys: list[str], data: st.DataObject
) -> None:
    entries = [make_entry(key) for key in keys]
    key = data.draw(st.sampled_from(keys))
    assert find_entry(key, entries).model.key == key


@settings(deadline=None)
@given(keys=KEYS, query=st.text("abAB/-.", min_size=1, max_size=9))
def test_a_query_finds_one_model_or_says_why_not(
    make_entry: Callable[..., Entry], keys: list[str], query: str
) -> None:
    entries = [make_entry(key) for key in keys]
    low = query.casefold().removesuffix(".gguf")
    try:
        found = find_entry(query, entries)
    except AmbiguousModelError as error:
        answers, sound = error.candidates, len(error.candidates) > 1
    except ModelNotFoundError as error:
        answers, sound = error.nearest, True
    else:
        answers, sound = [found.model.key], low in qualified_name(found).casefold()
    assert sound
    assert set(answers) <= set(keys)


def test_a_file_is_found_by_its_path_with_or_without_the_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "models"
    folder.mkdir()
    file = folder / "tiny.v2.gguf"
    file.write_bytes(b"GGUF")
    assert find_path(str(file)) == file
    assert os.fspath(find_path("models/tiny.v2")) == os.path.join("models", "tiny.v2.gguf")
    assert find_path("models") is None
    assert find_path("models/none.gguf") is None
    assert find_path("tiny.v2") is None


def test_a_tilde_means_the_home_folder(home: Path) -> None:
    (home / "tiny.gguf").write_bytes(b"GGUF")
    assert find_path("~/tiny.gguf") == home / "tiny.gguf"
