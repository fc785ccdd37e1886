"""`lmstrix save`: make tested limits what LM Studio and Ollama load models with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lmstrix.cli.formats import encode, format_option
from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.options import model_options, one_model
from lmstrix.cli.root import command as declare
from lmstrix.cli.units import counted
from lmstrix.cli.values import KV_TYPE, LENGTH, TOKENS
from lmstrix.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lmstrix.defaults.saving import SavedDefault

EXAMPLES = """\
\b
Examples:
  lmstrix save my-model                       the tested limit as the default context
  lmstrix save my-model --kv q8_0             with the KV cache type it was tested with
  lmstrix save --all --limit 75% --above 32k
  lmstrix save --all --dry-run                show what would change

For a model of LM Studio the file of its defaults is changed, which LM Studio reads at each load;
every other setting in it stays. For a model of Ollama it is num_ctx. A backup of each file that is
changed is kept ('lmstrix config path' shows where).
"""


@declare(name="save", epilog=EXAMPLES)
@model_options
@click.option("--all", "-a", "every", is_flag=True, help="Save for every model that was tested.")
@click.option(
    "--limit", type=LENGTH, help="Save at most this, or this part of the tested limit: 8192, 80%."
)
@click.option(
    "--above",
    "--threshold",
    "above",
    type=TOKENS,
    help="Take the percentage only of limits above this; save smaller ones whole.",
)
@click.option("--flash", is_flag=True, help="Turn flash attention on as well.")
@click.option(
    "--kv",
    "--kv-type",
    "kv_type",
    type=KV_TYPE,
    help="Save the limit tested with this KV cache type, and the type.",
)
@click.option("--dry-run", is_flag=True, help="Show what would change; write nothing.")
@click.option("--force", is_flag=True, help="Replace a file that cannot be read.")
@format_option()
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> int:
    """Make the tested limit of MODEL the context that LM Studio or Ollama loads it with."""
    model = one_model(given["model"], given["model_option"])
    if (model is None) is not given["every"]:
        raise UsageError(
            "For which model?" if model is None else f"Either {model!r} or --all, not both.",
            hint="lmstrix save MODEL, or --all for every model that was tested.",
        )
    saved = invocation.run(_save(invocation, model, given))
    if given["every"] and not saved:
        raise NotFoundError(
            "No model here belongs to LM Studio or Ollama.",
            hint="Find their models first: lmstrix scan",
        )
    terminal = invocation.terminal
    if given["form"] == "text":
        for line in saved_lines(saved):
            terminal.print(line)
        if given["every"]:
            terminal.note(_sum(saved))
    else:
        terminal.print(encode(saved, given["form"]))
    return _exit_code(saved)


async def _save(
    invocation: Invocation, model: str | None, given: dict[str, Any]
) -> list[SavedDefault]:
    invocation.kept = "each file is as it was or wholly changed."
    async with invocation.client() as client:
        return await client.save(
            model,
            limit=given["limit"],
            above_tokens=given["above"],
            flash=given["flash"],
            kv_type=given["kv_type"],
            dry_run=given["dry_run"],
            force=given["force"],
        )


def saved_lines(saved: Sequence[SavedDefault]) -> Iterator[str]:
    """A block per model: what was written, where, from what to what."""
    from lmstrix.defaults.saving import SaveStatus  # not needed for --help
    from lmstrix.registry.layout import one_line

    for one in saved:
        yield one_line(f"{one.model_key}: {one.status.value}")
        if one.reason:
            yield f"  {one_line(one.reason)}"
            if one.hint:
                yield f"  {one_line(one.hint)}"
            continue
        if one.context_tokens != one.tested_tokens:
            yield f"  of the tested {one.tested_tokens:,} tokens"
        if not one.changes:
            yield f"  context {one.context_tokens:,}, as it was"
        for change in one.changes:
            yield f"  {change.name}: {_shown(change.before)} -> {_shown(change.after)}"
        yield f"  in {one_line(one.place)}"
        if one.backup:
            yield f"  as it was before: {one_line(one.backup)}"
        yield from (f"  note: {one_line(note)}" for note in one.notes)
        if one.status is SaveStatus.WOULD_SAVE:
            yield from (f"    {one_line(line)}" for line in one.diff.splitlines())


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _sum(saved: Sequence[SavedDefault]) -> str:
    """How many of each, in one line."""
    counts: dict[str, int] = {}
    for one in saved:
        counts[one.status.value] = counts.get(one.status.value, 0) + 1
    parts = ", ".join(f"{number:,} {word}" for word, number in counts.items())
    return f"{counted(len(saved), 'model')}: {parts}."


def _exit_code(saved: Sequence[SavedDefault]) -> int:
    """What went wrong decides; skipped models do only where nothing else is there."""
    from lmstrix.defaults.saving import SaveStatus  # not needed for --help

    failed = [one.exit_code for one in saved if one.status is SaveStatus.FAILED]
    if failed:
        return max(failed)
    return 3 if all(one.status is SaveStatus.SKIPPED for one in saved) else 0
