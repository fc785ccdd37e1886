"""One Ollama server as a provider.

Ollama runs one instance of a model, named like the model. It loads a model again whenever a
request brings other load options than it is loaded with, so every request brings those of its
instance, and what was loaded is read back.
"""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar, Self

import msgspec
from msgspec.structs import replace

from lmstrix.errors import (
    ContextOverflowError,
    LMStrixError,
    ProtocolError,
    UnreachableError,
)
from lmstrix.protocol.ollama import models as wire
from lmstrix.protocol.ollama.durations import keep_alive_of
from lmstrix.protocol.ollama.messages import EmbedReply, EmbedRequest, Reply
from lmstrix.protocol.ollama.options import load_options, read_options
from lmstrix.providers import Capabilities
from lmstrix.providers.base import BaseProvider
from lmstrix.providers.http import HttpServer
from lmstrix.providers.identify import configured, look_for
from lmstrix.providers.ollama.answering import answer, options_of, question, sized
from lmstrix.providers.ollama.describing import described, parameters_of
from lmstrix.providers.ollama.place import usual_server
from lmstrix.providers.ollama.residents import Residents
from lmstrix.providers.ollama.talk import Talk
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
    from lmstrix.types import ProgressListener, Request, StreamItem

_SHOWN_AT_ONCE = 4
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
        self._talk = Talk(http)
        self._version = version  # `None` until asked; empty where the server does not tell
        self._able: dict[str, Capabilities] = {}
        self._residents = Residents(self._talk, self.name)

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
        tags = await self._talk.get("/api/tags", wire.Tags)
        before = {(model.key, model.identity): model for model in known}
        gate = asyncio.Semaphore(_SHOWN_AT_ONCE)

        async def described_or_why(one: wire.Listed) -> Model | str:
            key = one.model or one.name or ""
            old = before.get((key, one.digest))
            if old is not None and one.digest:
                return old
            async with gate:
                try:
                    shown = await self.show(key)
                except UnreachableError:
                    raise
                except LMStrixError as problem:
                    return f"{key} cannot be described: {problem.message}"
            return described(key, one, shown, provider=self.name, server=self.server)

        found = await asyncio.gather(*(described_or_why(one) for one in tags.models or ()))
        self._able.clear()
        models = tuple(one for one in found if isinstance(one, Model))
        problems = tuple(one for one in found if isinstance(one, str))
        return Listing(models=models, complete=not problems, problems=problems)

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
        return answer(self._talk, instance, request, check=self._check)

    async def _check(self, instance: Instance, request: Request) -> None:
        """Refuse what the model lacks; it is asked only about what not every model has."""
        self.check(request)
        pictures = any(message.images for message in request.messages)
        if request.tools or request.think or pictures:
            if (able := self._able.get(instance.model_key)) is None:
                shown = await self.show(instance.model_key)
                told = described(
                    instance.model_key,
                    wire.Listed(),
                    shown,
                    provider=self.name,
                    server=self.server,
                )
                able = self._able[instance.model_key] = await self.capabilities_of(told)
            self.check(request, able)

    def wire_request(self, instance: Instance, request: Request) -> WireRequest:
        """The body that `stream` sends."""
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
        sent = self.wire_request(instance, request)
        fields: dict[str, object] = msgspec.json.decode(sent.body)
        only = {"stream": False, "_debug_render_only": True}
        reply = await self._talk.post(sent.path, fields | only, Reply, model=instance.model_key)
        if reply.debug_info is None:
            self.refuse("show a prompt with its chat template")
        return reply.debug_info.rendered_template

    async def sampling_defaults(self, instance: Instance) -> Mapping[str, object]:
        """What the model's own parameters set; Ollama does not tell the rest."""
        shown = await self.show(instance.model_key)
        sampling = read_options(parameters_of(shown.parameters or "")).sampling
        return {
            name: value
            for name in sampling.__struct_fields__
            if (value := getattr(sampling, name)) is not None
        }

    async def embed(self, instance: Instance, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One unit vector per text.

        Raises `ContextOverflowError` for a text that is longer than the context, where Ollama
        would cut it, and `UnsupportedError` for a model that makes no embeddings.
        """
        loaded = options_of(instance)
        wish = EmbedRequest(
            model=instance.model_key,
            input=tuple(texts),
            truncate=False,
            options=load_options(loaded) or None,
            keep_alive=keep_alive_of(loaded.ttl_s),
        )
        try:
            found = await self._talk.post("/api/embed", wish, EmbedReply, model=instance.model_key)
        except ContextOverflowError as problem:
            raise sized(problem, instance) from None
        vectors = found.embeddings or ()
        if len(vectors) != len(texts):
            raise ProtocolError(
                f"{self.server} sent {len(vectors)} vectors for {len(texts)} texts.",
                hint="Ask again with fewer texts.",
            )
        return vectors

    # The server's models

    async def pull(self, model: str) -> AsyncGenerator[Progress, None]:
        """Have the server fetch `model` from its library, telling how far it is.

        Raises `GenerationError` with what the server says when it cannot.
        """
        body = wire.Named(model=model, stream=True)
        async with aclosing(self._talk.work("/api/pull", body, model=model)) as work:
            async for progress in work:
                yield progress

    async def create(self, wish: wire.Create) -> AsyncGenerator[Progress, None]:
        """Have the server make a model of another, telling how far it is."""
        body = replace(wish, stream=True)
        async with aclosing(self._talk.work("/api/create", body, model=wish.from_ or "")) as work:
            async for progress in work:
                yield progress

    async def default_context(self, model: Model) -> int | None:
        """`num_ctx` among the model's own parameters; `None` where the server chooses."""
        shown = await self.show(model.key)
        found = parameters_of(shown.parameters or "").get("num_ctx")
        return int(found) if isinstance(found, float) else None

    async def save_default_context(self, model: Model, tokens: int) -> str | None:
        """Keep `num_ctx` with the model; its template, messages and other parameters stay.

        The server makes the model anew of itself, with another digest: that is returned, `None`
        where it tells none. The weights are the same.
        """
        wish = wire.Create(model=model.key, from_=model.key, parameters={"num_ctx": tokens})
        async with aclosing(self.create(wish)) as work:
            async for _ in work:
                pass
        tags = await self._talk.get("/api/tags", wire.Tags)
        named = (one for one in tags.models or () if model.key in (one.model, one.name))
        return next((one.digest for one in named), None)

    async def copy(self, source: str, destination: str) -> None:
        """Give a model a second name. Raises `ModelNotFoundError`."""
        body = wire.Copy(source=source, destination=destination)
        await self._talk.tell("POST", "/api/copy", body, model=source)

    async def delete(self, model: str) -> None:
        """Delete a model from the server's disk. Raises `ModelNotFoundError`."""
        await self._talk.tell("DELETE", "/api/delete", wire.Named(model=model), model=model)

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
        await self._residents.aclose()

    # Inside

    async def show(self, key: str) -> wire.Shown:
        """What the server tells of a model. Raises `ModelNotFoundError`."""
        return await self._talk.post("/api/show", wire.Named(model=key), wire.Shown, model=key)

    async def _know_version(self) -> None:
        if self._version is not None:
            return
        try:
            self._version = (await self._talk.get("/api/version", wire.Version)).version
        except UnreachableError:
            raise
        except LMStrixError:
            self._version = ""  # something that speaks the dialect and has no version

    def _renders(self) -> bool:
        numbers = tuple(int(number) for number in re.findall(r"\d+", self._version or "")[:3])
        return numbers >= _RENDERS_FROM
