"""`lmstrix report`: what was measured, as one page or picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.root import command as declare
from lmstrix.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMS = ("html", "svg", "png")
EXAMPLES = """\
\b
Examples:
  lmstrix report --open                      every model, in the browser
  lmstrix report model-a model-b             these two, compared
  lmstrix report model-a --out limits.svg    its plots as a picture

The page is one file that needs nothing else: it works offline, in any browser, on paper. PNG needs
the optional package: pip install 'lmstrix[report]'.
"""


@declare(name="report", epilog=EXAMPLES)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--out",
    "-o",
    metavar="FILE",
    help="The file to write; - prints.  [default: lmstrix-report.html]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="Form of the file.  [default: by its ending, else html]",
)
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> None:
    """Write what was measured of MODELS, or of all, into one HTML page or picture."""
    if given["show"] and given["out"] == "-":
        raise UsageError("What is printed cannot be opened.", hint="Leave out --open or --out -.")
    form = form_of(given["form"], given["out"])
    made = invocation.run(_report(invocation, given, form))
    if given["out"] == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(made)
        return
    from lmstrix.config import atomic_write  # not needed for --help

    path = Path(given["out"] or f"lmstrix-report.{form}")
    atomic_write(path, made)
    invocation.terminal.print(str(path))
    if given["show"]:
        import webbrowser

        if not webbrowser.open(path.absolute().as_uri()):
            invocation.terminal.note(f"note: No browser could be opened; the file is {path}.")


async def _report(invocation: Invocation, given: Mapping[str, Any], form: str) -> bytes:
    async with invocation.client() as client:
        return await client.report(given["models"] or None, form=form)


def form_of(wanted: str | None, out: str | None) -> str:
    """The form that was asked for, else that of the file's ending. Raises `UsageError`."""
    ending = Path(out).suffix.lower().removeprefix(".") if out not in (None, "-") else ""
    if wanted is None:
        if ending and ending not in (*FORMS, "htm"):
            raise UsageError(
                f"What form a file .{ending} is to have is not known.",
                hint="Name it .html, .svg or .png, or choose one with --format.",
            )
        return "html" if ending in ("", "htm") else ending
    return wanted
