from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmstrix.context.plan import first_failing, known_bounds, rounding
from lmstrix.results import FailureKind, Probe, ProbeKind, ProbeOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence

WORKED = ProbeOutcome(ok=True)
FAILED = ProbeOutcome(ok=False, failure=FailureKind.OUT_OF_MEMORY)


def probes(*given: tuple[int, ProbeOutcome], kind: ProbeKind = ProbeKind.LOAD) -> list[Probe]:
    return [
        Probe(id=n, test_id=1, kind=kind, tokens=tokens, started_at=0.0, outcome=outcome)
        for n, (tokens, outcome) in enumerate(given)
    ]


def gave(tokens: int, *, ok: bool = True) -> ProbeOutcome:
    return ProbeOutcome(ok=ok, real_context_tokens=tokens)


def bounds(known: Sequence[Probe], ceiling: int = 10_000) -> tuple[int, int | None]:
    return known_bounds(known, ProbeKind.LOAD, ceiling_tokens=ceiling)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([], (0, None)),
        ([(100, WORKED), (300, FAILED), (200, WORKED)], (200, 300)),
        ([(300, FAILED), (200, FAILED)], (0, 200)),
        ([(300, FAILED), (400, WORKED)], (400, None)),
        ([(400, WORKED), (300, FAILED)], (0, 300)),
        ([(100, WORKED), (400, WORKED), (300, FAILED)], (100, 300)),
        ([(800, gave(500, ok=False))], (500, 800)),
        ([(20_000, WORKED)], (10_000, None)),
    ],
)
def test_the_newest_word_of_the_journal_counts(known: Any, expected: Any) -> None:
    assert bounds(probes(*known)) == expected


def test_probes_of_another_kind_say_nothing() -> None:
    assert bounds(probes((100, WORKED), kind=ProbeKind.PROCESS)) == (0, None)


def test_an_unfinished_probe_says_nothing() -> None:
    known = [Probe(id=1, test_id=1, kind=ProbeKind.LOAD, tokens=100, started_at=0.0)]
    assert rounding(known) == 1


def test_a_server_that_rounds_up_is_seen_by_what_it_gave() -> None:
    assert rounding(probes((1000, gave(1024)), (4701, gave(4864)))) == 256
    assert rounding(probes((1024, gave(1024)))) == 1
    assert rounding(probes((1000, gave(1010)))) == 1


def test_a_failure_counts_for_all_sizes_rounded_to_the_same() -> None:
    known = probes((4701, gave(4864)), (5000, FAILED))
    assert bounds(known) == (4701, 4865)


@given(tokens=st.integers(1, 10**6), step=st.sampled_from([1, 256]))
def test_the_first_failing_size_is_rounded_up_to_the_same_load(tokens: int, step: int) -> None:
    first = first_failing(tokens, step)
    assert first <= tokens
    assert -(-first // step) == -(-tokens // step)
    assert first == 1 or -(-(first - 1) // step) < -(-tokens // step)
