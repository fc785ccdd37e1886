"""The models that clients made of others: names with a system message and options of their own.

They are kept in the store, so they outlive the gateway, as Ollama's do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lmstrix.errors import ModelNotFoundError, UsageError
from lmstrix.protocol.ollama.messages import WireMessage  # noqa: TC001  # msgspec resolves it
from lmstrix.protocol.ollama.requests import read_messages
from lmstrix.types import Message, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lmstrix.gateway.gateway import Gateway
    from lmstrix.store import Entry

_STATE = "ollama.models"
LATEST = ":latest"


class Made(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model made of another. `source` is the name of one that has a file of its own."""

    source: str
    made_at: float
    system: str | None = None
    parameters: dict[str, object] = {}
    messages: tuple[WireMessage, ...] = ()
    license: tuple[str, ...] = ()


class Chosen(NamedTuple):
    """What a name means: the name the gateway knows, its model, and what was made of it."""

    name: str
    entry: Entry
    made: Made | None

    def options(self, given: Mapping[str, object] | None) -> dict[str, object]:
        """The options of a request, with those of the made model where it is silent."""
        return {**(self.made.parameters if self.made else {}), **(given or {})}

    def before(self) -> tuple[Message, ...]:
        """The messages that lead every conversation with it."""
        if self.made is None:
            return ()
        system = (Message(Role.SYSTEM, self.made.system),) if self.made.system else ()
        return (*system, *read_messages(self.made.messages))


_made = msgspec.json.Decoder(dict[str, Made])
_encode = msgspec.json.Encoder().encode


class Shelf:
    """The made models of a gateway, and every name that Ollama's dialect may use."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._writing = asyncio.Lock()

    def made(self) -> dict[str, Made]:
        """The made models by their names, which end in a tag."""
        kept = self._gateway.client._open.store.get_state(_STATE)  # noqa: SLF001  # of the same house
        return _made.decode(kept) if kept else {}

    async def find(self, name: str) -> Chosen:
        """What `name` means, with or without `:latest`.

        Raises `UsageError` for an empty name and `ModelNotFoundError` in the words that
        programs written for Ollama look for.
        """
        if not name.strip():
            raise UsageError("The model is missing.", hint='Name it: {"model": "…"}')
        made = self.made().get(tagged(name))
        known = made.source if made is not None else name
        try:
            entry = await self._gateway.find(known)
        except ModelNotFoundError as problem:
            if known.endswith(LATEST):
                known = known.removesuffix(LATEST)
                try:
                    return Chosen(known, await self._gateway.find(known), made)
                except ModelNotFoundError:
                    pass
            raise ModelNotFoundError(
                f"model '{name}' not found",
                query=name,
                nearest=problem.nearest,
                hint=f"(nearest: {', '.join(problem.nearest)})" if problem.nearest else "",
            ) from None
        return Chosen(known, entry, made)

    async def put(self, name: str, made: Made) -> None:
        """Make a model, or make it anew. Raises `UsageError` for the name of a real one."""
        for entry in await self._gateway.models():
            if tagged(entry.model.key) == tagged(name):
                raise UsageError(
                    f"{name} is a model with a file of its own.", hint="Choose another name."
                )
        async with self._writing:
            self._keep(self.made() | {tagged(name): made})

    async def remove(self, name: str) -> bool:
        """Forget a made model; false where there is none by that name."""
        async with self._writing:
            kept = self.made()
            if kept.pop(tagged(name), None) is None:
                return False
            self._keep(kept)
            return True

    def _keep(self, made: dict[str, Made]) -> None:
        text = _encode(made).decode() if made else None
        self._gateway.client._open.store.set_state(_STATE, text)  # noqa: SLF001  # as above


def tagged(name: str) -> str:
    """The name with a tag, as Ollama shows it: `latest` where it has none."""
    return name if ":" in name.rpartition("/")[2] else name + LATEST
