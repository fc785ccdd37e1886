"""`lmstrix fit`: predict the largest context that fits, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lmstrix.cli.formats import encode, format_option
from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.options import model_options, one_model
from lmstrix.cli.root import command as declare
from lmstrix.cli.values import KV_TYPE, SIZE
from lmstrix.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmstrix.context.fit import Fit

EXAMPLES = """\
\b
Examples:
  lmstrix fit my-model
  lmstrix fit my-model --memory-limit 8GB
"""
_LIMITED_BY = {
    "declared": "what the model declares",
    "memory": "memory of this machine",
    "cap": "--memory-limit",
}


@declare(name="fit", epilog=EXAMPLES)
@model_options
@click.option("--kv-type", "kv_types", type=KV_TYPE, multiple=True, help="Only this type.")
@click.option("--memory-limit", type=SIZE, help="Memory the engine may take: 8GB, 512MiB.")
@format_option()
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> int:
    """Predict the largest context of MODEL that fits in memory, per KV cache type."""
    model = one_model(given["model"], given["model_option"])
    if model is None:
        raise UsageError("For which model?", hint="lmstrix fit MODEL; see 'lmstrix list'.")
    key, found = invocation.run(_fit(invocation, model, given))
    terminal = invocation.terminal
    if given["form"] == "text":
        for line in fit_lines(key, found):
            terminal.hang(line)
    else:
        terminal.print(encode({"model": key, "fit": found}, given["form"]))
    return 0 if any(row.context_tokens is not None for row in found.rows) else 1


async def _fit(invocation: Invocation, model: str, given: dict[str, Any]) -> tuple[str, Fit]:
    chosen = {"kv_types": given["kv_types"]} if given["kv_types"] else {}
    async with invocation.client() as client:
        entry = await client.find(model)
        limit = given["memory_limit"]
        return entry.model.key, await client.fit(model, memory_limit_bytes=limit, **chosen)


def fit_lines(key: str, fit: Fit) -> Iterator[str]:
    """The prediction as a table with a heading."""
    from lmstrix.cli.terminal import table  # not needed for --help
    from lmstrix.registry.columns import human_bytes
    from lmstrix.registry.layout import one_line

    yield (
        f"{one_line(key)} declares {fit.declared_tokens:,} tokens;"
        f" {human_bytes(fit.memory.budget_bytes)} of memory may be used."
    )
    rows = [
        (
            row.kv_type,
            "does not fit" if row.context_tokens is None else f"{row.context_tokens:,}",
            human_bytes(row.need_bytes),
            f"{row.error:.0%}",
            _LIMITED_BY[row.limited_by],
        )
        for row in fit.rows
    ]
    header = ("KV cache", "Context", "Needs", "+-", "Limited by")
    yield from table(header, rows, right="lrrr")
    yield f"Confidence: {fit.confidence}"
    yield from (f"Note: {note}" for note in fit.notes)
