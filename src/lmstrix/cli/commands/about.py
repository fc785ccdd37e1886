"""`lmstrix about`: what this is, where it keeps things, what it knows."""

from __future__ import annotations

from typing import Any

from lmstrix import __version__
from lmstrix.cli.formats import encode, format_option
from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.root import command as declare


@declare(name="about")
@format_option()
@pass_invocation
def command(invocation: Invocation, form: str) -> None:
    """Show versions, machine, folders and how many models are known; 'doctor' checks them."""
    facts = about_data(invocation)
    if form != "text":
        invocation.terminal.print(encode(facts, form))
        return
    from lmstrix.cli.terminal import table  # not needed for --help
    from lmstrix.registry.columns import human_bytes

    shown = {**facts, "memory_bytes": human_bytes(facts["memory_bytes"])}
    rows = [(_title(name), _text(value)) for name, value in shown.items()]
    first, *rest = table(rows[0], rows[1:])
    for line in (first, *rest):
        invocation.terminal.print(line)


def about_data(invocation: Invocation) -> dict[str, Any]:
    """The facts, by names for programs."""
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from lmstrix.engine.memory import machine_bytes

    try:
        engine = f"xllamacpp {version('xllamacpp')}"
    except PackageNotFoundError:
        engine = "not installed"
    places = invocation.places
    known, tested = _counts(invocation)
    return {
        "lmstrix": __version__,
        "license": "MIT",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "cores": os.cpu_count(),
        "memory_bytes": machine_bytes(),
        "engine": engine,
        "settings": str(places.settings_file),
        "store": str(places.database),
        "logs": str(places.logs),
        "models": known,
        "tested": tested,
    }


def _counts(invocation: Invocation) -> tuple[int, int]:
    """How many models are known, and how many of them have a test result."""
    from lmstrix.store import Store

    path = invocation.places.database
    if not path.exists():
        return 0, 0
    with Store.open(path) as store:
        results = [entry.result for entry in store.entries()]
    return len(results), sum(result is not None for result in results)


def _title(name: str) -> str:
    return "memory and swap" if name == "memory_bytes" else name


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
