"""Test a model under several load settings, then measure all of them at the same length."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.context.fit import buffer_bytes
from lmstrix.context.lock import testing
from lmstrix.context.options import Stage, TestEvent
from lmstrix.context.probing import Prober
from lmstrix.context.runner import test_models
from lmstrix.context.tune import Speed, Tuned, Tuning, compare, settings_text
from lmstrix.errors import LMStrixError, UnreachableError
from lmstrix.results import FailureKind, ProbeKind, ProbeOutcome, TestStatus
from lmstrix.store.models import subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lmstrix.config import Places, Settings
    from lmstrix.context.options import EventListener, TestOptions
    from lmstrix.providers import Provider
    from lmstrix.results import Probe, TestResult
    from lmstrix.store import Entry, Store
    from lmstrix.types import LoadConfig

_SAME_LENGTH = 0.02
_ENDED = (TestStatus.COMPLETED, TestStatus.FAILED)


async def tune(
    entry: Entry,
    provider: Provider,
    store: Store,
    options: TestOptions,
    loads: Sequence[LoadConfig],
    *,
    settings: Settings,
    places: Places,
    on_event: EventListener | None = None,
    clock: Callable[[], float] = time.time,
) -> Tuning:
    """Compare load settings: what each can hold, and how fast each is at one and the same length.

    Every choice is tested like any model and its result stored under its own settings, so what
    was tested is not tested again. `options.budget_s` is for all together. A choice that could not
    be tested says so in `why_not`. Raises `UnreachableError` where the server is gone.
    """
    tuner = _Tuner(entry, provider, store, options, settings, places, on_event, clock)
    tried = [await tuner.test(load) for load in loads]
    held = [one.result.processable.tokens for one in tried if one.result is not None]
    common = min((tokens for tokens in held if tokens), default=None)
    if common is not None:
        tried = [await tuner.measure(one, common) for one in tried]
    return compare(entry.model.key, tried)


class _Tuner:
    """What all choices have in common."""

    def __init__(  # noqa: PLR0917  # it is called once, by `tune`
        self,
        entry: Entry,
        provider: Provider,
        store: Store,
        options: TestOptions,
        settings: Settings,
        places: Places,
        on_event: EventListener | None,
        clock: Callable[[], float],
    ) -> None:
        self._entry = entry
        self._provider = provider
        self._store = store
        self._options = options
        self._settings = settings
        self._places = places
        self._on_event = on_event
        self._clock = clock
        budget_s = options.budget_s
        self._deadline = None if budget_s is None else time.monotonic() + budget_s

    async def test(self, load: LoadConfig) -> Tuned:
        """Test one choice, or take what is known of it."""
        left_s = None if self._deadline is None else self._deadline - time.monotonic()
        (result,) = await test_models(
            [self._entry],
            lambda _: self._provider,
            self._store,
            replace(self._options, load=load, budget_s=left_s),
            settings=self._settings,
            places=self._places,
            on_event=self._on_event,
            clock=self._clock,
        )
        if result.failure is FailureKind.UNREACHABLE:
            raise UnreachableError(
                " ".join(result.notes) or "The server does not answer.",
                server=self._provider.server,
                hint="Start it and tune again: what was tested so far is kept.",
            )
        if result.status not in _ENDED or not result.id:
            return Tuned(load=load, why_not=" ".join(result.notes))
        if result.status is TestStatus.FAILED:
            return Tuned(load=load, result=result, why_not=str(result.failure or ""))
        sizes = [
            (probe.tokens, buffer_bytes(probe.outcome.memory))
            for probe in self._store.known_sizes(result.key)
            if probe.kind is ProbeKind.LOAD and probe.outcome and probe.outcome.memory
        ]
        return Tuned(load=load, result=result, memory_bytes=max(sizes, default=(0, None))[1])

    async def measure(self, one: Tuned, tokens: int) -> Tuned:
        """The speed of one choice at a length that all of them hold."""
        result = one.result
        if result is None or not result.processable.tokens:
            return one
        known = _at(self._store.known_sizes(result.key), tokens)
        if known is None and (self._deadline is None or time.monotonic() < self._deadline):
            known = await self._probe(result, tokens)
        return one if known is None else replace(one, speed=_speed(known, tokens))

    async def _probe(self, result: TestResult, tokens: int) -> ProbeOutcome | None:
        """Fill a context of that size once, journalled like every probe."""
        prober = Prober(
            self._provider,
            self._entry.model,
            result.key.load,
            self._settings.timeouts,
            limit_s=self._options.timeout_s or self._settings.test.timeout_s,
            seed=self._options.seed,
            folder=self._places.locks,
            reserve_bytes=self._settings.test.reserve_bytes,
            deadline=self._deadline,
        )
        self._tell(result, tokens)
        with testing(self._entry.model.key, subject(self._entry.model), self._places.locks):
            probe = self._store.begin_probe(result.id, ProbeKind.PROCESS, tokens, at=self._clock())
            outcome = ProbeOutcome(ok=False, failure=FailureKind.INTERRUPTED)
            try:
                await prober.clean_up()
                outcome = await prober.probe_process(tokens)
            except LMStrixError:
                outcome = ProbeOutcome(ok=False, failure=FailureKind.UNREACHABLE)
                raise
            finally:
                self._store.finish_probe(probe, outcome, at=self._clock())
                await prober.finish()
        if outcome.failure is FailureKind.UNREACHABLE and prober.unreachable is not None:
            raise prober.unreachable
        return outcome if outcome.ok else None

    def _tell(self, result: TestResult, tokens: int) -> None:
        if self._on_event is not None:
            self._on_event(
                TestEvent(
                    model_key=result.model_key,
                    server=self._entry.model.server,
                    stage=Stage.PROCESS,
                    tokens=tokens,
                    probe=result.probes,
                    message=f"speed with {settings_text(result.key.load)}",
                    result=result,
                )
            )


def _at(probes: Iterable[Probe], tokens: int) -> ProbeOutcome | None:
    """How the newest probe that filled a context of about that size went."""
    found = None
    for probe in probes:
        near = abs(probe.tokens - tokens) <= _SAME_LENGTH * tokens
        if probe.kind is ProbeKind.PROCESS and near and probe.outcome and probe.outcome.ok:
            found = probe.outcome
    return found


def _speed(outcome: ProbeOutcome, tokens: int) -> Speed:
    return Speed(
        tokens=outcome.prompt_tokens or tokens,
        first_token_s=outcome.time_to_first_token_s,
        prompt_per_s=outcome.prompt_tokens_per_s,
        answer_per_s=outcome.tokens_per_s,
    )
