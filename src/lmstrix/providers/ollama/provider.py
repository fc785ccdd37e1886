"""One Ollama server as a provider.

Ollama runs one instance of a model, named like the model. It loads a model again whenever a
request brings other load options than it is loaded with, so every request brings those of its
instance, and what was loaded is read back.
"""

from __future__ import annotations

import os
import re
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec.structs import replace

from lmstrix.errors import LMStrixError, UnreachableError
from lmstrix.providers import Capabilities
from lmstrix.providers.base import BaseProvider
from lmstrix.providers.http import HttpServer
from lmstrix.providers.identify import configured, look_for
from lmstrix.providers.ollama.place import usual_server
from lmstrix.providers.relaying import Relayed
from lmstrix.types import (
    Instance,
    Listing,
    LoadConfig,
    Model,
    ModelType,
    Phase,
    Progress,
    WireRequest,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from lmstrix.config import Places, Settings
    from lmstrix.protocol.ollama.models import Create, Shown
    from lmstrix.providers.ollama.library import Library
    from lmstrix.providers.ollama.residents import Residents
    from lmstrix.providers.ollama.talk import Talk
    from lmstrix.types import ProgressListener, Request, StreamItem

_RENDERS_FROM = (0, 11, 5)  # when `_debug_render_only` came


class OllamaProvider(BaseProvider):
    """One Ollama server. What this process has loaded, and not as resident, ends with it."""

    name: ClassVar[str] = "ollama"
    preference: ClassVar[int] = 30
    dialects: ClassVar[frozenset[str]] = frozenset({"ollama"})
    capabilities: ClassVar[Capabilities] = Capabilities(
        supports_streaming=True,
        supports_cancel=True,
        supports_raw=True,
        supports_tools=True,
        supports_vision=True,
        supports_reasoning=True,
        supports_schema=True,
        supports_logprobs=True,
        supports_embeddings=True,
        supports_load=True,
        supports_templates=True,
        supports_sampling_defaults=True,
        supports_memory=True,
        supports_download=True,
    )

    def __init__(
        self, http: HttpServer, *, expected: bool = True, version: str | None = None
    ) -> None:
        self.server = http.root
        self.expected = expected
        self._http = http
        self._version = version  # `None` until asked; empty where the server does not tell
        self._able: dict[str, Capabilities] = {}

    @property
    def engine(self) -> str:
        """Ollama with its version, once the server was asked anything."""
        return f"ollama {self._version}" if self._version else ""

    @classmethod
    def connect(cls, settings: Settings, places: Places) -> Sequence[Self]:  # noqa: ARG003  # other kinds keep files
        """Those that the settings name as Ollama."""
        return [cls(http) for http in configured(cls.name, settings)]

    @classmethod
    def at(cls, server: str, settings: Settings, places: Places) -> Self:  # noqa: ARG003  # as above
        """The one at that address."""
        named = settings.server_address(settings.server) == server
        return cls(HttpServer.known(server, settings), expected=named)

    @classmethod
    async def discover(cls, settings: Settings, places: Places) -> Sequence[Self]:  # noqa: ARG003  # as above
        """Where `OLLAMA_HOST` or Ollama's default says, and at servers of unknown kind."""
        found = await look_for(cls.name, settings, [usual_server(os.environ)])
        return [cls(http, expected=named, version=said.version) for http, said, named in found]

    async def capabilities_of(self, model: Model) -> Capabilities:
        """What the server says that `model` can do."""
        embeds = model.type is ModelType.EMBEDDING
        await self._know_version()
        return replace(
            self.capabilities,
            supports_tools=model.tools,
            supports_vision=model.vision,
            supports_reasoning=model.reasoning,
            supports_embeddings=embeds,
            supports_templates=self._renders() and not embeds,
        )

    # Models

    async def list_models(self, *, known: Sequence[Model] = ()) -> Listing:
        """Every model the server has. One of the same digest is not asked about again."""
        await self._know_version()
        self._able.clear()
        return await self._library.list(known)

    # Instances

    async def list_instances(self) -> Sequence[Instance]:
        """What is loaded, whoever loaded it, with the context that the server tells."""
        await self._know_version()
        return await self._residents.list()

    async def load(
        self,
        model: Model,
        config: LoadConfig,
        *,
        instance_id: str | None = None,  # noqa: ARG002  # an instance has its model's name
        resident: bool = False,
        on_progress: ProgressListener | None = None,
    ) -> Instance:
        """Load `model`, in place of what is loaded of it.

        The instance is named like the model: Ollama has no other names. Raises
        `UnsupportedError` for settings that Ollama has for the whole server only.
        """
        await self._know_version()
        if on_progress is not None:
            on_progress(Progress(phase=Phase.LOAD))
        return await self._residents.load(model, config, resident=resident)

    async def unload(self, instance_id: str) -> None:
        """End an instance. Raises `NotFoundError` when there is none by that id."""
        await self._residents.unload(instance_id)

    # Answers

    def stream(self, instance: Instance, request: Request) -> AsyncGenerator[StreamItem, None]:
        """Fragments as they come, then the statistics.

        Closing the generator closes the connection, which ends the request on the server. A
        prompt that does not fit raises `ContextOverflowError` where the server knows how to
        refuse one (from 0.12.6 on). A stream that fails before its first fragment is asked for
        once more in one piece.
        """
        from lmstrix.providers.ollama.answering import answer  # noqa: PLC0415  # see below

        return answer(self._talk, instance, request, check=self._check)

    async def _check(self, instance: Instance, request: Request) -> None:
        """Refuse what the model lacks; it is asked only about what not every model has."""
        self.check(request)
        pictures = any(message.images for message in request.messages)
        if request.tools or request.think or pictures:
            if (able := self._able.get(instance.model_key)) is None:
                told = await self._library.describe(instance.model_key)
                able = self._able[instance.model_key] = await self.capabilities_of(told)
            self.check(request, able)

    def wire_request(self, instance: Instance, request: Request) -> WireRequest:
        """The body that `stream` sends."""
        from lmstrix.providers.ollama.answering import question  # noqa: PLC0415  # see below

        return question(instance, request)

    async def render(self, instance: Instance, request: Request) -> str:
        """The prompt with the model's own chat template applied.

        Raises `UnsupportedError` on servers before 0.11.5, which would answer it instead.
        """
        if request.prompt is not None:
            return request.prompt
        await self._know_version()
        if not self._renders():
            self.refuse("show a prompt with its chat template before version 0.11.5")
        from lmstrix.providers.ollama.answering import rendered  # noqa: PLC0415  # see below

        found = await rendered(self._talk, instance, request)
        if found is None:
            self.refuse("show a prompt with its chat template")
        return found

    async def sampling_defaults(self, instance: Instance) -> Mapping[str, object]:
        """What the model's own parameters set; Ollama does not tell the rest."""
        return await self._library.sampling_defaults(instance.model_key)

    async def embed(self, instance: Instance, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One unit vector per text.

        Raises `ContextOverflowError` for a text that is longer than the context, where Ollama
        would cut it, and `UnsupportedError` for a model that makes no embeddings.
        """
        from lmstrix.providers.ollama.answering import embedded  # noqa: PLC0415  # see below

        return await embedded(self._talk, instance, texts)

    # The server's models

    def pull(self, model: str) -> AsyncGenerator[Progress, None]:
        """Have the server fetch `model` from its library, telling how far it is.

        Raises `GenerationError` with what the server says when it cannot.
        """
        return self._library.pull(model)

    def create(self, wish: Create) -> AsyncGenerator[Progress, None]:
        """Have the server make a model of another, telling how far it is."""
        return self._library.create(wish)

    async def copy(self, source: str, destination: str) -> None:
        """Give a model a second name. Raises `ModelNotFoundError`."""
        await self._library.copy(source, destination)

    async def delete(self, model: str) -> None:
        """Delete a model from the server's disk. Raises `ModelNotFoundError`."""
        await self._library.delete(model)

    async def default_context(self, model: Model) -> int | None:
        """`num_ctx` among the model's own parameters; `None` where the server chooses."""
        return await self._library.default_context(model.key)

    async def save_default_context(self, model: Model, tokens: int) -> str | None:
        """Keep `num_ctx` with the model; its template, messages and other parameters stay.

        The server makes the model anew of itself, with another digest: that is returned, `None`
        where it tells none. The weights are the same.
        """
        return await self._library.save_default_context(model.key, tokens)

    @asynccontextmanager
    async def relay(
        self,
        instance: Instance,  # noqa: ARG002  # the request names it
        dialect: str,  # noqa: ARG002  # there is one
        request: WireRequest,
    ) -> AsyncGenerator[Relayed, None]:
        """Pass a request on as it is."""
        async with self._talk.http.open(request.method, request.path, request.body) as incoming:
            yield Relayed(incoming, self._talk.http.broke_off)

    async def aclose(self) -> None:
        """Unload what this process has loaded for itself."""
        if "_residents" in self.__dict__:  # else nothing was loaded
            await self._residents.aclose()

    async def show(self, key: str) -> Shown:
        """What the server tells of a model. Raises `ModelNotFoundError`."""
        return await self._library.show(key)

    # Inside: a command that talks to no Ollama pays for none of this

    @cached_property
    def _talk(self) -> Talk:
        from lmstrix.providers.ollama.talk import Talk  # noqa: PLC0415  # as said above

        return Talk(self._http)

    @cached_property
    def _library(self) -> Library:
        from lmstrix.providers.ollama.library import Library  # noqa: PLC0415  # as above

        return Library(self._talk, self.name)

    @cached_property
    def _residents(self) -> Residents:
        from lmstrix.providers.ollama.residents import Residents  # noqa: PLC0415  # as above

        return Residents(self._talk, self.name)

    async def _know_version(self) -> None:
        if self._version is not None:
            return
        try:
            self._version = await self._library.version()
        except UnreachableError:
            raise
        except LMStrixError:
            self._version = ""  # something that speaks the dialect and has no version

    def _renders(self) -> bool:
        numbers = tuple(int(number) for number in re.findall(r"\d+", self._version or "")[:3])
        return numbers >= _RENDERS_FROM
