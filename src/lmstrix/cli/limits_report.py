"""Tests in lines: events as they come, then the limits with their evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmstrix.cli.terminal import fold
from lmstrix.cli.units import duration, tokens
from lmstrix.context.options import Stage
from lmstrix.registry.layout import display_width, one_line
from lmstrix.results import Limit, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lmstrix.cli.terminal import Terminal
    from lmstrix.context.options import TestEvent
    from lmstrix.context.plan import TestPlan
    from lmstrix.results import TestResult

_UNTESTED = Limit()
LIMITS = ("loadable", "processable", "effective")


class EventLines:
    """Prints a line for each new stage and size; for logs and pipes."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._last: object = None

    def on_event(self, event: TestEvent) -> None:
        """Print a line, unless this is the same stage at the same size."""
        step = (event.model_key, event.stage, event.tokens)
        if step == self._last:
            return
        self._last = step
        line = f"{event.model_key}: {event.stage.value}"
        if event.tokens is not None:
            line += f" {event.tokens:,} tokens"
        if event.stage is Stage.DONE and event.message:
            line += f" ({event.message})"
        self._terminal.note(one_line(line))


def report_lines(results: Sequence[TestResult], terminal: Terminal) -> Iterator[str]:
    """What was found: a block per model, each limit with a line of evidence."""
    for number, result in enumerate(results):
        if number:
            yield ""
        took = (
            "" if result.finished_at is None else duration(result.finished_at - result.started_at)
        )
        facts = [f"declared {tokens(result.declared_tokens)}", result.status.value]
        if took:
            facts.append(f"{result.probes} probes in {took}")
        yield from hanging(f"{one_line(result.model_key)}  ", f"({', '.join(facts)})", terminal)
        limits = {name: getattr(result, name) for name in LIMITS}
        if any(limit != _UNTESTED for limit in limits.values()):
            for name, limit in limits.items():
                yield from limit_lines(name, limit, terminal)
        if result.tokens_per_s is not None:
            first = result.time_to_first_token_s
            yield f"  speed        {result.tokens_per_s:,.1f} tokens/s" + (
                f", first token after {duration(first)}" if first is not None else ""
            )
        for note in result.notes:
            yield from hanging("  note         ", note, terminal)


def limit_lines(name: str, limit: Limit, terminal: Terminal) -> Iterator[str]:
    """One limit: its size or verdict, and what shows it."""
    yield from hanging(
        f"  {name:<11}  {limit_text(limit):>9}  ", " ".join(limit.evidence[:1]), terminal
    )


def limit_text(limit: Limit) -> str:
    """`8,192`, `>= 8,192` where the search ended early, or the verdict."""
    if limit.verdict is Verdict.AT_LEAST and limit.tokens is not None:
        return f">= {limit.tokens:,}"
    if limit.verdict is Verdict.NOT_APPLICABLE:
        return "n/a"
    if limit.tokens is None:
        return "none" if limit.verdict is Verdict.NONE else "untested"
    return f"{limit.tokens:,}"


def hanging(head: str, text: str, terminal: Terminal) -> Iterator[str]:
    """`head` and `text`, later lines below the text."""
    if not terminal.out_live:
        yield (head + one_line(text)).rstrip()
        return
    first, *rest = fold(one_line(text), max(20, terminal.width - display_width(head)))
    yield (head + first).rstrip()
    for line in rest:
        yield " " * display_width(head) + line


def plan_data(plan: TestPlan) -> dict[str, Any]:
    """A plan as plain data."""
    import msgspec  # only with --dry-run

    names = (
        "model_key", "load", "declared_tokens", "ceiling_tokens", "predicted_tokens",
        "known_good", "known_bad", "sizes",
    )  # fmt: skip
    data = {name: msgspec.to_builtins(getattr(plan, name)) for name in names}
    data["kept"] = plan.kept is not None
    data["resumed"] = plan.resumed is not None
    data["known_probes"] = len(plan.known)
    return data


def plan_lines(plan: TestPlan, terminal: Terminal) -> Iterator[str]:
    """What a test would do."""
    yield f"{one_line(plan.model_key)}  (declared {tokens(plan.declared_tokens)})"
    if plan.kept is not None:
        yield from hanging(
            "  ", "Nothing: its limits are known already. --reset forgets them.", terminal
        )
        return
    if plan.resumed is not None:
        yield from hanging("  ", f"Go on after {len(plan.known):,} finished probes.", terminal)
    if plan.served is not None:
        said = f"{tokens(plan.served.context_tokens)} tokens, as its server has chosen"
        yield from hanging("  served     ", said, terminal)
        yield from hanging("  ceiling    ", tokens(plan.ceiling_tokens), terminal)
        return
    predicted = tokens(plan.predicted_tokens) if plan.predicted_tokens else "unknown"
    yield from hanging("  predicted  ", predicted, terminal)
    yield from hanging("  ceiling    ", tokens(plan.ceiling_tokens), terminal)
    if plan.known_good:
        yield from hanging("  known good ", tokens(plan.known_good), terminal)
    if plan.known_bad is not None:
        yield from hanging("  known bad  ", tokens(plan.known_bad), terminal)
    sizes = ", then if it fails ".join(tokens(size) for size in plan.sizes)
    yield from hanging("  loads      ", sizes or "none: the limit is known", terminal)
