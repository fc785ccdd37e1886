"""A client's side of one connection: calls and channels out, frames in, events out of them.

The first frame out is `ClientConnection.hello`, the first one in says `Accepted` or `Refused`.
After that calls and channels have numbers of their own, from 1. A number is released when its last
answer has come; what still comes for it later is passed over.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from lmstrix.errors import ProtocolError
from lmstrix.protocol.lmstudio.envelopes import Auth, AuthResult, ServerFrame, read_server_frame
from lmstrix.protocol.lmstudio.shape import camel_case

_AUTH_RESULT = msgspec.json.Decoder(AuthResult)


class Accepted(msgspec.Struct, frozen=True):
    """The server takes the client."""


class Refused(msgspec.Struct, frozen=True):
    """The server does not take the client. `error` is what it said, an object or a text."""

    error: Any


class Answered(msgspec.Struct, frozen=True, gc=False):
    """The result of a remote call; empty for a void one."""

    call_id: int
    result: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, gc=False):
    """A remote call ended in an error."""

    call_id: int
    error: msgspec.Raw


class Sent(msgspec.Struct, frozen=True, gc=False):
    """The server sent a message on a channel."""

    channel_id: int
    message: msgspec.Raw


class Closed(msgspec.Struct, frozen=True, gc=False):
    """The server closed a channel, with an error or (empty) without."""

    channel_id: int
    error: msgspec.Raw


class Warned(msgspec.Struct, frozen=True):
    """The server says that the client broke the protocol."""

    text: str


class PassedOver(msgspec.Struct, frozen=True):
    """A frame that belongs to nothing here; `why` has no word of its contents."""

    why: str


Event: TypeAlias = Accepted | Refused | Answered | Failed | Sent | Closed | Warned | PassedOver

_ACCEPTED = Accepted()


class _Call(msgspec.Struct, rename=camel_case, omit_defaults=True):
    type: str
    endpoint: str
    call_id: int
    parameter: Any = msgspec.UNSET


class _Create(msgspec.Struct, rename=camel_case, omit_defaults=True):
    type: str
    endpoint: str
    channel_id: int
    creation_parameter: Any = msgspec.UNSET


class _Send(msgspec.Struct, rename=camel_case):
    type: str
    channel_id: int
    message: Any


class ClientConnection:
    """One connection, from its handshake on. Frames are JSON texts in UTF-8."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._accepted = False
        self._calls: set[int] = set()
        self._channels: set[int] = set()
        self._last_call = 0
        self._last_channel = 0
        self._encode = msgspec.json.Encoder().encode

    def hello(self) -> bytes:
        """The first frame."""
        return self._encode(self._auth)

    def call(self, endpoint: str, parameter: Any = msgspec.UNSET) -> tuple[int, bytes]:
        """A new call's number, and the frame to send."""
        self._last_call += 1
        self._calls.add(self._last_call)
        frame = _Call("rpcCall", endpoint, self._last_call, parameter)
        return self._last_call, self._encode(frame)

    def open(self, endpoint: str, parameter: Any = msgspec.UNSET) -> tuple[int, bytes]:
        """A new channel's number, and the frame to send."""
        self._last_channel += 1
        self._channels.add(self._last_channel)
        frame = _Create("channelCreate", endpoint, self._last_channel, parameter)
        return self._last_channel, self._encode(frame)

    def send(self, channel_id: int, message: Any) -> bytes:
        """The frame of a message on an open channel."""
        return self._encode(_Send("channelSend", channel_id, message))

    def release_call(self, call_id: int) -> None:
        """Nobody waits for that call any more."""
        self._calls.discard(call_id)

    def release_channel(self, channel_id: int) -> None:
        """Nobody reads that channel any more."""
        self._channels.discard(channel_id)

    def receive(self, data: str | bytes) -> Event:
        """What a frame says. Raises `ProtocolError` for what is no frame of this protocol."""
        if not self._accepted:
            return self._handshake(data)
        frame = read_server_frame(data)
        kind = frame.type
        if kind == "channelSend" and frame.channel_id in self._channels:
            return Sent(frame.channel_id, frame.message)
        if frame.call_id in self._calls and kind in ("rpcResult", "rpcError"):
            self._calls.discard(frame.call_id)
            if kind == "rpcResult":
                return Answered(frame.call_id, frame.result)
            return Failed(frame.call_id, frame.error)
        return self._rare(frame)

    def _rare(self, frame: ServerFrame) -> Event:
        if frame.type == "communicationWarning":
            return Warned(frame.warning)
        if frame.channel_id in self._channels and frame.type in ("channelClose", "channelError"):
            self._channels.discard(frame.channel_id)
            return Closed(frame.channel_id, frame.error)
        return PassedOver(f"a frame {frame.type or 'without a type'} that belongs to nothing open")

    def _handshake(self, data: str | bytes) -> Event:
        try:
            result = _AUTH_RESULT.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ProtocolError(
                "The server did not answer the handshake of LM Studio's protocol.",
                hint="Is it LM Studio that listens there?",
            ) from None
        if not result.success:
            return Refused(result.error)
        self._accepted = True
        return _ACCEPTED
