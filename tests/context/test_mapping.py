"""Curves of models in a world whose limits are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.context.mapping import CURVE_BUDGET_NOTE, map_curve
from lmstrix.context.options import TestOptions
from lmstrix.errors import UnreachableError
from lmstrix.results import FailureKind, TestStatus
from lmstrix.store import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmstrix.results import TestResult


async def mapped(bench: Any, **options: Any) -> TestResult:
    return await map_curve(
        Entry(model=bench.model, added_at=0.0),
        bench.world,
        bench.store,
        TestOptions(**options),
        settings=bench.settings,
        places=bench.places,
        on_event=bench._take,
    )


async def test_a_curve_shows_where_answers_get_worse(bench: Callable[..., Any]):
    here = bench(understands_up_to=3000)
    result = await mapped(here)
    means = {point.tokens: point.mean for point in result.curve}
    assert {1024, 1448, 2048, 2896, 4096, 5793, 8192} <= set(means)
    assert means[1024] == means[1448] == means[2048] > 0.4
    assert means[4096] == means[8192] == 0.0
    assert all(p.low - 1e-9 <= p.mean <= p.high + 1e-9 for p in result.curve)
    assert all(point.prompt_tokens_per_s for point in result.curve)
    assert here.store.results(here.model)[0] == result
    assert here.world.instances == {}


async def test_a_complete_curve_asks_nothing_more(bench: Callable[..., Any]):
    here = bench()
    first = await mapped(here)
    asked, loaded = len(here.world.asked), len(here.world.loaded)
    again = await mapped(here)
    assert again == first
    assert (len(here.world.asked), len(here.world.loaded)) == (asked, loaded)


async def test_an_interrupted_curve_goes_on_where_it_was(bench: Callable[..., Any]):
    here = bench()
    tested = await here.run()
    here.world.calls_left = 60
    with pytest.raises(UnreachableError):
        await mapped(here)
    kept = here.store.results(here.model)[0]
    assert kept.status is TestStatus.COMPLETED
    assert len(kept.curve) >= len(tested.curve)
    here.world.calls_left = 10**9
    result = await mapped(here)
    probes = [p for p in here.store.probes(result.id) if p.outcome and p.outcome.scores]
    clusters = [
        (p.tokens, score.family, score.cluster) for p in probes for score in p.outcome.scores[:1]
    ]
    assert len(clusters) == len(set(clusters))  # no haystack twice
    assert {4096, 5793, 8192} <= {point.tokens for point in result.curve}


async def test_a_budget_leaves_a_coarse_curve_and_says_so(bench: Callable[..., Any]):
    here = bench()
    await here.run()
    result = await mapped(here, budget_s=1e-6)
    assert CURVE_BUDGET_NOTE in result.notes
    whole = await mapped(here)
    assert CURVE_BUDGET_NOTE not in whole.notes
    assert len(whole.curve) >= 7


async def test_a_length_that_kills_the_engine_is_tried_once(bench: Callable[..., Any]):
    here = bench()
    await here.run()
    here.world.dies_above = 3500
    result = await mapped(here)
    deaths = [
        probe.tokens
        for probe in here.store.probes(result.id)
        if probe.outcome and probe.outcome.failure is FailureKind.CRASH
    ]
    assert deaths == [4096]
    assert max(n for n in here.world.asked[-40:]) < 3500


async def test_what_has_no_answers_has_no_curve(bench: Callable[..., Any], worlds: Any):
    embedder = await mapped(bench(worlds.embedding()))
    assert embedder.curve == ()
    nothing = await mapped(bench(loads_up_to=10))
    assert nothing.curve == ()
