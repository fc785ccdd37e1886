"""The doors of the context test: plan it, run it for one model, run it for many."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.context.families import find_families
from lmstrix.context.fleet import Post, Report, run_fleet
from lmstrix.context.holding import served
from lmstrix.context.lock import testing
from lmstrix.context.options import EventListener, Stage, TestEvent, TestOptions
from lmstrix.context.plan import BUDGET_NOTE, TestPlan, make_plan, test_key
from lmstrix.context.priors import Expectation, expectation_of
from lmstrix.context.probing import Prober
from lmstrix.context.walk import OutOfTimeError, Walk
from lmstrix.errors import LMStrixError, UnreachableError, UsageError
from lmstrix.results import FailureKind, TestResult, TestStatus, Verdict
from lmstrix.store import machine_id
from lmstrix.store.models import subject
from lmstrix.types import LoadConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lmstrix.config import Places, Settings
    from lmstrix.context.families import Families
    from lmstrix.providers import Provider
    from lmstrix.results import TestAsk, TestKey
    from lmstrix.store import Entry, Store
    from lmstrix.types import Instance, Model

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
    provider: Provider,
    store: Store,
    options: TestOptions,
    *,
    settings: Settings,
    places: Places,
) -> TestPlan:
    """What `test_model` would do now; nothing is loaded or written.

    Only a server that alone decides what is loaded is asked, for its size. Raises `UsageError`
    for sizes that contradict each other, and for such a server what `served` raises.
    """
    job = _Job(entry.model, store, options, settings, places, find_families())
    return await job.plan(provider)


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
    job = _Job(entry.model, store, options, settings, places, families or find_families(), clock)
    return await job.locked(provider, on_event or _nobody)


async def test_models(
    entries: Sequence[Entry],
    provider_of: Callable[[Model], Provider],
    store: Store,
    options: TestOptions | Sequence[TestOptions],
    *,
    settings: Settings,
    places: Places,
    parallel: int = 1,  # noqa: PT028  # no pytest test
    on_event: EventListener | None = None,  # noqa: PT028  # no pytest test
    clock: Callable[[], float] = time.time,  # noqa: PT028  # no pytest test
) -> list[TestResult]:
    """Test several models in the order given; the failure of one does not stop the others.

    `options` are for all, or one for each; `budget_s` of the first is for all of them together.
    Up to `parallel` servers are at work at a time, each on one model. A model whose test could not
    run has a result that says so in its notes and is not stored; what is on a server that does
    not answer is not tried again and again.
    """
    listen = on_event or _nobody
    families = find_families()
    begun = time.monotonic()
    each = [options] * len(entries) if isinstance(options, TestOptions) else list(options)
    forgotten = [e.model for e, one in zip(entries, each, strict=True) if one.reset]
    if forgotten:  # all at once: each reset takes a backup
        store.reset_tests(forgotten)
    budget_s = each[0].budget_s if each else None

    def job_of(number: int) -> _Job:
        left_s = None if budget_s is None else budget_s - (time.monotonic() - begun)
        one = replace(each[number], reset=False, budget_s=left_s)
        return _Job(entries[number].model, store, one, settings, places, families, clock)

    async def test(number: int) -> Report:
        job = job_of(number)
        try:
            if job.options.budget_s is not None and job.options.budget_s <= 0:
                return Report(job.not_run(TestStatus.UNTESTED, BUDGET_NOTE))
            return Report(await job.locked(provider_of(job.model), listen))
        except UnreachableError as error:
            return Report(skip(number, error.message), silent=error.message)
        except LMStrixError as error:
            result = job.not_run(TestStatus.FAILED, error.message)
            listen(_event(job.model, result, error.message))
            return Report(result)

    def skip(number: int, why: str) -> TestResult:
        job = job_of(number)
        result = replace(job.not_run(TestStatus.INTERRUPTED, why), failure=FailureKind.UNREACHABLE)
        listen(_event(job.model, result, why))
        return result

    posts = [Post(entry.model.server, subject(entry.model)) for entry in entries]
    return await run_fleet(posts, test, skip, parallel=parallel)


@dataclass(frozen=True)
class _Job:
    """One model to test, with all that the test of it depends on."""

    model: Model
    store: Store
    options: TestOptions
    settings: Settings
    places: Places
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

    async def plan(self, provider: Provider) -> TestPlan:
        key = self.key
        there = await served(provider, self.model)
        if there is not None:
            return self._plan(key, there, Expectation(None, of_memory=False))
        expected = await expectation_of(
            self.model, key.load, provider, self.store, settings=self.settings
        )
        return self._plan(key, None, expected)

    def _plan(self, key: TestKey, there: Instance | None, expected: Expectation) -> TestPlan:
        if there is not None and self.options.load != LoadConfig():
            raise UsageError(
                f"How {self.model.key} is loaded is decided by its server {there.server}.",
                hint="Leave out --kv-type, --flash and the like, or start that server with them.",
            )
        return make_plan(
            self.model,
            key,
            self.options,
            settings=self.settings,
            earlier=self.store.loadable_results(key),
            probes=self.store.known_sizes(key),
            prior=expected.prior,
            memory_known=expected.of_memory,
            served=there,
        )

    async def locked(self, provider: Provider, on_event: EventListener) -> TestResult:
        """Plan and run while no other process tests this model."""
        with testing(self.model.key, subject(self.model), self.places.locks):
            if self.options.reset:
                self.store.reset_tests([self.model])
            self.store.settle_abandoned(at=self.clock())
            plan = await self.plan(provider)
            kept = plan.kept
            if kept is not None and await _is_newer(provider, kept.engine):
                kept = await self.confirm(kept, plan, provider, on_event)
                plan = await self.plan(provider)
            if kept is not None:
                on_event(_event(self.model, kept, "Tested before; --reset tests anew."))
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
            await prober.finish()
        confirmed = replace(walk.result, engine=provider.engine)
        self.store.save_test(confirmed)
        return confirmed

    async def run(self, plan: TestPlan, provider: Provider, on_event: EventListener) -> TestResult:
        """Begin or resume the test in the store, walk, leave store and server tidy."""
        asked = self.options.asked()
        await provider.list_instances()  # whether it answers at all, and what it is
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
                owed = await prober.finish()
            if owed:
                result = replace(result, notes=(*result.notes, owed))
                self.store.save_test(result)
        on_event(_event(self.model, result, status.value))
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
            folder=self.places.locks,
            reserve_bytes=self.settings.test.reserve_bytes,
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


async def _is_newer(provider: Provider, engine: str) -> bool:
    """Whether something else runs the models now than `engine`; not if nobody answers."""
    try:
        await provider.list_instances()
    except UnreachableError:
        return False
    return provider.engine != engine


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
    loads = result.loadable.tokens or result.loadable.verdict is Verdict.NOT_APPLICABLE
    nothing = not loads or result.processable.verdict is Verdict.NONE
    return TestStatus.FAILED if nothing else TestStatus.COMPLETED


def _failure(result: TestResult) -> FailureKind | None:
    return result.loadable.failure or result.processable.failure


def _event(model: Model, result: TestResult, message: str) -> TestEvent:
    return TestEvent(
        model_key=result.model_key,
        server=model.server,
        stage=Stage.DONE,
        message=message,
        result=result,
    )


def _nobody(_: TestEvent) -> None:
    """Nobody listens."""
