"""What is loaded on an Ollama server, and how this process had it loaded."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from lmstrix.errors import (
    GenerationError,
    LMStrixError,
    LoadError,
    NotFoundError,
    OutOfMemoryError,
    ProtocolError,
    UnreachableError,
    UnsupportedError,
)
from lmstrix.protocol.ollama.durations import keep_alive_of
from lmstrix.protocol.ollama.messages import EmbedReply, EmbedRequest, GenerateRequest, Reply
from lmstrix.protocol.ollama.models import Processes, Running, unix_s
from lmstrix.protocol.ollama.options import load_options
from lmstrix.types import Instance, LoadConfig, MemoryUse, ModelType

if TYPE_CHECKING:
    from lmstrix.providers.ollama.talk import Talk
    from lmstrix.types import Model

_NO_MEMORY = re.compile(
    r"more system memory|out of memory|insufficient memory|cudaMalloc|unable to allocate",
    re.IGNORECASE,
)
_SERVER_WIDE = {
    "kv_type_k": "OLLAMA_KV_CACHE_TYPE",
    "kv_type_v": "OLLAMA_KV_CACHE_TYPE",
    "flash_attention": "OLLAMA_FLASH_ATTENTION",
    "parallel": "OLLAMA_NUM_PARALLEL",
    "memory_limit_bytes": "OLLAMA_GPU_OVERHEAD",
}


class _Loaded(NamedTuple):
    """What this process had loaded: how it was asked for and what it became."""

    config: LoadConfig
    instance: Instance


class Residents:
    """The instances of one server. Those loaded here, and not to stay, end with `aclose`."""

    def __init__(self, talk: Talk, provider: str) -> None:
        self._talk = talk
        self._provider = provider
        self._server = talk.http.root
        self._loaded: dict[str, _Loaded] = {}

    async def list(self) -> list[Instance]:
        """What is loaded, whoever loaded it, with the context that the server tells."""
        running = await self._talk.get("/api/ps", Processes)
        found = [self._instance(one) for one in running.models or ()]
        there = {instance.id for instance in found}
        for gone in self._loaded.keys() - there:
            del self._loaded[gone]
        return found

    def _instance(self, running: Running) -> Instance:
        key = running.model or running.name or ""
        context = running.context_length or None
        ours = self._loaded.get(key)
        if ours is not None and context not in (None, ours.instance.context_tokens):
            ours = None  # somebody has loaded it anew
            del self._loaded[key]
        size = running.size or 0
        instance = Instance(
            id=key,
            model_key=key,
            provider=self._provider,
            server=self._server,
            context_tokens=context,
            memory=MemoryUse(weights_bytes=size, resident_bytes=size - (running.size_vram or 0)),
            expires_at=unix_s(running.expires_at),
        )
        if ours is None:
            return instance
        return replace(
            instance,
            config=ours.config,
            owned=ours.instance.owned,
            load_s=ours.instance.load_s,
        )

    async def load(
        self,
        model: Model,
        config: LoadConfig,
        *,
        resident: bool,
    ) -> Instance:
        """Load `model`, in place of what is loaded of it; the context is read back.

        Raises `LoadError`, and `UnsupportedError` for settings that Ollama has for the whole
        server only.
        """
        for setting, variable in _SERVER_WIDE.items():
            if getattr(config, setting) is not None:
                raise UnsupportedError(
                    f"Ollama cannot load one model with {setting}: it is set for the whole server.",
                    hint=f"Start Ollama with {variable} set, and leave it out here.",
                )
        before = {instance.id for instance in await self.list()}
        clock = asyncio.get_running_loop().time
        began_s = clock()
        try:
            await self._load(model, config)
        except (GenerationError, ProtocolError) as problem:
            raise _load_error(problem, model, config) from None
        owned = not resident and model.key not in before
        instance = Instance(
            id=model.key,
            model_key=model.key,
            provider=self._provider,
            server=self._server,
            context_tokens=None,
            config=config,
            owned=owned,
        )
        self._loaded.pop(model.key, None)
        for one in await self.list():
            if one.id == model.key:
                instance = replace(one, config=config, owned=owned)
        instance = replace(instance, load_s=clock() - began_s)
        self._loaded[model.key] = _Loaded(config, instance)
        return instance

    async def _load(self, model: Model, config: LoadConfig) -> None:
        options = load_options(config) or None
        keep = keep_alive_of(config.ttl_s)
        if model.type is ModelType.EMBEDDING:
            question = EmbedRequest(model=model.key, input=(), options=options, keep_alive=keep)
            await self._talk.post("/api/embed", question, EmbedReply, model=model.key)
            return
        body = GenerateRequest(model=model.key, stream=False, options=options, keep_alive=keep)
        await self._talk.post("/api/generate", body, Reply, model=model.key)

    async def unload(self, instance_id: str) -> None:
        """End an instance. Raises `NotFoundError` when there is none by that id."""
        if all(one.id != instance_id for one in await self.list()):
            raise NotFoundError(
                f"No instance named {instance_id} is loaded on {self._server}.",
                hint="See what is: lmstrix ps",
            )
        self._loaded.pop(instance_id, None)
        body = GenerateRequest(model=instance_id, stream=False, keep_alive=0)
        await self._talk.post("/api/generate", body, Reply, model=instance_id)

    async def aclose(self) -> None:
        """Unload what was loaded here and not to stay."""
        ours, self._loaded = self._loaded, {}
        for loaded in ours.values():
            if loaded.instance.owned:
                with suppress(NotFoundError, UnreachableError):  # it is gone already
                    await self.unload(loaded.instance.id)


def _load_error(problem: LMStrixError, model: Model, config: LoadConfig) -> LoadError:
    kind = OutOfMemoryError if _NO_MEMORY.search(problem.message) else LoadError
    return kind(
        f"{model.key} did not load: {problem.message}",
        model=model.key,
        context_tokens=config.context_tokens,
        hint="A smaller context takes less memory; Ollama's own log may say more.",
    )
