"""`lmstrix list`: the models that are known, from the store alone."""

from __future__ import annotations

from typing import Any

import click

from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.root import command as declare
from lmstrix.errors import NotFoundError

SORTS = ("id", "name", "ctx", "dtx", "size", "status", "date", "eff", "ttft", "tps", "smart")
SHOWS = ("table", "id", "path", "json", "csv", "yaml", "md", "summary")
EXAMPLES = f"""\
\b
Examples:
  lmstrix list
  lmstrix list 'status:tested,size:>5GB'
  lmstrix list 'ctx:16384-65536,date:>2026-01-01' --sort effd
  lmstrix list --show json --columns id,size,effective

A filter is pieces joined by commas, which all must hold: name:*instruct*, size:, ctx: (tested),
dtx: (declared), eff:, status:, date:, type:, tag:, arch:, quant:, provider:. A piece without a
colon continues the one before it.

Sort keys: {", ".join(SORTS)}; a trailing d turns one round. 'eff' is tested by declared
context, 'smart' puts first what is cheapest to test.
"""


@declare(name="list", epilog=EXAMPLES)
@click.argument("chosen", metavar="[FILTER]", required=False)
@click.option("--filter", "chosen_too", metavar="FILTER", help="The same as the argument.")
@click.option("--key", "keywords", metavar="A,B", help="Only those with these words.")
@click.option("--sort", metavar="KEY", default="id", show_default=True, help="What to order by.")
@click.option("--reverse", "-r", is_flag=True, help="Turn the order round.")
@click.option("--show", type=click.Choice(SHOWS), default="table", show_default=True, help="Form.")
@click.option("--columns", metavar="A,B", help="Columns to show.")
@click.option("--no-header", is_flag=True, help="Leave the column titles out.")
@click.option("--max-width", type=click.IntRange(1), metavar="N", help="Widest line.")
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> None:
    """Show the models that were found, without touching a server."""
    from lmstrix.registry import (  # not needed for --help
        matches_keywords,
        parse_filter,
        sort_entries,
    )
    from lmstrix.registry.columns import parse_columns
    from lmstrix.registry.facts import is_at
    from lmstrix.registry.listing import render
    from lmstrix.registry.sorting import parse_sort
    from lmstrix.store import Store
    from lmstrix.views import one_view_each

    terminal = invocation.terminal
    pieces = [piece for piece in (given["chosen"], given["chosen_too"]) if piece]
    wanted = parse_filter(",".join(pieces))
    words = [word.strip() for word in (given["keywords"] or "").split(",") if word.strip()]
    settings = invocation.settings().settings
    server = settings.server_address(settings.server)
    with Store.open(invocation.places.database) as store:
        there = [
            entry
            for entry in store.entries()
            if is_at(entry, provider=settings.provider, server=server)
        ]

    def preference(name: str) -> int:
        from lmstrix.providers.found import Kinds  # only where a server has two views

        return Kinds(settings, invocation.places).preference(name)

    found = [
        entry
        for entry in one_view_each(there, settings, preference)
        if wanted.matches(entry) and matches_keywords(entry, words)
    ]
    lines = render(
        sort_entries(found, given["sort"], reverse=given["reverse"]),
        show=given["show"],
        columns=parse_columns(given["columns"]) if given["columns"] else (),
        header=not given["no_header"] and bool(found),
        width=terminal.width if terminal.out_live else None,
        max_width=given["max_width"],
        sort=parse_sort(given["sort"])[0],
    )
    for line in lines:
        terminal.print(line)
    if not found and (pieces or words or settings.provider):
        raise NotFoundError("No model matches.", hint="'lmstrix list' shows them all.")
    if not found:
        terminal.note("No models are known yet. Find them: lmstrix scan")
