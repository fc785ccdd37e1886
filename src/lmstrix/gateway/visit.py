"""One request to the gateway as the access log has it: never what is asked or answered."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass

log = logging.getLogger("lmstrix.gateway.access")


@dataclass(kw_only=True)
class Visit:
    """Times are seconds on the loop's clock. `model` is the one that answered, if any did."""

    method: str
    path: str
    begun_at: float
    status: int = 0
    first_at: float | None = None
    model: str = ""

    def line(self, *, now: float) -> str:
        """For example `POST /v1/messages 200 tiny-chat 12 ms, whole 340 ms`."""
        first = now if self.first_at is None else self.first_at
        return (
            f"{self.method} {self.path} {self.status or 'gone'} {self.model or '-'} "
            f"{(first - self.begun_at) * 1000:.0f} ms, whole {(now - self.begun_at) * 1000:.0f} ms"
        )


_visit: ContextVar[Visit | None] = ContextVar("visit", default=None)


def begin(visit: Visit) -> None:
    """What this task, and those it starts, do is for `visit`."""
    _visit.set(visit)


def note_model(key: str) -> None:
    """Say which model answers the request that this task is for."""
    if (visit := _visit.get()) is not None:
        visit.model = key
