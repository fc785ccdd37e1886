from __future__ import annotations

import random
import re
from collections import Counter
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
from lmstrix.context.families.common import WANTED, Common
from lmstrix.context.families.dialogue import Dialogue
from lmstrix.context.families.filler import sentences
from lmstrix.context.families.haystack import Fact
from lmstrix.context.families.keyed import Keyed
from lmstrix.context.families.latent import Latent
from lmstrix.context.families.shared import FactFamily, Shared, groups_of, together
from lmstrix.context.families.tracking import Tracking

ONE_ANSWER = (Keyed(), Latent(), Tracking(), Dialogue())  # each question has one right answer
FAMILIES = (*ONE_ANSWER, Common())
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


@pytest.fixture(params=ONE_ANSWER, ids=lambda family: family.name)
def one_answer(request: pytest.FixtureRequest) -> ProbeFamily:
    return request.param


def mean(scores: list[float]) -> float:
    return sum(scores) / len(scores)


def test_an_oracle_scores_full(family: ProbeFamily) -> None:
    for seed in SEEDS:
        for question in build(family, seed).questions:
            assert family.score(question, f"{question.expected}.") == 1.0


def test_someone_who_guesses_among_the_values_in_sight_scores_at_most_chance(
    one_answer: ProbeFamily,
) -> None:
    rng = random.Random(0)
    scores = []
    for seed in range(400):
        for question in build(one_answer, seed, tokens=300).questions:
            guess = rng.choice([question.expected, *question.rivals])
            scores.append(one_answer.score(question, guess))
    assert mean(scores) == pytest.approx(1 / 6, abs=0.04)


def test_naming_every_value_is_no_answer(family: ProbeFamily) -> None:
    for question in build(family, 1).questions:
        assert family.score(question, " ".join([question.expected, *question.rivals])) == 0.0


@pytest.mark.parametrize("family", [Keyed(), Latent()], ids=lambda family: family.name)
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


