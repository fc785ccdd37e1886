"""`lmstrix ps`: the loaded models."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lmstrix.cli.formats import encode, format_option
from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.root import command as declare
from lmstrix.cli.units import duration, tokens

if TYPE_CHECKING:
    from lmstrix.types import Instance

_FOREVER_S = 10 * 365.25 * 86400


@declare(name="ps")
@format_option()
@pass_invocation
def command(invocation: Invocation, form: str) -> None:
    """Show the loaded models: their context, memory, process and time to live."""
    found = invocation.run(_instances(invocation))
    terminal = invocation.terminal
    if form != "text":
        terminal.print(encode(found, form))
    elif not found:
        terminal.note("Nothing is loaded. 'lmstrix load MODEL' loads a model and keeps it.")
    else:
        for line in instance_table(found, now=time.time(), width=terminal.width):
            terminal.print(line)


async def _instances(invocation: Invocation) -> list[Instance]:
    async with invocation.client() as client:
        found = await client.instances()
        for problem in client.problems:
            invocation.terminal.note(f"note: {problem}")
        return found


def _left_s(instance: Instance, now: float) -> float | None:
    """How long it stays without use: from its end where the server tells that."""
    if instance.expires_at is None:
        return instance.config.ttl_s
    left_s = max(0.0, instance.expires_at - now)
    return None if left_s > _FOREVER_S else left_s


def instance_table(instances: list[Instance], *, now: float, width: int) -> list[str]:
    """One line per instance; narrow terminals get shorter names."""
    from lmstrix.cli.terminal import table  # not needed for --help
    from lmstrix.registry.columns import human_bytes
    from lmstrix.registry.layout import shorten

    header = ("Instance", "Model", "Context", "Memory", "PID", "Up", "TTL")
    rows = [
        (
            instance.id,
            instance.model_key,
            tokens(instance.context_tokens),
            (human_bytes(instance.memory.resident_bytes) if instance.memory else "") or "-",
            str(instance.pid or "-"),
            duration(now - instance.loaded_at) if instance.loaded_at else "-",
            duration(_left_s(instance, now)),
        )
        for instance in instances
    ]
    rest = max(sum(map(len, row[2:])) for row in (header, *rows)) + 2 * (len(header) - 1)
    names = max(8, (width - rest) // 2)
    rows = [(shorten(row[0], names), shorten(row[1], names), *row[2:]) for row in rows]
    return table(header, rows, right="llrrrrr")
