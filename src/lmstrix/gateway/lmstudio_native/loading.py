"""Loading and unloading in the namespaces `llm` and `embedding`, and what a load would take."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from lmstrix.errors import UnsupportedError
from lmstrix.gateway.lmstudio_facts import domain_of
from lmstrix.gateway.lmstudio_native.failures import (
    InstanceExistsError,
    NoInstanceError,
    WrongDomainError,
)
from lmstrix.gateway.lmstudio_native.infos import Loaded, model_info
from lmstrix.gateway.lmstudio_native.models import in_namespace
from lmstrix.protocol.lmstudio import endpoints
from lmstrix.protocol.lmstudio.models import (
    MemoryEstimate,
    ModelQuery,
    ModelSpecifierQuery,
    ModelUsage,
)
from lmstrix.protocol.lmstudio.parameters import LoadMessage
from lmstrix.protocol.lmstudio.settings import read_load_config
from lmstrix.types import Instance, Phase, Progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lmstrix.gateway.gateway import Gateway
    from lmstrix.gateway.lmstudio_native.connection import Handlers, OpenChannel
    from lmstrix.gateway.lmstudio_native.models import Models
    from lmstrix.protocol.lmstudio.envelopes import Auth
    from lmstrix.protocol.lmstudio.parameters import (
        EstimateParameter,
        GetOrLoadParameter,
        LoadModelParameter,
        UnloadParameter,
    )
    from lmstrix.store import Entry
    from lmstrix.types import LoadConfig, Model

    Steps: TypeAlias = asyncio.Queue[Progress | Instance | None]

_CONFIDENT = ("high", "medium")


class Loading:
    """Loads and unloads on one gateway, for clients of the native protocol."""

    def __init__(self, gateway: Gateway, models: Models) -> None:
        self._gateway = gateway
        self._models = models

    def register(self, handlers: Handlers) -> None:
        """Answer the calls and serve the channels of both namespaces."""
        for namespace in endpoints.MODEL_NAMESPACES:
            for endpoint, answer in (
                (endpoints.UNLOAD_MODEL, self._unload),
                (endpoints.ESTIMATE_USAGE, self._estimate),
            ):
                handlers.answer(endpoint, in_namespace(namespace, answer), namespace=namespace)
            for channel, serve in (
                (endpoints.LOAD_MODEL, self._load_model),
                (endpoints.GET_OR_LOAD, self._get_or_load),
            ):
                handlers.serve(channel, partial(serve, namespace), namespace=namespace)

    async def _load_model(
        self, namespace: str, auth: Auth, parameter: LoadModelParameter, channel: OpenChannel
    ) -> None:
        entry = await self._entry(parameter.model_key, namespace)
        await channel.send(LoadMessage(type="resolved", info=model_info(entry.model)))
        wanted = parameter.identifier
        if wanted is not None and wanted in await self._identifiers():
            raise InstanceExistsError(wanted)
        progress = _Progress(channel, "progress")

        def load(steps: Steps) -> Awaitable[Instance]:
            return self._gateway.load(
                parameter.model_key,
                read_load_config(parameter.load_config_stack.collapse()),
                instance_id=wanted or self._alias(parameter.model_key),
                ttl_s=_seconds(parameter.ttl_ms),
                on_progress=steps.put_nowait,
            )

        async def tell() -> None:
            instance = await _stepwise(load, progress.tell)
            await progress.finish()
            info = self._models.info(Loaded(instance, entry))
            await channel.send(LoadMessage(type="success", info=info))

        await channel.until("cancel", tell())

    def _alias(self, name: str) -> str | None:
        """What an instance is called that was asked for by an alias, if that is free."""
        plain = name in self._gateway.options.aliases
        return name if plain and name not in self._gateway.keeping.own_ids() else None

    async def _get_or_load(
        self, namespace: str, auth: Auth, parameter: GetOrLoadParameter, channel: OpenChannel
    ) -> None:
        name = parameter.identifier
        specifier = ModelSpecifierQuery(query=ModelQuery(identifier=name))
        try:
            there = await self._models.find(specifier, namespace)
        except NoInstanceError:
            entry = await self._entry(name, namespace)
            demand = _Demand(self._models, entry, channel)
            await channel.until("cancel", self._load_on_demand(demand, entry, parameter))
            return
        async with self._models.hold(there):  # its time to live begins anew
            info = self._models.info(there)
        await channel.send(LoadMessage(type="alreadyLoaded", info=info))

    async def _load_on_demand(
        self, demand: _Demand, entry: Entry, parameter: GetOrLoadParameter
    ) -> None:
        async def hold(steps: Steps) -> Instance:
            async with self._gateway.hold(
                parameter.identifier,
                config=read_load_config(parameter.load_config_stack.collapse()),
                ttl_s=_seconds(parameter.load_ttl_ms),
                on_progress=steps.put_nowait,
                on_evict=steps.put_nowait,
            ) as held:
                return held.instance

        async def tell(step: Progress | Instance) -> None:
            if isinstance(step, Instance):
                evicted = Loaded(step, await self._gateway.find(step.model_key))
                await demand.evict(evicted)
            else:
                await demand.progress(step)

        await demand.finish(Loaded(await _stepwise(hold, tell), entry))

    async def _unload(self, namespace: str, parameter: UnloadParameter) -> None:
        loaded = await self._identifiers()
        if parameter.identifier not in loaded:
            raise NoInstanceError(parameter.identifier, loaded=loaded)
        await self._gateway.unload(parameter.identifier)
        self._models.forget(parameter.identifier)

    async def _identifiers(self) -> list[str]:
        return [one.instance.id for one in await self._models.loaded()]

    async def _entry(self, name: str, namespace: str) -> Entry:
        """The model of that name in that namespace."""
        entry = await self._gateway.find(name)
        if domain_of(entry.model) != namespace:
            raise WrongDomainError(entry.model.key, domain_of(entry.model), namespace)
        return entry

    async def _estimate(self, namespace: str, parameter: EstimateParameter) -> ModelUsage:
        entry = await self._entry(parameter.model_key, namespace)
        config = read_load_config(parameter.load_config_stack.collapse())
        sized = self._gateway.sized(entry, config)
        if sized.memory_limit_bytes is None and entry.model.provider == "embedded":
            limit = self._gateway.client.settings.embedded.memory_limit_bytes
            sized = replace(sized, memory_limit_bytes=limit)
        return await asyncio.to_thread(_estimate, entry.model, sized)


class _Progress:
    """How far a load is, told only where it went on, and at its end that it is done."""

    def __init__(self, channel: OpenChannel, kind: str) -> None:
        self._channel = channel
        self._kind = kind
        self._told = -1.0

    async def tell(self, step: Progress | Instance) -> None:
        """One step of the load."""
        if isinstance(step, Progress) and step.phase is Phase.LOAD and step.fraction is not None:
            await self._advance(min(1.0, step.fraction))

    async def finish(self) -> None:
        """It is loaded."""
        await self._advance(1.0)

    async def _advance(self, fraction: float) -> None:
        if fraction > self._told:
            self._told = fraction
            await self._channel.send(LoadMessage(type=self._kind, progress=fraction))


class _Demand:
    """What is told on a `getOrLoad` channel of a model that has no instance yet."""

    def __init__(self, models: Models, entry: Entry, channel: OpenChannel) -> None:
        self._models = models
        self._entry = entry
        self._channel = channel
        self._progress = _Progress(channel, "loadProgress")
        self._began_at = time.time()
        self._started = False

    async def evict(self, loaded: Loaded) -> None:
        """Another model makes room."""
        info = self._models.info(loaded)
        await self._channel.send(LoadMessage(type="unloadingOtherJITModel", info=info))

    async def progress(self, step: Progress) -> None:
        """The load goes on."""
        await self._start()
        await self._progress.tell(step)

    async def finish(self, loaded: Loaded) -> None:
        """There is an instance; somebody else may have loaded it meanwhile."""
        info = self._models.info(loaded)
        if not self._started and loaded.instance.loaded_at < self._began_at:
            await self._channel.send(LoadMessage(type="alreadyLoaded", info=info))
            return
        await self._start()
        await self._progress.finish()
        await self._channel.send(LoadMessage(type="loadSuccess", info=info))

    async def _start(self) -> None:
        if not self._started:
            self._started = True
            model = self._entry.model
            await self._channel.send(
                LoadMessage(type="startLoading", identifier=model.key, info=model_info(model))
            )


async def _stepwise(
    load: Callable[[Steps], Awaitable[Instance]],
    tell: Callable[[Progress | Instance], Awaitable[None]],
) -> Instance:
    """The instance that `load` gives; `tell` is told of each step that it puts into the queue."""
    steps: Steps = asyncio.Queue()
    loading = asyncio.ensure_future(load(steps))
    loading.add_done_callback(lambda _: steps.put_nowait(None))
    try:
        while (step := await steps.get()) is not None:
            await tell(step)
        return await loading
    finally:
        loading.cancel()
        await asyncio.wait([loading])


def _estimate(model: Model, config: LoadConfig) -> ModelUsage:
    """What the memory model says of a load, and whether this machine has that much now."""
    from lmstrix.context.fit import buffer_bytes, machine_memory  # noqa: PLC0415  # rarely needed
    from lmstrix.gguf import MemoryModel, read_header  # noqa: PLC0415

    if model.path is None or model.format != "gguf":
        raise UnsupportedError(f"{model.key} has no GGUF file to read, so nothing can be said.")
    memory = MemoryModel(read_header(Path(model.path)))
    need = memory.need(config)
    context = need.kv_bytes + need.recurrent_bytes + need.checkpoint_bytes
    weights = need.total_bytes - context
    on_gpu = config.gpu_layers not in (None, 0)
    room = machine_memory(config.memory_limit_bytes)
    taken = buffer_bytes(need) if room.capped else need.total_bytes  # what a limit is about
    return ModelUsage(
        memory=MemoryEstimate(
            confidence="high" if memory.confidence in _CONFIDENT else "low",
            model_vram_bytes=weights if on_gpu else 0,
            context_vram_bytes=context if on_gpu else 0,
            total_vram_bytes=need.total_bytes if on_gpu else 0,
            model_bytes=weights,
            context_bytes=context,
            total_bytes=need.total_bytes,
        ),
        passes_guardrails=taken <= room.budget_bytes,
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
