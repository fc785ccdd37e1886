"""Stop a load before the machine runs out of memory, and swaps, and can be used no more.

`MemoryGuard` decides, fed with readings; `guarded` is the loop that reads and stops.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lmstrix.context.fit import machine_memory
from lmstrix.errors import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from lmstrix.types import Model

_T = TypeVar("_T")

POLL_S = 0.1
REACTION_S = 0.3  # from a reading until what was loaded has been given back
SWAPPED_BYTES = 256 * 2**20  # more swap than this in use since the beginning is no chance


@dataclass(frozen=True)
class Reading:
    """Memory at a moment of a monotonic clock."""

    at_s: float
    available_bytes: int
    swap_used_bytes: int = 0


class MemoryGuard:
    """Whether to go on, by how much memory there is and how fast it goes.

    `reserve_bytes` are not to be touched. Where less than that was there to begin with, half of
    what there was is not.
    """

    def __init__(self, first: Reading, *, reserve_bytes: int) -> None:
        self._first = first
        self._last = first
        scarce = first.available_bytes <= reserve_bytes
        self._floor_bytes = first.available_bytes // 2 if scarce else reserve_bytes

    def objection(self, reading: Reading) -> str:
        """Why to stop now, in words that end a sentence; empty while all is well.

        Readings are given in the order of their times.
        """
        last, self._last = self._last, reading
        passed_s = reading.at_s - last.at_s
        lost = last.available_bytes - reading.available_bytes
        per_s = max(0.0, lost / passed_s) if passed_s > 0 else 0.0
        ahead = reading.available_bytes - per_s * REACTION_S
        left = f"{reading.available_bytes / 2**20:,.0f} MiB are left"
        if reading.available_bytes < self._floor_bytes:
            return left
        if ahead < self._floor_bytes:
            return f"{left}, and {per_s / 2**20:,.0f} MiB more go every second"
        swapped = reading.swap_used_bytes - self._first.swap_used_bytes
        if swapped > SWAPPED_BYTES and ahead < 2 * self._floor_bytes:
            return f"{left}, and {swapped / 2**20:,.0f} MiB have been swapped out"
        return ""


def read_memory() -> Reading:
    """What this machine, or the container this process is in, has at this moment."""
    import psutil  # noqa: PLC0415  # slow to import, and servers elsewhere need it not

    return Reading(
        at_s=asyncio.get_running_loop().time(),
        available_bytes=machine_memory(reserve_bytes=0).free_bytes,
        swap_used_bytes=int(psutil.swap_memory().used),
    )


async def guarded(
    work: Coroutine[Any, Any, _T],
    model: Model,
    *,
    reserve_bytes: int | None,
    read: Callable[[], Reading] = read_memory,
) -> _T:
    """What comes of `work`, which is cancelled when memory runs short.

    Without `reserve_bytes` it is what `machine_memory` leaves to everything else. Raises
    `OutOfMemoryError`.
    """
    if reserve_bytes is None:
        reserve_bytes = machine_memory().reserve_bytes
    guard = MemoryGuard(read(), reserve_bytes=reserve_bytes)
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=POLL_S))[0]:
            if why := guard.objection(read()):
                raise OutOfMemoryError(
                    f"It was stopped before the machine ran out of memory: {why}.",
                    model=model.key,
                    hint="A smaller context takes less; test.reserve_bytes is what is left alone.",
                )
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
