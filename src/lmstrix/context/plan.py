"""What a test will do, decided before anything is loaded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lmstrix.context.fit import STEP_TOKENS, largest, machine_memory, memory_prior
from lmstrix.context.search import LoadSearch
from lmstrix.errors import GGUFError, UsageError
from lmstrix.gguf import MemoryModel, read_header
from lmstrix.results import ProbeKind, TestKey, TestResult, TestStatus, Verdict
from lmstrix.types import Instance, LoadConfig, ModelType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lmstrix.config import Settings
    from lmstrix.context.options import TestOptions
    from lmstrix.context.search import Prior
    from lmstrix.gguf import Header
    from lmstrix.results import Probe
    from lmstrix.types import Model

UNKNOWN_MEMORY_CEILING = 102_400
_SHOWN_SIZES = 4
BUDGET_NOTE = "The time given ended the test."


class TestPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a test is going to do.

    `load` is complete but for the size. `sizes` are those it would load first if each failed.
    `kept` is an earlier result that already answers what is asked, `resumed` one to go on with.
    `known` are the finished probes that count. `prior` is what is believed of the limit.
    `served` is the instance to test where its server lets nobody choose what is loaded.
    """

    __test__ = False  # not a test class, whatever pytest makes of its name

    model_key: str
    key: TestKey
    load: LoadConfig
    declared_tokens: int | None
    ceiling_tokens: int
    predicted_tokens: int | None
    known_good: int
    known_bad: int | None
    only_tokens: int | None = None
    sizes: tuple[int, ...] = ()
    kept: TestResult | None = None
    resumed: TestResult | None = None
    known: tuple[Probe, ...] = ()
    prior: Prior | None = None
    economical: bool = False
    served: Instance | None = None

    def search(self) -> LoadSearch:
        """A fresh search from what is known."""
        return LoadSearch(
            ceiling_tokens=self.ceiling_tokens,
            prior=self.prior,
            known_good=self.known_good,
            known_bad=self.known_bad,
            economical=self.economical,
        )


def make_plan(
    model: Model,
    key: TestKey,
    options: TestOptions,
    *,
    settings: Settings,
    earlier: Sequence[TestResult] = (),
    probes: Iterable[Probe] = (),
    prior: Prior | None = None,
    memory_known: bool = True,
    served: Instance | None = None,
) -> TestPlan:
    """Decide what to do.

    `earlier` are the results for `key`, newest first, `probes` the finished probes of all of
    them, oldest first. Without a `prior`, or with one that says nothing of memory, the ceiling is
    102,400 unless told otherwise. Of what is `served` nothing counts that was found when it had
    another size. Raises `UsageError` for sizes that contradict each other.
    """
    declared = model.declared_context_tokens
    threshold = options.threshold_tokens or settings.test.threshold_tokens
    held = None if served is None else served.context_tokens
    if threshold is None and held is None and (prior is None or not memory_known):
        threshold = UNKNOWN_MEMORY_CEILING
    ceiling = min(size for size in (declared, threshold, held, 2**31) if size is not None)
    if served is not None:
        earlier = [result for result in earlier if result.loadable.tokens == held]
        same = {result.id for result in earlier}
        probes = [probe for probe in probes if probe.test_id in same]
    only = options.context_tokens
    if only is not None:
        if only > ceiling:
            what = f"declares {declared:,}" if ceiling == declared else f"is held to {ceiling:,}"
            what = f"is served with {ceiling:,}" if ceiling == held else what
            raise UsageError(
                f"{model.key} {what} tokens; {only:,} is above that.",
                hint="Choose a smaller --ctx, or a larger --threshold.",
            )
        ceiling = only
    known = tuple(
        probe
        for probe in probes
        if probe.outcome is not None
        and (probe.outcome.failure is None or probe.outcome.failure.blames_model)
    )
    latest = earlier[0] if earlier and options.resume else None
    resumed = latest if latest is not None and latest.status is TestStatus.INTERRUPTED else None
    good, bad = known_bounds(known, ProbeKind.LOAD, ceiling_tokens=ceiling)
    if options.force:  # what failed in this very test has been tried again
        own = [probe for probe in known if resumed is not None and probe.test_id == resumed.id]
        _, bad = known_bounds(own, ProbeKind.LOAD, ceiling_tokens=ceiling)
    # What was begun after an answer was there doubts it, or asks more: that test goes on first.
    kept = (
        next((r for r in earlier if answers(r, model, options, ceiling)), None)
        if resumed is None
        else None
    )
    plan = TestPlan(
        model_key=model.key,
        key=key,
        load=key.load,
        declared_tokens=declared,
        ceiling_tokens=ceiling,
        predicted_tokens=_predicted(prior, ceiling),
        known_good=good,
        known_bad=bad,
        only_tokens=only,
        kept=kept,
        resumed=resumed,
        known=known,
        prior=prior,
        economical=options.economical,
        served=served,
    )
    return msgspec.structs.replace(plan, sizes=_first_sizes(plan))


