"""LM Studio by its native protocol: all it tells, and all it can be told."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec
from msgspec.structs import replace

from lmstrix.errors import (
    GenerationError,
    LoadError,
    NotFoundError,
    OutOfMemoryError,
    UnreachableError,
)
from lmstrix.hops import hop_fields
from lmstrix.lmstudio.async_client import AsyncClient
from lmstrix.lmstudio.errors import (
    LMStudioChannelClosedError,
    LMStudioServerError,
    LMStudioTimeoutError,
)
from lmstrix.lmstudio.loading import Loading
from lmstrix.lmstudio.timeouts import Timeouts
from lmstrix.protocol.lmstudio import DISCOVERY_PORTS, endpoints, parameters
from lmstrix.protocol.lmstudio.chats import FileHandle, LlmApplyPromptTemplateOpts
from lmstrix.protocol.lmstudio.config import ConfigStack, override
from lmstrix.protocol.lmstudio.models import OtherModelInfo, read_info, read_instance
from lmstrix.protocol.lmstudio.settings import load_fields, read_sampling
from lmstrix.providers import Capabilities
from lmstrix.providers.base import BaseProvider
from lmstrix.providers.http import HttpServer
from lmstrix.providers.identify import configured, look_for
from lmstrix.providers.lmstudio import asking, describing, pictures
from lmstrix.providers.lmstudio.answering import Answer
from lmstrix.providers.lmstudio.translating import translated
from lmstrix.types import Listing, LoadEstimate, MemoryUse, ModelType, Phase, Progress, WireRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from lmstrix.config import Places, Settings
    from lmstrix.lmstudio.async_models import AsyncModelSession
    from lmstrix.protocol.lmstudio.models import ModelInfo, ModelInstanceInfo
    from lmstrix.types import (
        Instance,
        LoadConfig,
        Model,
        ProgressListener,
        Request,
        StreamItem,
    )

BASE_URL_VARIABLE = "LMSTUDIO_BASE_URL"
HTTP_PORT = 1234
_CONNECT_S = 10.0
_ANSWER_S = 30.0  # for questions that take a server no work
_OPTIONAL_S = 3.0  # for questions that older servers do not know, and to which they say nothing
_TTL_S = 3600.0  # how long a resident instance stays without use, as LM Studio's own default
_OWN_TTL_S = 900.0  # how long one stays whose owner was killed before it could end it
_LOOPBACK = ("http://127.0.0.1", "http://[::1]")
_MEMORY_WORDS = ("memory", "insufficient system resources", "guardrail")

_encode = msgspec.json.Encoder().encode


class LMStudioNativeProvider(BaseProvider):
    """One LM Studio by its native protocol.

    What this process loads has a name of its own and a time to live, so that nothing stays behind
    even if it is killed. What others loaded is used and never changed.
    """

    name: ClassVar[str] = "lmstudio"
    preference: ClassVar[int] = 30
    capabilities: ClassVar[Capabilities] = Capabilities(
        supports_streaming=True,
        supports_cancel=True,
        supports_raw=True,
        supports_tools=True,
        supports_vision=True,
        supports_reasoning=True,
        supports_schema=True,
        supports_grammar=True,
        supports_logprobs=True,
        supports_embeddings=True,
        supports_load=True,
        supports_instance_names=True,
        supports_load_progress=True,
        supports_prompt_progress=True,
        supports_tokenization=True,
        supports_templates=True,
        supports_sampling_defaults=True,
    )

    def __init__(self, server: HttpServer, *, expected: bool = True) -> None:
        self.server = server.root
        self.expected = expected
        self._http = server
        self._version: str | None = None  # until asked
        self._own: dict[
            str, str
        ] = {}  # instances to be ended with this process, and their namespace
        self._clients: dict[str, AsyncClient] = {}

    @property
    def engine(self) -> str:
        """LM Studio with its version; empty until it was asked anything."""
        return "" if self._version is None else f"LM Studio {self._version}".strip()

    @classmethod
    def connect(cls, settings: Settings, places: Places) -> Sequence[Self]:  # noqa: ARG003  # files are no matter of servers
        """The servers that the settings say are of this kind."""
        return [cls(server) for server in configured(cls.name, settings)]

    @classmethod
    async def discover(cls, settings: Settings, places: Places) -> Sequence[Self]:  # noqa: ARG003  # as above
        """LM Studio at its usual ports, at `LMSTUDIO_BASE_URL`, or where the user says it is.

        One that answers at several of the usual places is one: that of its HTTP port counts,
        which is also where its OpenAI endpoints are.
        """
        usual = [f"http://127.0.0.1:{port}" for port in (HTTP_PORT, *DISCOVERY_PORTS)]
        if settings.discover and (named := os.environ.get(BASE_URL_VARIABLE, "").strip()):
            usual.insert(0, HttpServer(named if "://" in named else f"http://{named}").root)
        found = await look_for(cls.name, settings, usual)
        chosen = [cls(server, expected=named) for server, _, named in found if named]
        looked_for = [server for server, _, named in found if not named]
        looked_for.sort(key=lambda server: usual.index(server.root))
        return [*chosen, *(cls(server, expected=False) for server in looked_for[:1])]

    @classmethod
    def at(cls, server: str, settings: Settings, places: Places) -> Self:  # noqa: ARG003  # as above
        """The provider for that server; whether it is there shows when it is asked."""
        named = settings.server_address(settings.server) == server
        return cls(HttpServer.known(server, settings), expected=named)

    async def capabilities_of(self, model: Model) -> Capabilities:
        """What LM Studio says that the model can do."""
        if model.type is ModelType.EMBEDDING:
            return Capabilities(
                supports_embeddings=True,
                supports_load=True,
                supports_instance_names=True,
                supports_load_progress=True,
                supports_tokenization=True,
            )
        return replace(self.capabilities, supports_vision=model.vision, supports_embeddings=False)

    # Models and instances

    async def list_models(self, *, known: Sequence[Model] = ()) -> Listing:  # noqa: ARG002  # one question tells all
        """Every downloaded model that can be asked something."""
        with self._told():
            raws, _ = await asyncio.gather(
                self._client.system.ask(endpoints.LIST_DOWNLOADED_MODELS), self._learn_version()
            )
        infos: list[ModelInfo] = []
        problems = []
        for raw in raws:
            try:
                info = read_info(raw)
            except msgspec.ValidationError as problem:
                problems.append(f"LM Studio describes a model in a way not known: {problem}.")
                continue
            if not isinstance(info, OtherModelInfo):
                infos.append(info)
        paths = await asyncio.to_thread(self._locate, infos)
        models = [
            describing.model(
                info, provider=self.name, server=self.server, path=paths.get(info.model_key)
            )
            for info in infos
        ]
        return Listing(models=tuple(models), problems=tuple(problems))

    async def list_instances(self) -> Sequence[Instance]:
        """Every loaded instance with its real context and settings."""
        client = self._client
        with self._told():
            *raws, _ = await asyncio.gather(
                client.llm.ask(endpoints.LIST_LOADED),
                client.embedding.ask(endpoints.LIST_LOADED),
                self._learn_version(),
            )
            infos = [read_instance(raw) for some in raws for raw in some]
            return await asyncio.gather(*map(self._instance, infos))

    async def load(
        self,
        model: Model,
        config: LoadConfig,
        *,
        instance_id: str | None = None,
        resident: bool = False,
        on_progress: ProgressListener | None = None,
    ) -> Instance:
        """Load `model` beside whatever is loaded, and read its context back from the server.

        An instance that is not resident is ended with this process.
        """
        namespace = "embedding" if model.type is ModelType.EMBEDDING else "llm"
        ttl_s = config.ttl_s or (_TTL_S if resident else _OWN_TTL_S)
        parameter = parameters.LoadModelParameter(
            model_key=model.key,
            identifier=instance_id,
            ttl_ms=ttl_s * 1000,
            load_config_stack=ConfigStack(
                layers=[override(load_fields(config, namespace=namespace))]
            ),
        )

        def tell(fraction: float) -> None:
            if on_progress is not None:
                on_progress(Progress(phase=Phase.LOAD, fraction=fraction))

        work = Loading(model.key, "Model load", tell)
        session = self._session(namespace)
        began = asyncio.get_running_loop().time()
        try:
            with self._told():
                loaded = await session.run(work, endpoints.LOAD_MODEL, parameter)
                if not resident:
                    self._own[loaded.identifier] = namespace
                info = await session.get_model_info(loaded.identifier)
                instance = await self._instance(info)
        except GenerationError as problem:
            kind = OutOfMemoryError if _is_memory(problem.message) else LoadError
            raise kind(
                f"LM Studio did not load {model.key}: {problem.message}",
                model=model.key,
                context_tokens=config.context_tokens,
                hint=problem.hint or "Try a smaller context.",
            ) from None
        return replace(instance, load_s=asyncio.get_running_loop().time() - began)

    async def unload(self, instance_id: str) -> None:
        """End an instance. Raises `NotFoundError` when there is none by that id."""
        namespace = self._own.pop(instance_id, None)
        if namespace is None:
            namespace = await self._namespace_of(instance_id)
        with self._told():
            await self._session(namespace).unload(instance_id)

    async def estimate(self, model: Model, config: LoadConfig) -> LoadEstimate | None:
        """What LM Studio says a load would take; `None` from one too old to say."""
        namespace = "embedding" if model.type is ModelType.EMBEDDING else "llm"
        parameter = parameters.EstimateParameter(
            model_key=model.key,
            load_config_stack=ConfigStack(
                layers=[override(load_fields(config, namespace=namespace))]
            ),
        )
        with self._told():
            usage = await self._optional(namespace, endpoints.ESTIMATE_USAGE, parameter)
        if usage is None:
            return None
        memory = usage.memory
        return LoadEstimate(
            memory=MemoryUse(
                weights_bytes=int(memory.model_bytes),
                kv_bytes=int(memory.context_bytes),
                resident_bytes=int(memory.total_bytes),
            ),
            fits=usage.passes_guardrails,
        )

    # Answers

    async def stream(
        self, instance: Instance, request: Request
    ) -> AsyncGenerator[StreamItem, None]:
        """Progress, fragments and tool calls as they come, then the statistics.

        Closing the generator tells the server to stop. Pictures are sent beforehand.
        """
        await self.check_model(instance, request)
        answer = Answer(instance)
        try:
            with self._told(answer):
                uploaded = await pictures.upload(self._client, request)
                sent = self._encode(instance, request, uploaded)
                async with self._channel(sent, answer) as (socket, inbox):
                    while not answer.done:
                        await socket.wait(inbox, None)
                        while inbox.items:
                            for item in answer.feed(inbox.items.popleft()):
                                yield item
                        if inbox.closed and not answer.done:
                            raise inbox.error or LMStudioChannelClosedError(
                                "The server ended the answer before it was whole."
                            )
        except UnreachableError as problem:
            if not answer.begun:
                raise
            raise GenerationError(problem.message, partial=answer.text, hint="Ask again.") from None

    def wire_request(self, instance: Instance, request: Request) -> WireRequest:
        """The parameter of the channel that `stream` opens.

        Pictures have the name here that their content gives them; the server gives them another.
        """
        named = pictures.named(request)
        return WireRequest(
            method="predict", path="/llm", body=self._encode(instance, request, named)
        )

    async def render(self, instance: Instance, request: Request) -> str:
        """The prompt with the chat template applied."""
        self.check(request)
        if request.prompt is not None:
            return request.prompt
        tools = asking.tool_definitions(request.tools)
        parameter = parameters.ApplyPromptTemplateParameter(
            specifier=asking.specifier(instance.id),
            history=asking.history(
                request, pictures=lambda image: pictures.handle(image, "picture")
            ),
            prediction_config_stack=ConfigStack(layers=[]),
            opts=LlmApplyPromptTemplateOpts(tool_definitions=tools or None),
        )
        with self._told():
            formatted = await self._client.llm.ask(endpoints.APPLY_PROMPT_TEMPLATE, parameter)
        rendered: str = formatted.formatted
        return rendered

    async def tokenize(self, instance: Instance, text: str) -> Sequence[int]:
        """Token ids of a text, by the instance's own tokenizer."""
        with self._told():
            session = self._session(await self._namespace_known(instance))
            return (await session.tokenize(instance.id, [text]))[0]

    async def sampling_defaults(self, instance: Instance) -> Mapping[str, object]:
        """What LM Studio uses where a request is silent; nothing where it is too old to tell."""
        parameter = parameters.BasePredictionConfigParameter(
            specifier=asking.specifier(instance.id)
        )
        with self._told():
            fields = await self._optional("llm", endpoints.GET_BASE_PREDICTION_CONFIG, parameter)
        if fields is None:
            return {}
        sampling = read_sampling(fields.values())
        return {
            name: value
            for name in sampling.__struct_fields__
            if (value := getattr(sampling, name)) is not None
        }

    async def embed(self, instance: Instance, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector per text, many asked for at once."""
        parameter = [
            parameters.EmbedParameter(
                model_specifier=asking.specifier(instance.id), input_string=text
            )
            for text in texts
        ]
        # Thousands of texts may take an hour, and nothing tells how far it is.
        endless = Timeouts(connect_s=_CONNECT_S)
        with self._told(Answer(instance)):
            answers = await self._client.embedding.ask_all(
                endpoints.EMBED_STRING, parameter, timeouts=endless
            )
        return [answer.embedding for answer in answers]

    async def aclose(self) -> None:
        """End what this process loaded for itself, and the connections."""
        own, self._own = self._own, {}
        for instance_id, namespace in own.items():
            try:
                with self._told():
                    await self._session(namespace).unload(instance_id)
            except (NotFoundError, UnreachableError, GenerationError):
                continue  # it is gone, or goes by its time to live
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()

    # Within

    @property
    def _client(self) -> AsyncClient:
        """The client for requests that came through as many gateways as this one.

        A connection carries that number from its first byte on, and so cannot serve others.
        """
        hops = "".join(hop_fields().values())
        if hops not in self._clients:
            means = self._http.means()
            token: str | None = means.token if means.token.startswith("sk-lm-") else ""
            if not means.token and self.server.startswith(_LOOPBACK):
                token = None  # of this machine: the environment's token is meant for it
            self._clients[hops] = AsyncClient(
                self.server,
                token,
                timeouts=Timeouts(connect_s=_CONNECT_S, call_s=_ANSWER_S),
                headers=means.fields,
                ssl_context=means.tls,
                proxy=means.proxy,
            )
        return self._clients[hops]

    def _session(self, namespace: str) -> AsyncModelSession[Any]:
        client = self._client
        return client.embedding if namespace == "embedding" else client.llm

    async def _instance(self, info: ModelInstanceInfo) -> Instance:
        parameter = parameters.SpecifierParameter(specifier=asking.specifier(info.identifier))
        fields = await self._optional(info.type, endpoints.GET_LOAD_CONFIG, parameter)
        return describing.instance(
            info,
            {} if fields is None else fields.values(),
            provider=self.name,
            server=self.server,
            owned=info.identifier in self._own,
        )

    async def _namespace_of(self, instance_id: str) -> str:
        for namespace in endpoints.MODEL_NAMESPACES:
            with self._told():
                infos = await self._session(namespace).list_loaded_info()
            if any(info.identifier == instance_id for info in infos):
                return namespace
        raise NotFoundError(
            f"No instance named {instance_id} is loaded.", hint="See what is: lmstrix ps"
        )

    async def _namespace_known(self, instance: Instance) -> str:
        return self._own.get(instance.id) or await self._namespace_of(instance.id)

    async def _optional(self, namespace: str, rpc: endpoints.Rpc, parameter: Any) -> Any:
        """What a call answers; `None` from a server that does not know it or the model."""
        timeouts = Timeouts(connect_s=_CONNECT_S, call_s=_OPTIONAL_S)
        try:
            return await self._session(namespace).ask(rpc, parameter, timeouts=timeouts)
        except (LMStudioTimeoutError, LMStudioServerError):
            return None

    async def _learn_version(self) -> None:
        if self._version is not None:
            return
        timeouts = Timeouts(connect_s=_CONNECT_S, call_s=_OPTIONAL_S)
        try:
            told = await self._client.system.ask(endpoints.VERSION, timeouts=timeouts)
        except (LMStudioTimeoutError, LMStudioServerError):
            self._version = ""  # one that does not know the question
        else:
            self._version = str(told.version)

    def _locate(self, infos: Sequence[ModelInfo]) -> dict[str, str]:
        if not self.server.startswith(_LOOPBACK):
            return {}
        from lmstrix.config import lmstudio_folders  # noqa: PLC0415  # only a listing needs it

        return describing.locate(infos, list(lmstudio_folders()))

    def _encode(
        self, instance: Instance, request: Request, uploaded: Mapping[str, FileHandle]
    ) -> bytes:
        asked = asking.predict_request(
            instance.id, request, pictures=lambda image: uploaded[pictures.digest(image)]
        )
        return _encode(asked)

    @asynccontextmanager
    async def _channel(self, sent: bytes, answer: Answer) -> AsyncGenerator[Any, None]:
        socket, inbox = await self._client.llm.open(
            endpoints.PREDICT, msgspec.Raw(sent), "Prediction"
        )
        try:
            yield socket, inbox
        finally:
            if not answer.done and not inbox.closed:
                socket.send(inbox, parameters.CANCEL)
            socket.release(inbox)

    def _told(self, answer: Answer | None = None) -> AbstractContextManager[None]:
        return translated(self.server, answer)


def _is_memory(message: str) -> bool:
    return any(word in message.lower() for word in _MEMORY_WORDS)
