"""`lmstrix doctor`: check the set-up and say how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lmstrix.cli.formats import encode, format_option
from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.root import command as declare
from lmstrix.errors import SettingsError

if TYPE_CHECKING:
    from lmstrix.cli.terminal import Terminal
    from lmstrix.health import Finding

_SYMBOLS = {"ok": "✓", "warning": "!", "failure": "✗"}
_WORDS = {"ok": "ok  ", "warning": "note", "failure": "FAIL"}
_COLORS = {"ok": "green", "warning": "yellow", "failure": "red"}


@declare(name="doctor")
@click.option("--fix", is_flag=True, help="Mend what can be mended without risk.")
@format_option()
@pass_invocation
def command(invocation: Invocation, *, fix: bool, form: str) -> int:
    """Check settings, folders, store, servers, engine; exit 1 where something fails."""
    findings = invocation.run(_examine(invocation, fix=fix, live=form == "text"))
    if form != "text":
        invocation.terminal.print(encode(findings, form))
    failures = sum(finding.state == "failure" for finding in findings)
    if form == "text":
        warnings = sum(finding.state == "warning" for finding in findings)
        well = f"Nothing fails; see {warnings} above." if warnings else "All is well."
        invocation.terminal.note(
            f"{failures} of {len(findings)} checks failed." if failures else well
        )
    return 1 if failures else 0


async def _examine(invocation: Invocation, *, fix: bool, live: bool) -> list[Finding]:
    from lmstrix.config import Settings  # not needed for --help
    from lmstrix.health import Finding, State, check_health

    findings = []
    try:
        effective = invocation.settings()
        settings = effective.settings
        changed = sum(origin != "default" for origin in effective.origins.values())
        settled = Finding(
            check="settings",
            state=State.OK,
            detail=f"{changed or 'None'} set, the rest are the defaults.",
        )
    except SettingsError as error:
        settings = Settings()
        settled = Finding(
            check="settings", state=State.FAILURE, detail=error.message, remedy=error.hint
        )
    findings.append(settled)
    if live:
        _print(invocation.terminal, settled)
    invocation.terminal.status("checking ...")
    async for finding in check_health(invocation.places, settings, fix=fix):
        findings.append(finding)
        if live:
            _print(invocation.terminal, finding)
            invocation.terminal.status("checking ...")
    return findings


def _print(terminal: Terminal, finding: Finding) -> None:
    marks = _SYMBOLS if terminal.symbols else _WORDS
    mark, color = marks[finding.state], _COLORS[finding.state]
    terminal.hang(f"{finding.check}: {finding.detail}", mark=mark, color=color)
    if finding.remedy:
        terminal.hang(finding.remedy, indent=len(mark) + 1)
