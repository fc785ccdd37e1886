"""`lmstrix load`: load a model and keep it loaded."""

from __future__ import annotations

from typing import Any

import click

from lmstrix.cli.formats import encode, format_option
from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.options import load_config, load_options, shared_load_arguments, ttl_option
from lmstrix.cli.root import command as declare
from lmstrix.cli.units import duration, tokens
from lmstrix.cli.values import LENGTH

EXAMPLES = """\
\b
Examples:
  lmstrix load my-model
  lmstrix load my-model --in-ctx 32k --kv-type q8_0 --ttl 2h
"""


@declare(name="load", epilog=EXAMPLES)
@click.argument("model")
@click.option(
    "--in-ctx",
    type=LENGTH,
    help="Context to load: tokens, % of the declared, 0 for the engine's default."
    "  [default: the tested limit, else what fits]",
)
@load_options
@click.option("--parallel", type=click.IntRange(1), metavar="N", help="Requests at the same time.")
@ttl_option
@click.option("--id", "instance_id", metavar="ID", help="Name of the instance.")
@format_option()
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> None:
    """Load MODEL and keep it loaded until it was not used for a while (--ttl), or `unload`."""
    invocation.run(_load(invocation, given))


async def _load(invocation: Invocation, given: dict[str, Any]) -> None:
    from lmstrix.cli.answer_report import progress_line  # not for --help
    from lmstrix.registry.columns import human_bytes

    terminal = invocation.terminal
    invocation.kept = "nothing was loaded."
    config = load_config(
        **shared_load_arguments(given), ttl=given["ttl"], parallel=given["parallel"]
    )
    async with invocation.client() as client:
        instance = await client.load(
            given["model"],
            in_ctx=given["in_ctx"],
            config=config,
            instance_id=given["instance_id"],
            resident=True,
            on_progress=lambda progress: terminal.status(progress_line(progress)),
        )
    if given["form"] != "text":
        terminal.print(encode(instance, given["form"]))
        return
    memory = f", {human_bytes(instance.memory.resident_bytes)}" if instance.memory else ""
    terminal.print(
        f"Loaded {instance.model_key} as {instance.id}: context {tokens(instance.context_tokens)}"
        f"{memory}, in {duration(instance.load_s)}."
    )
