"""Common and frequent words: which stand most often in a long list."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar

from lmstrix.context.families.haystack import Haystack, Question, words_of
from lmstrix.context.families.names import NOUNS

if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD = "Here is a long list of pairs, a colour and a word each. A question about it follows."
_COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "purple", "grey", "pink")
WANTED = 3  # words of each colour that stand most often
_DECOYS = 2
_RARE = 15
# Parts of a colour's pairs: a wanted word in its half of the text and in the other, a decoy in
# the other half only. Whoever reads that half alone takes the decoys.
_MANY, _FEW, _DECOY = 0.17, 0.04, 0.1


class Common:
    """Pairs such as "red lamp"; asked are the three words that stand most often beside a colour.

    The score is the part of them that is named; naming more than three words of the list is
    guessing and scores nothing. Three words taken at random are right for three in twenty. There
    are as many questions as colours, at most ten. The list is in English, whatever the language.
    """

    name: ClassVar[str] = "common"
    version: ClassVar[int] = 1

    def haystack(
        self,
        rng: random.Random,
        *,
        approx_tokens: int,
        count: Callable[[str], int],
        questions: int,
        language: str,  # noqa: ARG002  # a list of words has no filler
    ) -> Haystack:
        """See `ProbeFamily`."""
        colours = rng.sample(_COLOURS, min(questions, len(_COLOURS)))
        lists = {colour: rng.sample(NOUNS, WANTED + _DECOYS + _RARE) for colour in colours}
        # Every second colour is heavy in the first half of the text, the others in the second.
        start = rng.randrange(2)
        source = random.Random(rng.getrandbits(64))  # noqa: S311  # no secret
        sample = " ".join(f"{c} {words[n]}," for c, words in lists.items() for n in range(5))
        each = max(1, (approx_tokens - count(_HEAD)) * 5 // max(1, count(" " + sample)))
        halves: tuple[list[str], list[str]] = ([], [])
        for place, (colour, words) in enumerate(lists.items()):
            heavy = (start + place) % 2
            for half, pair in _pairs(colour, words, heavy, each):
                halves[half].append(pair)
        for pairs in halves:
            source.shuffle(pairs)
        return Haystack(
            text=" ".join([_HEAD, *halves[0], *halves[1]]),
            questions=tuple(
                Question(
                    text=f"\n\nWhich three words stand most often after {colour}? "
                    "Answer with the three words only.",
                    expected=", ".join(words[:WANTED]),
                    rivals=tuple(words[WANTED:]),
                    depth=round((place + 0.5) / len(lists), 4),
                )
                for place, (colour, words) in enumerate(lists.items())
            ),
        )

    def score(self, question: Question, answer: str) -> float:
        """See `ProbeFamily`."""
        wanted = question.expected.split(", ")
        said = set(words_of(answer)) & {*wanted, *question.rivals}
        return len(said & set(wanted)) / WANTED if len(said) <= WANTED else 0.0


def _pairs(colour: str, words: list[str], heavy: int, each: int) -> list[tuple[int, str]]:
    """`each` pairs of a colour, with the half of the text they belong to."""
    wanted, decoys, rare = words[:WANTED], words[WANTED:][:_DECOYS], words[WANTED + _DECOYS :]
    pairs: list[tuple[int, str]] = []
    for word in wanted:
        pairs += [(heavy, word)] * max(2, round(_MANY * each))
        pairs += [(1 - heavy, word)] * round(_FEW * each)
    for word in decoys:
        pairs += [(1 - heavy, word)] * max(1, round(_DECOY * each))
    for place in range(each - len(pairs)):
        pairs.append((place % 2, rare[place // 2 % len(rare)]))
    return [(half, f"{colour} {word},") for half, word in pairs]
