"""A server's side of one connection: frames in, calls and channels out of them; answers out.

The first frame in is the client's `Auth`, which the server's owner accepts or refuses. What a
client does against the protocol is answered by a warning, five a connection at most, and by nothing
else; so do LM Studio's own servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from lmstrix.errors import ProtocolError
from lmstrix.protocol.lmstudio.endpoints import Channel, Endpoint, Rpc, find_endpoint
from lmstrix.protocol.lmstudio.envelopes import Auth, AuthResult, ClientFrame, read_client_frame
from lmstrix.protocol.lmstudio.shape import camel_case

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_WARNINGS = 5
_AUTH = msgspec.json.Decoder(Auth)
_MAX_ID_LENGTH = 256
_EMPTY = b"null"


class Hello(msgspec.Struct, frozen=True):
    """The client says who it is; to be answered by `accept` or `refuse`."""

    auth: Auth


class Called(msgspec.Struct, frozen=True):
    """A remote call; to be answered by `result` or `fail`. `parameter` has its endpoint's type."""

    call_id: int
    endpoint: Rpc
    parameter: Any


class Opened(msgspec.Struct, frozen=True):
    """A new channel; to be ended by `close` or `close_with`."""

    channel_id: int
    endpoint: Channel
    parameter: Any


class Received(msgspec.Struct, frozen=True):
    """A message of the client on an open channel."""

    channel_id: int
    message: dict[str, Any]


class Reply(msgspec.Struct, frozen=True):
    """Nothing to do but to send this frame."""

    frame: bytes


class Ignored(msgspec.Struct, frozen=True):
    """Nothing to do."""

    why: str = ""


Event: TypeAlias = Hello | Called | Opened | Received | Reply | Ignored


class _Result(msgspec.Struct, rename=camel_case, omit_defaults=True):
    type: str
    call_id: int
    result: Any = msgspec.UNSET


class _Error(msgspec.Struct, rename=camel_case, omit_defaults=True):
    type: str
    error: Any
    call_id: int | msgspec.UnsetType = msgspec.UNSET
    channel_id: int | msgspec.UnsetType = msgspec.UNSET


class _Send(msgspec.Struct, rename=camel_case):
    type: str
    channel_id: int
    message: Any


class _Close(msgspec.Struct, rename=camel_case):
    type: str
    channel_id: int


class _Warning(msgspec.Struct):
    type: str
    warning: str
    kind: str


class _Alone(msgspec.Struct):
    type: str


