"""Get an instance, then an answer from it: reuse or load, stream, notice stalls, make it fit."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from lmstrix.claims import Claims
from lmstrix.counting import count_by_asking
from lmstrix.errors import NotFoundError, StalledError, UnsupportedError
from lmstrix.stall import StallClock
from lmstrix.types import Overflow, Phase, Progress, Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from lmstrix.config import Timeouts
    from lmstrix.providers import Provider
    from lmstrix.types import (
        Instance,
        LoadConfig,
        Model,
        ProgressListener,
        StreamItem,
    )

# What an instance is called that a context test loaded for itself. No question may disturb it.
TEST_INSTANCE_PREFIX = "lmstrix-test"


class _Watchdog:
    """Cancels the waiting task once its `StallClock` runs out; idle while nobody waits.

    The timer is re-armed only when it fires, so an item of the stream costs no timer call.
    """

    def __init__(self, clock: StallClock, loop: asyncio.AbstractEventLoop) -> None:
        self.waiting: asyncio.Task[object] | None = None
        self._stalled = False
        self._cancels = _this_task().cancelling()
        self._clock = clock
        self._loop = loop
        self._timer = loop.call_at(clock.deadline, self._check)

    def close(self) -> None:
        self._timer.cancel()

    def stalled(self) -> bool:
        """Whether a cancellation came from here, and from nobody else at the same moment."""
        return self._stalled and _this_task().uncancel() <= self._cancels

    def _check(self) -> None:
        now = self._loop.time()
        if self.waiting is not None and now >= self._clock.deadline:
            self._stalled = True
            self.waiting.cancel()
            return
        again = max(self._clock.deadline, now + 0.001) if self.waiting else now + 1.0
        self._timer = self._loop.call_at(again, self._check)


class Session:
    """One provider as a source of answers.

    `locks` is the folder that tells other processes who loads and who answers (see `Claims`); a
    session without it only streams. Requests for an instance of the same model wait for each
    other, in this process and among all, so that questions asked at once load it once.
    """

    def __init__(self, provider: Provider, timeouts: Timeouts, locks: Path | None = None) -> None:
        self.provider = provider
        self.timeouts = timeouts
        self._claims = None if locks is None else Claims(locks, wait_s=timeouts.load_s)
        self._gates: dict[str, asyncio.Lock] = {}
        self._counts = True  # until the provider says that it cannot

    @asynccontextmanager
    async def hold(
        self,
        model: Model,
        config: LoadConfig,
        *,
        explicit: bool = False,
        reload: bool = False,
        resident: bool = False,
        on_progress: ProgressListener | None = None,
    ) -> AsyncGenerator[Instance, None]:
        """An instance of `model`: one that is loaded already if it will do, else a new one.

        Without `explicit` any loaded instance does whose settings do not contradict `config`;
        with it the context must be the one asked for. Where none will do, or with `reload`,
        those there are are unloaded first, each once nobody uses it, in whatever process. Until
        the block is left nobody does that to this one. Raises `BusyError` when that takes longer
        than a load may, `LoadError`, `StalledError`.
        """
        claims = self._claims
        assert claims is not None

        def suits(instance: Instance) -> bool:
            return not reload and will_do(instance, config, model, explicit=explicit)

        async with AsyncExitStack() as held:
            instance = await self._join(model, suits, claims, held)
            if instance is None:
                await self._check_loading(model)
                instance = await self._replace(
                    model,
                    config,
                    suits,
                    claims,
                    held,
                    resident=resident,
                    on_progress=on_progress,
                )
            yield instance

    async def _check_loading(self, model: Model) -> None:
        """Refuse to load where the server alone decides what is loaded, and how."""
        provider = self.provider
        if provider.capabilities.supports_load:
            return
        place = f"The server {provider.server}"
        if not (served := await self._loaded(model)):
            raise NotFoundError(
                f"{place} does not serve {model.key} any more.", hint="Look again: lmstrix scan"
            )
        held = served[0].context_tokens
        with_context = f", with a context of {held:,}" if held is not None else ""
        raise UnsupportedError(
            f"{place} serves {model.key} as it is{with_context}: it loads nothing on request.",
            hint="Leave out --in-ctx, --reload and the settings of the load.",
        )

    @asynccontextmanager
    async def join(
        self, model: Model, suits: Callable[[Instance], bool]
    ) -> AsyncGenerator[Instance | None, None]:
        """A loaded instance of `model` that `suits`, kept as by `hold`; `None` without one."""
        claims = self._claims
        assert claims is not None
        async with AsyncExitStack() as held:
            yield await self._join(model, suits, claims, held)

    async def _join(
        self,
        model: Model,
        suits: Callable[[Instance], bool],
        claims: Claims,
        held: AsyncExitStack,
    ) -> Instance | None:
        """Use a loaded instance that suits, unless somebody is about to end it."""
        for instance in filter(suits, await self._loaded(model)):
            with ExitStack() as claim:
                claim.enter_context(claims.using(instance))
                if not claims.ends(instance):
                    held.push(claim.pop_all())
                    return instance
        return None

    async def _replace(
        self,
        model: Model,
        config: LoadConfig,
        suits: Callable[[Instance], bool],
        claims: Claims,
        held: AsyncExitStack,
        *,
        resident: bool,
        on_progress: ProgressListener | None,
    ) -> Instance:
        """Alone at it: use what was loaded meanwhile, else end what there is and load."""
        waits = _wait_listener(on_progress)
        async with self._gate(model), AsyncExitStack() as alone:
            await alone.enter_async_context(claims.loading(model, waits))
            loaded = await self._loaded(model)
            for instance in filter(suits, loaded):
                claims.spare(instance)
                held.enter_context(claims.using(instance))
                return instance
            for instance in loaded:
                async with claims.ending(instance, waits):
                    with suppress(NotFoundError):  # it ended by itself meanwhile
                        await self.provider.unload(instance.id)
            if not resident:  # other processes will not see it: they need not wait
                await alone.aclose()
            instance = await self._load(model, config, resident=resident, on_progress=on_progress)
            held.enter_context(claims.using(instance))
            return instance

    async def load(
        self,
        model: Model,
        config: LoadConfig,
        *,
        instance_id: str | None = None,
        resident: bool = False,
        on_progress: ProgressListener | None = None,
    ) -> Instance:
        """A new instance, whatever is loaded already. Raises `LoadError`, `StalledError`.

        Who wants any instance of `model` at that time waits for a resident one. Raises
        `BusyError` when another process loads one for longer than a load may take.
        """
        claims = self._claims
        assert claims is not None

        async with AsyncExitStack() as alone:
            if resident:
                await alone.enter_async_context(self._gate(model))
                waits = _wait_listener(on_progress)
                await alone.enter_async_context(claims.loading(model, waits))
            return await self._load(
                model, config, instance_id=instance_id, resident=resident, on_progress=on_progress
            )

    def _gate(self, model: Model) -> asyncio.Lock:
        return self._gates.setdefault(model.key, asyncio.Lock())

    async def _loaded(self, model: Model) -> list[Instance]:
        """The instances of `model` that are there for answers."""
        return [
            instance
            for instance in await self.provider.list_instances()
            if (instance.model_key, instance.server) == (model.key, model.server)
            and not instance.id.startswith(TEST_INSTANCE_PREFIX)
        ]

    async def _load(
        self,
        model: Model,
        config: LoadConfig,
        *,
        instance_id: str | None = None,
        resident: bool,
        on_progress: ProgressListener | None,
    ) -> Instance:
        loop = asyncio.get_running_loop()
        clock = StallClock(self.timeouts, now=loop.time(), phase=Phase.LOAD)

        def listen(progress: Progress) -> None:
            clock.saw(progress, loop.time())
            if on_progress is not None:
                on_progress(progress)

        watchdog = _Watchdog(clock, loop)
        watchdog.waiting = _this_task()
        try:
            return await self.provider.load(
                model, config, instance_id=instance_id, resident=resident, on_progress=listen
            )
        except asyncio.CancelledError:
            if not watchdog.stalled():
                raise
            raise _stalled(clock, f"Loading {model.key}") from None
        finally:
            watchdog.close()

    async def stream(
        self, instance: Instance, request: Request, *, timeouts: Timeouts | None = None
    ) -> AsyncGenerator[StreamItem, None]:
        """The provider's stream, ended by `StalledError` when a phase stays silent too long.

        Only time spent waiting for the server counts, not what the reader does between items.
        """
        loop = asyncio.get_running_loop()
        clock = StallClock(timeouts or self.timeouts, now=loop.time())
        watchdog = _Watchdog(clock, loop)
        source = self.provider.stream(instance, request)
        try:
            while True:
                clock.resume(loop.time())
                watchdog.waiting = _this_task()
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    return
                except asyncio.CancelledError:
                    if not watchdog.stalled():
                        raise
                    raise _stalled(clock, f"The answer of {instance.model_key}") from None
                finally:
                    watchdog.waiting = None
                clock.saw(item, loop.time())
                yield item
        finally:
            watchdog.close()
            await source.aclose()

    @property
    def counts(self) -> bool:
        """Whether tokens are counted by the model's tokenizer; true until it was tried."""
        return self._counts

    async def count_prompt(self, instance: Instance, request: Request) -> int:
        """How many tokens the rendered prompt has, by the model's own tokenizer.

        A server that keeps its tokenizer to itself is asked for an answer of one token: it
        tells how many it has read. Raises `UnsupportedError` where it does not.
        """
        if self._counts:
            try:
                text = await self.provider.render(instance, request)
                return len(await self.provider.tokenize(instance, text))
            except UnsupportedError:
                self._counts = False
        return await count_by_asking(self, instance, request)

    async def count_text(self, instance: Instance, text: str) -> int:
        """How many tokens `text` has by itself; otherwise as `count_prompt`."""
        if self._counts:
            try:
                return len(await self.provider.tokenize(instance, text))
            except UnsupportedError:
                self._counts = False
        return await count_by_asking(self, instance, Request(prompt=text))

    async def shorten(
        self, instance: Instance, request: Request, overflow: Overflow
    ) -> tuple[Request, str]:
        """Cut the prompt until it fits, and say in a sentence what was cut.

        As `lmstrix.shortening.shorten`. Raises `ContextOverflowError` when even that does not help.
        """
        from lmstrix.shortening import shorten  # noqa: PLC0415  # few prompts are too long

        return await shorten(self, instance, request, overflow)


