"""`lmstrix registry`: import, back up and count what is known."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.root import Group
from lmstrix.cli.units import counted
from lmstrix.errors import NotFoundError

_SHOWN = 10

command = Group(name="registry", help="Import, back up and count what is known.")


@command.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--verbose", "-v", is_flag=True, help="Name everything that was not imported.")
@pass_invocation
def import_file(invocation: Invocation, file: Path | None, *, verbose: bool) -> int:
    """Import the lmstrix.json of LMStrix 1.x.

    FILE left out is the one in LM Studio's home. It is only read. What is sound is imported,
    what is not is named; exit 1 when nothing could be imported.
    """
    from lmstrix.registry.legacy import (  # not needed for --help
        find_legacy,
        import_legacy,
        match_legacy,
    )
    from lmstrix.store import Store

    path = file or find_legacy()
    if path is None:
        raise NotFoundError(
            "LM Studio's home holds no lmstrix.json.", hint="Name it: lmstrix registry import FILE"
        )
    found = import_legacy(path)
    terminal = invocation.terminal
    shown = found.problems if verbose else found.problems[:_SHOWN]
    for problem in shown:
        terminal.note(f"not imported: {problem}")
    if len(shown) < len(found.problems):
        terminal.note(f"... and {len(found.problems) - len(shown):,} more (--verbose)")
    with Store.open(invocation.places.database) as store:
        change = store.record_legacy(match_legacy(found.items, store.entries()), at=time.time())
    terminal.print(
        f"Imported {counted(len(found.items), 'model')} from {path}"
        f" ({len(change.new):,} new, {len(change.known):,} known already)."
    )
    return 0 if found.items or not found.problems else 1


@command.command("backup")
@pass_invocation
def backup(invocation: Invocation) -> None:
    """Copy the store; print where the copy is."""
    from lmstrix.store import Store  # not needed for --help

    with Store.open(invocation.places.database, create=False) as store:
        invocation.terminal.print(str(store.backup()))


@command.command("stats")
@pass_invocation
def stats(invocation: Invocation) -> None:
    """Count the models: in all, by status, by type, by provider."""
    from lmstrix.registry.listing import render  # not needed for --help
    from lmstrix.store import Store

    path = invocation.places.database
    with Store.open(path, create=False) as store:
        for line in render(store.entries(), show="summary"):
            invocation.terminal.print(line)
    invocation.terminal.print(f"Store     {path}, {path.stat().st_size:,} bytes")
