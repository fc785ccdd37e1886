"""What is loaded, in the namespaces `llm` and `embedding`: facts, tokens, vectors."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from lmstrix.gateway.lmstudio_facts import domain_of, is_embedding
from lmstrix.gateway.lmstudio_native.failures import (
    NoInstanceError,
)
from lmstrix.gateway.lmstudio_native.infos import (
    Loaded,
    choose,
    choose_exactly,
    instance_info,
    load_config_fields,
    reference_of,
)
from lmstrix.protocol.lmstudio import endpoints
from lmstrix.protocol.lmstudio.config import Fields
from lmstrix.protocol.lmstudio.models import (
    ModelSpecifierQuery,
)
from lmstrix.protocol.lmstudio.parameters import Embedding, TokenCount, Tokens
from lmstrix.protocol.lmstudio.settings import sampling_fields
from lmstrix.types import Instance, Progress, Sampling

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence

    from lmstrix.gateway.gateway import Gateway, Held
    from lmstrix.gateway.lmstudio_native.connection import Answer, Handlers
    from lmstrix.protocol.lmstudio.envelopes import Auth
    from lmstrix.protocol.lmstudio.models import ModelInstanceInfo, ModelSpecifier
    from lmstrix.protocol.lmstudio.parameters import (
        EmbedParameter,
        ModelInfoParameter,
        SpecifierParameter,
        TextParameter,
    )
    from lmstrix.types import Model

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
        self._room = asyncio.Semaphore(gateway.options.max_requests)

    def register(self, handlers: Handlers) -> None:
        """Answer the calls and channels of both namespaces."""
        for namespace in endpoints.MODEL_NAMESPACES:
            for endpoint, answer in (
                (endpoints.LIST_LOADED, self._list_loaded),
                (endpoints.GET_MODEL_INFO, self._get_model_info),
                (endpoints.GET_LOAD_CONFIG, self._get_load_config),
                (endpoints.GET_BASE_PREDICTION_CONFIG, self._get_base_config),
                (endpoints.GET_PROCESSING_STATE, self._get_processing_state),
                (endpoints.TOKENIZE, self._tokenize),
                (endpoints.COUNT_TOKENS, self._count_tokens),
            ):
                handlers.answer(endpoint, in_namespace(namespace, answer), namespace=namespace)
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
        own = [Loaded(instance, entry) for instance, entry in self._gateway.keeping.own()]
        if (exact := choose_exactly(specifier, own, domain=domain)) is not None:
            return exact
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
    async def hold(self, loaded: Loaded) -> AsyncGenerator[Held, None]:
        """Keep that instance while something is done with it, once there is room for one more."""
        chosen = loaded.instance
        self._used_at[chosen.id] = time.time()
        try:
            async with self._room, self._gateway.hold(chosen.id) as held:
                yield held
        finally:
            self._used_at[chosen.id] = time.time()

    @contextmanager
    def doing(self, loaded: Loaded, state: str) -> Iterator[Callable[[str], None]]:
        """While the block runs that is done with the instance; gives what changes the state."""
        states = self._states.setdefault(loaded.instance.id, Counter())
        states[state] += 1

        def change(later: str) -> None:
            nonlocal state
            states[state] -= 1
            state = later
            states[state] += 1

        try:
            yield change
        finally:
            states[state] -= 1

    async def is_gone(self, loaded: Loaded) -> bool:
        """Whether that very copy is loaded no more."""
        wanted = reference_of(loaded.instance)
        return all(reference_of(one) != wanted for one in await self._gateway.instances())

    def forget(self, instance_id: str) -> None:
        """It was unloaded."""
        self._used_at.pop(instance_id, None)
        self._states.pop(instance_id, None)

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
        async with self.hold(loaded) as held:
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

    # Tokens and vectors

    async def _tokenize(self, namespace: str, parameter: TextParameter) -> Tokens:
        loaded = await self.find(parameter.specifier, namespace)
        async with self.hold(loaded) as held:
            tokens = await held.provider.tokenize(held.instance, parameter.input_string)
        return Tokens(tokens=list(tokens))

    async def _count_tokens(self, namespace: str, parameter: TextParameter) -> TokenCount:
        """How many tokens a text has; the marks around one that is embedded do not count."""
        loaded = await self.find(parameter.specifier, namespace)
        async with self.hold(loaded) as held:
            tokens = await held.provider.tokenize(held.instance, parameter.input_string)
            marks: Sequence[int] = ()
            if is_embedding(loaded.model):
                marks = await held.provider.tokenize(held.instance, "")
        return TokenCount(token_count=len(tokens) - len(marks))

    async def _embed(self, auth: Auth, parameter: EmbedParameter) -> Embedding:
        loaded = await self.find(parameter.model_specifier, "embedding")
        with self.doing(loaded, EMBEDDING):
            async with self.hold(loaded) as held:
                vectors = await held.provider.embed(held.instance, [parameter.input_string])
        return Embedding(embedding=list(vectors[0]))


def in_namespace(namespace: str, answer: Callable[[str, Any], Awaitable[Any]]) -> Answer:
    """A call that needs to know its namespace and not who asks."""

    async def call(auth: Auth, parameter: Any) -> Any:  # the shape of all
        return await answer(namespace, parameter)

    return call
