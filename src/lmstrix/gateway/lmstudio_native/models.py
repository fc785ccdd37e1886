"""The namespaces `llm` and `embedding`, but for predictions: what is loaded, loads, tokens."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstrix.errors import UnsupportedError
from lmstrix.gateway.lmstudio_facts import domain_of, is_embedding
from lmstrix.gateway.lmstudio_native.failures import (
    InstanceExistsError,
    NoInstanceError,
    WrongDomainError,
)
from lmstrix.gateway.lmstudio_native.infos import (
    Loaded,
    choose,
    instance_info,
    load_config_fields,
    model_info,
    reference_of,
)
from lmstrix.protocol.lmstudio import endpoints
from lmstrix.protocol.lmstudio.config import Fields
from lmstrix.protocol.lmstudio.models import (
    MemoryEstimate,
    ModelQuery,
    ModelSpecifierQuery,
    ModelUsage,
)
from lmstrix.protocol.lmstudio.parameters import Embedding, LoadMessage, TokenCount, Tokens
from lmstrix.protocol.lmstudio.settings import read_load_config, sampling_fields
from lmstrix.types import Instance, Phase, Progress, Sampling

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from lmstrix.gateway.gateway import Gateway, Held
    from lmstrix.gateway.lmstudio_native.connection import Answer, Handlers, OpenChannel
    from lmstrix.protocol.lmstudio.envelopes import Auth
    from lmstrix.protocol.lmstudio.models import ModelInstanceInfo, ModelSpecifier
    from lmstrix.protocol.lmstudio.parameters import (
        EmbedParameter,
        EstimateParameter,
        GetOrLoadParameter,
        LoadModelParameter,
        ModelInfoParameter,
        SpecifierParameter,
        TextParameter,
        UnloadParameter,
    )
    from lmstrix.store import Entry
    from lmstrix.types import LoadConfig, Model

    Steps = asyncio.Queue[Progress | Instance | None]

IDLE, READING, GENERATING, EMBEDDING = (
    "idle",
    "processingPrompt",
    "generating",
    "computingEmbedding",
)
_CONFIDENT = ("high", "medium")


class Models:
    """What is loaded on one gateway, as clients of the native protocol see and change it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._used_at: dict[str, float] = {}  # by instance id, Unix seconds
        self._states: dict[str, Counter[str]] = {}  # by instance id, what is being done

    def register(self, handlers: Handlers) -> None:
        """Answer the calls and channels of both namespaces."""
        for namespace in endpoints.MODEL_NAMESPACES:
            for endpoint, answer in (
                (endpoints.UNLOAD_MODEL, self._unload),
                (endpoints.LIST_LOADED, self._list_loaded),
                (endpoints.GET_MODEL_INFO, self._get_model_info),
                (endpoints.GET_LOAD_CONFIG, self._get_load_config),
                (endpoints.GET_BASE_PREDICTION_CONFIG, self._get_base_config),
                (endpoints.GET_PROCESSING_STATE, self._get_processing_state),
                (endpoints.ESTIMATE_USAGE, self._estimate),
                (endpoints.TOKENIZE, self._tokenize),
                (endpoints.COUNT_TOKENS, self._count_tokens),
            ):
                handlers.answer(endpoint, _in(namespace, answer), namespace=namespace)
            for channel, serve in (
                (endpoints.LOAD_MODEL, self._load_model),
                (endpoints.GET_OR_LOAD, self._get_or_load),
            ):
                handlers.serve(channel, partial(serve, namespace), namespace=namespace)
        handlers.answer(endpoints.EMBED_STRING, self._embed)

    # Which instance

    async def loaded(self) -> list[Loaded]:
        """Every loaded instance whose model is known, the gateway's own first."""
        entries = {
            (entry.model.key, entry.model.server): entry for entry in await self._gateway.models()
        }
        return [
            Loaded(instance, entry)
            for instance in await self._gateway.instances()
            if (entry := entries.get((instance.model_key, instance.server))) is not None
        ]

    async def find(self, specifier: ModelSpecifier, domain: str) -> Loaded:
        """The instance that a specifier means. Raises `NoInstanceError`."""
        loaded = await self.loaded()
        meant = await self._meaning(specifier)
        found = choose(specifier, loaded, domain=domain, meant=meant)
        if found is None:
            query = ""
            if isinstance(specifier, ModelSpecifierQuery):
                query = specifier.query.identifier or specifier.query.path or ""
            raise NoInstanceError(query, loaded=[one.instance.id for one in loaded])
        return found

    async def _meaning(self, specifier: ModelSpecifier) -> Callable[[str], Model | None]:
        """What the gateway takes a name for, aliases included."""
        name = None
        if isinstance(specifier, ModelSpecifierQuery):
            name = specifier.query.identifier
        model: Model | None = None
        if name is not None and name in self._gateway.options.aliases:
            model = (await self._gateway.find(name)).model

        def meant(asked: str) -> Model | None:
            return model if asked == name else None

        return meant

    @asynccontextmanager
    async def hold(self, loaded: Loaded, state: str) -> AsyncGenerator[Held, None]:
        """Keep that instance while something is done with it."""
        chosen = loaded.instance
        states = self._states.setdefault(chosen.id, Counter())
        states[state] += 1
        self._used_at[chosen.id] = time.time()
        try:
            async with self._gateway.hold(chosen.id) as held:
                yield held
        finally:
            states[state] -= 1
            self._used_at[chosen.id] = time.time()

    async def is_gone(self, loaded: Loaded) -> bool:
        """Whether that very copy is loaded no more."""
        wanted = reference_of(loaded.instance)
        return all(reference_of(one) != wanted for one in await self._gateway.instances())

    def info(self, loaded: Loaded) -> ModelInstanceInfo:
        """The instance as clients are told of it."""
        instance = loaded.instance
        own = instance.id in self._gateway.keeping.own_ids()
        ttl_s = self._gateway.keeping.ttl_s(instance.id) if own else instance.config.ttl_s
        used_at = self._used_at.get(instance.id, instance.loaded_at or None)
        return instance_info(loaded, ttl_s=ttl_s, last_used_at=used_at)

    # What is loaded

    async def _list_loaded(self, namespace: str, parameter: None) -> list[ModelInstanceInfo]:
        return [self.info(one) for one in await self.loaded() if domain_of(one.model) == namespace]

    async def _get_model_info(
        self, namespace: str, parameter: ModelInfoParameter
    ) -> ModelInstanceInfo | None:
        try:
            return self.info(await self.find(parameter.specifier, namespace))
        except NoInstanceError:
            if parameter.throw_if_not_found:
                raise
            return None

    async def _get_load_config(self, namespace: str, parameter: SpecifierParameter) -> Fields:
        return Fields(fields=load_config_fields(await self.find(parameter.specifier, namespace)))

    async def _get_base_config(self, namespace: str, parameter: SpecifierParameter) -> Fields:
        return await self.base_config(await self.find(parameter.specifier, namespace))

    async def base_config(self, loaded: Loaded) -> Fields:
        """What holds where a request sets nothing."""
        if is_embedding(loaded.model):
            return Fields(fields=[])
        async with self.hold(loaded, IDLE) as held:
            told = await held.provider.sampling_defaults(held.instance)
        return Fields(fields=sampling_fields(Sampling(**told)))  # type: ignore[arg-type]  # by its names

    async def _get_processing_state(
        self, namespace: str, parameter: ModelInfoParameter
    ) -> Mapping[str, object] | None:
        try:
            loaded = await self.find(parameter.specifier, namespace)
        except NoInstanceError:
            if parameter.throw_if_not_found:
                raise
            return None
        states = self._states.get(loaded.instance.id, Counter())
        busy = [state for state in (GENERATING, READING, EMBEDDING) if states[state] > 0]
        waiting = sum(states[state] for state in busy) - loaded.instance.parallel
        return {"status": busy[0] if busy else IDLE, "queued": max(0, waiting)}

    # Loading and unloading

    async def _load_model(
        self, namespace: str, auth: Auth, parameter: LoadModelParameter, channel: OpenChannel
    ) -> None:
        entry = await self._entry(parameter.model_key, namespace)
        await channel.send(LoadMessage(type="resolved", info=model_info(entry.model)))
        wanted = parameter.identifier
        if wanted is not None and wanted in {one.instance.id for one in await self.loaded()}:
            raise InstanceExistsError(wanted)

        def load(steps: Steps) -> Awaitable[Instance]:
            return self._gateway.load(
                parameter.model_key,
                read_load_config(parameter.load_config_stack.collapse()),
                instance_id=wanted or self._alias(parameter.model_key),
                ttl_s=_seconds(parameter.ttl_ms),
                on_progress=steps.put_nowait,
            )

        async def tell() -> None:
            instance = await _stepwise(load, lambda step: _tell_progress(channel, "progress", step))
            info = self.info(Loaded(instance, entry))
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
            there = await self.find(specifier, namespace)
        except NoInstanceError:
            pass
        else:
            async with self.hold(there, IDLE):
                await channel.send(LoadMessage(type="alreadyLoaded", info=self.info(there)))
            return
        entry = await self._entry(name, namespace)
        began_at = time.time()
        started = False

        async def start() -> None:
            nonlocal started
            if not started:
                started = True
                await channel.send(
                    LoadMessage(
                        type="startLoading",
                        identifier=entry.model.key,
                        info=model_info(entry.model),
                    )
                )

        async def tell_step(step: Progress | Instance) -> None:
            if isinstance(step, Instance):
                await channel.send(
                    LoadMessage(type="unloadingOtherJITModel", info=await self._evicted(step))
                )
            else:
                await start()
                await _tell_progress(channel, "loadProgress", step)

        async def hold(steps: Steps) -> Instance:
            async with self._gateway.hold(
                name,
                config=read_load_config(parameter.load_config_stack.collapse()),
                ttl_s=_seconds(parameter.load_ttl_ms),
                on_progress=steps.put_nowait,
                on_evict=steps.put_nowait,
            ) as held:
                return held.instance

        async def tell() -> None:
            instance = await _stepwise(hold, tell_step)
            info = self.info(Loaded(instance, entry))
            if not started and instance.loaded_at < began_at:
                await channel.send(LoadMessage(type="alreadyLoaded", info=info))
                return
            await start()
            await channel.send(LoadMessage(type="loadSuccess", info=info))

        await channel.until("cancel", tell())

    async def _evicted(self, instance: Instance) -> ModelInstanceInfo:
        """An instance that makes room, while it still is one."""
        return self.info(Loaded(instance, await self._gateway.find(instance.model_key)))

    async def _unload(self, namespace: str, parameter: UnloadParameter) -> None:
        loaded = await self.loaded()
        if parameter.identifier not in {one.instance.id for one in loaded}:
            raise NoInstanceError(parameter.identifier, loaded=[one.instance.id for one in loaded])
        await self._gateway.unload(parameter.identifier)
        self._used_at.pop(parameter.identifier, None)
        self._states.pop(parameter.identifier, None)

    async def _entry(self, name: str, namespace: str) -> Entry:
        """The model of that name in that namespace."""
        entry = await self._gateway.find(name)
        if domain_of(entry.model) != namespace:
            raise WrongDomainError(entry.model.key, domain_of(entry.model), namespace)
        return entry

    async def _estimate(self, namespace: str, parameter: EstimateParameter) -> ModelUsage:
        entry = await self._entry(parameter.model_key, namespace)
        config = self._gateway._sized(  # noqa: SLF001  # of the same house
            entry, read_load_config(parameter.load_config_stack.collapse())
        )
        return await asyncio.to_thread(_estimate, entry.model, config)

    # Tokens and vectors

    async def _tokenize(self, namespace: str, parameter: TextParameter) -> Tokens:
        loaded = await self.find(parameter.specifier, namespace)
        async with self.hold(loaded, IDLE) as held:
            tokens = await held.provider.tokenize(held.instance, parameter.input_string)
        return Tokens(tokens=list(tokens))

    async def _count_tokens(self, namespace: str, parameter: TextParameter) -> TokenCount:
        """How many tokens a text has; the marks around one that is embedded do not count."""
        loaded = await self.find(parameter.specifier, namespace)
        async with self.hold(loaded, IDLE) as held:
            tokens = await held.provider.tokenize(held.instance, parameter.input_string)
            marks: Sequence[int] = ()
            if is_embedding(loaded.model):
                marks = await held.provider.tokenize(held.instance, "")
        return TokenCount(token_count=len(tokens) - len(marks))

    async def _embed(self, auth: Auth, parameter: EmbedParameter) -> Embedding:
        loaded = await self.find(parameter.model_specifier, "embedding")
        async with self.hold(loaded, EMBEDDING) as held:
            vectors = await held.provider.embed(held.instance, [parameter.input_string])
        return Embedding(embedding=list(vectors[0]))


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