class ServerConnection:
    """One connection of one namespace. `auth` is who the client says it is, once it has."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.auth: Auth | None = None
        self._accepted = False
        self._channels: set[int] = set()
        self._warnings = 0
        self._encode = msgspec.json.Encoder().encode
        self._readers: dict[str, Callable[[ClientFrame], Event]] = {
            "rpcCall": self._call,
            "channelCreate": self._create,
            "channelSend": self._message,
            "channelAck": _pass_over,
            "keepAlive": self._keep_alive,
            "communicationWarning": _pass_over,
        }

    def receive(self, data: str | bytes) -> Event:
        """What a frame asks for. Never raises: what cannot be read is warned of."""
        if not self._accepted:
            return self._handshake(data)
        try:
            frame = read_client_frame(data)
        except ProtocolError as problem:
            return self._warn(problem.message, "messageParsingError")
        reader = self._readers.get(frame.type)
        if reader is None:
            return self._warn(
                f"Received an unknown message type: {frame.type}", "messageTypeUnknown"
            )
        return reader(frame)

    def accept(self) -> bytes:
        """The frame that takes the client; from now on it may call."""
        self._accepted = True
        return self._encode(AuthResult(success=True))

    def refuse(self, error: str) -> bytes:
        """The frame that does not; the connection is to be closed after it."""
        return self._encode(AuthResult(success=False, error=error))

    def result(self, call_id: int, value: Any = msgspec.UNSET) -> bytes:
        """The frame of a call's result; a void one has none."""
        return self._encode(_Result("rpcResult", call_id, value))

    def fail(self, call_id: int, error: Any) -> bytes:
        """The frame of a call's error (`SerializedLMSExtendedError`)."""
        return self._encode(_Error("rpcError", error, call_id=call_id))

    def send(self, channel_id: int, message: Any) -> bytes:
        """The frame of a message on a channel."""
        return self._encode(_Send("channelSend", channel_id, message))

    def close(self, channel_id: int) -> bytes:
        """The frame that ends a channel."""
        self._channels.discard(channel_id)
        return self._encode(_Close("channelClose", channel_id))

    def close_with(self, channel_id: int, error: Any) -> bytes:
        """The frame that ends a channel in an error (`SerializedLMSExtendedError`)."""
        self._channels.discard(channel_id)
        return self._encode(_Error("channelError", error, channel_id=channel_id))

    def _keep_alive(self, frame: ClientFrame) -> Event:  # noqa: ARG002  # all readers are alike
        return Reply(self._encode(_Alone("keepAliveAck")))

    def _handshake(self, data: str | bytes) -> Event:
        try:
            auth = _AUTH.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Ignored("what came before the handshake was no handshake")
        if max(len(auth.client_identifier), len(auth.client_passkey)) > _MAX_ID_LENGTH:
            return Ignored("a handshake with an identifier that is too long")
        self.auth = auth
        return Hello(auth)

    def _call(self, frame: ClientFrame) -> Event:
        endpoint = find_endpoint(self.namespace, frame.endpoint or "")
        if not isinstance(endpoint, Rpc):
            return self._warn(
                f"Received an rpcCall for an unknown endpoint: {frame.endpoint!r}.",
                "rpcEndpointUnknown",
            )
        parameter, problem = _read(endpoint, frame.parameter)
        if problem or frame.call_id is None:
            return self._warn(
                f"Received invalid parameters for the rpcCall {endpoint.name!r}: {problem}",
                "rpcParameterTypeError",
            )
        return Called(frame.call_id, endpoint, parameter)

    def _create(self, frame: ClientFrame) -> Event:
        endpoint = find_endpoint(self.namespace, frame.endpoint or "")
        if not isinstance(endpoint, Channel):
            return self._warn(
                f"Received a channelCreate for an unknown endpoint: {frame.endpoint!r}.",
                "channelEndpointUnknown",
            )
        parameter, problem = _read(endpoint, frame.creation_parameter)
        if frame.channel_id is not None and frame.channel_id in self._channels:
            problem = f"the channel {frame.channel_id} is open already"
        if problem or frame.channel_id is None:
            return self._warn(
                f"Received invalid parameters for the channel {endpoint.name!r}: {problem}",
                "channelCreationParameterTypeError",
            )
        self._channels.add(frame.channel_id)
        return Opened(frame.channel_id, endpoint, parameter)

    def _message(self, frame: ClientFrame) -> Event:
        if frame.channel_id not in self._channels:
            return Ignored("a message for a channel that is not open")
        try:
            message = msgspec.json.decode(frame.message or b"null", type=dict[str, Any])
        except msgspec.ValidationError as problem:
            return self._warn(f"Received an invalid message: {problem}", "channelMessageTypeError")
        return Received(frame.channel_id, message)

    def _warn(self, text: str, kind: str) -> Event:
        self._warnings += 1
        if self._warnings > MAX_WARNINGS:
            return Ignored(text)
        return Reply(self._encode(_Warning("communicationWarning", text, kind)))


def _pass_over(frame: ClientFrame) -> Event:
    return Ignored(f"a {frame.type}, to which there is nothing to say")


def _read(endpoint: Endpoint, raw: msgspec.Raw | msgspec.UnsetType) -> tuple[Any, str]:
    """The parameter and nothing, or nothing and what is wrong with it."""
    try:
        return endpoint.read_parameter(_EMPTY if raw is msgspec.UNSET else raw), ""
    except msgspec.ValidationError as problem:
        return None, str(problem)
