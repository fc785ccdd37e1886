"""What the routes of every dialect ask for: models, instances, answers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, Self

from msgspec.structs import replace

from lmstrix.errors import NotFoundError, UnsupportedError
from lmstrix.gateway.names import Names
from lmstrix.types import LoadConfig, ModelType

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from types import TracebackType

    from lmstrix.async_client import AsyncLMStrix
    from lmstrix.gateway.options import GatewayOptions
    from lmstrix.providers import Provider
    from lmstrix.session import Session
    from lmstrix.store import Entry
    from lmstrix.types import Instance, ProgressListener, Request, StreamItem

_RESCAN_S = 5.0
_REREAD_S = 2.0


class Held(NamedTuple):
    """A loaded instance that is kept while somebody answers from it."""

    entry: Entry
    instance: Instance
    provider: Provider
    session: Session


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
        self._own: dict[str, tuple[Provider, Entry, Instance]] = {}

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
        own, self._own = self._own, {}
        for provider, _, instance in own.values():
            with suppress(NotFoundError):  # it ended by itself
                await provider.unload(instance.id)

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
        if (own := self._own.get(name)) is not None:
            return own[1]
        await self._read()
        try:
            return self._names.find(name)
        except NotFoundError:
            if not await self._rescan():
                raise
        await self._read()
        return self._names.find(name)

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

    # Instances

    async def instances(self) -> list[Instance]:
        """The loaded instances it may use, its own first."""
        loaded = [instance for _, instance in await self._open.loaded()]
        return sorted(loaded, key=lambda instance: instance.id not in self._own)

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
        entry = await self.find(name)
        session = self._open.session_for(entry.model)
        instance = await session.load(
            entry.model,
            replace(config, ttl_s=ttl_s),
            instance_id=instance_id,
            on_progress=on_progress,
        )
        self._own[instance.id] = (session.provider, entry, instance)
        return instance

    async def unload(self, instance_id: str) -> None:
        """End an instance. Raises `NotFoundError` when there is none by that id."""
        self._own.pop(instance_id, None)
        await self.client.unload(instance_id)

    @asynccontextmanager
    async def hold(
        self,
        name: str,
        *,
        config: LoadConfig | None = None,
        ttl_s: float | None = None,  # noqa: ARG002
        on_progress: ProgressListener | None = None,
        on_evict: Callable[[Instance], None] | None = None,  # noqa: ARG002
    ) -> AsyncGenerator[Held, None]:
        """A loaded instance for `name`, kept while the block runs.

        `name` is an instance's id or a model's name. A model that is not loaded is loaded on
        demand; others that were loaded on demand make room for it (`on_evict` is told which).
        `ttl_s` is how long it is kept without use after that.
        """
        if (own := self._own.get(name)) is not None:
            provider, entry, instance = own
            yield Held(entry, instance, provider, self._open.session_for(entry.model))
            return
        entry = await self.find(name)
        session = self._open.session_for(entry.model)
        config = config or LoadConfig()
        async with session.hold(
            entry.model,
            config,
            explicit=config.context_tokens is not None,
            on_progress=on_progress,
        ) as instance:
            yield Held(entry, instance, session.provider, session)

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
        async with self.hold(name, config=config, ttl_s=ttl_s, on_progress=on_progress) as held:
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
        async with self.hold(name, ttl_s=ttl_s) as held:
            return held.instance, await held.provider.embed(held.instance, texts)

    async def count_tokens(self, name: str, request: Request) -> int:
        """How many tokens the prompt of `request` has, by the model's own tokenizer."""
        async with self.hold(name) as held:
            return await held.session.count_prompt(held.instance, request)
