"""One WebSocket of one namespace: the handshake, then calls and channels side by side."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from lmstrix.errors import LMStrixError
from lmstrix.gateway.lmstudio_native.failures import serialized
from lmstrix.protocol.lmstudio.endpoints import Rpc
from lmstrix.protocol.lmstudio.errors import SerializedLMSExtendedError
from lmstrix.protocol.lmstudio.server import (
    Called,
    Hello,
    Opened,
    Received,
    Reply,
    ServerConnection,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from starlette.types import Receive, Scope, Send

    from lmstrix.gateway.lmstudio_native.clients import Clients
    from lmstrix.protocol.lmstudio.endpoints import Endpoint
    from lmstrix.protocol.lmstudio.envelopes import Auth

    Answer: TypeAlias = Callable[[Auth, Any], Awaitable[Any]]
    Serve: TypeAlias = Callable[[Auth, Any, "OpenChannel"], Awaitable[None]]

_log = logging.getLogger(__name__)

_HANDSHAKE_S = 10.0
_MOST_TASKS = 4096  # of one connection at a time
_REFUSED = 1008  # policy violation, RFC 6455 section 7.4.1


class Handlers:
    """Who answers what: one answer per remote call, one server per channel."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], Answer] = {}
        self._channels: dict[tuple[str, str], Serve] = {}

    def answer(self, endpoint: Endpoint, answer: Answer, *, namespace: str | None = None) -> None:
        """`answer` is for that remote call, in one or in all of its namespaces."""
        for name in [namespace] if namespace else endpoint.namespaces:
            self._answers[name, endpoint.name] = answer

    def serve(self, endpoint: Endpoint, serve: Serve, *, namespace: str | None = None) -> None:
        """`serve` is for that channel, in one or in all of its namespaces."""
        for name in [namespace] if namespace else endpoint.namespaces:
            self._channels[name, endpoint.name] = serve

    def answer_for(self, namespace: str, endpoint: Endpoint) -> Answer:
        """What answers it; something that refuses where nothing does."""
        return self._answers.get((namespace, endpoint.name)) or _refuse_call(endpoint)

    def server_for(self, namespace: str, endpoint: Endpoint) -> Serve:
        """What serves it; something that refuses where nothing does."""
        return self._channels.get((namespace, endpoint.name)) or _refuse_channel(endpoint)


def _not_offered(endpoint: Endpoint) -> LMStrixError:
    return LMStrixError(f"{endpoint.name} is not offered by this server.")


def _refuse_call(endpoint: Endpoint) -> Answer:
    async def refuse(auth: Auth, parameter: Any) -> Any:
        raise _not_offered(endpoint)

    return refuse


def _refuse_channel(endpoint: Endpoint) -> Serve:
    async def refuse(auth: Auth, parameter: Any, channel: OpenChannel) -> None:
        raise _not_offered(endpoint)

    return refuse


