"""A response that is passed on as it comes, whoever sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from lmstrix.errors import GenerationError

_JSON = "application/json"


class Incoming(Protocol):
    """A response whose head is there."""

    @property
    def status(self) -> int:
        """The status."""
        ...

    @property
    def fields(self) -> Mapping[str, str]:
        """The head's fields by lower-case name."""
        ...

    async def read(self) -> bytes:
        """What has come of the body and was not read; `b""` at its end. Raises `OSError`."""
        ...


class Relayed:
    """What `Provider.relay` gives. `broke` makes the error for a body that breaks off."""

    def __init__(
        self, incoming: Incoming, broke: Callable[[OSError], Awaitable[GenerationError]]
    ) -> None:
        self.status = incoming.status
        self.content_type = incoming.fields.get("content-type", _JSON)
        told = incoming.fields.get("content-length", "")
        self.length = int(told) if told.isascii() and told.isdigit() else None
        self.done = False
        self._incoming = incoming
        self._broke = broke

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in the pieces that arrive. Raises `GenerationError` where it breaks off."""
        read = self._incoming.read
        try:
            while piece := await read():
                yield piece
        except OSError as broken:
            raise await self._broke(broken) from None
        self.done = True
