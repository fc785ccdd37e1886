"""`lmstrix unload`: unload models."""

from __future__ import annotations

import click

from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.root import command as declare
from lmstrix.errors import UsageError


@declare(name="unload")
@click.argument("model", required=False)
@click.option("--all", "-a", "every", is_flag=True, help="Unload everything that is loaded.")
@pass_invocation
def command(invocation: Invocation, model: str | None, *, every: bool) -> None:
    """Unload MODEL: the id of an instance, or a model with all its instances."""
    if (model is None) is not every:
        raise UsageError(
            "Name a model to unload, or --all, and not both.", hint="'lmstrix ps' shows them."
        )
    ids = invocation.run(_unload(invocation, model))
    for name in ids:
        invocation.terminal.print(f"Unloaded {name}.")
    if not ids:
        invocation.terminal.note("Nothing was loaded.")


async def _unload(invocation: Invocation, model: str | None) -> list[str]:
    async with invocation.client() as client:
        return await client.unload(model, all=model is None)
