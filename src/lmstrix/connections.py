"""The store, the providers and the sessions of one façade, each opened when first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from lmstrix.config import Places, Settings
    from lmstrix.providers import Provider
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
        self._providers: tuple[Provider, ...] | None = None
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
        """What the store knows of the provider and server that are set, of all without."""
        from lmstrix.registry.facts import is_at

        place = {"provider": self.settings.provider, "server": self.settings.server}
        return [entry for entry in self.store.entries() if is_at(entry, **place)]

    def providers(
        self, *, provider: str | None = None, server: str | None = None
    ) -> list[Provider]:
        """Those of that name and at that server.

        Without a name it is those that are set; a server that is set is no reason to leave out
        what runs on this machine. Raises `NotFoundError` where there is none.
        """
        self.check()
        if self._providers is None:
            from lmstrix.providers.found import find_providers

            found, problems = find_providers(self.settings, self.places)
            self._providers, self.problems = tuple(found), tuple(problems)
        provider = provider or self.settings.provider
        chosen = [
            one
            for one in self._providers
            if provider in (None, one.name)
            and (one.server == server if server else self._is_set(one))
        ]
        if not chosen:
            names = ", ".join(sorted({one.name for one in self._providers}))
            named = f"provider {provider}" if provider else "provider"
            raise NotFoundError(
                f"There is no {named}{f' at {server}' if server else ''}.",
                hint=f"There is: {names}." if names else "",
            )
        return chosen

    def _is_set(self, provider: Provider) -> bool:
        return self.settings.server in (None, provider.server) or "://" not in provider.server

    def provider_of(self, model: Model) -> Provider:
        """The provider that has `model`."""
        return self.providers(provider=model.provider, server=model.server)[0]

    def session_for(self, model: Model) -> Session:
        """The session with the provider of `model`."""
        from lmstrix.session import Session

        provider = self.provider_of(model)
        place = (provider.name, provider.server)
        if place not in self._sessions:
            self._sessions[place] = Session(provider, self.settings.timeouts)
        return self._sessions[place]

    async def loaded(self) -> list[tuple[Provider, Instance]]:
        """Every loaded instance with its provider."""
        return [
            (provider, instance)
            for provider in self.providers()
            for instance in await provider.list_instances()
        ]

    async def aclose(self) -> None:
        """End every instance that its provider owns and close the store, for good."""
        self._closed = True
        providers, self._providers = self._providers or (), None
        self._sessions.clear()
        for provider in providers:
            await provider.aclose()
        if self._store is not None:
            self._store.close()
            self._store = None


def was_closed() -> UsageError:
    """The error for whatever is asked of a façade after its end."""
    return UsageError(
        "This LMStrix was closed, and what it had loaded has ended with it.",
        hint="Make a new one, or do the work before it is closed (inside its `with` block).",
    )
