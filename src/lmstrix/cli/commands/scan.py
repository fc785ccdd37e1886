"""`lmstrix scan`: find the models on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lmstrix.cli.formats import encode, format_option
from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.resetting import reset_tests
from lmstrix.cli.root import command as declare
from lmstrix.cli.units import counted
from lmstrix.cli.values import DURATION
from lmstrix.errors import NotFoundError, UnreachableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lmstrix.cli.terminal import Terminal
    from lmstrix.registry.scan import ScanReport, ServerScan

_SHOWN = 8
EXAMPLES = """\
\b
Examples:
  lmstrix scan
  LMSTRIX_MODEL_FOLDERS=~/models lmstrix scan --verbose
  lmstrix scan --failed                 forget the tests that failed

Nothing is deleted: a model that is gone is marked missing, one of a server that does not answer
stays as it was.
"""


@declare(name="scan", epilog=EXAMPLES)
@click.option("--timeout", type=DURATION, help="Longest wait for a server's answer.")
@click.option("--no-update", is_flag=True, help="Report only; leave the store as it is.")
@click.option(
    "--refresh", "-r", is_flag=True, help="Read every file anew, even one that looks unchanged."
)
@click.option("--reset", is_flag=True, help="Forget all test results first (a backup is taken).")
@click.option("--failed", is_flag=True, help="Forget the tests that failed (a backup is taken).")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before --reset.")
@click.option("--verbose", "-v", is_flag=True, help="Name every model.")
@format_option()
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> None:
    """Find the models of every model folder and server, and remember them."""
    if given["no_update"] and (given["reset"] or given["failed"]):
        raise UsageError("--no-update leaves the store alone; --reset and --failed change it.")
    if given["yes"] and not (given["reset"] or given["failed"]):
        raise UsageError("--yes answers the question of --reset; there is none without it.")
    terminal = invocation.terminal
    if given["reset"] or given["failed"]:
        _reset(invocation, given)
    report = invocation.run(_scan(invocation, given))
    if given["form"] == "text":
        for line in report_lines(report, verbose=given["verbose"]):
            terminal.print(line)
    else:
        terminal.print(encode(report, given["form"]))
    _complain(report, terminal)


def _reset(invocation: Invocation, given: Mapping[str, Any]) -> None:
    from lmstrix.store import Store  # not needed for --help

    with Store.open(invocation.places.database) as store:
        entries = list(store.entries())
    reset_tests(invocation, entries, failed=not given["reset"], ask=not given["yes"])


async def _scan(invocation: Invocation, given: Mapping[str, Any]) -> ScanReport:
    invocation.terminal.status("scanning ...")
    invocation.kept = "what was known is unchanged."
    async with invocation.client() as client:
        report = await client.scan(
            timeout_s=given["timeout"],
            provider=invocation.provider,
            server=invocation.server,
            refresh=given["refresh"],
            update=not given["no_update"],
        )
        for problem in client.problems:
            invocation.terminal.note(f"note: {problem}")
    return report


def _complain(report: ScanReport, terminal: Terminal) -> None:
    """Say what could not be read. Raises where that was everything, or nothing is there."""
    for server in report.servers:
        if server.unreachable and report.reached_any:
            terminal.note(
                f"note: {server.provider} at {server.server} does not answer"
                f" ({server.unreachable}); its models stay as they were."
            )
        for problem in server.problems:
            terminal.note(f"note: {problem}")
    if not report.reached_any:
        first = report.servers[0] if report.servers else None
        raise UnreachableError(
            f"Nothing answers: {first.unreachable if first else 'no provider is enabled'}.",
            server=first.server if first else "",
            hint="See 'lmstrix doctor'.",
        )
    if not report.found:
        raise NotFoundError(
            "There are no models.",
            hint="Put GGUF files into a folder and name it: LMSTRIX_MODEL_FOLDERS=FOLDER"
            " lmstrix scan, or model_folders in the settings.",
        )


def report_lines(report: ScanReport, *, verbose: bool) -> Iterator[str]:
    """What each server said."""
    for server in report.servers:
        if server.unreachable:
            yield f"{server.provider}: no answer"
            continue
        change = server.change
        counts = [
            f"{len(keys):,} {word}"
            for word, keys in (
                ("new", change.new),
                ("changed", change.changed),
                ("missing", change.missing),
            )
            if keys
        ]
        told = f" ({', '.join(counts)})" if counts else ", all known" if server.found else ""
        yield f"{server.provider}: {counted(server.found, 'model')}{told}"
        yield from _names(server, verbose=verbose)


def _names(server: ServerScan, *, verbose: bool) -> Iterator[str]:
    from lmstrix.registry.layout import one_line  # not needed for --help

    change = server.change
    for word, keys in (
        ("new", change.new),
        ("changed", change.changed),
        ("missing", change.missing),
        ("known", change.known if verbose else ()),
    ):
        shown = keys if verbose else keys[:_SHOWN]
        for key in shown:
            yield f"  {word:<8} {one_line(key)}"
        if len(shown) < len(keys):
            yield f"  {'':<8} ... and {len(keys) - len(shown):,} more {word} (--verbose)"
