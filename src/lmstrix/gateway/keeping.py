"""The instances behind the gateway: loaded, joined, borrowed from whoever loaded them, ended."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
from msgspec.structs import replace

from lmstrix.errors import (
    BusyError,
    EngineDiedError,
    LMStrixError,
    ModelNotFoundError,
    NotFoundError,
)
from lmstrix.gateway.lending import Lending
from lmstrix.gateway.residency import Load, Residency, Stay, Use, Wish
from lmstrix.types import Phase, Progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from typing import TypeAlias

    from lmstrix.connections import Connections
    from lmstrix.gateway.options import GatewayOptions
    from lmstrix.store import Entry
    from lmstrix.types import Instance, LoadConfig, ProgressListener

    EvictionListener: TypeAlias = Callable[[Instance], None]
    Sizing: TypeAlias = Callable[[Entry, LoadConfig], LoadConfig]

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Loading:
    """A load under way and who wants to hear of it."""

    task: asyncio.Task[None]
    listeners: list[ProgressListener] = field(default_factory=list)


class Keeping:
    """Does what `Residency` decides. `sized` gives the context to load where nobody named one."""

    def __init__(self, connections: Connections, options: GatewayOptions, sized: Sizing) -> None:
        self._open = connections
        self._options = options
        self._sized = sized
        self._residency = Residency(max_loaded=options.max_loaded, ttl_s=options.ttl_s)
        self._loads: dict[Stay, _Loading] = {}
        self._lending = Lending(connections)
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def owner(self, instance_id: str) -> Entry | None:
        """The model of an instance that was loaded here."""
        stay = self._residency.named(instance_id)
        return None if stay is None else stay.entry

    def own_ids(self) -> list[str]:
        """The instances that were loaded here and stay."""
        return [one.instance.id for one in self._residency if one.instance and not one.ends]

    def own(self) -> list[tuple[Instance, Entry]]:
        """The instances that were loaded here and stay, with their models; nobody is asked."""
        return [
            (one.instance, one.entry) for one in self._residency if one.instance and not one.ends
        ]

    def loaded_on_demand(self, instance_id: str) -> bool:
        """Whether that instance was loaded because a question needed it."""
        stay = self._residency.named(instance_id)
        return stay is not None and stay.on_demand

    def ttl_s(self, instance_id: str) -> float | None:
        """How long that instance is kept without use; `None` for as long as the gateway runs."""
        stay = self._residency.named(instance_id)
        return None if stay is None else stay.ttl_s

    def turn(self, instance: Instance) -> AbstractAsyncContextManager[None]:
        """A turn at answering from `instance`, as many at a time as it can answer at once.

        Whoever waited within an engine would look like one whose prompt makes no progress. The
        servers of others see to that themselves.
        """
        if not instance.owned:
            return nullcontext()
        turns = self._turns.get(instance.id)
        if turns is None:
            turns = self._turns[instance.id] = asyncio.Semaphore(instance.parallel)
        return turns

    @asynccontextmanager
    async def hold(
        self,
        wish: Wish,
        *,
        instance_id: str | None = None,
        on_progress: ProgressListener | None = None,
        on_evict: EvictionListener | None = None,
    ) -> AsyncGenerator[Instance, None]:
        """An instance for `wish`, that one if it is named, kept while the block runs."""
        stay = self._at_hand(wish, instance_id)
        if stay is not None and not await self._lives(stay):
            stay = None
        if stay is None:
            own = {one.instance.id for one in self._residency if one.instance is not None}
            async with self._lending.borrow(wish, instance_id, besides=own) as lent:
                if lent is not None:
                    yield lent
                    return
            stay = await self._settle(wish, on_progress, on_evict)
        try:
            instance = await self._wait_for_load(stay, on_progress)
            try:
                yield instance
            except (EngineDiedError, NotFoundError):
                await self._forget_if_gone(stay)
                raise
        finally:
            await self._leave(stay)

    async def load(
        self,
        entry: Entry,
        config: LoadConfig,
        *,
        instance_id: str | None,
        ttl_s: float | None,
        on_progress: ProgressListener | None,
    ) -> Instance:
        """A new instance, whatever there is already."""
        stay = self._residency.add(entry, config, ttl_s=ttl_s)
        self._start_load(stay, (), instance_id=instance_id)
        try:
            return await self._wait_for_load(stay, on_progress)
        finally:
            await self._leave(stay)

    async def unload(self, instance_id: str) -> None:
        """End an instance at once, whoever loaded it. Raises `NotFoundError` without one."""
        if (stay := self._residency.named(instance_id)) is not None:
            stay.ends = True
            await self._end(stay)
            return
        for provider, instance in await self._open.loaded():
            if instance.id == instance_id:
                await provider.unload(instance_id)
                return
        raise NotFoundError(f"No instance named {instance_id!r} is loaded.")

    async def aclose(self) -> None:
        """End what was loaded here and let go of the rest."""
        if self._timer is not None:
            self._timer.cancel()
        for loading in list(self._loads.values()):
            loading.task.cancel()
        await asyncio.gather(*(one.task for one in self._loads.values()), return_exceptions=True)
        await self._lending.aclose()
        for stay in self._residency:
            if not stay.ends:
                stay.ends = True
                self._spawn(self._end(stay))
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # A place of one's own

    def _at_hand(self, wish: Wish, instance_id: str | None) -> Stay | None:
        """An instance of this gateway's own that serves, loaded or about to be."""
        if instance_id is not None:
            stay = self._residency.named(instance_id)
            if stay is not None and stay.serves(wish):
                self._residency.begin(stay, ttl_s=wish.ttl_s)
                return stay
        return self._residency.find(wish)

    async def _lives(self, stay: Stay) -> bool:
        """Whether its process runs, which may have been exchanged; one that is gone is left."""
        instance = stay.instance
        if instance is None or not instance.owned or psutil.pid_exists(instance.pid or 0):
            return True
        provider = self._open.provider_of(stay.entry.model)
        found = [one for one in await provider.list_instances() if one.id == instance.id]
        if found:
            stay.instance = found[0]
            return True
        stay.ends = True
        self._turns.pop(instance.id, None)
        self._residency.remove(stay)
        await self._leave(stay)
        return False

    async def _settle(
        self,
        wish: Wish,
        on_progress: ProgressListener | None,
        on_evict: EvictionListener | None,
    ) -> Stay:
        """A stay for `wish`, once there is room; its load has begun, or been joined."""
        self._refuse_what_cannot_be_loaded(wish)
        waits_s = self._open.settings.timeouts.load_s
        try:
            async with asyncio.timeout(waits_s):
                while not isinstance(step := self._residency.step(wish), Use | Load):
                    if on_progress is not None:
                        note = "after the answers of the model before it"
                        on_progress(Progress(phase=Phase.LOAD, note=note))
                    await self._changed.wait()
        except TimeoutError:
            raise BusyError(
                f"There was no room for {wish.entry.model.key} for {waits_s:g} s: every model "
                "that would have to make room was answering.",
                hint="Ask again later, or let more be loaded with --max-loaded.",
            ) from None
        finally:
            self._residency.withdraw(wish)
        if isinstance(step, Load):
            self._start_load(step.stay, step.victims, on_evict=on_evict)
        return step.stay

    def _refuse_what_cannot_be_loaded(self, wish: Wish) -> None:
        model = wish.entry.model
        provider = self._open.provider_of(model)
        if not provider.capabilities.supports_load:
            raise ModelNotFoundError(
                f"{provider.server} does not serve {model.key} now.",
                query=model.key,
                hint="See what it serves: lmstrix scan",
            )
        if not self._options.jit:
            raise ModelNotFoundError(
                f"{model.key} is not loaded, and nothing is loaded on demand here (--no-jit).",
                query=model.key,
                hint=f"Load it first: lmstrix load {model.key}",
            )

    def _start_load(
        self,
        stay: Stay,
        victims: tuple[Stay, ...],
        *,
        instance_id: str | None = None,
        on_evict: EvictionListener | None = None,
    ) -> None:
        listeners: list[ProgressListener] = []
        endings = []
        for victim in victims:
            if on_evict is not None and victim.instance is not None:
                on_evict(victim.instance)
            endings.append(self._spawn(self._end(victim)))

        def listen(progress: Progress) -> None:
            for listener in listeners:
                listener(progress)

        async def load() -> None:
            if endings:
                await asyncio.wait(endings)
            model = stay.entry.model
            instance = await self._open.session_for(model).load(
                model,
                replace(self._sized(stay.entry, stay.config), ttl_s=stay.ttl_s),
                instance_id=instance_id,
                on_progress=listen,
            )
            stay.instance, stay.idle_since = instance, asyncio.get_running_loop().time()

        def done(task: asyncio.Task[None]) -> None:
            del self._loads[stay]
            if task.cancelled() or task.exception() is not None:
                self._residency.remove(stay)
            self._change()

        task = asyncio.create_task(load())
        task.add_done_callback(done)
        self._loads[stay] = _Loading(task, listeners)

    async def _wait_for_load(self, stay: Stay, on_progress: ProgressListener | None) -> Instance:
        loading = self._loads.get(stay)
        if loading is not None:
            if on_progress is not None:
                loading.listeners.append(on_progress)
            await asyncio.shield(loading.task)
        assert stay.instance is not None
        return stay.instance

    async def _leave(self, stay: Stay) -> None:
        """One user less. A load that nobody waits for any more is given up."""
        self._residency.finish(stay, now=asyncio.get_running_loop().time())
        loading = self._loads.get(stay)
        if loading is not None and not stay.users:
            loading.task.cancel()
            await asyncio.wait([loading.task])
        self._change()
        self._arm()

    async def _end(self, stay: Stay) -> None:
        """Unload it; its model may be loaded anew after that."""
        assert stay.instance is not None
        self._turns.pop(stay.instance.id, None)
        try:
            await self._open.provider_of(stay.entry.model).unload(stay.instance.id)
        except NotFoundError:
            pass  # it ended by itself
        except LMStrixError as error:
            _log.warning("%s could not be unloaded: %s", stay.instance.id, error.message)
        finally:
            self._residency.remove(stay)
            self._change()

    async def _forget_if_gone(self, stay: Stay) -> None:
        assert stay.instance is not None
        provider = self._open.provider_of(stay.entry.model)
        with suppress(LMStrixError):
            there = {instance.id for instance in await provider.list_instances()}
            if stay.instance.id not in there and not stay.ends:
                stay.ends = True
                await self._end(stay)

    # Time to live

    def _arm(self) -> None:
        """Wake up when the next instance is due."""
        due = self._residency.next_due()
        if due == math.inf or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._end_due)

    def _end_due(self) -> None:
        self._timer = None
        for stay in self._residency.due(now=asyncio.get_running_loop().time()):
            self._spawn(self._end(stay))
        self._arm()

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
