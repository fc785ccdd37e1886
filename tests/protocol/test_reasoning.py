from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.protocol.reasoning import ReasoningSplitter


def split(text: str, sizes: list[int] | None = None) -> tuple[str, str]:
    splitter, pieces, at = ReasoningSplitter(), [], 0
    for size in [*(sizes or []), len(text)]:
        pieces += splitter.feed(text[at : at + size])
        at += size
    pieces += splitter.close()
    return (
        "".join(piece for piece, thought in pieces if thought),
        "".join(piece for piece, thought in pieces if not thought),
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Hello", ("", "Hello")),
        ("<think>Hm.</think>Yes", ("Hm.", "Yes")),
        ("\n <think>\nHm.</think>\n\nYes\n", ("Hm.", "Yes\n")),
        ("<think></think>Yes", ("", "Yes")),
        ("<think>cut off", ("cut off", "")),
        ("<think>a </thin k> b</think>c", ("a </thin k> b", "c")),
        ("A <think>is a mark</think>.", ("", "A <think>is a mark</think>.")),
        ("<think>a</think>b<think>c</think>", ("a", "b<think>c</think>")),
        ("<thin", ("", "<thin")),
        ("  ", ("", "  ")),
        ("<think>a</thi", ("a</thi", "")),
    ],
)
def test_only_what_opens_the_answer_is_reasoning(text: str, parts: tuple[str, str]):
    assert split(text) == parts
    assert split(text, [1] * len(text)) == parts


@given(
    st.text(st.sampled_from("<>/think \nab"), max_size=40),
    st.lists(st.integers(0, 7), max_size=40),
    st.booleans(),
)
def test_any_cut_of_the_text_gives_the_same_parts(text: str, sizes: list[int], opened: bool):  # noqa: FBT001
    text = f"<think>{text}" if opened else text
    assert split(text, sizes) == split(text)


def test_once_the_answer_began_nothing_is_held_back():
    splitter = ReasoningSplitter()
    assert splitter.feed("Hi") == [("Hi", False)]
    assert splitter.passes
