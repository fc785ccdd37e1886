"""A long text with facts hidden in it: what all probe families are made of."""

from __future__ import annotations

import random
import re
import unicodedata
from typing import TYPE_CHECKING

import msgspec

from lmstrix.context.families.filler import sentences

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEADS = (
    "Read the following text. A question follows.",
    "Read the text and answer the question at the end.",
    "There are some important facts hidden in this text. Remember them.",
)
LOOK_ALIKES = 2  # facts of the same sort that nobody asks about
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_UNOPENED = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[,._'\u2009\u202f](?=\d)")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked after a haystack: `haystack.text + text` is the whole prompt.

    `rivals` are the answers that other facts of the same haystack and family would give; `depth`
    is where the fact stands, 0 at the start and 1 at the end. `family` is named where several
    share the haystack.
    """

    text: str
    expected: str
    rivals: tuple[str, ...] = ()
    depth: float
    family: str = ""


class Haystack(msgspec.Struct, frozen=True, kw_only=True):
    """A text and the questions that can be asked of it, by rising depth.

    The text is the same whichever question follows, so a server that keeps the prompt prefix
    reads it once.
    """

    text: str
    questions: tuple[Question, ...]


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence to hide, the question about it and the answer.

    `family` tells facts apart whose answers are no rivals.
    """

    sentence: str
    question: str = ""
    answer: str = ""
    family: str = ""


def halves(asked: int) -> tuple[tuple[int, int], ...]:
    """How many questions, and facts nobody asks about, each sort of fact has in one haystack.

    Two sorts from six questions on: facts of one sort are what a model confuses, so many of one
    sort would make the task harder than few.
    """
    if asked < 6:
        return ((asked, LOOK_ALIKES),)
    return ((-(-asked // 2), LOOK_ALIKES // 2), (asked // 2, LOOK_ALIKES // 2))


def hide(
    facts: Sequence[Fact],
    rng: random.Random,
    *,
    asked: int,
    approx_tokens: int,
    count: Callable[[str], int],
    language: str,
) -> Haystack:
    """Hide all of `facts` in about `approx_tokens` of filler; the first `asked` get questions.

    Those stand one in each of `asked` equal parts of the text, at a random place within its
    part, the others anywhere. What is drawn from `rng` does not depend on the length: the same
    seed gives the same facts at the same relative depths. The first fact asked about is never
    after 0.1 nor the last before 0.9 where three or more are asked.
    """
    head = rng.choice(HEADS)
    depths = [(part + rng.random()) / asked for part in range(asked)]
    if asked >= 3:
        depths[0], depths[-1] = (
            min(depths[0], 0.02 + rng.random() * 0.08),
            max(depths[-1], 0.9 + rng.random() * 0.08),
        )
    rng.shuffle(depths)
    depths += [rng.random() for _ in facts[asked:]]
    text = lay(
        [(depth, fact.sentence) for depth, fact in zip(depths, facts, strict=True)],
        rng,
        head=head,
        approx_tokens=approx_tokens,
        count=count,
        language=language,
    )
    answers = dict.fromkeys((fact.family, fact.answer) for fact in facts if fact.answer)
    questions = [
        Question(
            text="\n\n" + fact.question,
            expected=fact.answer,
            rivals=tuple(
                answer
                for family, answer in answers
                if family == fact.family and answer != fact.answer
            ),
            depth=round(depth, 4),
            family=fact.family,
        )
        for fact, depth in zip(facts[:asked], depths, strict=False)
    ]
    return Haystack(
        text=text,
        questions=tuple(sorted(questions, key=lambda question: question.depth)),
    )


def lay(
    pieces: Sequence[tuple[float, str]],
    rng: random.Random,
    *,
    head: str,
    approx_tokens: int,
    count: Callable[[str], int],
    language: str,
) -> str:
    """A text of about `approx_tokens` with each piece at its depth, 0..1, in filler."""
    source = sentences(random.Random(rng.getrandbits(64)), language)  # noqa: S311  # no secret
    room = approx_tokens - count(" ".join([head, *(piece for _, piece in pieces)]))
    placed: list[tuple[float, str]] = []
    total = 0
    while total < room:
        sentence = next(source)
        total += count(" " + sentence)
        placed.append((total, sentence))
    placed += [(depth * total, piece) for depth, piece in pieces]
    placed.sort(key=lambda piece: piece[0])
    return " ".join([head, *(sentence for _, sentence in placed)])


def answered(question: Question, answer: str) -> float:
    """1.0 where the answer names what was expected and nothing else of the haystack, else 0.0.

    Reasoning (`<think>`) does not count, nor do case, accents' encoding, punctuation and
    separators within numbers. Naming several answers is guessing.
    """
    words = set(words_of(answer))
    if _plain(question.expected) not in words:
        return 0.0
    return float(not any(_plain(rival) in words for rival in question.rivals))


def words_of(answer: str) -> list[str]:
    """The words of an answer as they are compared, without reasoning, in the order said."""
    return re.findall(r"\w+", _plain(_UNOPENED.sub("", _THOUGHT.sub("", answer))))


def _plain(text: str) -> str:
    return _BETWEEN_DIGITS.sub("", unicodedata.normalize("NFKC", text)).casefold()
