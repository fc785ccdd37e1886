"""The walk of one test: load sizes, fill the largest, ask at growing lengths.

Every probe is in the journal before it starts. What the journal already holds is taken from
there and not done again.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.context.evidence import EffectiveSearch
from lmstrix.context.families import LANGUAGES
from lmstrix.context.families.shared import groups_of, together
from lmstrix.context.findings import (
    bound_of,
    curve_of,
    inapplicable,
    loadable_limit,
    outcome_at,
    processable_limit,
    served_limit,
    truncated_at,
    zeros,
)
from lmstrix.context.fit import buffer_bytes
from lmstrix.context.options import Stage, TestEvent
from lmstrix.context.plan import first_failing, known_bounds, rounding
from lmstrix.context.probing import Draw
from lmstrix.context.search import LoadSearch
from lmstrix.results import (
    FailureKind,
    Limit,
    Probe,
    ProbeKind,
    ProbeOutcome,
    Verdict,
)
from lmstrix.types import ModelType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from lmstrix.context.evidence import Ask
    from lmstrix.context.families import ProbeFamily
    from lmstrix.context.options import EventListener, TestOptions
    from lmstrix.context.plan import TestPlan
    from lmstrix.context.probing import Prober
    from lmstrix.results import LengthPoint, TestResult
    from lmstrix.store import Store
    from lmstrix.types import Progress

BASE_TOKENS = 1024
MOST_FATAL_AT_BASE = 3
HAYSTACKS_OF_ZEROS = 4  # as if so many had failed, where something dies
_NOT_APPLICABLE = Limit(
    verdict=Verdict.NOT_APPLICABLE,
    evidence=("An embedding model gives no answers that could get worse.",),
)
_STAGES = {
    ProbeKind.LOAD: Stage.LOAD,
    ProbeKind.PROCESS: Stage.PROCESS,
    ProbeKind.ANSWER: Stage.ANSWER,
}


class OutOfTimeError(Exception):
    """The budget of the whole test is spent."""


class Walk:
    """One test on its way. `result` is what is found so far, and in the store."""

    def __init__(
        self,
        result: TestResult,
        plan: TestPlan,
        prober: Prober,
        *,
        store: Store,
        options: TestOptions,
        families: Sequence[ProbeFamily],
        on_event: EventListener,
        clock: Callable[[], float],
    ) -> None:
        self.result = result
        self._plan = plan
        self._prober = prober
        self._store = store
        self._options = options
        self._families = families
        self._on_event = on_event
        self._clock = clock
        self._known = list(plan.known)
        self._stage, self._tokens = Stage.PLAN, 0
        prober.on_progress = self._progress

    async def run(self) -> None:
        """All stages that are wanted and can still find something."""
        if self._plan.served is None:
            await self._find_loadable()
        else:
            self._keep(loadable=served_limit(self._plan.served))
        if bound_of(self.result.loadable, self._plan).tokens:
            await self._find_processable()
        if self._plan.only_tokens is not None or not self.result.processable.tokens:
            return
        if self._prober.model.type is ModelType.EMBEDDING:
            self._keep(effective=_NOT_APPLICABLE)
        elif self._families and not self._options.fast:
            await self._find_effective()

    def tell(self, message: str, *, fraction: float | None = None) -> None:
        """Tell the listener where the test stands."""
        self._on_event(
            TestEvent(
                model_key=self.result.model_key,
                server=self._prober.model.server,
                stage=self._stage,
                tokens=self._tokens or None,
                probe=self.result.probes,
                fraction=fraction,
                message=message,
                result=self.result,
            )
        )

    # Loadable

    async def _find_loadable(self) -> None:
        plan, search = self._plan, self._plan.search()
        if plan.only_tokens is not None and not self._is_known(plan.only_tokens):
            await self._load(search, plan.only_tokens)
        while plan.only_tokens is None and (tokens := search.next()) is not None:
            step = rounding(self._known)
            size = min(-(-tokens // step) * step, plan.ceiling_tokens)
            _, wall = search.bracket
            if wall is not None and size >= wall:  # it would be a size that failed
                search.rule_out(max(first_failing(size, step), search.bracket[0] + 1))
            else:
                await self._load(search, size)
        self._keep(loadable=loadable_limit(search, self._known, self._plan))

    def _is_known(self, tokens: int) -> bool:
        bad = self._plan.known_bad
        return self._plan.known_good >= tokens or (bad is not None and bad <= tokens)

    async def _load(self, search: LoadSearch, tokens: int) -> None:
        outcome = await self._probe(
            ProbeKind.LOAD, tokens, partial(self._prober.probe_load, tokens)
        )
        held = outcome.real_context_tokens or (tokens if outcome.ok else None)
        if held is None:
            bad = first_failing(tokens, rounding(self._known))
            search.record(max(bad, search.bracket[0] + 1), False)
        else:
            # What a server gives beyond what was asked need not load when asked for.
            memory = buffer_bytes(outcome.memory) or None if outcome.memory else None
            search.record(tokens, True, real_tokens=min(held, tokens), memory_bytes=memory)
        self._keep(loadable=loadable_limit(search, self._known, self._plan))

    # Processable

    async def _find_processable(self) -> None:
        bound = bound_of(self.result.loadable, self._plan)
        whole = bound.tokens
        assert whole is not None
        good, bad = known_bounds(self._known, ProbeKind.PROCESS, ceiling_tokens=whole)
        if self._options.force:  # what failed in this very test has been tried again
            own = [probe for probe in self._known if probe.test_id == self.result.id]
            _, bad = known_bounds(own, ProbeKind.PROCESS, ceiling_tokens=whole)
        search = LoadSearch(
            ceiling_tokens=whole,
            known_good=good,
            known_bad=bad,
            economical=self._options.economical,
            prior=truncated_at(self._known, bad),
        )
        if good < whole and (bad is None or bad > whole):
            await self._process(search, whole)
        while self._plan.only_tokens is None and (tokens := search.next()) is not None:
            await self._process(search, tokens)
        longest = outcome_at(self._known, ProbeKind.PROCESS, search.bracket[0])
        if longest is not None:
            self.result = replace(
                self.result,
                time_to_first_token_s=longest.time_to_first_token_s,
                tokens_per_s=longest.tokens_per_s,
            )
        self._keep(processable=processable_limit(search, self._known, bound))

    async def confirm(self) -> bool:
        """See by one probe whether what was found before still holds."""
        whole = self.result.processable.tokens
        assert whole is not None
        work = partial(self._prober.probe_process, whole)
        return (await self._probe(ProbeKind.PROCESS, whole, work)).ok

    async def _process(self, search: LoadSearch, tokens: int) -> None:
        outcome = await self._probe(
            ProbeKind.PROCESS, tokens, partial(self._prober.probe_process, tokens)
        )
        search.record(tokens, outcome.ok)
        bound = bound_of(self.result.loadable, self._plan)
        self._keep(processable=processable_limit(search, self._known, bound))

    # Effective

    async def _find_effective(self) -> None:
        whole = self.result.processable.tokens
        assert whole is not None
        if (carried := self._carried(whole)) is not None:
            self._keep(effective=carried)
            return
        search = EffectiveSearch(
            base_tokens=min(BASE_TOKENS, whole),
            ceiling_tokens=whole,
            groups=groups_of(self._families),
        )
        journal = self._journalled_answers()
        drawn: Counter[tuple[int, tuple[str, ...]]] = Counter()
        timed: dict[int, list[ProbeOutcome]] = defaultdict(list)
        fatal_at_base = 0
        while fatal_at_base < MOST_FATAL_AT_BASE and (ask := search.next()) is not None:
            length = ask.length_tokens
            draw = self._draw(ask, drawn, whole)
            drawn[length, ask.families] += 1
            if journal[length]:
                outcome = journal[length].popleft()
            else:
                work = partial(self._prober.probe_answer, draw)
                outcome = await self._probe(ProbeKind.ANSWER, length, work)
            if outcome.scores:
                search.record(length, outcome.scores)
                timed[length].append(outcome)
            elif length == search.base_tokens:
                fatal_at_base += 1  # longer prompts were processed: it was not the length
            else:
                haystacks = max(HAYSTACKS_OF_ZEROS, 2 * drawn[length, ask.families])
                lost = zeros(ask.families, haystacks=haystacks, questions=ask.questions)
                search.record(length, lost)
            self._keep_effective(search, timed)
        self._keep_effective(search, timed)

    def _keep_effective(
        self, search: EffectiveSearch, timed: dict[int, list[ProbeOutcome]]
    ) -> None:
        processable = self.result.processable
        limit = search.limit
        if limit.verdict is Verdict.NOT_TESTED and search.next() is None:
            known = self._prober.model.path is not None
            limit = inapplicable(limit, template=self._plan.key.template if known else None)
        if limit.tokens == processable.tokens:  # what ended the one ended the other
            limit = replace(limit, verdict=processable.verdict)
        self._keep(effective=limit, curve=curve_of(search, timed))

    def _draw(self, ask: Ask, drawn: Mapping[tuple[int, tuple[str, ...]], int], whole: int) -> Draw:
        """The next haystack of those families at that length; languages take turns."""
        length = ask.length_tokens
        number = drawn.get((length, ask.families), 0)
        return Draw(
            family=together([f for f in self._families if f.name in ask.families]),
            number=number,
            language=LANGUAGES[number % len(LANGUAGES)],
            length=length,
            context=whole,
            cluster=sum(count for (other, _), count in drawn.items() if other == length),
            questions=ask.questions,
        )

    def _journalled_answers(self) -> defaultdict[int, deque[ProbeOutcome]]:
        journal: defaultdict[int, deque[ProbeOutcome]] = defaultdict(deque)
        for probe in self._known:
            if (
                probe.kind is ProbeKind.ANSWER
                and probe.test_id == self.result.id
                and probe.outcome is not None
            ):
                journal[probe.tokens].append(probe.outcome)
        return journal

    def _carried(self, whole: int) -> Limit | None:
        """The effective limit of a test under other load settings, where it holds here too."""
        if self._options.force:
            return None
        for earlier in self._store.effective_results(self.result.key):
            limit = earlier.effective
            if limit.verdict is not Verdict.FOUND or limit.tokens is None:
                continue
            enough = limit.below_tokens is not None or limit.tokens >= whole
            if earlier.id != self.result.id and enough:
                cut = limit.tokens > whole
                return replace(
                    limit,
                    tokens=min(limit.tokens, whole),
                    below_tokens=None if cut else limit.below_tokens,
                    evidence=(*limit.evidence, f"Measured in test {earlier.id}."),
                )
        return None

    # Journal

    async def _probe(
        self, kind: ProbeKind, tokens: int, work: Callable[[], Awaitable[ProbeOutcome]]
    ) -> ProbeOutcome:
        """Write down what is about to be tried, try it, write down what came of it.

        Raises `OutOfTimeError` when the budget ends it and `UnreachableError`.
        """
        if self._prober.out_of_time:
            raise OutOfTimeError
        self._stage, self._tokens = _STAGES[kind], tokens
        probe_id = self._store.begin_probe(self.result.id, kind, tokens, at=self._clock())
        self.result = replace(self.result, probes=self.result.probes + 1)
        outcome = ProbeOutcome(ok=False, failure=FailureKind.INTERRUPTED)
        loads = self._prober.loads
        try:
            self.tell(f"{self._stage} {tokens:,}")
            outcome = await work()
        finally:
            self._store.finish_probe(probe_id, outcome, at=self._clock())
        self.result = replace(self.result, loads=self.result.loads + self._prober.loads - loads)
        if outcome.failure is FailureKind.UNREACHABLE:
            assert self._prober.unreachable is not None
            raise self._prober.unreachable
        if outcome.failure is FailureKind.INTERRUPTED:
            raise OutOfTimeError
        self._known.append(
            _as_probe(probe_id, self.result.id, kind, tokens, outcome, at=self._clock())
        )
        return outcome

    def _keep(
        self,
        *,
        loadable: Limit | None = None,
        processable: Limit | None = None,
        effective: Limit | None = None,
        curve: tuple[LengthPoint, ...] | None = None,
    ) -> None:
        self.result = replace(
            self.result,
            loadable=loadable or self.result.loadable,
            processable=processable or self.result.processable,
            effective=effective or self.result.effective,
            curve=self.result.curve if curve is None else curve,
        )
        self._store.save_test(self.result)
        self.tell("")

    def _progress(self, progress: Progress) -> None:
        self.tell(progress.note or progress.phase, fraction=progress.fraction)


def _as_probe(
    probe_id: int, test_id: int, kind: ProbeKind, tokens: int, outcome: ProbeOutcome, *, at: float
) -> Probe:
    return Probe(
        id=probe_id,
        test_id=test_id,
        kind=kind,
        tokens=tokens,
        started_at=at,
        finished_at=at,
        outcome=outcome,
    )
