"""Through how many gateways a request has come, so that none goes round in circles.

A gateway counts what the header says and keeps it for the time of the request; whoever asks
another server on behalf of that request passes it on.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = "x-lmstrix-hops"

_hops: ContextVar[int] = ContextVar("hops", default=0)


@contextmanager
def come_through(hops: int) -> Iterator[None]:
    """What is done within the block is for a request that has come through so many gateways."""
    before = _hops.set(hops)
    try:
        yield
    finally:
        _hops.reset(before)


def hop_fields() -> dict[str, str]:
    """The header for a request to another server; none outside a gateway."""
    hops = _hops.get()
    return {HEADER: str(hops)} if hops else {}
