"""`lmstrix config`: the settings and where each comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmstrix.cli.formats import encode, format_option
from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.root import Group

if TYPE_CHECKING:
    from lmstrix.config import Effective


command = Group(name="config", help="Show the settings and where each comes from.")


@command.command("show")
@format_option()
@pass_invocation
def show(invocation: Invocation, form: str) -> None:
    """Show the settings that differ from the defaults."""
    _print(invocation, form, changed_only=True)


@command.command("effective")
@format_option()
@pass_invocation
def effective(invocation: Invocation, form: str) -> None:
    """Show every setting with its value and its origin."""
    _print(invocation, form, changed_only=False)


@command.command("path")
@pass_invocation
def path(invocation: Invocation) -> None:
    """Print where settings, store and logs are."""
    places = invocation.places
    rows = [
        ("settings", str(places.settings_file)),
        ("store", str(places.database)),
        ("backups", str(places.backups)),
        ("runtime", str(places.runtime)),
        ("logs", str(places.logs)),
    ]
    invocation.terminal.print("\n".join(f"{name:<9} {place}" for name, place in rows))


def _print(invocation: Invocation, form: str, *, changed_only: bool) -> None:
    found = invocation.settings()
    rows = [
        (key, value, origin)
        for key, value, origin in settings_rows(found)
        if not changed_only or origin != "default"
    ]
    if form != "text":
        plain = {key: {"value": value, "origin": origin} for key, value, origin in rows}
        invocation.terminal.print(encode(plain, form))
    elif rows:
        from lmstrix.cli.terminal import table  # not needed for --help

        shown = [(key, _shown(value), origin) for key, value, origin in rows]
        for line in table(("Setting", "Value", "From"), shown):
            invocation.terminal.print(line)
    else:
        invocation.terminal.note(
            f"Every setting is at its default. Settings go into {invocation.places.settings_file}."
        )


def settings_rows(effective: Effective) -> list[tuple[str, Any, str]]:
    """Dotted key, value and origin of every setting, in the order of the keys."""
    rows = []
    for key, origin in sorted(effective.origins.items()):
        value: Any = effective.settings
        for part in key.split("."):
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        rows.append((key, value, origin))
    return rows


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    return str(value)
