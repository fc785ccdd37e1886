"""Ask a model at many lengths, each probe journalled before it starts, until its curve is known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.context.curve import QUESTIONS, Curve, CurveAsk, curve_lengths
from lmstrix.context.families import LANGUAGES, find_families
from lmstrix.context.lock import testing
from lmstrix.context.options import Stage, TestEvent
from lmstrix.context.probing import Draw, Prober
from lmstrix.context.runner import test_model
from lmstrix.results import FailureKind, ProbeKind, ProbeOutcome
from lmstrix.store.models import subject
from lmstrix.types import ModelType

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmstrix.config import Places, Settings
    from lmstrix.context.families import Families
    from lmstrix.context.options import EventListener, TestOptions
    from lmstrix.providers import Provider
    from lmstrix.results import TestResult
    from lmstrix.store import Entry, Store

CURVE_BUDGET_NOTE = "The time given ended the curve."


async def map_curve(
    entry: Entry,
    provider: Provider,
    store: Store,
    options: TestOptions,
    *,
    settings: Settings,
    places: Places,
    on_event: EventListener | None = None,
    clock: Callable[[], float] = time.time,
    families: Families | None = None,
) -> TestResult:
    """Test a model, unless it was, then map quality and speed over prompt lengths.

    The curve is in the result and in the store, after each haystack as far as it is known; one
    that was interrupted goes on. `options.budget_s` is for both together. A model that processes
    nothing, and one that makes embeddings, has no curve. Raises what `test_model` raises.
    """
    begun = time.monotonic()
    listen = on_event or (lambda _: None)
    families = families or find_families()
    result = await test_model(
        entry,
        provider,
        store,
        options,
        settings=settings,
        places=places,
        on_event=on_event,
        clock=clock,
        families=families,
    )
    longest = result.processable.tokens
    if longest is None or entry.model.type is ModelType.EMBEDDING or not families.found:
        return result
    deadline = None if options.budget_s is None else begun + options.budget_s
    prober = Prober(
        provider,
        entry.model,
        result.key.load,
        settings.timeouts,
        limit_s=options.timeout_s or settings.test.timeout_s,
        seed=options.seed,
        folder=places.locks,
        reserve_bytes=settings.test.reserve_bytes,
        deadline=deadline,
    )
    with testing(entry.model.key, subject(entry.model), places.locks):
        store.settle_abandoned(at=clock())
        mapping = Mapping(
            result, prober, store=store, families=families, on_event=listen, clock=clock
        )
        try:
            await prober.clean_up()
            await mapping.run(longest)
        finally:
            await prober.finish()
    return mapping.result


class Mapping:
    """A curve on its way. `result` has what is known of it, and is in the store."""

    def __init__(
        self,
        result: TestResult,
        prober: Prober,
        *,
        store: Store,
        families: Families,
        on_event: EventListener,
        clock: Callable[[], float],
    ) -> None:
        self.result = result
        self._prober = prober
        self._store = store
        self._families = {family.name: family for family in families.found}
        self._on_event = on_event
        self._clock = clock

    async def run(self, longest: int) -> None:
        """Ask until the curve is complete or the time is up. Raises `UnreachableError`."""
        curve = Curve(curve_lengths(longest), tuple(self._families))
        curve.take(self._store.probes(self.result.id))
        notes = tuple(note for note in self.result.notes if note != CURVE_BUDGET_NOTE)
        self._keep(curve, notes)
        while (ask := curve.next()) is not None:
            if self._prober.out_of_time:
                self._keep(curve, (*notes, CURVE_BUDGET_NOTE))
                return
            self._tell(curve, ask)
            outcome = await self._probe(ask, longest)
            if outcome.failure is FailureKind.UNREACHABLE and self._prober.unreachable:
                raise self._prober.unreachable
            curve.record(ask.length_tokens, outcome)
            self._keep(curve, notes)

    async def _probe(self, ask: CurveAsk, longest: int) -> ProbeOutcome:
        """Write down what is about to be tried, try it, write down what came of it."""
        turn = ask.number % len(LANGUAGES)
        draw = Draw(
            family=self._families[ask.family],
            number=ask.number,
            language=LANGUAGES[turn],
            length=ask.length_tokens,
            context=longest,
            cluster=ask.number,
            questions=QUESTIONS,
        )
        probe = self._store.begin_probe(
            self.result.id, ProbeKind.ANSWER, ask.length_tokens, at=self._clock()
        )
        outcome = ProbeOutcome(ok=False, failure=FailureKind.INTERRUPTED)
        loads = self._prober.loads
        try:
            outcome = await self._prober.probe_answer(draw)
        finally:
            self._store.finish_probe(probe, outcome, at=self._clock())
        self.result = replace(
            self.result,
            probes=self.result.probes + 1,
            loads=self.result.loads + self._prober.loads - loads,
        )
        return outcome

    def _keep(self, curve: Curve, notes: tuple[str, ...]) -> None:
        self.result = replace(self.result, curve=curve.points(self.result.curve), notes=notes)
        self._store.save_test(self.result)

    def _tell(self, curve: Curve, ask: CurveAsk) -> None:
        done, total = curve.progress
        self._on_event(
            TestEvent(
                model_key=self.result.model_key,
                server=self._prober.model.server,
                stage=Stage.ANSWER,
                tokens=ask.length_tokens,
                probe=self.result.probes,
                fraction=done / max(1, total),
                message=f"curve {done}/{total}",
                result=self.result,
            )
        )
