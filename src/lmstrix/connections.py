"""The store, the providers and the sessions of one façade, each opened when first needed."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING

from lmstrix.errors import LMStrixError, NotFoundError, UnreachableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lmstrix.config import Places, Settings
    from lmstrix.providers import Provider
    from lmstrix.providers.found import Kinds
    from lmstrix.session import Session
    from lmstrix.store import Entry, Store
    from lmstrix.types import Instance, Model


class Connections:
    """What a façade holds open. `problems` are plugins that could not be used."""

    def __init__(self, places: Places, settings: Settings, store_path: Path) -> None:
        self.places = places
        self.settings = settings
        self.problems: tuple[str, ...] = ()
        self._store_path = store_path
        self._store: Store | None = None
        self._known: dict[tuple[str, str], Provider] = {}
        self._connected = False
        self._sessions: dict[tuple[str, str], Session] = {}
        self._closed = False

    def check(self) -> None:
        """Raise `UsageError` once closed: nothing is opened anew behind the user's back."""
        if self._closed:
            raise was_closed()

    @property
    def store(self) -> Store:
        """The store, opened."""
        self.check()
        if self._store is None:
            from lmstrix.store import Store

            self._store = Store.open(self._store_path)
        return self._store

    def entries(self) -> list[Entry]:
        """What the store knows of the provider and server that are set, of all without.

        Where several providers have listed the models of one server, those of one count.
        """
        from lmstrix.registry.facts import is_at
        from lmstrix.views import one_view_each

        place = {
            "provider": self.settings.provider,
            "server": self._address(self.settings.server),
        }
        there = (entry for entry in self.store.entries() if is_at(entry, **place))
        return one_view_each(there, self.settings, self._kinds.preference)

    def providers(
        self, *, provider: str | None = None, server: str | None = None
    ) -> list[Provider]:
        """Those of that name and at that server, configured or seen before; none is touched.

        Without a name it is those that are set; a server that is set is no reason to leave out
        what runs on this machine. `server` is an address or the name of a configured server.
        Raises `NotFoundError` where there is none.
        """
        self.check()
        provider, server = provider or self.settings.provider, self._address(server)
        place = server or self._address(self.settings.server)
        if provider and place and "://" in place:
            self._at(provider, place)  # whatever the server says of itself, the user names it
        chosen = [
            one
            for one in self._preferred(provider)
            if provider in (None, one.name)
            and (one.server == server if server else self._is_set(one))
        ]
        if not chosen:
            raise self._none(provider, place)
        return chosen

    def _none(self, provider: str | None, server: str | None) -> LMStrixError:
        """The error where no provider is as the user wishes."""
        names = self._kinds.names
        if provider is not None and provider not in names:
            return NotFoundError(
                f"There is no provider {provider}.", hint=f"There is: {', '.join(names)}."
            )
        if server is not None and "://" in server:
            return _silent(server, [name for name in names if name != "embedded"])
        return NotFoundError(
            f"There is no server for the provider {provider}."
            if provider
            else "There is no provider: none is switched on, and no server is known.",
            hint="Look for servers with `lmstrix scan`, or name one: --server URL.",
        )

    async def discover(
        self, *, provider: str | None = None, server: str | None = None
    ) -> list[Provider]:
        """As `providers`, with those that answer at the usual places of this machine."""
        self.check()
        await self._look()
        return self.providers(provider=provider, server=server)

    async def _look(self) -> None:
        for one in await self._kinds.discover():
            self._known.setdefault((one.name, one.server), one)
        self.problems = tuple(self._kinds.problems)

    def _unasked(self) -> set[str]:
        """The servers that the user named and that nobody knows what they are."""
        settings = self.settings
        named = {one.root for one in settings.servers.values() if one.provider is None}
        if (chosen := self._address(settings.server)) and settings.provider is None:
            named = {chosen} if "://" in chosen else set()
        return named - {one.server for one in self._preferred(settings.provider)}

    @cached_property
    def _kinds(self) -> Kinds:
        from lmstrix.providers.found import Kinds

        return Kinds(self.settings, self.places)

    def _preferred(self, name: str | None) -> list[Provider]:
        from lmstrix.providers.found import preferred
        from lmstrix.views import configured_views

        if not self._connected:
            self._connected = True
            for one in self._kinds.connect():
                self._known.setdefault((one.name, one.server), one)
            for name_seen, server in self.store.servers():
                if "://" in server:
                    self._at(name_seen, server)
            self.problems = tuple(self._kinds.problems)
        named = configured_views(self.settings)
        return preferred(self._known.values(), name=name, named=named)

    def _at(self, name: str, server: str) -> Provider | None:
        """The provider of that kind at that server, made when first needed."""
        if (name, server) not in self._known:
            made = self._kinds.at(name, server)
            if made is None:
                return None
            self._known[name, server] = made
        return self._known[name, server]

    def _address(self, server: str | None) -> str | None:
        return self.settings.server_address(server)

    def _is_set(self, provider: Provider) -> bool:
        wanted = self._address(self.settings.server)
        return wanted in (None, provider.server) or "://" not in provider.server

    def provider_of(self, model: Model) -> Provider:
        """The provider that has `model`."""
        self.check()
        found = self._at(model.provider, model.server)
        if found is None:
            raise NotFoundError(
                f"{model.key} belongs to a provider {model.provider}, which is not installed.",
                hint=f"There is: {', '.join(self._kinds.names)}.",
            )
        return found

    def engine_of(self, model: Model) -> str:
        """What runs `model` now; empty where that is not known without asking a server."""
        try:
            return self.provider_of(model).engine
        except NotFoundError:
            return ""

    def session_for(self, model: Model) -> Session:
        """The session with the provider of `model`."""
        from lmstrix.session import Session

        provider = self.provider_of(model)
        place = (provider.name, provider.server)
        if place not in self._sessions:
            self._sessions[place] = Session(provider, self.settings.timeouts, self.places.locks)
        return self._sessions[place]

    async def loaded(self) -> list[tuple[Provider, Instance]]:
        """Every loaded instance with its provider; a server that is silent has none.

        One that the user named and that is silent is in `problems`.
        """
        if self._unasked():
            await self._look()
            self.problems += tuple(_silent(server).message for server in sorted(self._unasked()))
        providers = [one for one in self.providers() if one.capabilities.supports_load]
        answers = await asyncio.gather(
            *(one.list_instances() for one in providers), return_exceptions=True
        )
        found: list[tuple[Provider, Instance]] = []
        for one, answer in zip(providers, answers, strict=True):
            if isinstance(answer, UnreachableError):
                if one.expected:
                    self.problems += (answer.message,)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found += ((one, instance) for instance in answer)
        return found

    async def aclose(self) -> None:
        """End every instance that its provider owns and close the store, for good."""
        self._closed = True
        providers = list(self._known.values())
        self._known.clear()
        self._sessions.clear()
        for provider in providers:
            await provider.aclose()
        if self._store is not None:
            self._store.close()
            self._store = None


def _silent(server: str, kinds: Sequence[str] = ()) -> UnreachableError:
    return UnreachableError(
        f"Nothing that runs models answers at {server}.",
        server=server,
        hint=f"Is it running? If it is, say of what kind: --provider {', '.join(kinds)}.",
    )


def was_closed() -> UsageError:
    """The error for whatever is asked of a façade after its end."""
    return UsageError(
        "This LMStrix was closed, and what it had loaded has ended with it.",
        hint="Make a new one, or do the work before it is closed (inside its `with` block).",
    )
