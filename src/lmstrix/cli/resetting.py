"""Forget test results: ask where it matters, forget, say where the backup is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from lmstrix.cli.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lmstrix.cli.invocation import Invocation
    from lmstrix.store import Entry


def confirm_reset(models: int) -> None:
    """Ask on a terminal, for more than one model; raises `click.Abort` on no."""
    if models > 1 and sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm(
            f"Forget the test results of {models:,} models? A backup is taken first.",
            abort=True,
            err=True,
        )


def reset_tests(
    invocation: Invocation, entries: Iterable[Entry], *, failed: bool = False, ask: bool
) -> None:
    """Forget the results of `entries`, or of those whose test `failed`. Raises `click.Abort`."""
    from lmstrix.registry.scan import reset_candidates  # not needed for --help
    from lmstrix.store import Store

    models = reset_candidates(entries, failed=failed)
    if not models:
        invocation.terminal.note("No test results to forget.")
        return
    if ask:
        confirm_reset(len(models))
    with Store.open(invocation.places.database) as store:
        forgotten = store.reset_tests(models)
    if not forgotten:
        invocation.terminal.note("Nothing was forgotten: the test runs at this moment.")
        return
    invocation.terminal.note(
        f"Forgot the results of {counted(forgotten, 'test')}; a backup is in"
        f" {invocation.places.backups}."
    )
