"""What `lmstrix` promises by name, and that its two façades stay twins."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import lmstrix
from lmstrix import AsyncLMStrix, LMStrix


def test_every_public_name_is_listed_once_sorted_and_importable():
    assert sorted(set(lmstrix.__all__)) == lmstrix.__all__
    for name in lmstrix.__all__:
        assert getattr(lmstrix, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lmstrix.nothing


def test_importing_lmstrix_imports_none_of_its_rooms():
    seen = subprocess.run(
        [sys.executable, "-c", "import sys, lmstrix; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert [name for name in seen if name.startswith("lmstrix.")] == []
    assert "msgspec" not in seen
    assert "httpx2" not in seen


def public(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def test_both_facades_have_the_same_methods():
    renamed = {"aclose": "close"}
    assert {renamed.get(name, name) for name in public(AsyncLMStrix)} == set(public(LMStrix))


@pytest.mark.parametrize("name", sorted(set(public(LMStrix)) - {"close"}))
def test_a_method_takes_the_same_arguments_in_both(name: str):
    theirs, ours = public(AsyncLMStrix)[name], public(LMStrix)[name]
    assert list(theirs.parameters.values()) == list(ours.parameters.values())
    if name != "stream":
        assert theirs.return_annotation == ours.return_annotation


@pytest.mark.parametrize("name", sorted(set(public(LMStrix)) - {"close", "stream"}))
def test_one_is_awaited_and_the_other_is_not(name: str):
    assert inspect.iscoroutinefunction(getattr(AsyncLMStrix, name))
    assert not inspect.iscoroutinefunction(getattr(LMStrix, name))
