"""Write the generated pages of `docs/` and check every link of every page.

    python tools/make/docs.py

`docs/commands.md` is the commands' own `--help`, at 80 columns.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from lmstrix.cli.root import root

ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def commands_page() -> str:
    """Every command's help, one after another."""
    context = click.Context(root, info_name="lmstrix", max_content_width=80, terminal_width=80)
    parts = ["# Commands\n\nWritten by `make docs` from the commands' own `--help`.\n"]
    parts.append(f"```text\n{root.get_help(context).rstrip()}\n```\n")
    parts += describe(root, context)
    return "\n".join(parts)


def describe(group: click.Group, context: click.Context) -> list[str]:
    """The sections of a group's commands, subcommands included."""
    sections = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            raise SystemExit(f"{name} is listed but not there")
        inner = click.Context(command, info_name=name, parent=context, terminal_width=80)
        title = inner.command_path
        sections.append(f"## {title}\n\n```text\n{command.get_help(inner).rstrip()}\n```\n")
        if isinstance(command, click.Group):
            sections += describe(command, inner)
    return sections


def broken_links() -> list[str]:
    """Every relative link that leads nowhere, with the page it is on."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tools/**/*.md")]
    return [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in _LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]


def main() -> None:
    """Write, then check."""
    page = ROOT / "docs" / "commands.md"
    page.write_text(commands_page(), encoding="utf-8")
    if broken := broken_links():
        print("Links that lead nowhere:", *broken, sep="\n  ", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
