"""`test --tune`: run it for each model, and print what was compared."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lmstrix.cli.formats import encode
from lmstrix.cli.limits_report import EventLines, limit_text
from lmstrix.cli.terminal import table
from lmstrix.cli.units import duration
from lmstrix.context.tune import settings_text
from lmstrix.registry.columns import human_bytes
from lmstrix.registry.layout import one_line
from lmstrix.results import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lmstrix.async_client import AsyncLMStrix
    from lmstrix.cli.commands.test import Job
    from lmstrix.cli.invocation import Invocation
    from lmstrix.context.tune import Tuned, Tuning

_UNTESTED = Limit()


async def tune_all(
    invocation: Invocation, client: AsyncLMStrix, jobs: Sequence[Job], given: Mapping[str, Any]
) -> int:
    """Tune each model in turn, all within the one budget; returns the exit code."""
    terminal = invocation.terminal
    invocation.kept = "what was tested so far is kept. Go on: the same command again"
    lines = EventLines(terminal)
    began = time.monotonic()
    found: list[Tuning] = []
    for name, _, options in jobs:
        if given["budget"] is not None:
            from msgspec.structs import replace

            left = given["budget"] - (time.monotonic() - began)
            if left <= 0 and found:
                terminal.note(f"note: The budget ended after {len(found)} of {len(jobs)} models.")
                break
            options = replace(options, budget_s=left)  # noqa: PLW2901  # the same, held to the rest
        found.append(
            await client.tune(
                name, gpu_layers=given["layers"], options=options, on_event=lines.on_event
            )
        )
    if given["form"] != "text":
        terminal.print(encode(found, given["form"]))
    for number, tuning in enumerate(found if given["form"] == "text" else ()):
        if number:
            terminal.print("")
        for line in table_lines(tuning):
            terminal.print(line)
        for line in tuning.advice:
            terminal.hang(line)
    return 0 if all(tuning.best is not None for tuning in found) else 1


def table_lines(tuning: Tuning) -> Iterator[str]:
    """What was compared, the best marked, and why some could not be."""
    yield one_line(tuning.model_key)
    rows = [_row(one, best=place == tuning.best) for place, one in enumerate(tuning.tried)]
    header = ("Load settings", "", "Loadable", "Effective", "First token", "Tok/s", "Memory")
    yield from table(header, rows, right="llrrrrr")
    for one in tuning.tried:
        if one.why_not:
            yield one_line(f"{settings_text(one.load)}: {one.why_not}")


def _row(one: Tuned, *, best: bool) -> tuple[str, ...]:
    result, speed = one.result, one.speed
    rate = speed.answer_per_s if speed is not None else None
    return (
        settings_text(one.load),
        "best" if best else "",
        limit_text(result.loadable if result is not None else _UNTESTED),
        limit_text(result.effective if result is not None else _UNTESTED),
        duration(speed.first_token_s if speed is not None else None),
        "-" if rate is None else f"{rate:,.1f}",
        human_bytes(one.memory_bytes) or "-",
    )
