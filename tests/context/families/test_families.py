from __future__ import annotations

import random
import re
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.context.families import (
    LANGUAGES,
    Haystack,
    ProbeFamily,
    Question,
    answered,
    find_families,
    hide,
)
from lmstrix.context.families.filler import sentences
from lmstrix.context.families.haystack import Fact
from lmstrix.context.families.keyed import Keyed
from lmstrix.context.families.latent import Latent

FAMILIES = (Keyed(), Latent())
SEEDS = range(40)
COMMON = {*("a", "an", "the", "is", "was", "to", "in", "of", "for", "as", "kind", "some")}
ONLY = {*("answer", "give", "reply", "with", "only", "the", "number", "name")}


def words(text: str) -> int:
    return len(re.findall(r"\w+", text))


def build(
    family: ProbeFamily, seed: int, *, tokens: int = 1500, questions: int = 4, language: str = "en"
) -> Haystack:
    return family.haystack(
        random.Random(seed),
        approx_tokens=tokens,
        count=words,
        questions=questions,
        language=language,
    )


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> ProbeFamily:
    return request.param


def mean(scores: list[float]) -> float:
    return sum(scores) / len(scores)


def test_an_oracle_scores_full(family: ProbeFamily) -> None:
    for seed in SEEDS:
        for question in build(family, seed).questions:
            assert family.score(question, f"{question.expected}.") == 1.0


def test_someone_who_guesses_among_the_values_in_sight_scores_at_most_chance(
    family: ProbeFamily,
) -> None:
    rng = random.Random(0)
    scores = []
    for seed in range(400):
        for question in build(family, seed, tokens=300).questions:
            guess = rng.choice([question.expected, *question.rivals])
            scores.append(family.score(question, guess))
    assert mean(scores) == pytest.approx(1 / 6, abs=0.04)


def test_naming_every_value_is_no_answer(family: ProbeFamily) -> None:
    for question in build(family, 1).questions:
        assert family.score(question, " ".join([question.expected, *question.rivals])) == 0.0


