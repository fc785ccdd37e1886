"""Kinds of places where models run, behind one protocol.

A provider adapts one reachable server (or the embedded engine) to the vocabulary of
`lmstrix.types`. Providers are found through the entry point group `lmstrix.providers`, our
own included; each entry point names a class with the shape of `Provider`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from lmstrix.config import Places, Settings
    from lmstrix.types import (
        Instance,
        Listing,
        LoadConfig,
        LoadEstimate,
        Model,
        ProgressListener,
        Request,
        StreamItem,
        WireRequest,
    )


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider can do; asked before any work is done.

    `supports_load` is control over what is loaded and at which size; `supports_instance_names`
    loading under a name of one's own, beside whatever else is loaded of the model;
    `supports_download` fetching models onto the server; `supports_raw` completion without a chat
    template.
    """

    supports_streaming: bool = False
    supports_cancel: bool = False
    supports_raw: bool = False
    supports_tools: bool = False
    supports_vision: bool = False
    supports_reasoning: bool = False
    supports_schema: bool = False
    supports_grammar: bool = False
    supports_logprobs: bool = False
    supports_embeddings: bool = False
    supports_load: bool = False
    supports_instance_names: bool = False
    supports_load_progress: bool = False
    supports_prompt_progress: bool = False
    supports_tokenization: bool = False
    supports_detokenization: bool = False
    supports_templates: bool = False
    supports_sampling_defaults: bool = False
    supports_memory: bool = False
    supports_memory_limit: bool = False
    supports_download: bool = False


class Relay(Protocol):
    """A response on its way through: status, content type, and the body as it comes.

    `length` is how many bytes the body has, where that was told before it came.
    """

    status: int
    content_type: str
    length: int | None

    def chunks(self) -> AsyncIterator[bytes]:
        """The body in the pieces that arrive. Raises `GenerationError` where it breaks off."""
        ...


class Provider(Protocol):
    """One reachable place where models run.

    Every method may raise `UnreachableError`; that is never a model's failure. A method the
    `capabilities` deny raises `UnsupportedError` before doing anything;
    `lmstrix.providers.base.BaseProvider` does that for what a class leaves out.

    `server` is where it is: an origin with path (`http://127.0.0.1:1234`) or, without a network,
    a plain word. Of two providers for one server the one of higher `preference` is used, unless
    the user names the other. `dialects` are the wire formats (`openai`, `anthropic`, `ollama`)
    that `relay` passes on as they are. `expected` is whether the user named this server: one that
    was merely looked for may be silent without a word.
    """

    name: ClassVar[str]
    preference: ClassVar[int]
    capabilities: ClassVar[Capabilities]
    dialects: ClassVar[frozenset[str]]
    server: str
    expected: bool

    @property
    def engine(self) -> str:
        """What runs the models, with its version; empty where the server tells none."""
        ...

    @classmethod
    def connect(cls, settings: Settings, places: Places) -> Sequence[Self]:
        """One provider object per configured server of this kind, without touching any of them."""
        ...

    @classmethod
    async def discover(cls, settings: Settings, places: Places) -> Sequence[Self]:
        """Those that answer as this kind at the usual places and at servers of unknown kind.

        Takes a second at most. Our own gateway is never among them.
        """
        ...

    @classmethod
    def at(cls, server: str, settings: Settings, places: Places) -> Self:
        """The provider for a server known from before, configured or not; touches nothing."""
        ...

    async def capabilities_of(self, model: Model) -> Capabilities:
        """What this server can do with `model`, where that is more or less than the class says."""
        ...

    async def list_models(self, *, known: Sequence[Model] = ()) -> Listing:
        """Every model that is there, loaded or not.

        `known` are models listed before: what is plainly unchanged need not be read again.
        """
        ...

    async def list_instances(self) -> Sequence[Instance]:
        """Every loaded instance, this process's and others'."""
        ...

    async def load(
        self,
        model: Model,
        config: LoadConfig,
        *,
        instance_id: str | None = None,
        resident: bool = False,
        on_progress: ProgressListener | None = None,
    ) -> Instance:
        """Load `model`; the instance's context is read back from the server.

        `resident` lets the instance outlive this process (until `config.ttl_s` idle). Raises
        `LoadError` or its child `OutOfMemoryError`. Cancelling the call ends the load.
        """
        ...

    async def estimate(self, model: Model, config: LoadConfig) -> LoadEstimate | None:
        """What the server says that a load would take; `None` where it says nothing."""
        ...

    async def unload(self, instance_id: str) -> None:
        """End an instance. Raises `NotFoundError` when there is none by that id."""
        ...

    def stream(self, instance: Instance, request: Request) -> AsyncGenerator[StreamItem, None]:
        """`Progress` and `Fragment` items as they come, then one `Stats`, the last.

        Closing the generator cancels on the server. Raises `GenerationError` or a child of it.
        """
        ...

    def wire_request(self, instance: Instance, request: Request) -> WireRequest:
        """Exactly what `stream` would send, made by the very code that sends it."""
        ...

    async def render(self, instance: Instance, request: Request) -> str:
        """The text the model really sees: the chat template applied."""
        ...

    async def tokenize(self, instance: Instance, text: str) -> Sequence[int]:
        """Token ids of `text` as a rendered prompt: template markers count as what they are."""
        ...

    async def detokenize(self, instance: Instance, tokens: Sequence[int]) -> str:
        """The text of token ids."""
        ...

    async def sampling_defaults(self, instance: Instance) -> Mapping[str, object]:
        """The server's own sampling settings, by the names of `Sampling`."""
        ...

    async def embed(self, instance: Instance, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector per text."""
        ...

    def chat_stream(self, instance: Instance, request: Request) -> AsyncGenerator[str, None]:
        """The pieces of the answer alone, reasoning and tool calls left out."""
        ...

    async def chat(self, instance: Instance, request: Request) -> str:
        """The answer: always what the pieces of `chat_stream` make when joined."""
        ...

    def relay(
        self, instance: Instance, dialect: str, request: WireRequest
    ) -> AbstractAsyncContextManager[Relay]:
        """Pass a request of one of the `dialects` on, and its answer back, byte for byte.

        Leaving the block before the end cancels on the server.
        """
        ...

    async def aclose(self) -> None:
        """End what this process owns; leave resident instances alone."""
        ...
