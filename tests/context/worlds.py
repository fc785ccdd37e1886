"""A server in memory whose limits are known: what the context test finds can be compared.

Tokens are words. The model answers questions of the family `keyed` by looking for the fact in
the part of the prompt that it sees, and knows nothing else.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmstrix.errors import (
    ContextOverflowError,
    EmptyAnswerError,
    EngineDiedError,
    NotFoundError,
    OutOfMemoryError,
    UnreachableError,
)
from lmstrix.providers import Capabilities
from lmstrix.types import (
    Fragment,
    Instance,
    LoadConfig,
    LoadEstimate,
    MemoryUse,
    Model,
    ModelType,
    Phase,
    Progress,
    Stats,
    StopReason,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from lmstrix.types import ProgressListener, Request

_ASKED = re.compile(r"What is the .*?(?:of|for) ((?:the \w+ )?\w+)\?")


def model(key: str = "a-model", *, declared: int = 8192, **fields: Any) -> Model:
    return Model(
        key=key,
        provider="world",
        server="nowhere",
        identity=f"identity of {key}",
        declared_context_tokens=declared,
        **fields,
    )


@dataclass
class World:
    """One server with one model. Every limit is in tokens; the defaults have none."""

    loads_up_to: int = 10**9
    rounds_up_to: int = 1
    gives_at_most: int = 10**9
    reads_at_most: int = 10**9
    understands_up_to: int = 10**9
    dies_above: int = 10**9
    hangs_above: int = 10**9
    hangs_loading_above: int = 10**9
    mute_above: int = 10**9
    tells_count: bool = True
    says_fits_up_to: int | None = None
    bytes_per_token: int = 1000
    engine: str = "world 1"
    calls_left: int = 10**9
    instances: dict[str, Instance] = field(default_factory=dict)
    loaded: list[int] = field(default_factory=list)
    unloaded: list[str] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    name = "world"
    server = "nowhere"
    capabilities = Capabilities(
        supports_load=True, supports_instance_names=True, supports_tokenization=True
    )

    def _answer_or_not(self) -> None:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise UnreachableError("nobody answers", server=self.server)

    async def list_instances(self) -> Sequence[Instance]:
        self._answer_or_not()
        return list(self.instances.values())

    async def load(
        self,
        model: Model,
        config: LoadConfig,
        *,
        instance_id: str | None = None,
        resident: bool = False,
        on_progress: ProgressListener | None = None,
    ) -> Instance:
        self._answer_or_not()
        tokens = config.context_tokens or 4096
        assert instance_id is not None
        assert instance_id not in self.instances
        self.loaded.append(tokens)
        if tokens > self.hangs_loading_above:
            await asyncio.Event().wait()
        held = -(-tokens // self.rounds_up_to) * self.rounds_up_to
        if held > self.loads_up_to:
            raise OutOfMemoryError("too large", model=model.key, context_tokens=tokens)
        instance = Instance(
            id=instance_id,
            model_key=model.key,
            provider=self.name,
            server=self.server,
            context_tokens=min(held, self.gives_at_most),
            config=config,
            owned=True,
            memory=MemoryUse(weights_bytes=10**6, kv_bytes=held * self.bytes_per_token),
        )
        self.instances[instance_id] = instance
        try:
            if on_progress is not None:
                on_progress(Progress(phase=Phase.LOAD, fraction=1.0))
        except BaseException:
            del self.instances[instance_id]  # a load that raises leaves nothing behind
            raise
        return instance

    async def estimate(self, model: Model, config: LoadConfig) -> LoadEstimate | None:
        if self.says_fits_up_to is None:
            return None
        fits = (config.context_tokens or 0) <= self.says_fits_up_to
        return LoadEstimate(memory=MemoryUse(), fits=fits)

    async def unload(self, instance_id: str) -> None:
        if instance_id not in self.instances:
            raise NotFoundError("no such instance")
        del self.instances[instance_id]
        self.unloaded.append(instance_id)

    async def render(self, instance: Instance, request: Request) -> str:
        return request.messages[-1].content

    async def tokenize(self, instance: Instance, text: str) -> Sequence[int]:
        return range(len(text.split()))

    async def embed(self, instance: Instance, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        self._answer_or_not()
        tokens = max(len(text.split()) for text in texts)
        self._check(instance, tokens)
        return [[0.6, 0.8] for _ in texts]

    async def stream(self, instance: Instance, request: Request) -> AsyncGenerator[Any, None]:
        self._answer_or_not()
        text = request.messages[-1].content
        words = text.split()
        tokens = len(words)
        self.asked.append(tokens)
        self._check(instance, tokens)
        if tokens > self.hangs_above:
            await asyncio.Event().wait()
        if tokens > self.mute_above:
            raise EmptyAnswerError("not a word")
        read = min(tokens, self.reads_at_most)
        seen = " ".join(words[:20] + words[tokens - read + 20 :]) if read < tokens else text
        yield Progress(phase=Phase.PROMPT, fraction=1.0)
        yield Fragment(self._said(text, seen, tokens))
        yield Stats(
            stop_reason=StopReason.END,
            prompt_tokens=read if self.tells_count else None,
            predicted_tokens=3,
            prompt_s=tokens / 1000,
            predict_s=0.03,
        )

    def _check(self, instance: Instance, tokens: int) -> None:
        if tokens > self.dies_above:
            del self.instances[instance.id]
            raise EngineDiedError("it died", reason="it aborted", exit_status=-6)
        if tokens > instance.context_tokens and self.reads_at_most > tokens:
            raise ContextOverflowError(
                "too long", prompt_tokens=tokens, context_tokens=instance.context_tokens
            )

    def _said(self, text: str, seen: str, tokens: int) -> str:
        asked = _ASKED.search(text[-300:])
        if asked is None or tokens > self.understands_up_to:
            return "I do not know."
        found = re.search(rf"{asked[1]} is (\d+)", seen)
        return "I do not see it." if found is None else f"It is {found[1]}."

    async def aclose(self) -> None:
        self.instances.clear()


def embedding(key: str = "an-embedder", *, declared: int = 512) -> Model:
    return model(key, declared=declared, type=ModelType.EMBEDDING)
