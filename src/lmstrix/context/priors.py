"""What is believed of a limit before the first load, best source first.

The model's own header and this machine's memory; else the server's word on what fits; else what was
found of models of the same architecture there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from lmstrix.context.fit import STEP_TOKENS, UNDECLARED_CEILING
from lmstrix.context.plan import predict
from lmstrix.context.search import Estimate
from lmstrix.errors import LMStrixError, UnreachableError
from lmstrix.results import Verdict
from lmstrix.store.machine import is_here

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lmstrix.config import Settings
    from lmstrix.context.search import Prior
    from lmstrix.providers import Provider
    from lmstrix.store import Entry, Store
    from lmstrix.types import LoadConfig, Model

SERVERS_ERROR = 0.2  # of a server's own estimate
LIKE_ERROR = 0.25  # of a limit found for a model alike in size
UNLIKE_ERROR = 0.6  # for one of the same architecture, no more
_ABSURD_TOKENS = 2**30  # a server whose guardrails are off says yes to that, too
_ALIKE = 0.15  # so much may sizes differ


class Expectation(NamedTuple):
    """What is believed, and whether it comes of the memory that is needed and there."""

    prior: Prior | None
    of_memory: bool


async def expectation_of(
    model: Model, load: LoadConfig, provider: Provider, store: Store, *, settings: Settings
) -> Expectation:
    """The best that is to be had. Raises `UnreachableError`."""
    # Reading a large header takes a tenth of a second, which a live table would show.
    if is_here(model.server):
        known = await asyncio.to_thread(predict, model, load, settings=settings)
        if known is not None:
            return Expectation(known, of_memory=True)
    told = await _told(model, load, provider)
    if told is not None:
        return Expectation(told, of_memory=True)
    entries = await asyncio.to_thread(list, store.entries())
    return Expectation(of_architecture(model, entries), of_memory=False)


async def _told(model: Model, load: LoadConfig, provider: Provider) -> Estimate | None:
    """The largest size of which the server says that it fits."""
    ceiling = model.declared_context_tokens or UNDECLARED_CEILING

    async def fits(tokens: int) -> bool | None:
        config = replace(load, context_tokens=tokens)
        try:
            estimate = await provider.estimate(model, config)
        except UnreachableError:
            raise
        except LMStrixError:
            return None  # it cannot say; loads will
        return None if estimate is None else estimate.fits

    whole = await fits(ceiling)
    if whole is None:
        return None
    if whole:
        says_yes_to_all = await fits(_ABSURD_TOKENS)
        return None if says_yes_to_all else Estimate(ceiling, SERVERS_ERROR)
    low, high = 0, (ceiling - 1) // STEP_TOKENS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if await fits(middle * STEP_TOKENS) else (low, middle - 1)
    return Estimate(low * STEP_TOKENS, SERVERS_ERROR) if low else None


def of_architecture(model: Model, entries: Iterable[Entry]) -> Estimate | None:
    """What the limits of models of the same architecture, in the same place, let one expect.

    A smaller model should hold what a larger one did, a larger one less. Of one whose declared
    context fitted it is only known that its limit is no smaller.
    """
    found: list[tuple[float, Estimate]] = []
    for entry in entries:
        other, limit = entry.model, entry.result.loadable if entry.result else None
        if (
            limit is None
            or limit.tokens is None
            or limit.verdict is not Verdict.FOUND
            or other.key == model.key
            or (other.provider, other.server) != (model.provider, model.server)
            or not other.architecture
            or other.architecture != model.architecture
        ):
            continue
        differs = abs(other.size_bytes - model.size_bytes) / max(1, model.size_bytes)
        alike = differs <= _ALIKE
        if limit.below_tokens is not None:
            estimate = Estimate(limit.tokens, LIKE_ERROR if alike else UNLIKE_ERROR)
        elif model.size_bytes <= other.size_bytes * (1 + _ALIKE):
            least = max(limit.tokens, model.declared_context_tokens or 0)
            estimate = Estimate(least, LIKE_ERROR if alike else UNLIKE_ERROR)
        else:
            continue
        found.append((differs, estimate))
    return min(found, key=lambda one: one[0])[1] if found else None
