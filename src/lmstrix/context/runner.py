"""The doors of the context test: plan it, run it for one model, run it for many."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.context.families import find_families
from lmstrix.context.lock import testing
from lmstrix.context.options import EventListener, Stage, TestEvent, TestOptions
from lmstrix.context.plan import BUDGET_NOTE, TestPlan, make_plan, predict, test_key
from lmstrix.context.probing import Prober
from lmstrix.context.walk import OutOfTimeError, Walk
from lmstrix.errors import LMStrixError, UnreachableError
from lmstrix.results import FailureKind, TestResult, TestStatus, Verdict
from lmstrix.store import machine_id
from lmstrix.store.models import subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lmstrix.config import Places, Settings
    from lmstrix.context.families import Families
    from lmstrix.providers import Provider
    from lmstrix.results import TestAsk, TestKey
    from lmstrix.store import Entry, Store
    from lmstrix.types import Model

__all__ = [
    "EventListener",
    "TestEvent",
    "TestOptions",
    "TestPlan",
    "plan_test",
    "test_model",
    "test_models",
]


async def plan_test(
    entry: Entry,
    provider: Provider,  # noqa: ARG001  # the shape of `test_model`
    store: Store,
    options: TestOptions,
    *,
    settings: Settings,
    places: Places,  # noqa: ARG001  # the shape of `test_model`
) -> TestPlan:
    """What `test_model` would do now; nothing is loaded or written.

    Raises `UsageError` for sizes that contradict each other.
    """
    job = _Job(entry.model, store, options, settings, find_families())
    return await job.plan()


async def test_model(
    entry: Entry,
    provider: Provider,
    store: Store,
    options: TestOptions,
    *,
    settings: Settings,
    places: Places,
    on_event: EventListener | None = None,  # noqa: PT028  # no pytest test
    clock: Callable[[], float] = time.time,  # noqa: PT028  # no pytest test
    families: Families | None = None,  # noqa: PT028  # no pytest test
) -> TestResult:
    """Find the three limits of a model, or go on where an interrupted test stopped.

    A finished result that answers the same question is returned as it is, unless
    `options.reset`. Whatever ends the test, its own instance is unloaded and what it found is
    in the store. Raises `BusyError` when another process tests this model, `UsageError`, and
    `UnreachableError`, which leaves the test interrupted.
    """
    job = _Job(entry.model, store, options, settings, families or find_families(), clock)
    return await job.locked(provider, places, on_event or _nobody)


async def test_models(
    entries: Sequence[Entry],
    provider_of: Callable[[Model], Provider],
    store: Store,
    options: TestOptions,
    *,
    settings: Settings,
    places: Places,
    on_event: EventListener | None = None,  # noqa: PT028  # no pytest test
    clock: Callable[[], float] = time.time,  # noqa: PT028  # no pytest test
) -> list[TestResult]:
    """Test several models in the order given; the failure of one does not stop the others.

    `options.budget_s` is for all of them together. A model whose test could not run has a
    result that says so in its notes and is not stored.
    """
    listen = on_event or _nobody
    families = find_families()
    begun = time.monotonic()
    results = []
    if options.reset:  # all at once: each reset takes a backup
        store.reset_tests([entry.model for entry in entries])
        options = replace(options, reset=False)
    for entry in entries:
        one = options
        if options.budget_s is not None:
            one = replace(options, budget_s=options.budget_s - (time.monotonic() - begun))
        job = _Job(entry.model, store, one, settings, families, clock)
        try:
            if one.budget_s is not None and one.budget_s <= 0:
                result = job.not_run(TestStatus.UNTESTED, BUDGET_NOTE)
            else:
                result = await job.locked(provider_of(entry.model), places, listen)
        except UnreachableError as error:
            result = job.not_run(TestStatus.INTERRUPTED, error.message)
            result = replace(result, failure=FailureKind.UNREACHABLE)
            listen(_event(result, error.message))
        except LMStrixError as error:
            result = job.not_run(TestStatus.FAILED, error.message)
            listen(_event(result, error.message))
        results.append(result)
    return results


@dataclass(frozen=True)
class _Job:
    """One model to test, with all that the test of it depends on."""

    model: Model
    store: Store
    options: TestOptions
    settings: Settings
    families: Families
    clock: Callable[[], float] = time.time

    @property
    def key(self) -> TestKey:
        return test_key(
            self.model,
            self.options,
            settings=self.settings,
            identity=subject(self.model),
            machine=machine_id(),
            suite=self.families.suite,
        )

    async def plan(self) -> TestPlan:
        key = self.key
        # Reading a large header takes a tenth of a second, which a live table would show.
        prior = await asyncio.to_thread(predict, self.model, key.load, settings=self.settings)
        return make_plan(
            self.model,
            key,
            self.options,
            settings=self.settings,
            earlier=self.store.loadable_results(key),
            probes=self.store.known_sizes(key),
            prior=prior,
        )

    async def locked(
        self, provider: Provider, places: Places, on_event: EventListener
    ) -> TestResult:
        """Plan and run while no other process tests this model."""
        with testing(self.model.key, subject(self.model), places.locks):
            if self.options.reset:
                self.store.reset_tests([self.model])
            self.store.settle_abandoned(at=self.clock())
            plan = await self.plan()
            kept = plan.kept
            if kept is not None and kept.engine != provider.engine:
                kept = await self.confirm(kept, plan, provider, on_event)
                plan = await self.plan()
            if kept is not None:
                on_event(_event(kept, "Tested before; --reset tests anew."))
                return kept
            return await self.run(plan, provider, on_event)

    async def confirm(
        self, kept: TestResult, plan: TestPlan, provider: Provider, on_event: EventListener
    ) -> TestResult | None:
        """The result of another engine, if one probe shows that it holds on this one too."""
        if kept.processable.tokens is None:
            return None
        prober = self._prober(plan, provider)
        walk = self._walk(kept, plan, prober, on_event)
        try:
            await prober.clean_up()
            if not await walk.confirm():
                return None
        except OutOfTimeError:
            return kept  # in use until there is time to confirm it
        finally:
            await prober.unload()
        confirmed = replace(walk.result, engine=provider.engine)
        self.store.save_test(confirmed)
        return confirmed

    async def run(self, plan: TestPlan, provider: Provider, on_event: EventListener) -> TestResult:
        """Begin or resume the test in the store, walk, leave store and server tidy."""
        asked = self.options.asked()
        begun = _begin(self.store, plan, asked, provider.engine, self.clock())
        prober = self._prober(plan, provider)
        walk = self._walk(begun, plan, prober, on_event)
        status, notes = TestStatus.INTERRUPTED, self.families.problems
        try:
            await prober.clean_up()
            await walk.run()
            status = _status(walk.result)
        except OutOfTimeError:
            status, notes = _status(walk.result), (*notes, BUDGET_NOTE)
        finally:
            result = replace(
                walk.result,
                status=status,
                finished_at=None if status is TestStatus.INTERRUPTED else self.clock(),
                failure=_failure(walk.result) if status is TestStatus.FAILED else None,
                notes=notes,
            )
            try:
                self.store.save_test(result)
            finally:
                await prober.unload()
        on_event(_event(result, status.value))
        return result

    def _prober(self, plan: TestPlan, provider: Provider) -> Prober:
        budget_s = self.options.budget_s
        return Prober(
            provider,
            self.model,
            plan.load,
            self.settings.timeouts,
            limit_s=self.options.timeout_s or self.settings.test.timeout_s,
            seed=self.options.seed,
            deadline=None if budget_s is None else time.monotonic() + budget_s,
        )

    def _walk(
        self, result: TestResult, plan: TestPlan, prober: Prober, on_event: EventListener
    ) -> Walk:
        return Walk(
            result,
            plan,
            prober,
            store=self.store,
            options=self.options,
            families=self.families.found,
            on_event=on_event,
            clock=self.clock,
        )

    def not_run(self, status: TestStatus, why: str) -> TestResult:
        """What is shown of a test that did not run; it is not stored."""
        return TestResult(
            key=self.key,
            model_key=self.model.key,
            status=status,
            started_at=self.clock(),
            declared_tokens=self.model.declared_context_tokens,
            notes=(why,),
        )


def _begin(store: Store, plan: TestPlan, asked: TestAsk, engine: str, now: float) -> TestResult:
    """The test's row: the interrupted one's, else a new one."""
    if plan.resumed is not None:
        probes = len(store.probes(plan.resumed.id))
        result = replace(plan.resumed, asked=asked, status=TestStatus.TESTING, probes=probes)
        store.save_test(result)
        return result
    result = TestResult(
        key=plan.key,
        asked=asked,
        model_key=plan.model_key,
        status=TestStatus.TESTING,
        started_at=now,
        engine=engine,
        declared_tokens=plan.declared_tokens,
    )
    return replace(result, id=store.begin_test(result))


def _status(result: TestResult) -> TestStatus:
    nothing = result.loadable.tokens is None or result.processable.verdict is Verdict.NONE
    return TestStatus.FAILED if nothing else TestStatus.COMPLETED


def _failure(result: TestResult) -> FailureKind | None:
    return result.loadable.failure or result.processable.failure


def _event(result: TestResult, message: str) -> TestEvent:
    return TestEvent(model_key=result.model_key, stage=Stage.DONE, message=message, result=result)


def _nobody(_: TestEvent) -> None:
    """Nobody listens."""
