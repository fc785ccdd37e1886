"""Ask before test results of several models are forgotten."""

from __future__ import annotations

import sys

import click


def confirm_reset(models: int) -> None:
    """Ask on a terminal, for more than one model; raises `click.Abort` on no."""
    if models > 1 and sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm(
            f"Forget the test results of {models:,} models? A backup is taken first.",
            abort=True,
            err=True,
        )
