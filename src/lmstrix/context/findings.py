"""What probes show: limits with their evidence, and the curve. Pure."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.context.failures import sentence
from lmstrix.context.fit import buffer_bytes
from lmstrix.context.plan import worked_tokens
from lmstrix.context.search import Estimate
from lmstrix.results import FailureKind, Limit, ProbeKind, Score, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lmstrix.context.evidence import EffectiveSearch
    from lmstrix.context.plan import TestPlan
    from lmstrix.context.search import LoadSearch
    from lmstrix.results import LengthPoint, Probe, ProbeOutcome
    from lmstrix.types import Instance

_NO_TEMPLATE = "Its file has no chat template: it goes on with texts, or extracts from them."


def loadable_limit(search: LoadSearch, known: Iterable[Probe], plan: TestPlan) -> Limit:
    """Where the search for the largest load stands.

    A single size that was asked for can show that it loads, and at the declared context that
    no more can; it finds no limit.
    """
    known = list(known)
    good, bad = search.bracket
    if not good and plan.only_tokens is None:
        verdict = Verdict.NONE if bad is not None else Verdict.NOT_TESTED
    elif good == plan.declared_tokens or (
        plan.only_tokens is None and bad is not None and search.settled
    ):
        verdict = Verdict.FOUND
    else:
        verdict = Verdict.AT_LEAST
    return Limit(
        verdict=verdict,
        tokens=good or None,
        below_tokens=bad,
        failure=failure_at(known, ProbeKind.LOAD, bad),
        evidence=(search.reason, *sentences(known, ProbeKind.LOAD)),
    )


def served_limit(served: Instance) -> Limit:
    """What a server runs that lets nobody choose."""
    said = "it is the server that decides what is loaded, and at which size."
    if served.context_tokens is None:
        return Limit(
            verdict=Verdict.NOT_APPLICABLE,
            evidence=(f"The server does not tell how much context it has: {said}",),
        )
    return Limit(
        verdict=Verdict.FOUND,
        tokens=served.context_tokens,
        evidence=(f"{served.context_tokens:,} tokens are served: {said}",),
    )


def bound_of(loadable: Limit, plan: TestPlan) -> Limit:
    """What a prompt is bounded by: what loads, or by the plan what is served."""
    if plan.served is None:
        return loadable
    whole = plan.ceiling_tokens
    ends = (plan.declared_tokens, plan.served.context_tokens)
    return Limit(verdict=Verdict.FOUND if whole in ends else Verdict.AT_LEAST, tokens=whole)


def processable_limit(search: LoadSearch, known: Iterable[Probe], bound: Limit) -> Limit:
    """Where the search for the largest context that is processed whole stands, up to `bound`."""
    known = list(known)
    good, bad = search.bracket
    failure = failure_at(known, ProbeKind.PROCESS, bad)
    if not good:
        verdict = Verdict.NONE if bad is not None else Verdict.NOT_TESTED
    elif good == bound.tokens:
        verdict, bad = bound.verdict, bad or bound.below_tokens
    else:
        verdict = Verdict.FOUND if search.settled else Verdict.AT_LEAST
    return Limit(
        verdict=verdict,
        tokens=good or None,
        below_tokens=bad,
        failure=failure,
        evidence=sentences(known, ProbeKind.PROCESS, first=good),
    )


def truncated_at(known: Iterable[Probe], bad: int | None) -> Estimate | None:
    """A server that truncates at `bad` tells by its count where the limit is near."""
    read = [
        probe.outcome.prompt_tokens
        for probe in known
        if probe.kind is ProbeKind.PROCESS
        and probe.tokens == bad
        and probe.outcome is not None
        and probe.outcome.failure is FailureKind.SILENT_TRUNCATION
    ]
    return Estimate(read[-1], 0.05) if read and read[-1] else None


def inapplicable(limit: Limit, *, template: str | None) -> Limit:
    """The effective limit of a model that can do no task: there is none, and why."""
    why = () if template != "" else (_NO_TEMPLATE,)
    return replace(limit, verdict=Verdict.NOT_APPLICABLE, evidence=(*why, *limit.evidence))


def outcome_at(known: Iterable[Probe], kind: ProbeKind, tokens: int) -> ProbeOutcome | None:
    """The newest outcome of a probe of that size that worked."""
    worked = [
        probe.outcome
        for probe in known
        if probe.kind is kind and probe.tokens == tokens and probe.outcome and probe.outcome.ok
    ]
    return worked[-1] if worked else None


def failure_at(known: Iterable[Probe], kind: ProbeKind, bad: int | None) -> FailureKind | None:
    """Why the smallest size that is known to fail did."""
    failed = [
        probe
        for probe in known
        if probe.kind is kind
        and bad is not None
        and probe.tokens >= bad
        and worked_tokens(probe) < bad
    ]
    nearest = min(failed, key=lambda probe: probe.tokens, default=None)
    return nearest.outcome.failure if nearest and nearest.outcome else None


def sentences(known: Iterable[Probe], kind: ProbeKind, *, first: int = 0) -> tuple[str, ...]:
    """How each probe of a kind went, the size `first` before all, then smallest first."""
    return tuple(
        _sentence(probe.tokens, probe.outcome)
        for probe in sorted(known, key=lambda probe: (probe.tokens != first, probe.tokens))
        if probe.kind is kind and probe.outcome is not None
    )


def zeros(families: Sequence[str], *, haystacks: int, questions: int) -> list[Score]:
    """Scores of a length at which something dies: it fails, whatever came before."""
    return [
        Score(family=families[question % len(families)], cluster=-1 - cluster, depth=0.5, score=0.0)
        for cluster in range(haystacks)
        for question in range(questions)
    ]


def curve_of(
    search: EffectiveSearch, timed: Mapping[int, Sequence[ProbeOutcome]]
) -> tuple[LengthPoint, ...]:
    """Quality by length, with the median speeds of each haystack's first question."""
    points = []
    for point in search.curve:
        outcomes = timed.get(point.tokens, ())
        points.append(
            replace(
                point,
                time_to_first_token_s=_median(o.time_to_first_token_s for o in outcomes),
                prompt_tokens_per_s=_median(o.prompt_tokens_per_s for o in outcomes),
                tokens_per_s=_median(o.tokens_per_s for o in outcomes),
            )
        )
    return tuple(points)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 4) if known else None


def _sentence(tokens: int, outcome: ProbeOutcome) -> str:
    if not outcome.ok:
        why = outcome.detail or (sentence(outcome.failure) if outcome.failure else "")
        return f"{tokens:,} tokens failed ({outcome.failure}): {why}"
    said = f"{tokens:,} tokens worked."
    if outcome.load_s is not None:
        said = f"{tokens:,} tokens loaded in {outcome.load_s:.2f} s"
        if outcome.memory is not None:
            said += f" and took {buffer_bytes(outcome.memory) / 2**20:,.1f} MiB"
        said += "."
    elif outcome.prompt_tokens is not None:
        said = f"{outcome.prompt_tokens:,} prompt tokens were read in a context of {tokens:,}."
    return f"{said} {outcome.detail}".strip()
