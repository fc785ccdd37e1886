"""An engine that its process owns, with what its instance needs beyond one process's life."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from lmstrix.engine.process import Engine
from lmstrix.errors import EngineDiedError, LMStrixError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstrix.engine.client import EngineClient
    from lmstrix.engine.deaths import Death
    from lmstrix.types import Instance

# A cancelled request is let go of after the prompt batch under way. How long one takes is known
# from the progress seen so far; before any, a slow machine gets this.
_UNKNOWN_BATCH_S = 15.0
_MARGIN_S = 1.0
_POLL_S = 0.02
_DEATH_S = 2.0


class _Slot(msgspec.Struct):
    is_processing: bool


class Owned:
    """One instance and the engine behind it, which is replaced when it does not let go."""

    def __init__(self, instance: Instance, engine: Engine) -> None:
        self.instance = instance
        self._engine = engine
        self._active = 0
        self._batch_at = 0.0
        self._slowest_batch_s: float | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._replacing: asyncio.Task[None] | None = None

    @property
    def client(self) -> EngineClient:
        """The way to the engine."""
        return self._engine.client

    @property
    def log(self) -> Sequence[str]:
        """The last lines of the engine's log."""
        return self._engine.log

    @property
    def dead(self) -> bool:
        """Whether the engine is gone for good."""
        return self._engine.died.done() and self._replacing is None

    def instance_now(self) -> Instance:
        """The instance with the memory it holds at this moment."""
        return replace(self.instance, memory=self._engine.memory_now())

    async def ready(self) -> None:
        """Wait for a replacement under way. Raises `EngineDiedError` when the engine is gone."""
        if self._replacing is not None:
            await asyncio.shield(self._replacing)
        if self._engine.died.done():
            raise died(self.instance, self._engine.died.result(), log=self.log)

    async def death(self) -> Death | None:
        """How the engine died, if a broken connection means that it did."""
        with suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(self._engine.died), _DEATH_S)
        return None

    def begin(self) -> None:
        """A stream starts."""
        self._active += 1
        self._batch_at = time.monotonic()

    def saw_batch(self) -> None:
        """A prompt batch is done."""
        now = time.monotonic()
        self._slowest_batch_s = max(now - self._batch_at, self._slowest_batch_s or 0.0)
        self._batch_at = now

    def finish(self, *, cancelled: bool) -> None:
        """A stream ended. After a cancel the engine is watched until it has let go."""
        self._active -= 1
        if cancelled and self._tidying is None and not self._engine.died.done():
            self._tidying = asyncio.create_task(self._tidy())

    async def close(self) -> None:
        """End the engine."""
        for task in (self._tidying, self._replacing):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await self._engine.stop()

    async def _tidy(self) -> None:
        """See that cancelled requests hold no slot; else replace the engine."""
        batch_s = self._slowest_batch_s
        patience_s = _UNKNOWN_BATCH_S if batch_s is None else _MARGIN_S + 3 * batch_s
        try:
            async with asyncio.timeout(patience_s):
                while await self._busy_slots() > self._active:  # noqa: ASYNC110  # another process
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            if not self._active and not self._engine.died.done():
                self._replacing = asyncio.create_task(self._replace())
        except (OSError, ProtocolError, msgspec.DecodeError):
            pass  # it died, if need be in the middle of a word; the next request says so
        finally:
            self._tidying = None

    async def _busy_slots(self) -> int:
        status, body = await self.client.call("GET", "/slots")
        if status != HTTPStatus.OK:  # it is too busy to tell
            return self._active + 1
        return sum(slot.is_processing for slot in msgspec.json.decode(body, type=list[_Slot]))

    async def _replace(self) -> None:
        try:
            self._engine.kill()
            await asyncio.shield(self._engine.died)
            await self._engine.stop()
            # A failure leaves the dead engine in place; the next request then says why.
            with suppress(LMStrixError):
                self._engine = await Engine.start(self._engine.spec)
                self.instance = replace(self.instance, pid=self._engine.pid, loaded_at=time.time())
        finally:
            self._replacing = None


def died(
    instance: Instance, death: Death, *, log: Sequence[str] = (), partial: str = ""
) -> EngineDiedError:
    """The error for a request whose engine is gone."""
    hint = f"Load it again: lmstrix load {instance.model_key}"
    if death.out_of_memory:
        hint = f"Load it with a smaller context than {instance.context_tokens:,} tokens."
    return EngineDiedError(
        f"The engine of {instance.model_key} died at a context of "
        f"{instance.context_tokens:,} tokens: {death.reason}.",
        reason=death.reason,
        exit_status=death.exit_status,
        log=tuple(log[-40:]),
        partial=partial,
        hint=hint,
    )
