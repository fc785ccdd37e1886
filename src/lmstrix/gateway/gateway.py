"""What the routes of every dialect ask for: models, instances, answers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, Self

from msgspec.structs import replace

from lmstrix.errors import ModelNotFoundError, UnsupportedError
from lmstrix.gateway.keeping import Keeping
from lmstrix.gateway.names import Names
from lmstrix.gateway.residency import Wish
from lmstrix.gateway.visit import note_model
from lmstrix.sizes import load_size
from lmstrix.types import LoadConfig, ModelType

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from lmstrix.async_client import AsyncLMStrix
    from lmstrix.gateway.keeping import EvictionListener
    from lmstrix.gateway.options import GatewayOptions
    from lmstrix.providers import Capabilities, Provider
    from lmstrix.session import Session
    from lmstrix.store import Entry
    from lmstrix.types import Instance, ProgressListener, Request, StreamItem

_RESCAN_S = 5.0
_REREAD_S = 2.0
_AS_IT_COMES = LoadConfig()


class Held(NamedTuple):
    """A loaded instance that is kept while somebody answers from it.

    `turn` is entered for the time of an answer: it waits while the instance is busy.
    """

    entry: Entry
    instance: Instance
    provider: Provider
    session: Session
    turn: AbstractAsyncContextManager[None]


class Answering:
    """An answer under way: `Progress` and `Fragment` items, then one `Stats`."""

    def __init__(self, held: Held, stream: AsyncGenerator[StreamItem, None]) -> None:
        self.held = held
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[StreamItem]:
        return self._stream


class Gateway:
    """What the routes of every dialect ask for: models, instances, answers.

    Use it with `async with`: entering scans for models, leaving ends what it has loaded.
    """

    def __init__(self, client: AsyncLMStrix, options: GatewayOptions) -> None:
        self.client = client
        self.options = options
        self._open = client._open  # noqa: SLF001  # the gateway is a façade of the same house
        self._entries: list[Entry] = []
        self._names = Names([], {})
        self._read_at: float | None = None
        self._scanned_at: float | None = None
        self._scanning = asyncio.Lock()
        self.keeping = Keeping(self._open, options, self.sized)

    async def __aenter__(self) -> Self:
        await self.scan()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End every instance that was loaded for this gateway."""
        await self.keeping.aclose()

    # Models

    async def scan(self) -> None:
        """Look for models anew."""
        await self.client.scan()
        self._scanned_at = asyncio.get_running_loop().time()
        self._read_at = None

    async def models(self) -> list[Entry]:
        """The models that are there."""
        await self._read()
        return self._entries

    async def find(self, name: str) -> Entry:
        """The model that `name` means: see `Names`; also the id of a loaded instance.

        A name that nothing answers to makes it look for new models, at most every few
        seconds. Raises `ModelNotFoundError` or `AmbiguousModelError`.
        """
        return (await self._resolve(name))[0]

    async def _resolve(self, name: str) -> tuple[Entry, str | None]:
        """The model, and which instance of it where `name` says so."""
        if (owner := self.keeping.owner(name)) is not None:
            return owner, name
        await self._read()
        try:
            return self._names.find(name), None
        except ModelNotFoundError:
            for instance in await self.instances():
                if instance.id == name:
                    return self._names.find(instance.model_key), name
            if not await self._rescan():
                raise
        await self._read()
        return self._names.find(name), None

    async def _read(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._read_at is None or now - self._read_at > _REREAD_S:
            self._read_at = now
            listed = await self.client.list_models()
            self._entries = [entry for entry in listed if entry.missing_since is None]
            aliases = {**self.client.settings.aliases, **self.options.aliases}
            self._names = Names(self._entries, aliases)

    async def _rescan(self) -> bool:
        """Whether it was time to look for models again."""
        async with self._scanning:
            now = asyncio.get_running_loop().time()
            if self._scanned_at is not None and now - self._scanned_at < _RESCAN_S:
                return False
            await self.scan()
            return True

    async def capabilities_of(self, name: str) -> Capabilities:
        """What can be done with a model. Raises `ModelNotFoundError`."""
        model = (await self.find(name)).model
        return await self._open.provider_of(model).capabilities_of(model)

    # Instances

    async def instances(self) -> list[Instance]:
        """The loaded instances it may use, its own first."""
        loaded = [instance for _, instance in await self._open.loaded()]
        own = self.keeping.own_ids()
        return sorted(loaded, key=lambda instance: instance.id not in own)

    async def load(
        self,
        name: str,
        config: LoadConfig = LoadConfig(),  # noqa: B008  # immutable
        *,
        instance_id: str | None = None,
        ttl_s: float | None = None,
        on_progress: ProgressListener | None = None,
    ) -> Instance:
        """Load a model because somebody said so, whatever is loaded already.

        The second copy of a model is called `key:2`. It is not ended to make room for others,
        but after `ttl_s` without use where that is given. Raises `LoadError`.
        """
        return await self.keeping.load(
            await self.find(name),
            config,
            instance_id=instance_id,
            ttl_s=ttl_s,
            on_progress=on_progress,
        )

    async def unload(self, instance_id: str) -> None:
        """End an instance, whoever loaded it. Raises `NotFoundError` without one by that id."""
        await self.keeping.unload(instance_id)

    @asynccontextmanager
    async def hold(
        self,
        name: str,
        *,
        config: LoadConfig | None = None,
        ttl_s: float | None = None,
        on_progress: ProgressListener | None = None,
        on_evict: EvictionListener | None = None,
    ) -> AsyncGenerator[Held, None]:
        """A loaded instance for `name`, kept while the block runs.

        `name` is an instance's id or a model's name. A model that is not loaded is loaded on
        demand; others that were loaded on demand make room for it (`on_evict` is told which).
        `ttl_s` is how long it is kept without use after that.
        """
        entry, instance_id = await self._resolve(name)
        wish = Wish(entry=entry, config=config or _AS_IT_COMES, ttl_s=ttl_s)
        note_model(entry.model.key)
        session = self._open.session_for(entry.model)
        async with self.keeping.hold(
            wish,
            instance_id=instance_id,
            on_progress=on_progress,
            on_evict=on_evict,
        ) as instance:
            turn = self.keeping.turn(instance)
            yield Held(entry, instance, session.provider, session, turn)

    # Answers

    @asynccontextmanager
    async def answer(
        self,
        name: str,
        request: Request,
        *,
        ttl_s: float | None = None,
        config: LoadConfig | None = None,
        on_progress: ProgressListener | None = None,
    ) -> AsyncGenerator[Answering, None]:
        """The answer of a model or instance to `request`; leaving the block cancels it."""
        async with (
            self.hold(name, config=config, ttl_s=ttl_s, on_progress=on_progress) as held,
            held.turn,
        ):
            stream = held.session.stream(held.instance, request)
            try:
                yield Answering(held, stream)
            finally:
                await stream.aclose()

    async def embed(
        self, name: str, texts: Sequence[str], *, ttl_s: float | None = None
    ) -> tuple[Instance, Sequence[Sequence[float]]]:
        """One vector per text, and who made them.

        Raises `UnsupportedError` for a model that makes none.
        """
        entry = await self.find(name)
        if entry.model.type is not ModelType.EMBEDDING:
            raise UnsupportedError(f"{entry.model.key} is not an embedding model.")
        async with self.hold(name, ttl_s=ttl_s) as held, held.turn:
            return held.instance, await held.provider.embed(held.instance, texts)

    async def count_tokens(self, name: str, request: Request) -> int:
        """How many tokens the prompt of `request` has, by the model's own tokenizer."""
        async with self.hold(name) as held:
            return await held.session.count_prompt(held.instance, request)

    def sized(self, entry: Entry, config: LoadConfig) -> LoadConfig:
        """`config` with the context to load: the tested limit, else what should fit."""
        sized, faults = self._sized(entry, config), self.options.faults
        return sized if faults is None else faults.limit(sized)

    def _sized(self, entry: Entry, config: LoadConfig) -> LoadConfig:
        model = entry.model
        if config.context_tokens is not None:
            return config
        if model.type is ModelType.EMBEDDING:
            return replace(config, context_tokens=model.declared_context_tokens)
        tested = entry.result.usable_tokens if entry.result is not None else None
        safe = self.client._safe_tokens(model, config) if tested is None else None  # noqa: SLF001  # as above
        size = load_size(
            None,
            declared_tokens=model.declared_context_tokens,
            result=entry.result,
            safe_tokens=safe,
        )
        return replace(config, context_tokens=size.tokens)