def known_bounds(
    probes: Iterable[Probe], kind: ProbeKind, *, ceiling_tokens: int
) -> tuple[int, int | None]:
    """The largest size that worked and the smallest that failed, of one kind.

    Where two probes contradict each other the newer one counts. Sizes beyond the ceiling that
    worked count as the ceiling.
    """
    probes = [probe for probe in probes if probe.kind is kind]
    step = rounding(probes)
    goods: set[int] = set()
    bads: set[int] = set()
    for probe in probes:
        worked = worked_tokens(probe)
        if worked < probe.tokens:
            bad = max(first_failing(probe.tokens, step), worked + 1)
            goods = {good for good in goods if good < bad}
            bads.add(bad)
        if worked:
            goods.add(worked)
            bads = {bad for bad in bads if bad > worked}
    good = max((min(good, ceiling_tokens) for good in goods), default=0)
    return good, min(bads, default=None)


def worked_tokens(probe: Probe) -> int:
    """The size that a finished probe shows to work; 0 where it shows none."""
    outcome = probe.outcome
    if outcome is None:
        return 0
    held = outcome.real_context_tokens or 0
    return probe.tokens if outcome.ok else min(held, probe.tokens)


def rounding(probes: Iterable[Probe]) -> int:
    """What the server rounds contexts up to multiples of, as far as loads show: 256 or 1."""
    held = [
        probe.outcome.real_context_tokens
        for probe in probes
        if probe.kind is ProbeKind.LOAD
        and probe.outcome is not None
        and (probe.outcome.real_context_tokens or 0) > probe.tokens
    ]
    return STEP_TOKENS if held and all((size or 0) % STEP_TOKENS == 0 for size in held) else 1


def first_failing(tokens: int, step: int) -> int:
    """The smallest size that must fail because `tokens` did: all of a step are one load."""
    return (tokens - 1) // step * step + 1


def answers(result: TestResult, model: Model, options: TestOptions, ceiling_tokens: int) -> bool:
    """Whether an earlier result already says what this test would find."""
    finished = result.status in (TestStatus.COMPLETED, TestStatus.FAILED)
    if not finished or options.force or options.context_tokens is not None:
        return False
    wanted = (result.loadable, result.processable)
    if result.status is TestStatus.FAILED:
        return any(limit.verdict is Verdict.NONE for limit in wanted)
    wants_quality = not options.fast and model.type is not ModelType.EMBEDDING
    if wants_quality and (BUDGET_NOTE in result.notes or not result.effective.evidence):
        return False
    return all(
        limit.verdict in (Verdict.FOUND, Verdict.NONE, Verdict.NOT_APPLICABLE)
        or (limit.tokens is not None and limit.tokens >= ceiling_tokens)
        for limit in wanted
    )


def test_key(
    model: Model,
    options: TestOptions,
    *,
    settings: Settings,
    identity: str,
    machine: str,
    suite: str,
) -> TestKey:
    """What the result will depend on."""
    load = options.load
    embedded = model.provider == "embedded"
    if embedded and load.memory_limit_bytes is None and settings.embedded.memory_limit_bytes:
        load = msgspec.structs.replace(
            load, memory_limit_bytes=settings.embedded.memory_limit_bytes
        )
    return TestKey(
        identity=identity,
        provider=model.provider,
        machine=machine,
        load=msgspec.structs.replace(load, context_tokens=None, ttl_s=None),
        template=template_of(model),
        suite=suite,
    )


def template_of(model: Model) -> str:
    """A name for the chat template in a model's file; empty where there is none to read."""
    header = _header(model)
    template = None if header is None else header.value("tokenizer.chat_template", str)
    return "" if not template else hashlib.sha256(str(template).encode()).hexdigest()[:12]


def predict(model: Model, load: LoadConfig, *, settings: Settings) -> Prior | None:
    """What header and memory say about the limit; `None` where there is no header to read."""
    header = _header(model)
    if header is None:
        return None
    memory = machine_memory(load.memory_limit_bytes, reserve_bytes=settings.test.reserve_bytes)
    return memory_prior(MemoryModel(header), load, memory)


def _header(model: Model) -> Header | None:
    """The header, where there is one; whether the model loads without is what is tested."""
    if model.path is None or model.format != "gguf":
        return None
    try:
        return read_header(Path(model.path))
    except GGUFError:
        return None


def _predicted(prior: Prior | None, ceiling: int) -> int | None:
    """The size that fits with an even chance by the prediction."""
    return None if prior is None else largest(lambda size: prior.below(size) <= 0.5, ceiling)


def _first_sizes(plan: TestPlan) -> tuple[int, ...]:
    if plan.served is not None:
        return ()
    if plan.only_tokens is not None:
        return (plan.only_tokens,)
    search = plan.search()
    sizes: list[int] = []
    while len(sizes) < _SHOWN_SIZES and (size := search.next()) is not None:
        sizes.append(size)
        search.record(size, False)
    return tuple(sizes)
