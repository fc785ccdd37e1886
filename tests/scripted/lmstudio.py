"""A server of LM Studio's native protocol, in a thread of its own, that does as it is told.

What no handler was given for it answers as a server with one language model and one embedding model
would. Every frame it gets is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import inspect
import json
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from websockets.asyncio.server import ServerConnection as Socket
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from lmstrix.protocol.lmstudio import GREETING, GREETING_PATH
from lmstrix.protocol.lmstudio.endpoints import Channel, Endpoint
from lmstrix.protocol.lmstudio.server import (
    Called,
    Event,
    Hello,
    Opened,
    Received,
    Reply,
    ServerConnection,
)

if TYPE_CHECKING:
    import ssl

    from websockets.http11 import Request, Response

LLM_INFO = {
    "type": "llm",
    "modelKey": "tiny",
    "format": "gguf",
    "displayName": "Tiny",
    "publisher": "us",
    "path": "us/tiny/tiny.gguf",
    "sizeBytes": 1000,
    "vision": False,
    "trainedForToolUse": True,
    "maxContextLength": 4096,
    "indexedModelIdentifier": "us/tiny/tiny.gguf",
    "deviceIdentifier": None,
    "architecture": "llama",
}
EMBEDDING_INFO = {
    **{key: value for key, value in LLM_INFO.items() if key not in ("vision", "trainedForToolUse")},
    "type": "embedding",
    "modelKey": "tiny-embed",
    "path": "us/tiny-embed/tiny.gguf",
}
NO_MODEL = {
    "title": "No model found",
    "cause": "There is none of that name.",
    "displayData": {
        "code": "generic.noModelMatchingQuery",
        "query": {},
        "loadedModelsSample": [],
        "totalLoadedModels": 0,
    },
    "stack": "secret path",
}


def instance(info: dict[str, Any], identifier: str) -> dict[str, Any]:
    return {
        **info,
        "identifier": identifier,
        "instanceReference": f"ref-{identifier}",
        "contextLength": 2048,
        "ttlMs": None,
        "lastUsedTime": None,
    }


def fragment(text: str, reasoning: str = "none", **more: Any) -> dict[str, Any]:
    return {
        "type": "fragment",
        "fragment": {
            "content": text,
            "tokensCount": 1,
            "containsDrafted": False,
            "reasoningType": reasoning,
            "isStructural": False,
            **more,
        },
    }


def success(stop_reason: str = "eosFound", **stats: Any) -> dict[str, Any]:
    return {
        "type": "success",
        "stats": {"stopReason": stop_reason, **stats},
        "modelInfo": instance(LLM_INFO, "tiny"),
        "loadModelConfig": {"fields": [{"key": "llm.load.contextLength", "value": 2048}]},
        "predictionConfig": {"fields": [{"key": "llm.prediction.temperature", "value": 0.5}]},
    }


class Talk:
    """One call or channel, as a handler sees it."""

    def __init__(self, peer: Peer, event: Called | Opened) -> None:
        self.peer = peer
        self.endpoint = event.endpoint
        self.parameter = event.parameter
        self.number = event.channel_id if isinstance(event, Opened) else event.call_id
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def send(self, message: Any) -> None:
        await self.peer.socket.send(self.peer.protocol.send(self.number, message), text=True)

    async def close(self) -> None:
        await self.peer.socket.send(self.peer.protocol.close(self.number), text=True)

    async def result(self, *value: Any) -> None:
        await self.peer.socket.send(self.peer.protocol.result(self.number, *value), text=True)

    async def fail(self, error: Any) -> None:
        protocol, number = self.peer.protocol, self.number
        is_channel = isinstance(self.endpoint, Channel)
        frame = protocol.close_with(number, error) if is_channel else protocol.fail(number, error)
        await self.peer.socket.send(frame, text=True)

    async def raw(self, text: str | bytes) -> None:
        """A frame as it is, whatever it is."""
        await self.peer.socket.send(text, text=True)

    def drop(self) -> None:
        """Go away without a word."""
        self.peer.socket.transport.abort()


Handler: TypeAlias = Callable[[Talk], Awaitable[None]]


class Peer:
    """One connection."""

    def __init__(self, server: ScriptedServer, socket: Socket, namespace: str) -> None:
        self.server = server
        self.socket = socket
        self.namespace = namespace
        self.protocol = ServerConnection(namespace)
        self.channels: dict[int, Talk] = {}

    async def talk(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            try:
                async for data in self.socket:
                    self.server.frames.append((self.namespace, json.loads(data)))
                    await self._answer(self.protocol.receive(data), tasks)
            except ConnectionClosed:
                pass
            self.server.gone += 1
            raise _GoneError

    async def _answer(self, event: Event, tasks: asyncio.TaskGroup) -> None:
        if isinstance(event, Hello):
            await self.server.greet(self)
        elif isinstance(event, Called | Opened):
            talk = Talk(self, event)
            if isinstance(event, Opened):
                self.channels[event.channel_id] = talk
            tasks.create_task(self._handle(talk))
        elif isinstance(event, Received):
            if event.channel_id in self.channels:
                self.channels[event.channel_id].messages.put_nowait(event.message)
        elif isinstance(event, Reply):
            await self.socket.send(event.frame, text=True)

    async def _handle(self, talk: Talk) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self.server.handler(talk.endpoint)(talk)


class _GoneError(Exception):
    """Ends the handlers of a connection that is no more."""


class ScriptedServer:
    """`handlers` are by the endpoint's name; `silent` accepts connections and says nothing."""

    def __init__(
        self,
        handlers: dict[str, Handler] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        base_path: str = "",
        port: int = 0,
        gateway: str | None = None,
    ) -> None:
        self.handlers = handlers or {}
        self.frames: list[tuple[str, dict[str, Any]]] = []
        self.requests: list[Request] = []
        self.refusal: str | None = None
        self.silent = False
        self.gone = 0
        self.port = port
        self._gateway = gateway
        self._tls = tls
        self._base_path = base_path
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop: asyncio.Event | None = None
        self._sockets: set[Socket] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def sockets(self) -> int:
        """How many WebSockets were asked for."""
        return sum(request.path != self._base_path + GREETING_PATH for request in self.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def drop_all(self) -> None:
        """End every connection without a word, as a server does that is killed."""

        def drop() -> None:
            for socket in tuple(self._sockets):
                socket.transport.abort()
            # The transport closes its socket in the next turn of the loop.
            self._loop.call_soon(self._loop.call_soon, done.set)

        done = threading.Event()
        self._loop.call_soon_threadsafe(drop)
        assert done.wait(10)

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """The frames of a type that came."""
        return [frame for _, frame in self.frames if frame.get("type") == kind]

    async def greet(self, peer: Peer) -> None:
        if self.silent:
            return
        if self.refusal is None:
            await peer.socket.send(peer.protocol.accept(), text=True)
            return
        await peer.socket.send(peer.protocol.refuse(self.refusal), text=True)
        await peer.socket.close()

    def handler(self, endpoint: Endpoint) -> Handler:
        return self.handlers.get(endpoint.name) or DEFAULTS[endpoint.name]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with serve(
            self._connected,
            "127.0.0.1",
            self.port,
            process_request=self._process,
            ssl=self._tls,
            compression=None,
            ping_interval=None,
            max_size=None,
            close_timeout=1,
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._started.set()
            await self._stop.wait()
            for one in tuple(self._sockets):  # a client that is idle would say goodbye late
                one.transport.abort()

    def _process(self, socket: Socket, request: Request) -> Response | None:
        self.requests.append(request)
        path = request.path
        if not path.startswith(self._base_path + "/"):
            return socket.respond(http.HTTPStatus.NOT_FOUND, "nothing here")
        if path == self._base_path + GREETING_PATH:
            response = socket.respond(http.HTTPStatus.OK, GREETING.decode())
            if self._gateway is not None:
                response.headers["x-lmstrix-gateway"] = self._gateway
            return response
        return None

    async def _connected(self, socket: Socket) -> None:
        assert socket.request is not None
        namespace = socket.request.path.rpartition("/")[2]
        self._sockets.add(socket)
        try:
            await Peer(self, socket, namespace).talk()
        except* _GoneError:
            pass
        finally:
            self._sockets.discard(socket)


def _info(talk: Talk) -> dict[str, Any]:
    return EMBEDDING_INFO if talk.peer.namespace == "embedding" else LLM_INFO


def _default(talk: Talk) -> str:
    return str(_info(talk)["modelKey"])


async def _predict(talk: Talk) -> None:
    await talk.send({"type": "promptProcessingProgress", "progress": 0.5})
    for text in ("Hello", ", ", "world", "!"):
        await talk.send(fragment(text))
    await talk.send(success(promptTokensCount=3, predictedTokensCount=4, totalTokensCount=7))
    await talk.close()


async def _load(talk: Talk) -> None:
    identifier = talk.parameter.identifier or _default(talk)
    await talk.send({"type": "resolved", "info": _info(talk)})
    for progress in (0.0, 0.5, 0.5, 1.0):
        await talk.send({"type": "progress", "progress": progress})
    await talk.send({"type": "success", "info": instance(_info(talk), identifier)})
    await talk.close()


async def _get_or_load(talk: Talk) -> None:
    if talk.parameter.identifier not in (_default(talk), _info(talk)["path"]):
        await talk.fail(NO_MODEL)
        return
    loaded = instance(_info(talk), _default(talk))
    await talk.send({"type": "alreadyLoaded", "info": loaded})
    await talk.close()


async def _model_info(talk: Talk) -> None:
    identifier = talk.parameter.specifier.query.identifier
    if identifier != _default(talk):
        await talk.fail(NO_MODEL)
        return
    await talk.result(instance(_info(talk), identifier))


async def _stay_open(talk: Talk) -> None:
    while (await talk.messages.get()).get("type") not in ("stop", "end", "cancel"):
        pass
    await talk.close()


def _answers(answer: Callable[[Talk], Any]) -> Handler:
    async def handle(talk: Talk) -> None:
        value = answer(talk)
        if inspect.isawaitable(value):
            value = await value
        await (talk.result() if value is None else talk.result(value))

    return handle


def _fields(talk: Talk) -> dict[str, Any]:
    namespace = talk.peer.namespace
    return {"fields": [{"key": f"{namespace}.load.contextLength", "value": 2048}]}


DEFAULTS: dict[str, Handler] = {
    "predict": _predict,
    "loadModel": _load,
    "getOrLoad": _get_or_load,
    "getModelInfo": _model_info,
    "streamLogs": _stay_open,
    "alive": _stay_open,
    "unloadModel": _answers(lambda _: None),
    "listLoaded": _answers(lambda talk: [instance(_info(talk), _default(talk))]),
    "listDownloadedModels": _answers(lambda _: [LLM_INFO, EMBEDDING_INFO]),
    "listDownloadedModelVariants": _answers(lambda _: [LLM_INFO]),
    "getLoadConfig": _answers(_fields),
    "getBasePredictionConfig": _answers(
        lambda _: {"fields": [{"key": "llm.prediction.temperature", "value": 0.3}]}
    ),
    "getInstanceProcessingState": _answers(lambda _: {"status": "idle", "queued": 0}),
    "estimateModelUsage": _answers(
        lambda _: {
            "memory": {
                "confidence": "high",
                "modelVramBytes": 1,
                "contextVramBytes": 2,
                "totalVramBytes": 3,
                "modelBytes": 4,
                "contextBytes": 5,
                "totalBytes": 9,
            },
            "passesGuardrails": True,
        }
    ),
    "tokenize": _answers(lambda talk: {"tokens": list(talk.parameter.input_string.encode())}),
    "countTokens": _answers(lambda talk: {"tokenCount": len(talk.parameter.input_string)}),
    "embedString": _answers(lambda talk: {"embedding": [float(len(talk.parameter.input_string))]}),
    "applyPromptTemplate": _answers(
        lambda talk: {"formatted": f"<{len(talk.parameter.history.messages)}>"}
    ),
    "preloadDraftModel": _answers(lambda _: None),
    "version": _answers(lambda _: {"version": "0.4.4", "build": 1}),
    "info": _answers(lambda _: {"pid": 1, "isDaemon": True, "version": "0.4.4+1"}),
    "notify": _answers(lambda _: None),
    "startHttpServer": _answers(lambda _: None),
    "stopHttpServer": _answers(lambda _: None),
    "uploadFileBase64": _answers(
        lambda talk: {
            "identifier": f"file-{talk.number}",
            "fileType": "image",
            "sizeBytes": len(talk.parameter.content_base64) * 3 // 4,
        }
    ),
    "searchModels": _answers(
        lambda _: {
            "results": [{"name": "Tiny", "identifier": {"type": "catalog", "identifier": "t"}}]
        }
    ),
    "getModelDownloadOptions": _answers(
        lambda _: {
            "results": [
                {
                    "name": "Tiny Q8",
                    "sizeBytes": 5,
                    "fitEstimation": "fitWithoutGPU",
                    "downloadIdentifier": "d",
                    "indexedModelIdentifier": "us/tiny",
                    "compatibilityType": "gguf",
                }
            ]
        }
    ),
}


async def _download(talk: Talk) -> None:
    update = {"downloadedBytes": 1, "totalBytes": 5, "speedBytesPerSecond": 2.5}
    await talk.send({"type": "downloadProgress", "update": update})
    await talk.send({"type": "startFinalizing"})
    await talk.send({"type": "success", "defaultIdentifier": "tiny"})
    await talk.close()


DEFAULTS["downloadModel"] = _download
