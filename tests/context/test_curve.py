"""Which lengths a curve asks, how often, and in which order."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as some

from lmstrix.context.curve import HAYSTACKS, QUESTIONS, Curve, CurveAsk, curve_lengths
from lmstrix.results import FailureKind, LengthPoint, Probe, ProbeKind, ProbeOutcome, Score


def answers(ask: CurveAsk, right: float = 1.0) -> ProbeOutcome:
    return ProbeOutcome(
        ok=True,
        time_to_first_token_s=ask.length_tokens / 1000,
        prompt_tokens_per_s=1000.0,
        tokens_per_s=50.0,
        scores=tuple(
            Score(family=ask.family, cluster=ask.number, depth=0.5, score=right)
            for _ in range(QUESTIONS)
        ),
    )


def asked(curve: Curve, right: dict[str, float] | None = None) -> list[CurveAsk]:
    """Everything the curve asks until it is complete."""
    done = []
    while (ask := curve.next()) is not None:
        done.append(ask)
        curve.record(ask.length_tokens, answers(ask, (right or {}).get(ask.family, 1.0)))
    return done


def test_lengths_are_half_octaves_up_to_the_longest():
    assert curve_lengths(8192) == (1024, 1448, 2048, 2896, 4096, 5793, 8192)
    assert curve_lengths(6000) == (1024, 1448, 2048, 2896, 4096, 6000)
    assert curve_lengths(1024) == (1024,)
    assert curve_lengths(300) == (300,)


@given(some.integers(min_value=1, max_value=2**21))
def test_lengths_rise_to_the_longest_and_never_beyond(longest: int):
    lengths = curve_lengths(longest)
    assert list(lengths) == sorted(set(lengths))
    assert lengths[-1] == longest
    assert all(1.05 * one < other for one, other in pairwise(lengths))


def test_octaves_come_first_and_each_length_is_asked_equally_often():
    curve = Curve(curve_lengths(4096), ("keyed", "latent"))
    order = [ask.length_tokens for ask in asked(curve)]
    assert order[:6] == [1024, 1024, 2048, 2048, 4096, 4096]
    assert order[6:10] == [1448, 1448, 2896, 2896]
    assert {order.count(length) for length in curve.lengths} == {2 * HAYSTACKS}
    assert curve.progress == (len(order), len(order))


def test_a_haystack_is_the_same_at_every_length():
    numbers = {ask.number for ask in asked(Curve(curve_lengths(4096), ("keyed",)))}
    assert len(numbers) == HAYSTACKS


def test_a_family_the_model_cannot_do_at_base_is_asked_no_more():
    curve = Curve(curve_lengths(4096), ("keyed", "latent"))
    beyond = [a for a in asked(curve, {"latent": 0.0}) if a.length_tokens > 1024]
    assert {ask.family for ask in beyond} == {"keyed"}
    assert {point.mean for point in curve.points()} == {1.0}
    assert list(curve.points()[0].by_family) == ["keyed"]


def test_what_is_in_the_journal_is_not_asked_again():
    whole = Curve(curve_lengths(2048), ("keyed",))
    journal = [
        Probe(
            id=number,
            test_id=1,
            kind=ProbeKind.ANSWER,
            tokens=ask.length_tokens,
            started_at=0.0,
            finished_at=1.0,
            outcome=answers(ask),
        )
        for number, ask in enumerate(asked(whole))
    ]
    later = Curve(curve_lengths(2048), ("keyed",))
    later.take(journal[:4])
    assert later.progress == (4, len(journal))
    assert len(asked(later)) == len(journal) - 4
    assert later.points() == whole.points()


def test_a_length_at_which_it_dies_is_left_out_with_all_beyond():
    curve = Curve(curve_lengths(8192), ("keyed",))
    curve.record(4096, ProbeOutcome(ok=False, failure=FailureKind.CRASH))
    assert max(ask.length_tokens for ask in asked(curve)) < 4096
    curve.record(2048, ProbeOutcome(ok=False, failure=FailureKind.UNREACHABLE))
    assert 2048 in {point.tokens for point in curve.points()}


def test_answers_of_the_search_count_and_other_lengths_keep_their_points():
    curve = Curve(curve_lengths(2048), ("keyed",))
    curve.record(2048, answers(CurveAsk(2048, "keyed", 0), 0.5))
    asked(curve)
    other = LengthPoint(tokens=1700, samples=5, mean=0.9)
    points = {point.tokens: point for point in curve.points([other])}
    assert points[1700] == other
    assert points[2048].samples == (HAYSTACKS + 1) * QUESTIONS
    assert points[2048].mean == (HAYSTACKS + 0.5) / (HAYSTACKS + 1)
    assert points[2048].low < points[2048].mean < points[2048].high
    assert points[1024].time_to_first_token_s == 1.024