def test_a_reader_of_the_last_half_stays_below_the_threshold(family: ProbeFamily) -> None:
    scores = []
    for seed in SEEDS:
        haystack = build(family, seed)
        seen = haystack.text[len(haystack.text) // 2 :]
        scores += [
            family.score(q, q.expected if q.expected in seen else "unknown")
            for q in haystack.questions
        ]
    assert 0.3 < mean(scores) < 0.7


def test_the_same_seed_gives_the_same_text(family: ProbeFamily) -> None:
    assert build(family, 5) == build(family, 5)
    assert build(family, 5) != build(family, 6)


@given(
    tokens=st.integers(400, 20_000),
    seed=st.integers(0, 2**32),
    language=st.sampled_from(LANGUAGES),
    family=st.sampled_from(FAMILIES),
)
def test_the_length_asked_for_is_hit_within_a_sentence(
    tokens: int, seed: int, language: str, family: ProbeFamily
) -> None:
    text = build(family, seed, tokens=tokens, language=language).text
    assert tokens <= words(text) <= tokens + 25


def test_another_length_asks_the_same_questions_at_the_same_depths(family: ProbeFamily) -> None:
    short, long = build(family, 7, tokens=400), build(family, 7, tokens=9000)
    assert short.questions == long.questions
    for question in long.questions:
        where = re.search(rf"\b{question.expected}\b", long.text).start() / len(long.text)
        assert where == pytest.approx(question.depth, abs=0.03)


def test_questions_are_spread_over_the_whole_depth(family: ProbeFamily) -> None:
    for seed in SEEDS:
        depths = [question.depth for question in build(family, seed, questions=5).questions]
        assert depths[0] <= 0.1
        assert depths[-1] >= 0.9
        assert all(int(d * 5) == part for part, d in enumerate(depths))


def test_which_question_comes_first_in_the_text_is_left_to_chance() -> None:
    firsts = {build(Latent(), seed).questions[0].expected for seed in SEEDS}
    assert len(firsts) > 10


def test_the_filler_of_every_language_varies_and_names_no_number_and_no_answer() -> None:
    capitals_and_names = build(Latent(), 0).questions
    for language in LANGUAGES:
        source = sentences(random.Random(1), language)
        drawn = [next(source) for _ in range(500)]
        assert len(set(drawn)) > 400
        text = " ".join(drawn)
        assert not re.search(r"\d", text)
        assert all(question.expected not in text for question in capitals_and_names)
        assert "{" not in text


def test_a_latent_question_shares_no_content_word_with_its_fact() -> None:
    for seed in range(300):
        haystack = build(Latent(), seed, tokens=300)
        for question in haystack.questions:
            sentence = next(s for s in haystack.text.split(". ") if question.expected in s)
            asked = set(re.findall(r"\w+", question.text.lower())) - ONLY - COMMON
            assert not asked & (set(re.findall(r"\w+", sentence.lower())) - COMMON)


def test_values_of_keyed_facts_have_five_distinct_digits() -> None:
    for seed in SEEDS:
        for question in build(Keyed(), seed).questions:
            assert len(question.expected) == len(set(question.expected)) == 5


def test_keyed_facts_have_look_alikes_that_share_a_part() -> None:
    haystack = build(Keyed(), 3)
    colours = re.findall(r"(?:of|for) the (\w+) \w+ is \d", haystack.text)
    assert len(colours) == 6
    assert len(set(colours)) < 6


QUESTION = Question(text="?", expected="48213", rivals=("70251",), depth=0.5)


@pytest.mark.parametrize(
    "answer",
    [
        "48213",
        "The code is 48,213.",
        "It is **48213**",
        "48.213",
        "\uff14\uff18\uff12\uff11\uff13",
        "<think>70251? no</think>48213",
        "no tag before, 70251</think>\n\n48213",
    ],
)
def test_a_right_answer_counts_however_it_is_dressed(answer: str) -> None:
    assert answered(QUESTION, answer) == 1.0


@pytest.mark.parametrize(
    "answer",
    ["", "4821", "148213", "70251", "48213 or 70251", "<think>48213", "<think>48213</think>?"],
)
def test_a_wrong_hedged_or_merely_thought_answer_does_not_count(answer: str) -> None:
    assert answered(QUESTION, answer) == 0.0


def test_a_name_counts_in_any_case_but_not_within_another_word() -> None:
    question = Question(text="?", expected="Anna", depth=0.0)
    assert answered(question, "It is ANNA.") == 1.0
    assert answered(question, "Annabel") == 0.0


def test_facts_of_ones_own_can_be_hidden() -> None:
    facts = [Fact(sentence="The sky fell.", question="What fell?", answer="sky")]
    haystack = hide(facts, random.Random(0), asked=1, approx_tokens=60, count=words, language="de")
    assert "The sky fell." in haystack.text
    assert haystack.questions[0].text.endswith("What fell?")


def test_our_own_families_are_found_through_entry_points() -> None:
    families = find_families()
    assert {family.name for family in families.found} >= {"keyed", "latent"}
    assert families.problems == ()
    assert f"keyed-{Keyed.version}" in families.suite


class Shapeless:
    """A plugin that is no family."""

    name = "shapeless"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no_such_package:Family", "ModuleNotFoundError"),
        (f"{__name__}:Nothing", "Error"),
        ("lmstrix.types:Model", "TypeError"),
    ],
)
def test_a_broken_family_is_named_and_skipped(value: str, why: str) -> None:
    entries = [
        EntryPoint("good", "lmstrix.context.families.keyed:Keyed", "lmstrix.probe_families"),
        EntryPoint("broken", value, "lmstrix.probe_families"),
    ]
    families = find_families(entries)
    assert [family.name for family in families.found] == ["keyed"]
    assert len(families.problems) == 1
    assert "'broken'" in families.problems[0]
    assert why in families.problems[0]


def test_a_class_without_the_shape_of_a_family_is_named_and_skipped() -> None:
    class Entry(EntryPoint):
        def load(self) -> type[Shapeless]:
            return Shapeless

    families = find_families([Entry("odd", "odd:Shapeless", "lmstrix.probe_families")])
    assert families.found == ()
    assert "version" in families.problems[0]
