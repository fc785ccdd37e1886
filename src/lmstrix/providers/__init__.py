"""Kinds of places where models run, behind one protocol.

A provider adapts one reachable server (or the embedded engine) to the vocabulary of
`lmstrix.types`. Providers are found through the entry point group `lmstrix.providers`, our
own included; each entry point names a class with the shape of `Provider`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from lmstrix.config import Places, Settings
    from lmstrix.types import (
        Instance,
        Listing,
        LoadConfig,
        Model,
        ProgressListener,
        Request,
        StreamItem,
        WireRequest,
    )


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider class can do; asked before any work is done."""

    supports_streaming: bool = False
    supports_cancel: bool = False
    supports_load: bool = False
    supports_load_progress: bool = False
    supports_prompt_progress: bool = False
    supports_embeddings: bool = False
    supports_tokenization: bool = False
    supports_templates: bool = False
    supports_memory: bool = False
    supports_memory_limit: bool = False


class Provider(Protocol):
    """One reachable place where models run.

    Every method may raise `UnreachableError`; that is never a model's failure. A method the
    class's `capabilities` deny raises `UnsupportedError` before doing anything.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    server: str

    @property
    def engine(self) -> str:
        """What runs the models, with its version; empty where the server tells none."""
        ...

    @classmethod
    def connect(cls, settings: Settings, places: Places) -> Sequence[Self]:
        """One provider object per configured server, without touching any of them."""
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

    async def aclose(self) -> None:
        """End what this process owns; leave resident instances alone."""
        ...
