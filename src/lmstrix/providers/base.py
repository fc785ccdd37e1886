"""What every provider has in common: refusing what it cannot do, and joining what it streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NoReturn, Self

from lmstrix.errors import UnsupportedError
from lmstrix.providers import Capabilities
from lmstrix.types import Fragment, FragmentKind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from lmstrix.config import Places, Settings
    from lmstrix.providers import Provider, Relay
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


class BaseProvider:
    """A provider that can do nothing yet; a class of its own adds what its server can.

    Left to the class: `name`, `server`, `connect` and `at`.
    """

    name: ClassVar[str]
    preference: ClassVar[int] = 0
    capabilities: ClassVar[Capabilities] = Capabilities()
    dialects: ClassVar[frozenset[str]] = frozenset()
    server: str
    expected: bool = True
    _described: Mapping[str, Model] = {}

    @property
    def engine(self) -> str:
        """What runs the models; empty where the server tells none."""
        return ""

    @classmethod
    async def discover(cls, settings: Settings, places: Places) -> Sequence[Self]:  # noqa: ARG003
        """None: there is no usual place."""
        return []

    async def capabilities_of(self, model: Model) -> Capabilities:  # noqa: ARG002
        """What the class can do."""
        return self.capabilities

    async def list_instances(self) -> Sequence[Instance]:
        """Refused: what is loaded is not told."""
        self.refuse("tell what is loaded")

    async def load(
        self,
        model: Model,  # noqa: ARG002
        config: LoadConfig,  # noqa: ARG002
        *,
        instance_id: str | None = None,  # noqa: ARG002
        resident: bool = False,  # noqa: ARG002
        on_progress: ProgressListener | None = None,  # noqa: ARG002
    ) -> Instance:
        """Refused: the server alone decides what is loaded."""
        self.refuse("load a model on request")

    async def estimate(self, model: Model, config: LoadConfig) -> LoadEstimate | None:  # noqa: ARG002
        """Nothing: the server does not say beforehand what a load takes."""
        return None

    async def unload(self, instance_id: str) -> None:  # noqa: ARG002
        """Refused: the server alone decides what is loaded."""
        self.refuse("unload a model on request")

    def stream(self, instance: Instance, request: Request) -> AsyncGenerator[StreamItem, None]:  # noqa: ARG002
        """Refused."""
        self.refuse("answer")

    async def chat_stream(self, instance: Instance, request: Request) -> AsyncGenerator[str, None]:
        """The pieces of the answer alone, reasoning and tool calls left out."""
        stream = self.stream(instance, request)
        try:
            async for item in stream:
                if isinstance(item, Fragment) and item.kind is FragmentKind.ANSWER and item.text:
                    yield item.text
        finally:
            await stream.aclose()

    async def chat(self, instance: Instance, request: Request) -> str:
        """The answer: what the pieces of `chat_stream` make when joined."""
        return "".join([piece async for piece in self.chat_stream(instance, request)])

    def wire_request(self, instance: Instance, request: Request) -> WireRequest:  # noqa: ARG002
        """Refused."""
        self.refuse("show what it sends")

    async def render(self, instance: Instance, request: Request) -> str:  # noqa: ARG002
        """Refused: the chat template is the server's secret."""
        self.refuse("show a prompt with its chat template")

    async def tokenize(self, instance: Instance, text: str) -> Sequence[int]:  # noqa: ARG002
        """Refused: the tokenizer is the server's secret."""
        self.refuse("tokenize")

    async def detokenize(self, instance: Instance, tokens: Sequence[int]) -> str:  # noqa: ARG002
        """Refused: the tokenizer is the server's secret."""
        self.refuse("tokenize")

    async def sampling_defaults(self, instance: Instance) -> Mapping[str, object]:  # noqa: ARG002
        """Nothing: the server does not tell its defaults."""
        return {}

    async def embed(self, instance: Instance, texts: Sequence[str]) -> Sequence[Sequence[float]]:  # noqa: ARG002
        """Refused."""
        self.refuse("make embeddings")

    def relay(
        self,
        instance: Instance,  # noqa: ARG002
        dialect: str,
        request: WireRequest,  # noqa: ARG002
    ) -> AbstractAsyncContextManager[Relay]:
        """Refused."""
        self.refuse(f"pass on a request in the dialect {dialect}")

    async def aclose(self) -> None:
        """Nothing to end."""

    def check(self, request: Request, capabilities: Capabilities | None = None) -> None:
        """Raise `UnsupportedError` for what `request` has and `capabilities` lack.

        They are the class's unless given. Called before any work is done.
        """
        if what := lacking(request, capabilities or self.capabilities):
            self.refuse(what)

    async def check_model(self, instance: Instance, request: Request) -> None:
        """As `check`, by what the instance's own model can do.

        The models are only listed, once, for a request of which some models are not capable.
        """
        self.check(request)
        pictures = any(message.images for message in request.messages)
        if not (pictures or request.tools or request.think):
            return
        if instance.model_key not in self._described:
            listing = await self.list_models()
            self._described = {model.key: model for model in listing.models}
        if (model := self._described.get(instance.model_key)) is not None:
            self.check(request, await self.capabilities_of(model))

    async def list_models(self, *, known: Sequence[Model] = ()) -> Listing:  # noqa: ARG002
        """Refused: what is there is not told."""
        self.refuse("list models")

    def refuse(self, what: str) -> NoReturn:
        """Raise the `UnsupportedError` for something this provider cannot do."""
        raise cannot(self, what)


def lacking(request: Request, able: Capabilities) -> str | None:
    """What `request` needs and `able` lacks, in words for `cannot`; `None` where nothing."""
    raw = request.prompt is not None
    pictures = any(message.images for message in request.messages)
    calls = any(message.tool_calls for message in request.messages)
    for wanted, can, what in (
        (raw, able.supports_raw, "continue a plain text without a chat template"),
        (bool(request.tools) or calls, able.supports_tools, "offer tools to this model"),
        (pictures, able.supports_vision, "show images to this model"),
        (bool(request.think), able.supports_reasoning, "make this model reason"),
        (request.schema is not None, able.supports_schema, "hold an answer to a schema"),
        (request.grammar is not None, able.supports_grammar, "hold an answer to a grammar"),
        (request.logprobs is not None, able.supports_logprobs, "tell log probabilities"),
        (raw and bool(request.tools), False, "offer tools in a plain completion"),
    ):
        if wanted and not can:
            return what
    return None


def cannot(provider: Provider | BaseProvider, what: str) -> UnsupportedError:
    """The error for something that `provider` cannot do."""
    place = f" at {provider.server}" if "://" in provider.server else ""
    return UnsupportedError(
        f"The provider {provider.name}{place} cannot {what}.",
        hint="docs/providers.md lists what each provider can do.",
    )
