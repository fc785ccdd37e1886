"""What a report is made of: models with what was measured of them. Pure data, from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lmstrix.registry import facts
from lmstrix.results import Limit, ProbeKind, TestResult, TestStatus
from lmstrix.store import Entry  # noqa: TC001  # msgspec reads it

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lmstrix.results import LengthPoint, Probe
    from lmstrix.types import LoadConfig, MemoryUse

_SETTLED = (TestStatus.COMPLETED, TestStatus.FAILED)
_UNTESTED = Limit()
_SAME_LENGTH = 0.03  # closer lengths are one point of a plot


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """One size that was loaded, with the memory it took and the seconds it needed."""

    tokens: int
    memory: MemoryUse | None = None
    load_s: float | None = None


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """Speed at one prompt length: seconds to the first token, tokens per second."""

    tokens: int
    first_token_s: float | None = None
    prompt_per_s: float | None = None
    answer_per_s: float | None = None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One test of a model, with what its probes showed.

    `engine_now` is what runs the model today; empty where that is not known.
    """

    result: TestResult
    loaded: tuple[Loaded, ...] = ()
    timed: tuple[Timed, ...] = ()
    engine_now: str = ""

    @property
    def aged(self) -> bool:
        """Whether another engine runs the model now than the one it was measured on."""
        return bool(self.engine_now and self.result.engine) and (
            self.engine_now != self.result.engine
        )

    @property
    def curve(self) -> tuple[LengthPoint, ...]:
        """Quality and speed over prompt lengths, the shortest first."""
        return tuple(sorted(self.result.curve, key=lambda point: point.tokens))

    @property
    def memory(self) -> MemoryUse | None:
        """What the largest size took."""
        known = [one for one in self.loaded if one.memory is not None]
        return max(known, key=lambda one: one.tokens).memory if known else None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One model. `tests` are the newest of each load settings; the first is what the table shows.

    `number` tells it from the others of the report.
    """

    number: int
    entry: Entry
    tests: tuple[Measured, ...] = ()

    @property
    def name(self) -> str:
        """The model's key."""
        return self.entry.model.key

    @property
    def main(self) -> Measured | None:
        """The test that counts, where there is one."""
        return self.tests[0] if self.tests else None

    def limit(self, name: str) -> Limit:
        """`loadable`, `processable` or `effective`."""
        found: Limit = getattr(self.main.result, name) if self.main else _UNTESTED
        return found

    @property
    def declared_tokens(self) -> int | None:
        """The context the model claims."""
        return facts.declared_tokens(self.entry)


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """All of a report. `made_at` is Unix seconds; `machine` the mark of this one."""

    cards: tuple[Card, ...]
    made_at: float
    machine: str
    version: str

    @property
    def tested(self) -> tuple[Card, ...]:
        """Those of which something was measured."""
        return tuple(card for card in self.cards if card.main is not None)


def newest_of_each(results: Iterable[TestResult], main: TestResult | None) -> list[TestResult]:
    """Of results one for each provider and load settings, the one that counts first.

    One that ran to its end is taken before a newer one that did not. First comes `main`, or,
    where that has nothing of quality, the newest that has.
    """
    chosen: dict[tuple[str, bytes], TestResult] = {}
    for result in sorted(results, key=lambda r: (r.status in _SETTLED, r.id), reverse=True):
        chosen.setdefault((result.key.provider, settings_of(result.key.load)), result)
    if main is not None:
        chosen[main.key.provider, settings_of(main.key.load)] = main
    rank = {True: 0, False: 1}
    return sorted(
        chosen.values(),
        key=lambda r: (rank[bool(r.curve)], rank[main is not None and r.id == main.id], -r.id),
    )


def settings_of(load: LoadConfig) -> bytes:
    """Load settings as something to compare by; size and idle time are no part."""
    return msgspec.json.encode(msgspec.structs.replace(load, context_tokens=None, ttl_s=None))


def measured(result: TestResult, probes: Sequence[Probe], *, engine_now: str = "") -> Measured:
    """A result with what its probes showed, the newest of equal sizes."""
    loaded: dict[int, Loaded] = {}
    timed: dict[int, Timed] = {
        point.tokens: Timed(
            tokens=point.tokens,
            first_token_s=point.time_to_first_token_s,
            prompt_per_s=point.prompt_tokens_per_s,
            answer_per_s=point.tokens_per_s,
        )
        for point in result.curve
        if point.time_to_first_token_s or point.prompt_tokens_per_s or point.tokens_per_s
    }
    for probe in probes:
        outcome = probe.outcome
        if outcome is None or not outcome.ok:
            continue
        if probe.kind is ProbeKind.LOAD:
            size = outcome.real_context_tokens or probe.tokens
            loaded[size] = Loaded(tokens=size, memory=outcome.memory, load_s=outcome.load_s)
        elif probe.kind is ProbeKind.PROCESS and outcome.prompt_tokens_per_s:
            length = outcome.prompt_tokens or probe.tokens
            if any(abs(length - other) < _SAME_LENGTH * other for other in timed):
                continue
            timed[length] = Timed(
                tokens=length,
                first_token_s=outcome.time_to_first_token_s,
                prompt_per_s=outcome.prompt_tokens_per_s,
                answer_per_s=outcome.tokens_per_s,
            )
    return Measured(
        result=result,
        loaded=tuple(loaded[size] for size in sorted(loaded)),
        timed=tuple(timed[length] for length in sorted(timed)),
        engine_now=engine_now,
    )
