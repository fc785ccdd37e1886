"""Latent association: the question shares no word with the fact that answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lmstrix.context.families.haystack import LOOK_ALIKES, Fact, answered, halves, hide
from lmstrix.context.families.names import PEOPLE
from lmstrix.context.families.shared import Planted

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from lmstrix.context.families.haystack import Haystack, Question

_CITIES = {
    "Poland": "Warsaw",
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "England": "London",
    "Ireland": "Dublin",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
    "Austria": "Vienna",
    "Hungary": "Budapest",
    "Greece": "Athens",
    "Egypt": "Cairo",
    "Japan": "Tokyo",
    "Russia": "Moscow",
    "Canada": "Ottawa",
    "Cuba": "Havana",
}
_OBJECTS = {
    "fish": ("salmon", "trout", "herring", "tuna"),
    "fruit": ("pear", "banana", "plum", "cherry"),
    "flower": ("tulip", "rose", "daisy", "lily"),
    "tool": ("hammer", "wrench", "drill", "saw"),
    "bird": ("parrot", "owl", "sparrow", "eagle"),
    "musical instrument": ("violin", "flute", "piano", "guitar"),
    "vehicle": ("truck", "bicycle", "tractor", "bus"),
    "metal": ("copper", "iron", "tin", "zinc"),
    "insect": ("beetle", "moth", "bee", "ant"),
    "piece of furniture": ("sofa", "desk", "wardrobe", "shelf"),
    "vegetable": ("carrot", "onion", "cabbage", "potato"),
}
# What the question asks for comes last in the fact, so that a small model, too, has met the clue
# by the time it reads the name.
_LIVES = (
    "In {city}, a small house belongs to {person}.",
    "In {city}, a flat belongs to {person}.",
    "In {city}, a shop is run by {person}.",
    "In {city}, a room is rented by {person}.",
)
_LIVES_WHERE = ("Which person is in {}?", "Who can be found in {}?", "Who lives in {}?")
_OWNS = (
    "The {thing} belongs to {person}.",
    "The {thing} was given to {person}.",
    "The {thing} is owned by {person}.",
)
_OWNS_WHAT = (
    "Which person has a kind of {}?",
    "Who has some kind of {}?",
    "Which person got a kind of {}?",
)
MOST = 18  # questions; of the people there are two more
_ONLY = ("Answer with the name only.", "Give only the name.", "Reply with only the name.")


class Latent:
    """Facts such as "In Lisbon, a flat belongs to Clara.", asked as "Who lives in Portugal?".

    What joins the two is general knowledge: a capital and its country, a thing and its kind.
    Many questions are half of the one sort and half of the other, few are all of one. Of two more
    people nobody asks. Guessing one of the names in sight is right once in `questions + 2`. There
    are at most eighteen questions.
    """

    name: ClassVar[str] = "latent"
    version: ClassVar[int] = 2

    def haystack(
        self,
        rng: random.Random,
        *,
        approx_tokens: int,
        count: Callable[[str], int],
        questions: int,
        language: str,
    ) -> Haystack:
        """See `ProbeFamily`."""
        planted = self.facts(rng, questions=questions)
        return hide(
            planted.asked + planted.beside,
            rng,
            asked=len(planted.asked),
            approx_tokens=approx_tokens,
            count=count,
            language=language,
        )

    def facts(self, rng: random.Random, *, questions: int) -> Planted:
        """See `FactFamily`."""
        asked = min(questions, MOST)
        people = rng.sample(PEOPLE, asked + LOOK_ALIKES)
        draws = rng.sample((_homes, _belongings), 2)
        planted = Planted([], [])
        for draw, part in zip(draws, halves(asked), strict=False):
            drawn = draw(rng, people[sum(map(len, planted)) :][: sum(part)])
            planted.asked.extend(drawn[: part[0]])
            planted.beside.extend(drawn[part[0] :])
        return planted

    def score(self, question: Question, answer: str) -> float:
        """See `ProbeFamily`."""
        return answered(question, answer)


def _homes(rng: random.Random, people: Sequence[str]) -> list[Fact]:
    form, ask, only = rng.choice(_LIVES), rng.choice(_LIVES_WHERE), rng.choice(_ONLY)
    return [
        Fact(
            sentence=form.format(person=person, city=_CITIES[country]),
            question=f"{ask.format(country)} {only}",
            answer=person,
        )
        for person, country in zip(people, rng.sample(sorted(_CITIES), len(people)), strict=True)
    ]


def _belongings(rng: random.Random, people: Sequence[str]) -> list[Fact]:
    form, ask, only = rng.choice(_OWNS), rng.choice(_OWNS_WHAT), rng.choice(_ONLY)
    return [
        Fact(
            sentence=form.format(person=person, thing=rng.choice(_OBJECTS[kind])),
            question=f"{ask.format(kind)} {only}",
            answer=person,
        )
        for person, kind in zip(people, rng.sample(sorted(_OBJECTS), len(people)), strict=True)
    ]
