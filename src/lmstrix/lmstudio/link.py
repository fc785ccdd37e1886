"""One connection, sans I/O: the HTTP upgrade, WebSocket frames, LM Studio's protocol in them.

Bytes in, events out; what is to be written is asked for. Both shells, the one of threads and the
one of asyncio, are made of this.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import CONNECTING, OPEN
from websockets.uri import parse_uri

from lmstrix.errors import ProtocolError
from lmstrix.lmstudio.errors import (
    LMStudioClientError,
    LMStudioServerError,
    LMStudioWebsocketError,
    server_error,
)
from lmstrix.protocol.lmstudio.client import (
    Accepted,
    Answered,
    ClientConnection,
    Closed,
    Failed,
    PassedOver,
    Refused,
    Sent,
    Warned,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import msgspec

    from lmstrix.protocol.lmstudio.client import Event
    from lmstrix.protocol.lmstudio.envelopes import Auth

_LOG = logging.getLogger("lmstrix.lmstudio")
# The WebSocket library would log whole frames, and with them secrets and what people write.
_SILENT = logging.Logger("websockets", logging.ERROR)  # noqa: LOG001  # on purpose of no tree
_SILENT.addHandler(logging.NullHandler())
_REDIRECTS = range(300, 400)


class Inbox:
    """What came for one call or channel and is not yet read.

    A call gets one item, empty for a void result. `error` is why no more will come; `closed`
    without an error is the regular end. `wake` is called when something came.
    """

    __slots__ = ("closed", "error", "items", "notice", "number", "wake")

    def __init__(self, number: int, notice: str) -> None:
        self.number = number
        self.notice = notice
        self.items: deque[msgspec.Raw] = deque()
        self.closed = False
        self.error: Exception | None = None
        self.wake: Callable[[], None] | None = None

    @property
    def ready(self) -> bool:
        """Whether there is something to read, be it the end."""
        return bool(self.items) or self.closed

    def end(self, error: Exception | None = None) -> None:
        """No more will come."""
        if not self.closed:
            self.closed = True
            self.error = error
            self.notify()

    def notify(self) -> None:
        """Something came."""
        if self.wake is not None:
            self.wake()


class Link:
    """A connection to one namespace of a server.

    `ready` is whether calls may be made; `lost` is why the connection has ended, once it has.
    """

    def __init__(
        self, url: str, auth: Auth, headers: Mapping[str, str], *, limit_bytes: int
    ) -> None:
        self.url = url
        self.ready = False
        self.lost: Exception | None = None
        self.pongs = 0
        self._connection = ClientConnection(auth)
        self._limit_bytes = limit_bytes
        self._protocol = ClientProtocol(parse_uri(url), max_size=limit_bytes, logger=_SILENT)
        self._headers = Headers(headers)
        self._parts: list[bytes] = []
        self._calls: dict[int, Inbox] = {}
        self._channels: dict[int, Inbox] = {}

    def start(self) -> None:
        """Ask the server for a WebSocket."""
        request = self._protocol.connect()
        for name, value in self._headers.raw_items():
            request.headers[name] = value
        self._protocol.send_request(request)

    def outgoing(self) -> list[bytes]:
        """What is to be written now; an empty piece means to end the connection."""
        return self._protocol.data_to_send()

    def call(self, endpoint: str, parameter: Any, notice: str) -> Inbox:
        """A remote call; its answer comes to the inbox."""
        number, frame = self._connection.call(endpoint, parameter)
        inbox = self._calls[number] = Inbox(number, notice)
        self._protocol.send_text(frame)
        return inbox

    def open(self, endpoint: str, parameter: Any, notice: str) -> Inbox:
        """A channel; its messages come to the inbox."""
        number, frame = self._connection.open(endpoint, parameter)
        inbox = self._channels[number] = Inbox(number, notice)
        self._protocol.send_text(frame)
        return inbox

    def send(self, inbox: Inbox, message: Any) -> None:
        """A message on a channel; nothing once the channel or the connection has ended."""
        if not inbox.closed and self.lost is None:
            self._protocol.send_text(self._connection.send(inbox.number, message))

    def release(self, inbox: Inbox) -> None:
        """Nobody reads that inbox any more."""
        if self._calls.get(inbox.number) is inbox:
            del self._calls[inbox.number]
            self._connection.release_call(inbox.number)
        elif self._channels.get(inbox.number) is inbox:
            del self._channels[inbox.number]
            self._connection.release_channel(inbox.number)

    def ping(self) -> None:
        """Ask the server for a sign of life; `pongs` counts the answers."""
        if self._protocol.state is OPEN:
            self._protocol.send_ping(b"?")

    def close(self) -> None:
        """Say goodbye; what is open ends without an answer."""
        self._say_goodbye()
        self.lose(LMStudioClientError("The connection was closed on this side."))

    def feed(self, data: bytes) -> None:
        """Take what came; it goes to the inboxes it is for."""
        self._protocol.receive_data(data)
        self._read_events()

    def feed_end(self) -> None:
        """The server will send no more."""
        self._protocol.receive_eof()
        self._read_events()
        self.lose(self._lost_error())

    def lose(self, error: Exception) -> None:
        """The connection is no more; everything open ends with `error`."""
        if self.lost is not None:
            return
        self.lost = error
        self.ready = False
        inboxes = [*self._calls.values(), *self._channels.values()]
        self._calls.clear()
        self._channels.clear()
        for inbox in inboxes:
            inbox.end(error)

    def _say_goodbye(self, code: int | None = None) -> None:
        if self._protocol.state is OPEN:  # else the server was first
            self._protocol.send_close(code)

    def _read_events(self) -> None:
        protocol = self._protocol
        for event in protocol.events_received():
            if type(event) is Frame:
                if event.opcode is Opcode.TEXT and event.fin:
                    self._take(event.data)  # type: ignore[arg-type]  # bytes when received
                else:
                    self._rare(event)
            elif protocol.handshake_exc is None and protocol.state is OPEN:
                protocol.send_text(self._connection.hello())
        if protocol.handshake_exc is not None:
            self.lose(self._handshake_error(protocol.handshake_exc))
        elif protocol.state not in (OPEN, CONNECTING):
            self.lose(self._lost_error())

    def _rare(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self.pongs += 1
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT, Opcode.BINARY):
            self._parts.append(bytes(frame.data))
            if frame.fin:
                whole = b"".join(self._parts)
                self._parts.clear()
                self._take(whole)

    def _take(self, data: bytes) -> None:
        if self.lost is not None:
            return
        try:
            event = self._connection.receive(data)
        except ProtocolError as problem:
            # What the frame was an answer to nobody knows: no call here can be trusted to end.
            self._say_goodbye(1002)
            self.lose(
                LMStudioWebsocketError(
                    f"{problem.message} The connection to {self.url} was given up.",
                    server=self.url,
                    hint=problem.hint,
                )
            )
            return
        if type(event) is Sent:
            inbox = self._channels[event.channel_id]
            inbox.items.append(event.message)
            if inbox.wake is not None:
                inbox.wake()
        elif type(event) is Answered:
            inbox = self._calls.pop(event.call_id)
            inbox.items.append(event.result)
            inbox.end()
        else:
            self._take_rare(event)

    def _take_rare(self, event: Event) -> None:
        if isinstance(event, Failed):
            inbox = self._calls.pop(event.call_id)
            inbox.end(server_error(f"{inbox.notice} error", event.error))
        elif isinstance(event, Closed):
            inbox = self._channels.pop(event.channel_id)
            failed = bytes(event.error)
            inbox.end(server_error(f"{inbox.notice} error", event.error) if failed else None)
        elif isinstance(event, Accepted):
            self.ready = True
        elif isinstance(event, Refused):
            self._say_goodbye()
            self.lose(LMStudioServerError("Authentication failed", event.error or "no reason"))
        elif isinstance(event, Warned):
            _LOG.error("SDK communication warning: %s", event.text)
        elif isinstance(event, PassedOver):
            _LOG.debug("Passed over %s", event.why)

    def _lost_error(self) -> Exception:
        problem = self._protocol.parser_exc
        if problem is not None and not isinstance(problem, EOFError):
            why = f"it sent what is no WebSocket, or more than {self._limit_bytes:,} bytes at once"
        elif self._protocol.close_rcvd is not None:
            why = f"the server closed it ({self._protocol.close_rcvd})"
        else:
            why = "the server went away"
        return LMStudioWebsocketError(
            f"The connection to {self.url} was lost: {why}.",
            server=self.url,
            hint="Is LM Studio still running? The next call opens a new connection.",
        )

    def _handshake_error(self, problem: Exception) -> Exception:
        why = f"{type(problem).__name__}: {problem}"
        if isinstance(problem, InvalidStatus):
            response = problem.response
            why = f"it answered with HTTP status {response.status_code}"
            if response.status_code in _REDIRECTS:
                why += f", a redirect to {response.headers.get('Location')!r}, not followed"
        return LMStudioWebsocketError(
            f"LM Studio is not reachable at {self.url} ({why}).",
            server=self.url,
            hint="Is LM Studio running, and is this its address?",
        )
