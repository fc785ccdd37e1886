"""Providers found through the entry point group `lmstrix.providers`."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint

    from lmstrix.config import Places, Settings
    from lmstrix.providers import Provider

GROUP = "lmstrix.providers"


def find_providers(
    settings: Settings, places: Places, *, plugins: Iterable[EntryPoint] | None = None
) -> tuple[list[Provider], list[str]]:
    """Every provider there is, and a sentence for each plugin that is broken and left out.

    `plugins` are the installed ones unless given. Of two with one name the first counts.
    """
    providers: list[Provider] = []
    problems: list[str] = []
    seen: set[str] = set()
    for plugin in entry_points(group=GROUP) if plugins is None else plugins:
        if plugin.name in seen:
            problems.append(f"A second provider named {plugin.name} ({plugin.value}) is left out.")
            continue
        seen.add(plugin.name)
        try:
            providers.extend(plugin.load().connect(settings, places))
        except Exception as problem:  # noqa: BLE001  # somebody else's code; it is named, not hidden
            problems.append(
                f"The provider {plugin.name} ({plugin.value}) is broken and left out: "
                f"{type(problem).__name__}: {problem}"
            )
    return providers, problems
