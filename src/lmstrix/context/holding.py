"""The instance that a test works on, and what is owed to a server for it.

Where a load can be given a name, the test's instances have one, and nothing else is touched.
Elsewhere a load may take the place of what somebody else has loaded: that is put back at the end.
A server that alone decides what is loaded is tested as it is.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lmstrix.claims import Claims
from lmstrix.context.trail import Trail, TrailFile
from lmstrix.errors import LMStrixError, NotFoundError, StalledError
from lmstrix.session import TEST_INSTANCE_PREFIX
from lmstrix.store.models import subject
from lmstrix.types import LoadConfig, Phase, Progress

if TYPE_CHECKING:
    from pathlib import Path

    from lmstrix.providers import Provider
    from lmstrix.types import Instance, Model, ProgressListener


async def served(provider: Provider, model: Model) -> Instance | None:
    """The instance a server has chosen to run of `model`; `None` where loads can be chosen.

    Raises `NotFoundError` when there is none, and `UnreachableError`.
    """
    if provider.capabilities.supports_load:
        return None
    for instance in await provider.list_instances():
        if instance.model_key == model.key:
            return instance
    raise NotFoundError(
        f"The server {provider.server} does not serve {model.key} just now.",
        hint="Start it with this model, or see what it serves: lmstrix scan",
    )


class Holder:
    """Loads instances of one model for one test, one at a time.

    `instance` is what is held, `loads` how many there were. `folder` is where it is written down
    what a later test would have to set right, and who uses what (see `Claims`).
    """

    def __init__(
        self, provider: Provider, model: Model, load: LoadConfig, *, folder: Path, silence_s: float
    ) -> None:
        self.instance: Instance | None = None
        self.loads = 0
        self._asked = 0
        self._provider = provider
        self._model = model
        self._config = load
        self._silence_s = silence_s
        self._named = provider.capabilities.supports_instance_names
        self._chooses = provider.capabilities.supports_load
        self._claims = Claims(folder, wait_s=silence_s)
        self._file = TrailFile(
            folder, provider=provider.name, server=model.server, identity=subject(model)
        )
        self._trail: Trail | None = None
        self._use = ExitStack()

    @property
    def chooses(self) -> bool:
        """Whether sizes can be chosen at all."""
        return self._chooses

    def suits(self, tokens: int) -> bool:
        """Whether what is held is what a load of `tokens` gave, or the only one there can be.

        A server that gives more than was asked (rounding up) need not serve it all.
        """
        return self.instance is not None and (not self._chooses or self._asked == tokens)

    @property
    def instance_id(self) -> str:
        """What the instances are called where they can be named."""
        return f"{TEST_INSTANCE_PREFIX}-{subject(self._model)[:12]}"

    async def load(self, tokens: int, on_progress: ProgressListener) -> Instance:
        """A fresh instance of `tokens`; where there is no choice, the one that is served.

        Raises `StalledError` when a load tells no progress for `silence_s`, `LoadError`,
        `BusyError` when somebody does not let go of what has to make way, and `UnreachableError`.
        """
        await self.release()
        found = await served(self._provider, self._model)
        if found is not None:
            self.instance = found
            return found
        async with AsyncExitStack() as alone:
            if not self._named:
                await self._make_way(tokens, alone, on_progress)
            self.loads += 1
            self._asked = tokens
            self.instance = await self._load(tokens, on_progress)
            if not self._named:
                self._take(self.instance)
        return self.instance

    async def release(self) -> None:
        """End the instance held, if any. One that is gone already is no error."""
        instance, self.instance = self.instance, None
        self._use.close()
        if instance is not None and self._chooses:
            await self._end(instance.id)

    async def clean_up(self) -> None:
        """End what an earlier test of this model left behind when it was killed.

        Raises `UnreachableError`.
        """
        if not self._chooses:
            return
        trail = self._read()
        for instance in await self._loaded():
            if self._named:
                left = instance.id == self.instance_id
            elif left := trail.is_own(instance):
                self._trail = trail = replace(trail, own=(instance,))
            if left:
                await self._end(instance.id)

    async def finish(self) -> str:
        """Leave the server as it was found; returns a sentence about what could not be put back."""
        await self.release()
        if self._named or not self._chooses:
            return ""
        said = ""
        for instance in self._read().displaced:
            try:
                await self._put_back(instance)
            except LMStrixError as error:
                said = f"{instance.id} was loaded before the test and could not be loaded again: "
                said += error.message
        self._trail = None
        if not said:
            self._file.clear()
        return said

    # Within

    async def _load(self, tokens: int, on_progress: ProgressListener) -> Instance:
        loop = asyncio.get_running_loop()
        silence_s = self._silence_s
        try:
            async with asyncio.timeout(silence_s) as silence:

                def listen(progress: Progress) -> None:
                    silence.reschedule(loop.time() + silence_s)
                    on_progress(progress)

                return await self._provider.load(
                    self._model,
                    replace(self._config, context_tokens=tokens),
                    instance_id=self.instance_id if self._named else None,
                    on_progress=listen,
                )
        except TimeoutError:
            raise StalledError(
                f"Loading made no progress for {silence_s:g} s.",
                phase=Phase.LOAD,
                after_s=silence_s,
            ) from None

    async def _make_way(
        self, tokens: int, alone: AsyncExitStack, on_progress: ProgressListener
    ) -> None:
        """Write down what is loaded and a load may take the place of; nobody else loads then.

        Servers whose loads do that wait by themselves for answers under way.
        """

        def waits(note: str) -> None:
            on_progress(Progress(phase=Phase.LOAD, note=note))

        await alone.enter_async_context(self._claims.loading(self._model, waits))
        trail = self._read()
        others = [one for one in await self._loaded() if not trail.is_own(one)]
        still = {instance.id for instance in others}
        kept = [one for one in trail.displaced if one.id not in still]
        self._keep(replace(trail, others=(*kept, *others), asked_tokens=tokens))

    def _take(self, instance: Instance) -> None:
        """The load is done: it is the test's, and nobody ends it meanwhile."""
        trail = self._read()
        self._keep(replace(trail, own=(instance,)))
        self._claims.spare(instance)
        self._use.enter_context(self._claims.using(instance))

    async def _put_back(self, instance: Instance) -> None:
        """Load somebody's instance again, until when it would have stayed."""
        left_s = None if instance.expires_at is None else instance.expires_at - time.time()
        if left_s is not None and left_s <= 0:
            return
        config = LoadConfig(context_tokens=instance.context_tokens, ttl_s=left_s)
        await self._provider.load(self._model, config, resident=True)

    async def _loaded(self) -> list[Instance]:
        return [
            instance
            for instance in await self._provider.list_instances()
            if instance.model_key == self._model.key
        ]

    async def _end(self, instance_id: str) -> None:
        with suppress(LMStrixError):  # it ended by itself, or whoever comes next finds out why not
            await self._provider.unload(instance_id)

    def _read(self) -> Trail:
        if self._trail is None:
            self._trail = self._file.read()
        return self._trail

    def _keep(self, trail: Trail) -> None:
        self._trail = trail
        self._file.write(trail)