def test_a_tracker_of_the_last_half_stays_below_the_threshold() -> None:
    family, scores = Tracking(), []
    for seed in SEEDS:
        haystack = build(family, seed)
        seen = haystack.text[len(haystack.text) // 2 :]
        for question in haystack.questions:
            noun = re.search(r"value of (\w+)", question.text)[1]
            other = re.search(rf"value of {noun} is the same as (\w+)", seen)
            found = other and re.search(rf"value of {other[1]} is (\d+)", seen)
            scores.append(family.score(question, found[1] if found else "unknown"))
    assert 0.05 < mean(scores) < 0.6


def test_who_counts_notes_in_the_last_half_stays_below_the_threshold() -> None:
    family, scores = Dialogue(), []
    order = ("first", "second", "third")
    for seed in SEEDS:
        haystack = build(family, seed, questions=9)
        for start in (0, len(haystack.text) // 2):
            for question in haystack.questions:
                which, topic = re.search(r"the (\w+) note about the (\w+)", question.text).groups()
                notes = re.findall(
                    rf"a note about the {topic}\.\nAssistant: Note (\d+)", haystack.text[start:]
                )
                place = order.index(which)
                said = notes[place] if place < len(notes) else "unknown"
                scores.append((start, family.score(question, said)))
    assert mean([score for start, score in scores if not start]) == 1.0
    assert mean([score for start, score in scores if start]) < 0.4


def test_who_counts_words_in_the_last_half_stays_below_the_threshold() -> None:
    family, scores = Common(), []
    for seed in SEEDS:
        haystack = build(family, seed, tokens=3000)
        for start in (0, len(haystack.text) // 2):
            for question in haystack.questions:
                colour = re.search(r"after (\w+)", question.text)[1]
                words = re.findall(rf"\b{colour} (\w+),", haystack.text[start:])
                often = [word for word, _ in Counter(words).most_common(WANTED)]
                scores.append((start, family.score(question, " ".join(often))))
    assert mean([score for start, score in scores if not start]) == 1.0
    assert mean([score for start, score in scores if start]) < 0.8


def test_three_words_at_random_score_at_most_chance() -> None:
    rng, family, scores = random.Random(0), Common(), []
    for seed in range(300):
        for question in build(family, seed, tokens=300).questions:
            seen = [*question.expected.split(", "), *question.rivals]
            scores.append(family.score(question, ", ".join(rng.sample(seen, WANTED))))
    assert mean(scores) == pytest.approx(0.15, abs=0.02)


def test_words_named_in_part_score_in_part() -> None:
    question = build(Common(), 2).questions[0]
    first, second, _ = question.expected.split(", ")
    assert Common().score(question, f"{first} and {second}") == pytest.approx(2 / 3)
    assert Common().score(question, f"{first}, {question.rivals[0]}") == pytest.approx(1 / 3)


def test_the_same_seed_gives_the_same_text(family: ProbeFamily) -> None:
    assert build(family, 5) == build(family, 5)
    assert build(family, 5) != build(family, 6)


@given(
    tokens=st.integers(400, 20_000),
    seed=st.integers(0, 2**32),
    language=st.sampled_from(LANGUAGES),
    family=st.sampled_from(ONE_ANSWER),
)
def test_the_length_asked_for_is_hit_within_a_sentence(
    tokens: int, seed: int, language: str, family: ProbeFamily
) -> None:
    text = build(family, seed, tokens=tokens, language=language).text
    assert tokens <= words(text) <= tokens + 25


def test_a_list_of_words_has_about_the_length_asked_for() -> None:
    for tokens in (1000, 4000, 20_000):
        assert words(build(Common(), 1, tokens=tokens, questions=8).text) == pytest.approx(
            tokens, rel=0.1
        )


def test_another_length_asks_the_same_questions(family: ProbeFamily) -> None:
    assert build(family, 7, tokens=400).questions == build(family, 7, tokens=9000).questions


def test_facts_stand_at_the_depth_that_is_said_at_every_length(one_answer: ProbeFamily) -> None:
    long = build(one_answer, 7, tokens=9000)
    facts = re.sub(r"The value of \w+ is \d+\.", lambda found: " " * len(found[0]), long.text)
    for question in long.questions:
        said = question.expected
        if isinstance(one_answer, Tracking):
            said = re.search(r"value of (\w+)", question.text)[1] + " is the same"
        where = re.search(rf"\b{said}\b", facts).start() / len(long.text)
        assert where == pytest.approx(question.depth, abs=0.03)


@pytest.mark.parametrize("family", [Keyed(), Latent(), Tracking()], ids=lambda family: family.name)
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


def test_families_of_facts_share_a_haystack_and_each_keeps_its_scores() -> None:
    shared = together([Keyed(), Latent(), Tracking()])
    assert isinstance(shared, Shared)
    assert shared.name == "keyed+latent+tracking"
    haystack = build(shared, 3, questions=20)
    counts = Counter(question.family for question in haystack.questions)
    assert sum(counts.values()) == 20
    assert set(counts.values()) == {6, 7}
    for question in haystack.questions:
        assert shared.score(question, question.expected) == 1.0
        assert question.expected in haystack.text
    keyed = [q for q in haystack.questions if q.family == "keyed"]
    assert all(rival.isdigit() for question in keyed for rival in question.rivals)


def test_which_families_share_follows_from_what_they_can_do() -> None:
    assert groups_of([Common(), Dialogue(), Keyed(), Latent()]) == (
        *(("keyed", "latent"), ("common",), ("dialogue",)),
    )
    assert together([Common()]).name == "common"
    assert not isinstance(Dialogue(), FactFamily)


def test_our_own_families_are_found_through_entry_points() -> None:
    families = find_families()
    assert {family.name for family in families.found} >= {
        *("common", "dialogue", "keyed", "latent", "tracking")
    }
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
