"""What surrounds every message, and the handshake before the first."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from lmstrix.errors import ProtocolError
from lmstrix.protocol.lmstudio.shape import Shape, camel_case

AUTH_VERSION = 1
_TOKEN = re.compile(r"sk-lm-(?P<identifier>[A-Za-z0-9]{8}):(?P<passkey>[A-Za-z0-9]{20})")
_NOTHING = msgspec.Raw()


class Auth(Shape, kw_only=True):
    """The first frame of a client.

    A guest's identifier begins with `guest:`; what it uploads belongs to it. An API token is
    both fields in one.
    """

    auth_version: int
    client_identifier: str
    client_passkey: str

    @classmethod
    def from_token(cls, token: str) -> Auth:
        """The two halves of an API token. Raises `ValueError` where it does not look like one."""
        match = _TOKEN.fullmatch(token.strip())
        if match is None:
            raise ValueError("An API token of LM Studio looks like sk-lm-xxxxxxxx:…, 34 signs.")
        return cls(
            auth_version=AUTH_VERSION,
            client_identifier=match["identifier"],
            client_passkey=match["passkey"],
        )

    @property
    def token(self) -> str:
        """The API token of these two halves, whether or not it is one."""
        return f"sk-lm-{self.client_identifier}:{self.client_passkey}"

    def __repr__(self) -> str:
        return f"Auth(client_identifier={self.client_identifier!r})"  # no passkey in a log

    __str__ = __repr__


class AuthResult(Shape, kw_only=True):
    """The first frame of a server."""

    success: bool
    error: Any = None


class ClientFrame(Shape, kw_only=True):
    """Any frame of a client after the first; which fields there are depends on `type`.

    `rpcCall`: `endpoint`, `call_id`, `parameter`. `channelCreate`: `endpoint`, `channel_id`,
    `creation_parameter`. `channelSend`: `channel_id`, `message`, `ack_id`. `channelAck`:
    `channel_id`, `ack_id`. `keepAlive`. `communicationWarning`: `warning`, `kind`.
    """

    type: str
    endpoint: str | None = None
    call_id: int | None = None
    channel_id: int | None = None
    subscribe_id: int | None = None
    ack_id: int | None = None
    parameter: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    creation_parameter: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    message: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    warning: str | None = None
    kind: str | None = None


class ServerFrame(msgspec.Struct, rename=camel_case, frozen=True, gc=False):
    """Any frame of a server after the first; which fields there are depends on `type`.

    `rpcResult`: `call_id`, `result`. `rpcError`: `call_id`, `error`. `channelSend`: `channel_id`,
    `message`, `ack_id`. `channelClose`: `channel_id`. `channelError`: `channel_id`, `error`.
    `keepAliveAck`. `communicationWarning`: `warning`. What is absent is empty.
    """

    type: str = ""
    call_id: int = -1
    channel_id: int = -1
    ack_id: int | None = None
    result: msgspec.Raw = _NOTHING
    message: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    warning: str = ""


_SERVER_FRAME = msgspec.json.Decoder(ServerFrame)
_CLIENT_FRAME = msgspec.json.Decoder(ClientFrame)


def read_server_frame(data: str | bytes) -> ServerFrame:
    """A frame of a server. Raises `ProtocolError` for what is none."""
    try:
        return _SERVER_FRAME.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise ProtocolError(
            f"The server sent what is no message of LM Studio's protocol ({problem}).",
            hint="Is it LM Studio that listens there?",
        ) from None


def read_client_frame(data: str | bytes) -> ClientFrame:
    """A frame of a client. Raises `ProtocolError` for what is none."""
    try:
        return _CLIENT_FRAME.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise ProtocolError(
            f"The client sent what is no message of LM Studio's protocol ({problem})."
        ) from None
