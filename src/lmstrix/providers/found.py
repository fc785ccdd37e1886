"""Providers found through the entry point group `lmstrix.providers`."""

from __future__ import annotations

import asyncio
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from importlib.metadata import EntryPoint

    from lmstrix.config import Places, Settings
    from lmstrix.providers import Provider

GROUP = "lmstrix.providers"

# Kinds of ours that connect to configured servers alone: without one they need not be imported,
# which every command would pay for.
_CONFIGURED_ONLY = frozenset({"lmstudio", "lmstudio-openai", "ollama", "openai"})


class Kinds:
    """The kinds of providers that are installed; each is imported when it is first needed.

    `problems` has a sentence for each plugin that is broken and left out. `plugins` are the
    installed ones unless given. Of two with one name the first counts.
    """

    def __init__(
        self, settings: Settings, places: Places, *, plugins: Iterable[EntryPoint] | None = None
    ) -> None:
        self.problems: list[str] = []
        self._settings = settings
        self._places = places
        self._plugins: dict[str, EntryPoint] = {}
        self._broken: set[str] = set()
        for plugin in entry_points(group=GROUP) if plugins is None else plugins:
            if plugin.name in self._plugins:
                self.problems.append(
                    f"A second provider named {plugin.name} ({plugin.value}) is left out."
                )
            else:
                self._plugins[plugin.name] = plugin

    @property
    def names(self) -> list[str]:
        """The names of the kinds, sound or not yet seen to be broken."""
        return sorted(set(self._plugins) - self._broken)

    def connect(self) -> list[Provider]:
        """One provider per configured server of every kind; touches none of them."""
        found: list[Provider] = []
        named = {server.provider for server in self._settings.servers.values()}
        for name, plugin in self._plugins.items():
            ours = name in _CONFIGURED_ONLY and plugin.value.startswith("lmstrix.")
            if ours and name not in named:
                continue
            if (kind := self._kind(name)) is not None:
                try:
                    found.extend(kind.connect(self._settings, self._places))
                except Exception as problem:  # noqa: BLE001  # somebody else's code; it is named
                    self._leave_out(name, problem)
        return found

    def at(self, name: str, server: str) -> Provider | None:
        """The provider of that kind for one server; `None` where the kind is not installed."""
        kind = self._kind(name) if name in self._plugins else None
        if kind is None:
            return None
        for configured in kind.connect(self._settings, self._places):
            if configured.server == server:
                return configured
        return kind.at(server, self._settings, self._places)

    def preference(self, name: str) -> int:
        """How much that kind is preferred to others for the same server; -1 where it is gone."""
        kind = self._kind(name) if name in self._plugins else None
        return -1 if kind is None else kind.preference

    async def discover(self) -> list[Provider]:
        """Providers for servers that answer at the usual places, and what unnamed ones are."""
        kinds = {name: kind for name in self._plugins if (kind := self._kind(name)) is not None}
        answers: Sequence[Sequence[Provider] | BaseException] = await asyncio.gather(
            *(kind.discover(self._settings, self._places) for kind in kinds.values()),
            return_exceptions=True,
        )
        found: list[Provider] = []
        for name, answer in zip(kinds, answers, strict=True):
            if isinstance(answer, Exception):
                self._leave_out(name, answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.extend(answer)
        return found

    def _kind(self, name: str) -> type[Provider] | None:
        if name in self._broken:
            return None
        try:
            kind: type[Provider] = self._plugins[name].load()
        except Exception as problem:  # noqa: BLE001  # somebody else's code; it is named
            self._leave_out(name, problem)
            return None
        return kind

    def _leave_out(self, name: str, problem: Exception) -> None:
        self._broken.add(name)
        self.problems.append(
            f"The provider {name} ({self._plugins[name].value}) is broken and left out: "
            f"{type(problem).__name__}: {problem}"
        )


def preferred(
    providers: Iterable[Provider],
    *,
    name: str | None = None,
    named: Mapping[str, str] = MappingProxyType({}),
) -> list[Provider]:
    """One provider per server: the one called `name`, else that of the highest preference.

    `named` are providers that the settings name for a server, by address; they come between.
    """

    def rank(one: Provider) -> tuple[bool, bool, int]:
        return (one.name == name, named.get(one.server) == one.name, one.preference)

    best: dict[str, Provider] = {}
    for one in providers:
        known = best.get(one.server)
        if known is None or rank(one) > rank(known):
            best[one.server] = one
    return list(best.values())
