"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lmstrix.cli.values import DURATION, KV_TYPE, SIZE
from lmstrix.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lmstrix.types import LoadConfig


def model_options(function: Any) -> Any:
    """`[MODEL]` and `-m/--model/--model-id`; `one_model` puts them together."""
    function = click.option(
        "-m", "--model", "--model-id", "model_option", metavar="MODEL", help="The model."
    )(function)
    return click.argument("model", required=False)(function)


def one_model(argument: str | None, option: str | None) -> str | None:
    """The model named as argument or option. Raises `UsageError` where both differ."""
    if argument and option and argument != option:
        raise UsageError(
            f"Two models are named: {argument!r} and, with --model, {option!r}.",
            hint="Name the model once.",
        )
    return option or argument


def load_options(function: Any) -> Any:
    """How the model is to be loaded; `load_config` puts them together."""
    for option in reversed((
        click.option(
            "--kv-type",
            type=KV_TYPE,
            help="Type of the KV cache (f16, q8_0, q4_0 ...): smaller ones hold more context.",
        ),
        click.option("--flash", type=click.Choice(["on", "off"]), help="Flash attention."),
        click.option("--gpu-layers", type=click.IntRange(min=0), metavar="N",
                     help="Layers put on the GPU."),
        click.option("--threads", type=click.IntRange(min=1), metavar="N",
                     help="Threads that compute."),
        click.option("--memory-limit", type=SIZE, help="Memory the engine may take: 2GB, 512MiB."),
    )):  # fmt: skip
        function = option(function)
    return function


ttl_option = click.option(
    "--ttl", type=DURATION, help="Unload after this long without use: 10m, 2h."
)


def load_config(
    *,
    kv_type: str | None,
    flash: str | None,
    gpu_layers: int | None,
    threads: int | None,
    memory_limit: int | None,
    ttl: float | None = None,
    parallel: int | None = None,
) -> LoadConfig:
    """The load settings that were given."""
    from lmstrix.types import LoadConfig  # not needed for --help

    return LoadConfig(
        kv_type_k=kv_type,
        kv_type_v=kv_type,
        flash_attention=None if flash is None else flash == "on",
        gpu_layers=gpu_layers,
        threads=threads,
        memory_limit_bytes=memory_limit,
        ttl_s=ttl,
        parallel=parallel,
    )


def shared_load_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of all that was given, what `load_options` declared."""
    names = ("kv_type", "flash", "gpu_layers", "threads", "memory_limit")
    return {name: given[name] for name in names}
