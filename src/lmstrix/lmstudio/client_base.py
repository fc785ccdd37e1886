"""What the clients of threads and of asyncio have in common: whom they talk to, and as whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmstrix.lmstudio.addresses import Access, Address, authenticate
from lmstrix.lmstudio.errors import LMStudioClientError, LMStudioRuntimeError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from lmstrix.lmstudio.timeouts import Timeouts

# A frame of a server beyond this ends the connection. The longest sensible ones are embeddings and
# tokens of whole books, some MB.
FRAME_LIMIT_BYTES = 64 * 2**20


class ClientBase:
    """A server, and who this client is to it.

    `api_host` is `host:port` or a URL (`wss://host/path`); without one the server is looked for
    on this machine. `api_token` is LM Studio's; without one `LM_API_TOKEN` or
    `LMSTUDIO_API_TOKEN` is taken from the environment. `headers` go with every connection,
    `ssl_context` checks certificates, `proxy` is an HTTP proxy's address.
    """

    def __init__(
        self,
        api_host: str | None = None,
        api_token: str | None = None,
        *,
        timeouts: Timeouts | None = None,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        frame_limit_bytes: int = FRAME_LIMIT_BYTES,
    ) -> None:
        self.closed = False
        self._api_host = api_host
        self._address = None if api_host is None else Address.parse(api_host)
        self._auth = authenticate(api_token)
        self._timeouts = timeouts
        self._access = Access(headers or {}, ssl_context, proxy)
        self._frame_limit_bytes = frame_limit_bytes
        self._sessions: dict[type[Any], Any] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(api_host={self._api_host!r})"

    @property
    def api_host(self) -> str:
        """Where the server is. Raises `LMStudioRuntimeError` while it is not yet looked for."""
        if self._api_host is None:
            raise LMStudioRuntimeError(
                "Local API host port is not yet resolved.",
                hint="Use the client first, or enter it with `with`.",
            )
        return self._api_host

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise LMStudioClientError(
                "The client is closed, and its connections with it.",
                hint="Make a new one, or do the work before it is closed.",
            )

    def _resolve(self, found: Address | None) -> Address:
        """Take what was found, or say that nothing was."""
        if found is None:
            raise LMStudioClientError(
                f"LM Studio is not reachable at {self._api_host or 'any default port'}. "
                "Is LM Studio running?"
            )
        if self._api_host is None:
            self._api_host = found.authority
        self._address = found
        return found
