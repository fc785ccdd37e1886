"""The body of a request on its way in, within limits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lmstrix.gateway.errors import Kind, Problem
from lmstrix.gateway.responding import RefusedError

if TYPE_CHECKING:
    from starlette.types import Message, Receive


class Intake:
    """Passes on what comes. Raises `RefusedError` for more than `most_bytes`, or too slowly.

    The time is for the whole body; after it `receive` waits for as long as it takes, since what
    it then waits for is that the caller goes away.
    """

    def __init__(self, receive: Receive, *, most_bytes: int, within_s: float) -> None:
        self._receive = receive
        self._most_bytes = most_bytes
        self._within_s = within_s
        self._deadline: float | None = None
        self._bytes = 0
        self._whole = False

    async def receive(self) -> Message:
        """As an ASGI application calls it."""
        if self._whole:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._within_s
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise RefusedError(
                Problem(
                    status=408,
                    kind=Kind.TIMEOUT,
                    message=f"The request did not come whole within {self._within_s:g} s.",
                )
            ) from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._most_bytes:
            raise RefusedError(too_large(self._most_bytes))
        self._whole = not message.get("more_body", False)
        return message


def too_large(most_bytes: int) -> Problem:
    """The refusal of a body that has more bytes than are taken."""
    return Problem(
        status=413,
        kind=Kind.TOO_LARGE,
        message=f"The request is larger than the {most_bytes:,} bytes that are taken.",
    )
