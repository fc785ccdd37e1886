"""`lmstrix embed` with the shipped embedding model."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Run


@pytest.fixture
def scanned(lmstrix: Run) -> Run:
    lmstrix("scan")
    return lmstrix


def test_a_text_becomes_a_line_of_numbers_of_the_only_model_there_is(scanned: Run) -> None:
    done = scanned("embed", "A cat on a mat.")
    assert (done.returncode, done.stderr) == (0, "")
    [line] = done.stdout.splitlines()
    vector = json.loads(line)
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-4)
    data = json.loads(scanned("embed", "A cat on a mat.", "--format", "json").stdout)
    assert (data["model"], data["dimensions"]) == ("tiny-embed", len(vector))
    assert data["vectors"][0] == pytest.approx(vector, abs=1e-5)


def test_lines_of_standard_input_are_texts_in_their_order(scanned: Run) -> None:
    piped = scanned("embed", "--stdin", "-m", "tiny-embed", stdin=b"cat\n\nriver\n").stdout
    given = scanned("embed", "cat", "river").stdout
    assert len(piped.splitlines()) == 2
    for ours, theirs in zip(piped.splitlines(), given.splitlines(), strict=True):
        assert json.loads(ours) == pytest.approx(json.loads(theirs), abs=1e-5)
    whole = scanned("embed", "-", stdin=b"cat\nriver\n").stdout
    assert len(whole.splitlines()) == 1


def test_how_alike_texts_are_is_told_the_nearest_first(scanned: Run) -> None:
    done = scanned("embed", "cat", "river", "cat", "--similarity")
    first, *others = done.stdout.splitlines()
    assert re.fullmatch(r" 1\.0000  cat \| cat", first)
    numbers = [float(line.split()[0]) for line in others]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 2
    assert max(numbers) < 1
    data = json.loads(scanned("embed", "a", "b", "--similarity", "--format", "json").stdout)
    assert data["similarity"][0][0] == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "There is no text."),
        (("cat", " "), 2, "One of the texts is empty."),
        (("cat", "--similarity"), 2, "--similarity compares texts"),
        (("cat", "-m", "tiny-chat"), 1, "tiny-chat is not an embedding model."),
        (("-", "--stdin"), 2, "only once"),
    ],
)
def test_what_cannot_be_embedded_is_said_before_anything_is_loaded(
    scanned: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = scanned("embed", *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert scanned("ps", "--format", "json").stdout == "[]\n"


def test_without_an_embedding_model_the_next_step_is_said(lmstrix: Run) -> None:
    done = lmstrix("embed", "cat")
    assert done.returncode == 3
    assert "there is none" in done.stderr
    assert "type:embedding" in done.stderr
