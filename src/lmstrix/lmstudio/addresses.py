"""Where a server is, and who the client says it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from lmstrix.lmstudio.errors import LMStudioValueError
from lmstrix.protocol.lmstudio import GREETING_PATH
from lmstrix.protocol.lmstudio.envelopes import AUTH_VERSION, Auth

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

# The names under which the SDKs and their documentation look for a token, the first one first.
TOKEN_VARIABLES = ("LM_API_TOKEN", "LMSTUDIO_API_TOKEN")
_DEFAULT_PORTS = {False: 80, True: 443}


class Address(msgspec.Struct, frozen=True):
    """A server. `path` is what comes before the namespace's name: empty, or `/base`."""

    host: str
    port: int
    path: str = ""
    secure: bool = False

    @classmethod
    def parse(cls, text: str) -> Address:
        """From `host:port`, or a URL of `ws`, `wss`, `http` or `https` with or without a path.

        Raises `LMStudioValueError`.
        """
        from urllib.parse import urlsplit  # noqa: PLC0415  # few parse addresses

        try:
            parts = urlsplit(text if "://" in text else f"ws://{text}")
            port, host = parts.port, parts.hostname
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if not host or parts.scheme not in ("ws", "wss", "http", "https") or parts.query:
            raise LMStudioValueError(
                f"{text!r} is no address of a server.",
                hint="Addresses look like localhost:1234 or wss://host/path.",
            )
        secure = parts.scheme in ("wss", "https")
        return cls(host, port or _DEFAULT_PORTS[secure], parts.path.rstrip("/"), secure)

    @property
    def authority(self) -> str:
        """Host and port, as a header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def http_url(self) -> str:
        """The root for HTTP, without a slash at its end."""
        port = "" if self.port == _DEFAULT_PORTS[self.secure] else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.secure else ''}://{host}{port}{self.path}"

    def websocket_url(self, namespace: str) -> str:
        """Where the socket of a namespace is."""
        return f"ws{'s' if self.secure else ''}://{self.authority}{self.path}/{namespace}"

    @property
    def greeting_path(self) -> str:
        """What is asked to find out whether it is LM Studio."""
        return f"{self.path}{GREETING_PATH}"


class Access(msgspec.Struct, frozen=True):
    """How a server is reached: `headers` go with every request, `tls` replaces the usual rules.

    `proxy` is the address of an HTTP proxy that opens tunnels.
    """

    headers: Mapping[str, str] = {}
    tls: ssl.SSLContext | None = None
    proxy: str | None = None


def authenticate(api_token: str | None) -> Auth:
    """Who the client says it is: by a token, one of the environment, or as a guest of a new name.

    An empty token means none. Raises `LMStudioValueError` for what does not look like a token.
    """
    if api_token is None:
        api_token = next((os.environ[name] for name in TOKEN_VARIABLES if name in os.environ), "")
    if not api_token:
        import secrets  # noqa: PLC0415  # imports what only a guest needs

        return Auth(
            auth_version=AUTH_VERSION,
            client_identifier=f"guest:{secrets.token_hex(16)}",
            client_passkey=secrets.token_hex(16),
        )
    try:
        return Auth.from_token(api_token)
    except ValueError as problem:
        raise LMStudioValueError(
            f"The API token is none: {problem}",
            hint="LM Studio makes tokens under Developer > Server Settings > Manage Tokens.",
        ) from None


def tls_context(address: Address, access: Access) -> ssl.SSLContext | None:
    """What checks the server's certificate; `None` where there is none to check."""
    if not address.secure:
        return None
    if access.tls is not None:
        return access.tls
    import ssl  # noqa: PLC0415  # costs 20 ms that few need

    return ssl.create_default_context()