def context_of(instance: Instance) -> int:
    """The instance's context in tokens; `UnsupportedError` where its server does not tell."""
    if instance.context_tokens is None:
        raise UnsupportedError(
            f"The server of {instance.model_key} does not tell how much context it has.",
            hint="Give the answer's length as a number of tokens, and leave the prompt uncut.",
        )
    return instance.context_tokens


def will_do(instance: Instance, config: LoadConfig, model: Model, *, explicit: bool) -> bool:
    """Whether a loaded instance serves where `config` was asked for."""
    for setting in ("kv_type_k", "kv_type_v", "flash_attention", "memory_limit_bytes"):
        wanted = getattr(config, setting)
        if wanted is not None and wanted != getattr(instance.config, setting):
            return False
    if not explicit or config.context_tokens is None:
        return True
    # Engines round up what they are asked for, and hold no more than the model declares.
    most = model.declared_context_tokens or config.context_tokens
    wanted = min(config.context_tokens, most)
    return wanted in (instance.context_tokens, instance.config.context_tokens)


def _wait_listener(on_progress: ProgressListener | None) -> Callable[[str], None]:
    """What tells the user what a load waits for."""

    def waits(note: str) -> None:
        if on_progress is not None:
            on_progress(Progress(phase=Phase.LOAD, note=note))

    return waits


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _stalled(clock: StallClock, what: str) -> StalledError:
    return StalledError(
        f"{what} stalled: nothing happened for {clock.limit_s:g} s ({clock.phase}).",
        phase=clock.phase,
        after_s=clock.limit_s,
        hint="Allow more with --stream-timeout, or see `lmstrix doctor`.",
    )