class OpenChannel:
    """A channel as whoever serves it sees it."""

    def __init__(self, send: Callable[[Any], Awaitable[None]]) -> None:
        self.send = send
        self._received: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    async def receive(self) -> Mapping[str, Any]:
        """The next message of the client."""
        return await self._received.get()

    def take(self, message: Mapping[str, Any]) -> None:
        """The client sent `message`."""
        self._received.put_nowait(message)

    async def wait_for(self, *kinds: str) -> None:
        """Return when the client has sent a message of one of these types."""
        while (await self.receive()).get("type") not in kinds:
            pass

    async def until(self, kind: str, work: Coroutine[None, None, None]) -> bool:
        """Do `work` until its end, or until the client sends a message of `kind`.

        Gives whether the client did. What `work` raises is raised.
        """
        working = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self.wait_for(kind))
        try:
            await asyncio.wait((working, asked), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
                return False
            return True
        finally:
            for task in (working, asked):
                task.cancel()
            await asyncio.wait((working, asked))


class NativeSocket:
    """The ASGI application of one namespace."""

    def __init__(self, namespace: str, handlers: Handlers, clients: Clients) -> None:
        self._namespace = namespace
        self._handlers = handlers
        self._clients = clients

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until the client leaves."""
        if (await receive())["type"] != "websocket.connect":
            return
        await send({"type": "websocket.accept"})
        connection = _Connection(self._namespace, self._handlers, self._clients, scope, send)
        try:
            await connection.run(receive)
        finally:
            await connection.aclose()


class _Connection:
    def __init__(
        self, namespace: str, handlers: Handlers, clients: Clients, scope: Scope, send: Send
    ) -> None:
        self._namespace = namespace
        self._handlers = handlers
        self._clients = clients
        self._scope = scope
        self._send = send
        self._wire = ServerConnection(namespace)
        self._auth: Auth | None = None
        self._channels: dict[int, OpenChannel] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, receive: Receive) -> None:
        """Read frames until the client leaves, or is refused."""
        try:
            async with asyncio.timeout(_HANDSHAKE_S) as limit:
                while (data := await _next_frame(receive)) is not None:
                    if not await self._take(data):
                        return
                    if self._auth is not None and limit.when() is not None:
                        limit.reschedule(None)
        except TimeoutError:
            await self._close(_REFUSED, "The handshake did not come in time.")

    async def aclose(self) -> None:
        """End whatever is under way for this client."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._auth is not None:
            self._clients.leave(self._auth)

    async def _take(self, data: str | bytes) -> bool:
        """Do what a frame asks for; whether to go on."""
        event = self._wire.receive(data)
        if isinstance(event, Received):
            if (channel := self._channels.get(event.channel_id)) is not None:
                channel.take(event.message)
        elif isinstance(event, Called):
            if self._is_busy():
                await self._write(self._wire.fail(event.call_id, _BUSY))
            else:
                self._start(self._answer(event))
        elif isinstance(event, Opened):
            if self._is_busy():
                await self._write(self._wire.close_with(event.channel_id, _BUSY))
            else:
                self._start(self._serve(event, self._new_channel(event.channel_id)))
        elif isinstance(event, Reply):
            await self._write(event.frame)
        elif isinstance(event, Hello):
            return await self._greet(event.auth)
        return True

    async def _greet(self, auth: Auth) -> bool:
        why_not = self._clients.refusal(auth, self._scope)
        if why_not:
            await self._write(self._wire.refuse(why_not))
            await self._close(_REFUSED, "The client was refused.")
            return False
        self._auth = auth
        self._clients.enter(auth)
        await self._write(self._wire.accept())
        return True

    def _is_busy(self) -> bool:
        return len(self._tasks) >= _MOST_TASKS

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, event: Called) -> None:
        assert self._auth is not None
        answer = self._handlers.answer_for(self._namespace, event.endpoint)
        try:
            result = await answer(self._auth, event.parameter)
        except LMStrixError as error:
            frame = self._wire.fail(event.call_id, serialized(error))
        except Exception as error:  # noqa: BLE001  # the last net: it is logged and said
            self._log_failure(event.endpoint, error)
            frame = self._wire.fail(event.call_id, _OURS)
        else:
            void = isinstance(event.endpoint, Rpc) and event.endpoint.result is None
            nothing = void or result is None
            frame = self._wire.result(event.call_id, msgspec.UNSET if nothing else result)
        await self._write(frame)

    def _new_channel(self, number: int) -> OpenChannel:
        """Made at once: the client's next frame may be a message on it."""

        async def send(message: Any) -> None:
            await self._write(self._wire.send(number, message))

        channel = self._channels[number] = OpenChannel(send)
        return channel

    async def _serve(self, event: Opened, channel: OpenChannel) -> None:
        assert self._auth is not None
        number = event.channel_id
        serve = self._handlers.server_for(self._namespace, event.endpoint)
        try:
            await serve(self._auth, event.parameter, channel)
        except LMStrixError as error:
            frame = self._wire.close_with(number, serialized(error))
        except Exception as error:  # noqa: BLE001  # as above
            self._log_failure(event.endpoint, error)
            frame = self._wire.close_with(number, _OURS)
        else:
            frame = self._wire.close(number)
        finally:
            del self._channels[number]
        await self._write(frame)

    def _log_failure(self, endpoint: Endpoint, error: Exception) -> None:
        """Where it happened, without the words of the exception: they may be somebody's prompt."""
        frames = "".join(traceback.format_tb(error.__traceback__))
        name = f"{self._namespace}/{endpoint.name}"
        _log.error("%s: %s\n%s", name, type(error).__name__, frames)

    async def _write(self, frame: bytes) -> None:
        await self._send({"type": "websocket.send", "text": frame.decode()})

    async def _close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})


_BUSY = SerializedLMSExtendedError(
    title=f"This connection has {_MOST_TASKS} calls and channels open already.",
    suggestion="Wait for some of them.",
)
_OURS = SerializedLMSExtendedError(title="This is a fault in LMStrix; its log says more.")


async def _next_frame(receive: Receive) -> str | bytes | None:
    """The next frame; `None` when the client has left."""
    message = await receive()
    if message["type"] != "websocket.receive":
        return None
    text: str | None = message.get("text")
    data: bytes | None = message.get("bytes")
    return text if text is not None else data
