"""Servers that speak OpenAI's API: llama.cpp, vLLM, and any other."""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, NoReturn, Self, TypeVar

import msgspec
from msgspec.structs import replace

from lmstrix.errors import GenerationError, ProtocolError
from lmstrix.protocol.events import EventDecoder
from lmstrix.protocol.openai import models as wire
from lmstrix.protocol.openai.errors import error_from
from lmstrix.protocol.openai.requests import Dialect, encode_request
from lmstrix.protocol.openai.stream import AnswerDecoder
from lmstrix.providers import Capabilities
from lmstrix.providers.base import BaseProvider
from lmstrix.providers.http import HttpServer, Whole
from lmstrix.providers.identify import Said, configured, identify, look_for
from lmstrix.providers.relaying import Relayed
from lmstrix.types import Fragment, Instance, Listing, Model, ModelType, WireRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from lmstrix.config import Places, Settings
    from lmstrix.providers.http import Incoming
    from lmstrix.types import Request, StreamItem

_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode
_IDENTIFY_S = 5.0
_CALLERS_FAULT = frozenset({400, 404, 405, 415, 422, 501})
_USUAL = ("http://127.0.0.1:8080", "http://127.0.0.1:8000")  # llama.cpp's and vLLM's own ports


class OpenAIProvider(BaseProvider):
    """One server that speaks OpenAI's API. What it serves is there: nothing is loaded by us.

    What it can do beyond that API depends on what it is, which it is asked once.
    """

    name: ClassVar[str] = "openai"
    preference: ClassVar[int] = 10
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
    )
    dialects: ClassVar[frozenset[str]] = frozenset({"openai"})

    def __init__(
        self, server: HttpServer, *, expected: bool = True, said: Said | None = None
    ) -> None:
        self.server = server.root
        self.expected = expected
        self._http = server
        self._said = said

    @property
    def engine(self) -> str:
        """What runs the models, as far as the server says."""
        if self._said is None or self._dialect is Dialect.OPENAI:
            return ""
        return f"{self._dialect} {self._said.version}".strip()

    @classmethod
    def connect(cls, settings: Settings, places: Places) -> Sequence[Self]:  # noqa: ARG003  # files are no matter of servers
        """The servers that the settings say are of this kind."""
        return [cls(server) for server in configured(cls.name, settings)]

    @classmethod
    async def discover(cls, settings: Settings, places: Places) -> Sequence[Self]:  # noqa: ARG003  # as above
        """Servers that say that they are llama.cpp's or vLLM's, or that the user named."""
        return [
            cls(server, expected=named, said=said)
            for server, said, named in await look_for(cls.name, settings, _USUAL)
            if named or said.dialect is not Dialect.OPENAI
        ]

    @classmethod
    def at(cls, server: str, settings: Settings, places: Places) -> Self:  # noqa: ARG003  # as above
        """The provider for that server; whether it is there shows when it is asked."""
        named = settings.server_address(settings.server) == server
        return cls(HttpServer.known(server, settings), expected=named)

    # What it is

    @property
    def _dialect(self) -> Dialect:
        return self._said.dialect if self._said is not None else Dialect.OPENAI

    async def _know(self) -> Said:
        """What the server is, asked once. One that is silent is asked again the next time."""
        if self._said is None:
            found = await identify(self._http, within_s=_IDENTIFY_S)
            if found is None:
                return Said(kinds=frozenset({self.name}), dialect=self._dialect)
            self._said = found
        return self._said

    async def capabilities_of(self, model: Model) -> Capabilities:
        """What this server can do with `model`, by what the server is."""
        await self._know()
        return self._able(embeds=model.type is ModelType.EMBEDDING)

    def _able(self, *, embeds: bool = False) -> Capabilities:
        able = self.capabilities
        if embeds:
            return Capabilities(supports_embeddings=True)
        if self._dialect is Dialect.VLLM:
            return replace(able, supports_grammar=True)
        if self._dialect is Dialect.LLAMA:
            props = self._said.props if self._said else None
            return replace(
                able,
                supports_vision=props is None or props.modalities.vision,
                supports_grammar=True,
                supports_tokenization=True,
                supports_detokenization=True,
                supports_templates=True,
                supports_sampling_defaults=True,
                supports_prompt_progress=True,
            )
        return able

    # Models and instances

    async def list_models(self, *, known: Sequence[Model] = ()) -> Listing:  # noqa: ARG002  # one question tells all
        """Every model the server names."""
        said = await self._know()
        listed = await self._list()
        embedding = {one.name for one in listed.models if "embedding" in one.capabilities}
        return Listing(
            models=tuple(self._model(entry, said, entry.id in embedding) for entry in listed.data)
        )

    def _model(self, entry: wire.ModelEntry, said: Said, embeds: bool) -> Model:  # noqa: FBT001  # private, and named where it is called
        meta = entry.meta or wire.LlamaMeta()
        sees = said.props is not None and said.props.modalities.vision
        kind = ModelType.VLM if sees else ModelType.LLM
        return Model(
            key=entry.id,
            provider=self.name,
            server=self.server,
            type=ModelType.EMBEDDING if embeds or "embed" in entry.id.lower() else kind,
            format="gguf" if self._dialect is Dialect.LLAMA else "",
            size_bytes=meta.size or 0,
            parameters=meta.n_params,
            declared_context_tokens=meta.n_ctx_train or entry.max_model_len,
            vision=sees,
        )

    async def list_instances(self) -> Sequence[Instance]:
        """One instance per served model, with the context that the server tells."""
        said = await self._know()
        props = said.props
        if said.dialect is Dialect.LLAMA:
            props = await self._get(wire.PROPS, wire.Props)
        slot = props.default_generation_settings.n_ctx if props else None
        listed = await self._list()
        return [
            Instance(
                id=entry.id,
                model_key=entry.id,
                provider=self.name,
                server=self.server,
                context_tokens=slot or entry.max_model_len or _told(entry),
                parallel=props.total_slots if props else 1,
            )
            for entry in listed.data
        ]

    async def _list(self) -> wire.ModelList:
        return await self._get(wire.MODELS, wire.ModelList)

    # Answers

    async def stream(
        self, instance: Instance, request: Request
    ) -> AsyncGenerator[StreamItem, None]:
        """Progress and fragments as they come, then the statistics.

        Closing the generator closes the connection, which cancels on the server. A stream that
        fails before its first fragment is asked for once more in one piece.
        """
        await self._check(instance, request)
        answer = self._decoder(instance, request)
        batches = self._batches(self.wire_request(instance, request), answer)
        begun = False
        try:
            async for batch in batches:
                for item in batch:
                    begun = begun or type(item) is Fragment
                    yield item
        except _NoStreamError:
            pass
        except (OSError, ProtocolError) as problem:
            if begun:
                raise GenerationError(
                    f"The answer of {self.server} broke off: {problem}",
                    partial=answer.text,
                    hint="Ask again.",
                ) from None
        else:
            return
        finally:
            await batches.aclose()
        for item in await self._in_one_piece(instance, request):
            yield item

    async def _batches(
        self, sent: WireRequest, answer: AnswerDecoder
    ) -> AsyncGenerator[Iterable[StreamItem], None]:
        """The items of the streamed answer, those that came together in one batch.

        Raises `OSError` or `ProtocolError` where the stream fails.
        """
        async with self._http.open(sent.method, sent.path, sent.body) as incoming:
            if incoming.status != HTTPStatus.OK:
                await self._refuse(incoming)
            if "text/event-stream" not in incoming.fields.get("content-type", ""):
                yield answer.whole(await incoming.read_all())
                return
            events = EventDecoder()
            while not answer.done and (data := await incoming.read()):
                yield answer.items(events.feed(data))
            yield answer.close()
            if not answer.done:
                raise ConnectionResetError("it has no end")

    async def _check(self, instance: Instance, request: Request) -> None:  # noqa: ARG002  # of each model it tells little
        await self._know()
        self.check(request, self._able())

    async def _in_one_piece(self, instance: Instance, request: Request) -> list[StreamItem]:
        path, body = self._encode(instance, request, stream=False)
        whole = await self._http.call("POST", path, body)
        if not whole.ok:
            raise self._http.refused(whole, error_from(whole.body, status=whole.status))
        return self._decoder(instance, request).whole(whole.body)

    async def _refuse(self, incoming: Incoming) -> NoReturn:
        """Raise what an unsuccessful answer means, `_NoStreamError` where that is the stream."""
        body = await incoming.read_all()
        error = error_from(body, status=incoming.status)
        said = error.message.lower()
        if incoming.status in _CALLERS_FAULT and "stream" in said:
            raise _NoStreamError
        raise self._http.refused(Whole(incoming.status, incoming.fields, body), error)

    def _decoder(self, instance: Instance, request: Request) -> AnswerDecoder:
        known = None if self._dialect is Dialect.LLAMA else instance.context_tokens
        return AnswerDecoder(
            max_tokens=request.sampling.max_tokens,
            context_tokens=known,
            raw=request.prompt is not None,
        )

    def wire_request(self, instance: Instance, request: Request) -> WireRequest:
        """What `stream` sends, without the token and the headers of the settings."""
        path, body = self._encode(instance, request, stream=True)
        return WireRequest(method="POST", path=path, body=body)

    def _encode(self, instance: Instance, request: Request, *, stream: bool) -> tuple[str, bytes]:
        return encode_request(request, model=instance.id, dialect=self._dialect, stream=stream)

    # Beside answers

    async def render(self, instance: Instance, request: Request) -> str:
        """The prompt with the chat template applied. Only llama.cpp's server tells."""
        await self._know()
        able = self._able()
        self.check(request, able)
        if request.prompt is not None:
            return request.prompt
        if not able.supports_templates:
            self.refuse("show a prompt with its chat template")
        _, body = self._encode(instance, request, stream=False)
        return (await self._post(wire.APPLY_TEMPLATE, body, wire.Prompt)).prompt

    async def tokenize(self, instance: Instance, text: str) -> Sequence[int]:  # noqa: ARG002  # the server has one
        """Token ids as of a rendered prompt. Only llama.cpp's server tells."""
        await self._require_tokenizer()
        question = _encode(wire.tokenize_question(text))
        return (await self._post(wire.TOKENIZE, question, wire.Tokens)).tokens

    async def detokenize(self, instance: Instance, tokens: Sequence[int]) -> str:
        """The text of `tokens`, without the start token that `tokenize` puts before them."""
        await self._require_tokenizer()
        tokens = list(tokens)
        start = await self.tokenize(instance, "")
        if start and tokens[:1] == start[:1]:
            tokens = tokens[1:]
        question = _encode({"tokens": tokens})
        return (await self._post(wire.DETOKENIZE, question, wire.Content)).content

    async def _require_tokenizer(self) -> None:
        await self._know()
        if not self._able().supports_tokenization:
            self.refuse("tokenize")

    async def sampling_defaults(self, instance: Instance) -> Mapping[str, object]:  # noqa: ARG002  # they are the server's
        """What llama.cpp's server uses where a request is silent; of others nothing is known."""
        await self._know()
        if not self._able().supports_sampling_defaults:
            return {}
        return (await self._get(wire.PROPS, wire.Props)).sampling_defaults()

    async def embed(self, instance: Instance, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector per text."""
        if not texts:
            return []
        from lmstrix.protocol.openai.embeddings import EMBEDDINGS, decode_vectors  # noqa: PLC0415  # rarely needed

        body = _encode({"model": instance.id, "input": list(texts)})
        whole = await self._http.call("POST", EMBEDDINGS, body)
        if not whole.ok:
            raise self._http.refused(whole, error_from(whole.body, status=whole.status))
        return decode_vectors(whole.body, count=len(texts))

    @asynccontextmanager
    async def relay(
        self,
        instance: Instance,  # noqa: ARG002  # the request names it
        dialect: str,
        request: WireRequest,
    ) -> AsyncGenerator[Relayed, None]:
        """Pass a request of OpenAI's API on, and its answer back, byte for byte."""
        if dialect not in self.dialects:
            self.refuse(f"pass on a request in the dialect {dialect}")
        async with self._http.open(request.method, request.path, request.body) as incoming:
            yield Relayed(incoming, self._http.broke_off)

    # Questions

    async def _get(self, path: str, kind: type[_T]) -> _T:
        return self._read(await self._http.get(path), path, kind)

    async def _post(self, path: str, body: bytes, kind: type[_T]) -> _T:
        return self._read(await self._http.call("POST", path, body), path, kind)

    def _read(self, whole: Whole, path: str, kind: type[_T]) -> _T:
        if not whole.ok:
            raise self._http.refused(whole, error_from(whole.body, status=whole.status))
        try:
            return msgspec.json.decode(whole.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise ProtocolError(
                f"{self.server} answers {path} with what OpenAI's API does not have: {problem}.",
                hint="Is the address its root, without /v1? Which kind it is, --provider says.",
            ) from None


def _told(entry: wire.ModelEntry) -> int | None:
    return entry.meta.n_ctx if entry.meta else None


class _NoStreamError(Exception):
    """The server says that it does not stream."""