async def _tell_progress(channel: OpenChannel, kind: str, step: Progress | Instance) -> None:
    if isinstance(step, Progress) and step.phase is Phase.LOAD and step.fraction is not None:
        await channel.send(LoadMessage(type=kind, progress=step.fraction))


def _estimate(model: Model, config: LoadConfig) -> ModelUsage:
    """What the memory model says of a load, and whether this machine has that much now."""
    from lmstrix.context.fit import machine_memory  # noqa: PLC0415  # only an estimate needs these
    from lmstrix.gguf import MemoryModel, read_header  # noqa: PLC0415

    if model.path is None or model.format != "gguf":
        raise UnsupportedError(f"{model.key} has no GGUF file to read, so nothing can be said.")
    memory = MemoryModel(read_header(Path(model.path)))
    need = memory.need(config)
    context = need.kv_bytes + need.recurrent_bytes + need.checkpoint_bytes
    weights = need.total_bytes - context
    on_gpu = config.gpu_layers not in (None, 0)
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
        passes_guardrails=need.total_bytes <= machine_memory().budget_bytes,
    )


def _in(namespace: str, answer: Callable[[str, Any], Awaitable[Any]]) -> Answer:
    """A call that needs to know its namespace and not who asks."""

    async def call(auth: Auth, parameter: Any) -> Any:  # the shape of all
        return await answer(namespace, parameter)

    return call


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
