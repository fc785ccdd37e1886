"""`lmstrix reset`: forget test results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.options import model_options, one_model
from lmstrix.cli.resetting import reset_tests
from lmstrix.cli.root import command as declare
from lmstrix.errors import UsageError

if TYPE_CHECKING:
    from lmstrix.store import Entry

EXAMPLES = """\
\b
Examples:
  lmstrix reset my-model
  lmstrix reset --all --yes

Models stay known; 'scan --failed' forgets only the tests that failed. The results are in a copy
of the store that is made first.
"""


@declare(name="reset", epilog=EXAMPLES)
@model_options
@click.option("--all", "-a", "every", is_flag=True, help="Forget the results of every model.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask, even for several models.")
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> None:
    """Forget the test results of MODEL, or of all; a backup is taken first."""
    model = one_model(given["model"], given["model_option"])
    if (model is None) is not given["every"]:
        raise UsageError(
            "Name the model whose results are to be forgotten, or --all, and not both.",
            hint="'lmstrix list status:tested' shows those that have results.",
        )
    entries = invocation.run(_entries(invocation, model))
    reset_tests(invocation, entries, ask=not given["yes"])


async def _entries(invocation: Invocation, model: str | None) -> list[Entry]:
    async with invocation.client() as client:
        return await client.list_models() if model is None else [await client.find(model)]
