"""The embedded engine as a provider: llama.cpp in child processes of this machine."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

import msgspec
from msgspec.structs import replace

from lmstrix.engine import memory
from lmstrix.engine.owned import Owned, died
from lmstrix.engine.plan import plan, refuse_hopeless, usable_cores
from lmstrix.engine.process import Engine
from lmstrix.engine.resident import Resident, free_name, residents, settle
from lmstrix.errors import (
    ContextOverflowError,
    GenerationError,
    GGUFError,
    LMStrixError,
    LoadError,
    NotFoundError,
    StalledError,
    UnsupportedError,
)
from lmstrix.protocol.events import EventDecoder
from lmstrix.protocol.openai.errors import error_from
from lmstrix.protocol.openai.requests import Dialect, encode_request
from lmstrix.protocol.openai.stream import AnswerDecoder
from lmstrix.providers import Capabilities
from lmstrix.providers.base import BaseProvider
from lmstrix.providers.relaying import Relayed
from lmstrix.types import Instance, Listing, Model, Phase, Progress, Sampling, WireRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence

    from lmstrix.config import Places, Settings
    from lmstrix.engine.process import EngineSpec
    from lmstrix.types import LoadConfig, ProgressListener, Request, StreamItem

_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode

_SHIPPED = Path(__file__).parent.parent / "shipped"
_TOO_LARGE = re.compile(r"input \((\d+) tokens\) is too large.*?(\d+)\)", re.DOTALL)


class _Prompt(msgspec.Struct):
    prompt: str


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Content(msgspec.Struct):
    content: str


class _Vector(msgspec.Struct):
    index: int
    embedding: list[float]


class _Vectors(msgspec.Struct):
    data: list[_Vector]


class _Params(msgspec.Struct):
    params: dict[str, object]


class _Props(msgspec.Struct):
    default_generation_settings: _Params


class EmbeddedProvider(BaseProvider):
    """Loads GGUF files into engines of this machine.

    An instance is either owned by this provider, which ends it in `aclose`, or resident: then
    it lives in a registration that every process of the user finds.
    """

    name: ClassVar[str] = "embedded"
    capabilities: ClassVar[Capabilities] = Capabilities(
        supports_streaming=True,
        supports_cancel=True,
        supports_raw=True,
        supports_tools=True,
        supports_reasoning=True,
        supports_schema=True,
        supports_grammar=True,
        supports_logprobs=True,
        supports_sampling_defaults=True,
        supports_load=True,
        supports_instance_names=True,
        supports_load_progress=True,
        supports_prompt_progress=True,
        supports_embeddings=True,
        supports_tokenization=True,
        supports_detokenization=True,
        supports_templates=True,
        supports_memory=True,
        supports_memory_limit=True,
    )
    # Its Anthropic dialect is not told: errors have another shape there, a stop string is not
    # named as the reason of an end, and a tool that is asked for is not enforced.
    dialects: ClassVar[frozenset[str]] = frozenset({"openai"})
    server = "embedded"

    def __init__(self, settings: Settings, places: Places) -> None:
        self._settings = settings
        self._places = places
        self._owned: dict[str, Owned] = {}
        self._loading: set[str] = set()  # ids promised to loads under way

    @property
    def engine(self) -> str:
        """The llama.cpp binding and its version."""
        from importlib.metadata import version  # noqa: PLC0415  # only a test of a model asks

        return f"xllamacpp {version('xllamacpp')}"

    @classmethod
    def connect(cls, settings: Settings, places: Places) -> Sequence[Self]:
        """One, unless the settings switch it off."""
        return [cls(settings, places)] if settings.embedded.enabled else []

    @classmethod
    def at(cls, server: str, settings: Settings, places: Places) -> Self:  # noqa: ARG003  # there is one
        """The one there is. Raises `NotFoundError` where the settings switch it off."""
        if not settings.embedded.enabled:
            raise NotFoundError(
                "The embedded engine is switched off.",
                hint="Switch it on in the settings: embedded.enabled = true.",
            )
        return cls(settings, places)

    async def list_models(self, *, known: Sequence[Model] = ()) -> Listing:
        """Every GGUF file below the model folders, LM Studio's own, our own and the shipped ones.

        A file of the size and time that `known` has for it is not read again.
        """
        return await asyncio.to_thread(self._list_models, known)

    def _list_models(self, known: Sequence[Model]) -> Listing:
        from lmstrix.config import lmstudio_folders  # noqa: PLC0415  # only a listing needs these
        from lmstrix.gguf import describe, find_models  # noqa: PLC0415

        folders = [Path(folder).expanduser() for folder in self._settings.model_folders]
        folders.extend(lmstudio_folders())
        if self._places.models.is_dir():
            folders.append(self._places.models)
        if self._settings.shipped_models:
            folders.append(_SHIPPED)
        found = find_models(folders)
        before = {model.path: model for model in known}
        models, problems = [], list(found.problems)
        for path in found.paths:
            folder = next((f for f in folders if path.is_relative_to(f)), path.parent)
            old = before.get(str(path))
            if old is not None and _is_unchanged(old, path):
                models.append(replace(old, key=path.stem))
                continue
            try:
                models.append(describe(path, provider=self.name, server=self.server, folder=folder))
            except GGUFError as problem:
                problems.append(problem.message)
        return Listing(
            models=tuple(with_unique_keys(models)),
            complete=found.complete,
            problems=tuple(problems),
        )

    async def list_instances(self) -> Sequence[Instance]:
        """This provider's own instances, then all resident ones."""
        handles: list[Owned | Resident] = [one for one in self._owned.values() if not one.dead]
        handles += await asyncio.to_thread(residents, self._places)
        return [handle.instance_now() for handle in handles]

    async def load(
        self,
        model: Model,
        config: LoadConfig,
        *,
        instance_id: str | None = None,
        resident: bool = False,
        on_progress: ProgressListener | None = None,
    ) -> Instance:
        """Load `model` into a new engine.

        Without a context in `config` it is the declared one, at most 8,192. What certainly
        needs more memory than the limit, or than the machine has, is refused before anything
        starts. Raises `LoadError` or `OutOfMemoryError`.
        """
        if model.path is not None and not await asyncio.to_thread(os.path.exists, model.path):
            raise LoadError(
                f"{model.key} did not load: its file {model.path} is not there any more.",
                model=model.key,
                context_tokens=config.context_tokens,
                hint="Look for where it went: lmstrix scan",
            )
        spec = plan(model, config, self._settings.embedded, cores=usable_cores())
        await asyncio.to_thread(_refuse_hopeless, spec, config)
        names = [instance_id] if instance_id else _names(model.key)
        wanted = await self._new_id(model, names)
        try:
            engine = await Engine.start(spec, on_progress=on_progress)
            instance = Instance(
                id=wanted,
                model_key=model.key,
                provider=self.name,
                server=self.server,
                context_tokens=engine.context_tokens,
                config=replace(config, ttl_s=spec.ttl_s if resident else config.ttl_s),
                parallel=engine.parallel,
                owned=not resident,
                pid=engine.pid,
                path=model.path,
                loaded_at=engine.loaded_at,
                load_s=engine.load_s,
                memory=engine.memory,
            )
            if resident:
                try:
                    instance = await settle(
                        engine, instance, self._places, names=chain([wanted], names)
                    )
                except BaseException:
                    engine.kill()
                    raise
            else:
                self._owned[wanted] = Owned(instance, engine)
        finally:
            self._loading.discard(wanted)
        return instance

    async def _new_id(self, model: Model, names: Iterable[str]) -> str:
        for dead in [name for name, owned in self._owned.items() if owned.dead]:
            del self._owned[dead]
        taken = {instance.id for instance in await self.list_instances()} | self._loading
        chosen = free_name(names, taken, model=model.key)
        self._loading.add(chosen)
        return chosen

    async def unload(self, instance_id: str) -> None:
        """End an engine, owned or resident."""
        handle = await self._handle(instance_id)
        self._owned.pop(instance_id, None)
        await handle.close()

    async def stream(
        self, instance: Instance, request: Request
    ) -> AsyncGenerator[StreamItem, None]:
        """Progress of the prompt and fragments as they come, then the statistics.

        Closing the generator closes the connection, which ends the request on the engine
        within one prompt batch; an owned engine that does not let go is replaced meanwhile.
        """
        self.check(request)
        engine = await self._ready(instance)
        wire = self.wire_request(instance, request)
        events = EventDecoder()
        answer = AnswerDecoder(
            max_tokens=request.sampling.max_tokens, raw=request.prompt is not None
        )
        reply = None
        engine.begin()
        try:
            reply = await engine.client.open(wire.method, wire.path, wire.body)
            if reply.status != HTTPStatus.OK:
                raise _refusal(instance, await reply.read_all(), reply.status)
            while data := await reply.read():
                for item in answer.items(events.feed(data)):
                    if type(item) is Progress:
                        engine.saw_batch()
                    yield item
            if not answer.done:
                raise ConnectionResetError("the answer has no end")  # as it is elsewhere
        except OSError as broken:
            raise await _what_broke(engine, broken, partial=answer.text) from None
        finally:
            if reply is not None:
                reply.abort()
            engine.finish(cancelled=not answer.done)

    @asynccontextmanager
    async def relay(
        self,
        instance: Instance,
        dialect: str,  # noqa: ARG002  # the engine knows it by the path
        request: WireRequest,
    ) -> AsyncGenerator[Relayed, None]:
        """Pass a request on to the engine's own server, which speaks these dialects itself."""
        engine = await self._ready(instance)
        relayed = None
        engine.begin()
        try:
            reply = await engine.client.open(request.method, request.path, request.body)
            try:
                relayed = Relayed(reply, partial(_what_broke, engine))
                yield relayed
            finally:
                reply.abort()
        except OSError as broken:
            raise await _what_broke(engine, broken) from None
        finally:
            engine.finish(cancelled=relayed is None or not relayed.done)

    def wire_request(self, instance: Instance, request: Request) -> WireRequest:  # noqa: ARG002  # other providers name the instance
        """The body that `stream` sends."""
        path, body = encode_request(request, model=None, dialect=Dialect.LLAMA)
        return WireRequest(method="POST", path=path, body=body)

    async def render(self, instance: Instance, request: Request) -> str:
        """The prompt with the model's own chat template applied."""
        self.check(request)
        if request.prompt is not None:
            return request.prompt
        _, body = encode_request(request, model=None, dialect=Dialect.LLAMA, stream=False)
        return (await self._ask(instance, "/apply-template", msgspec.Raw(body), _Prompt)).prompt

    async def tokenize(self, instance: Instance, text: str) -> Sequence[int]:
        """Token ids as of a rendered prompt: with the model's start token, markers as such."""
        question = {"content": text, "add_special": True, "parse_special": True}
        return (await self._ask(instance, "/tokenize", question, _Tokens)).tokens

    async def detokenize(self, instance: Instance, tokens: Sequence[int]) -> str:
        """The text of `tokens`, without the start token that `tokenize` puts before them."""
        tokens = list(tokens)
        start = await self.tokenize(instance, "")
        if start and tokens[:1] == start[:1]:
            tokens = tokens[1:]
        return (await self._ask(instance, "/detokenize", {"tokens": tokens}, _Content)).content

    async def sampling_defaults(self, instance: Instance) -> Mapping[str, object]:
        """What the engine uses where a request is silent."""
        props = await self._ask(instance, "/props", None, _Props)
        params = props.default_generation_settings.params
        return {
            # The engine holds 32-bit floats: 0.8 comes back as 0.800000011920929.
            name: round(value, 6) if isinstance(value, float) else value
            for name in Sampling.__struct_fields__
            if (value := params.get(name)) is not None
        }

    async def embed(self, instance: Instance, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One unit vector per text.

        Raises `ContextOverflowError` for a text longer than the context and `UnsupportedError`
        for a model that makes no embeddings.
        """
        try:
            # Thousands of texts may take an hour, and nothing tells how far it is.
            found = await self._ask(
                instance, "/v1/embeddings", {"input": list(texts)}, _Vectors, bounded=False
            )
        except GenerationError as problem:
            if large := _TOO_LARGE.search(problem.message):
                raise _overflow(int(large[1]), int(large[2])) from None
            raise
        return [v.embedding for v in sorted(found.data, key=lambda vector: vector.index)]

    async def aclose(self) -> None:
        """End what this provider owns; leave resident engines alone."""
        owned, self._owned = list(self._owned.values()), {}
        await asyncio.gather(*(one.close() for one in owned))

    async def _ask(
        self,
        instance: Instance,
        path: str,
        question: object | None,
        answer: type[_T],
        *,
        bounded: bool = True,
    ) -> _T:
        engine = await self._ready(instance)
        method, body = ("GET", b"") if question is None else ("POST", _encode(question))
        limit_s = self._settings.timeouts.prompt_s if bounded else None
        try:
            async with asyncio.timeout(limit_s):
                status, found = await engine.client.call(method, path, body)
        except TimeoutError:
            assert limit_s is not None
            raise StalledError(
                f"The engine of {instance.model_key} has not answered for {limit_s:g} s.",
                phase=Phase.PROMPT,
                after_s=limit_s,
                hint=f"If it hangs, end it: lmstrix unload {instance.id}",
            ) from None
        except OSError as broken:
            raise await _what_broke(engine, broken) from None
        if status != HTTPStatus.OK:
            raise _refusal(instance, found, status)
        return msgspec.json.decode(found, type=answer)

    async def _ready(self, instance: Instance) -> Owned | Resident:
        handle = await self._handle(instance.id)
        await handle.ready()
        return handle

    async def _handle(self, instance_id: str) -> Owned | Resident:
        if (owned := self._owned.get(instance_id)) is not None:
            return owned
        for resident in await asyncio.to_thread(residents, self._places):
            if resident.instance.id == instance_id:
                return resident
        raise NotFoundError(
            f"No instance named {instance_id} is loaded.", hint="See what is: lmstrix ps"
        )


def _names(key: str) -> Iterator[str]:
    """What instances of a model are called: by its key, then numbered."""
    return chain([key], (f"{key}:{number}" for number in count(2)))


def _refusal(instance: Instance, body: bytes, status: int) -> LMStrixError:
    """The error for a request that the engine refused."""
    problem = error_from(body, status=status)
    if "does not support embeddings" in problem.message:
        return UnsupportedError(
            f"{instance.model_key} makes no embeddings.",
            hint="Choose an embedding model: lmstrix list --filter type:embedding",
        )
    if "does not support logits" in problem.message:
        return UnsupportedError(
            f"{instance.model_key} makes embeddings, no text.",
            hint="Choose a language model: lmstrix list --filter type:llm",
        )
    return problem


async def _what_broke(
    engine: Owned | Resident, broken: OSError, *, partial: str = ""
) -> GenerationError:
    """What a broken connection means: mostly, that the engine died."""
    death = await engine.death()
    if death is not None:
        return died(engine.instance, death, log=engine.log, partial=partial)
    return GenerationError(
        f"The connection to the engine of {engine.instance.model_key} broke off: {broken}.",
        partial=partial,
        hint="Ask again.",
    )


def _is_unchanged(old: Model, path: Path) -> bool:
    """Whether the file is still the one described; the first of several parts never is."""
    try:
        now = path.stat()
    except OSError:
        return False
    return (old.size_bytes, old.modified_at) == (now.st_size, now.st_mtime)


def with_unique_keys(models: Iterable[Model]) -> list[Model]:
    """The models with keys told apart: by the folder before them, else by the whole path."""
    models = list(models)
    for longer in (_with_folder, _with_path):
        counts = Counter(model.key for model in models)
        models = [longer(model) if counts[model.key] > 1 else model for model in models]
    return models


def _with_folder(model: Model) -> Model:
    path = Path(model.path or model.key)
    return replace(model, key=f"{path.parent.name}/{path.stem}")


def _with_path(model: Model) -> Model:
    return replace(model, key=model.path or model.key)


def _refuse_hopeless(spec: EngineSpec, config: LoadConfig) -> None:
    from lmstrix.gguf import MemoryModel, read_header  # noqa: PLC0415  # only a load needs it

    try:
        model = MemoryModel(read_header(Path(spec.path)))
    except (GGUFError, OSError):
        return  # for the engine to explain
    need = model.need(replace(config, context_tokens=spec.context_tokens, parallel=spec.parallel))
    refuse_hopeless(spec, need, machine_bytes=memory.machine_bytes())


def _overflow(prompt_tokens: int, context_tokens: int) -> ContextOverflowError:
    return ContextOverflowError(
        f"The text has {prompt_tokens:,} tokens, the model takes {context_tokens:,}.",
        prompt_tokens=prompt_tokens,
        context_tokens=context_tokens,
        hint="Split the text, or load the model with a larger context.",
    )
