"""The way to one server of somebody else: HTTP, with its token, headers, certificates and proxy.

A connection serves one request, because to close it is the way to cancel. Without a proxy it is
spoken by `protocol.http1` (a general client costs three times as much per streamed token); through
a proxy, httpx2 speaks it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import ssl
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from lmstrix.config import ServerSettings, server_root
from lmstrix.engine.client import Reply
from lmstrix.errors import (
    BusyError,
    GenerationError,
    ProtocolError,
    SettingsError,
    UnreachableError,
)
from lmstrix.hops import hop_fields
from lmstrix.protocol.http1 import request_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from contextlib import AbstractAsyncContextManager

    from lmstrix.config import Settings
    from lmstrix.errors import LMStrixError

CONNECT_S = 10.0
_ANSWER_S = 30.0  # for questions that take a server no work
_ATTEMPTS = 3
_RETRY_S = 0.1
_PASSING = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE})
_UNHEARD = logging.NullHandler()
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
GATEWAY_FIELD = "x-lmstrix-gateway"


class Incoming(Protocol):
    """A response on its way: its head is there, its body is read as it comes."""

    @property
    def status(self) -> int:
        """The status."""
        ...

    @property
    def fields(self) -> Mapping[str, str]:
        """The head's fields by lower-case name."""
        ...

    async def read(self) -> bytes:
        """What has come of the body and was not read; `b""` at its end. Raises `OSError`."""
        ...

    async def read_all(self) -> bytes:
        """The rest of the body. Raises `OSError`."""
        ...


class Whole(msgspec.Struct, frozen=True):
    """A response with its body."""

    status: int
    fields: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the server did what was asked."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def content_type(self) -> str:
        """The body's type without its parameters."""
        return self.fields.get("content-type", "").partition(";")[0].strip().lower()


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """The way to a server: what is sent first, how certificates are checked, through what.

    `token` is secret, and so are `fields`, which contain it.
    """

    fields: Mapping[str, str]
    token: str
    tls: ssl.SSLContext | None
    proxy: str | None


class HttpServer:
    """Requests to one server. Its token is read when it is needed and never kept or shown.

    `root` is the server's normalised address. Nothing is retried but what `get` asks.
    """

    def __init__(self, root: str, settings: ServerSettings | None = None) -> None:
        self.root = server_root(root)
        self._settings = settings or ServerSettings(url=root)
        parts = urlsplit(self.root)
        self._host = parts.hostname or ""
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._authority = parts.netloc
        self._base = parts.path
        self._context: ssl.SSLContext | None = None

    @classmethod
    def known(cls, root: str, settings: Settings) -> HttpServer:
        """The server at `root`, with what the settings say of a server at that address."""
        root = server_root(root)
        for one in settings.servers.values():
            if one.root == root:
                return cls(root, one)
        return cls(root)

    def means(self) -> Means:
        """How a connection of another protocol gets to this server."""
        return Means(
            fields=self._fields(None),
            token=self._token(),
            tls=self._tls_context(),
            proxy=self._proxy(),
        )

    async def get(self, path: str, *, within_s: float = _ANSWER_S) -> Whole:
        """Ask what takes the server no work; what fails in passing is asked again twice.

        Raises `UnreachableError` when there is no answer within `within_s`.
        """
        import stamina  # noqa: PLC0415  # only who talks to servers of others needs it

        # A library says nothing on the terminal by itself; who listens to logging still hears it.
        logging.getLogger("stamina").addHandler(_UNHEARD)
        try:
            async with asyncio.timeout(within_s):
                async for attempt in stamina.retry_context(
                    on=_PassingError,
                    attempts=_ATTEMPTS,
                    timeout=None,
                    wait_initial=_RETRY_S,
                    wait_jitter=_RETRY_S,
                ):
                    with attempt:
                        return await self._once("GET", path)
        except TimeoutError:
            raise self.silent(within_s) from None
        except _PassingError as problem:
            if problem.answer is not None:
                return problem.answer
            raise problem.error from None
        raise AssertionError  # pragma: no cover  # the loop returns or raises

    async def _once(self, method: str, path: str) -> Whole:
        try:
            answer = await self.call(method, path)
        except UnreachableError as error:
            raise _PassingError(error) from None
        if answer.status in _PASSING:
            raise _PassingError(self.unreachable(f"answered with {answer.status}"), answer)
        return answer

    async def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        fields: Mapping[str, str] | None = None,
        within_s: float | None = None,
    ) -> Whole:
        """Ask once and read the whole answer. Raises `UnreachableError`."""
        try:
            async with (
                asyncio.timeout(within_s),
                self.open(method, path, body, fields=fields) as incoming,
            ):
                return Whole(incoming.status, incoming.fields, await incoming.read_all())
        except TimeoutError:
            raise self.silent(within_s or 0.0) from None
        except OSError as problem:
            raise self.unreachable(f"broke off its answer ({problem})") from None

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        fields: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Incoming, None]:
        """The answer to a request, from the moment its head has come.

        Leaving the block closes the connection, which cancels what is not done. Raises
        `UnreachableError` when there is no head, and `ProtocolError` for a redirection, which is
        never followed: the token is not for another server.
        """
        path = self._base + path
        sent = self._fields(fields)
        if (proxy := self._proxy()) is not None:
            async with self._through(proxy, method, path, body, sent) as incoming:
                self._refuse_redirection(incoming, path)
                yield incoming
            return
        reply = await self._connect(method, path, body, sent)
        try:
            self._refuse_redirection(reply, path)
            yield reply
        finally:
            reply.abort()

    async def _connect(
        self, method: str, path: str, body: bytes, fields: Mapping[str, str]
    ) -> Reply:
        loop = asyncio.get_running_loop()
        request = request_bytes(method, path, body, host=self._authority, fields=fields)
        bodiless = method == "HEAD"

        def make() -> Reply:
            return Reply(request, bodiless=bodiless)

        try:
            async with asyncio.timeout(CONNECT_S):
                _, reply = await loop.create_connection(
                    make, self._host, self._port, ssl=self._tls_context()
                )
        except TimeoutError:
            raise self.unreachable(f"takes no connection within {CONNECT_S:g} s") from None
        except OSError as problem:
            raise self.unreachable(_words(problem)) from None
        try:
            await reply.wait_for_head()
        except OSError as problem:
            reply.abort()
            raise self.unreachable(f"broke off the connection ({problem})") from None
        except BaseException:
            reply.abort()
            raise
        return reply

    def _through(
        self, proxy: str, method: str, path: str, body: bytes, fields: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Incoming]:
        from lmstrix.providers.proxied import request_through  # noqa: PLC0415  # few have a proxy

        address = f"{'https' if self._tls else 'http'}://{self._authority}{path}"
        return request_through(
            proxy,
            (method, address, body, fields),
            context=self._tls_context(),
            connect_s=CONNECT_S,
            unreachable=self.unreachable,
        )

    def _fields(self, more: Mapping[str, str] | None) -> dict[str, str]:
        fields = hop_fields() | {name.lower(): value for name, value in (more or {}).items()}
        if token := self._token():
            fields["authorization"] = f"Bearer {token}"
        elif login := urlsplit(self._settings.url).netloc.rpartition("@")[0]:
            code = base64.b64encode(unquote(login).encode()).decode("ascii")
            fields["authorization"] = f"Basic {code}"
        fields.update({name.lower(): value for name, value in self._settings.headers.items()})
        return fields

    def _token(self) -> str:
        name = self._settings.token_env
        if name is None:
            return ""
        token = os.environ.get(name, "").strip()
        if not token:
            raise SettingsError(
                f"The token for {self.root} is missing: the variable {name} is not set.",
                source=name,
                key="token_env",
                hint=f"Set it: export {name}=…",
            )
        return token

    def _tls_context(self) -> ssl.SSLContext | None:
        """How certificates are checked: by the system's store and the server's own file."""
        if not self._tls:
            return None
        if self._context is None:
            import truststore  # noqa: PLC0415  # most servers are spoken to without TLS

            context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if (file := self._settings.ca_file) is not None:
                try:
                    context.load_verify_locations(os.path.expanduser(file))  # noqa: PTH111  # text in, text out
                except OSError as problem:
                    raise SettingsError(
                        f"The certificates in {file} cannot be read: {problem}.",
                        source=file,
                        key="ca_file",
                    ) from None
            self._context = context
        return self._context

    def _proxy(self) -> str | None:
        """The proxy that is set for this server, else the environment's; none on this machine."""
        if self._settings.proxy is not None:
            return self._settings.proxy
        if self._host in _LOOPBACK or not any(map(_names_proxy, os.environ)):
            return None
        from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415  # slow to import

        if proxy_bypass(self._host):
            return None
        proxies = getproxies()
        return proxies.get("https" if self._tls else "http") or proxies.get("all")

    def _refuse_redirection(self, incoming: Incoming, path: str) -> None:
        if not HTTPStatus.MULTIPLE_CHOICES <= incoming.status < HTTPStatus.BAD_REQUEST:
            return
        to = urljoin(f"{self.root}{path}", incoming.fields.get("location", ""))
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(to))
        raise ProtocolError(
            f"{self.root} redirects to {origin}, which is not followed.",
            hint="If that is the right server, name it in the settings: servers.NAME.url.",
        )

    def refused(self, answer: Whole, error: LMStrixError) -> LMStrixError:
        """What a refusal means; `error` is what its body says in the server's dialect.

        No token and too much to do are no matter of a model, whatever the dialect.
        """
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return UnreachableError(
                f"The server {self.root} lets nobody in without the right token: {error.message}",
                server=self.root,
                hint="Name the variable that holds it: servers.NAME.token_env in the settings.",
            )
        if answer.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            later = answer.fields.get("retry-after", "")
            when = f"in {later} s" if later.isdigit() else "in a moment"
            return BusyError(
                f"The server {self.root} has too much to do: {error.message}",
                hint=f"Ask again {when}.",
            )
        return error

    async def broke_off(self, problem: OSError) -> GenerationError:
        """The error for an answer that is cut off on its way through."""
        return GenerationError(
            f"The answer of {self.root} broke off: {problem}.", hint="Ask again."
        )

    def unreachable(self, why: str) -> UnreachableError:
        """The error for a server that is not there."""
        return UnreachableError(
            f"The server {self.root} {why}.",
            server=self.root,
            hint="Is it running, and is its address right? `lmstrix doctor` looks.",
        )

    def silent(self, within_s: float) -> UnreachableError:
        """The error for a server that takes a question and says nothing."""
        return self.unreachable(f"has not answered within {within_s:g} s")


class _PassingError(Exception):
    """A failure that may be over in a moment; it never leaves this module."""

    def __init__(self, error: UnreachableError, answer: Whole | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.answer = answer


def _names_proxy(variable: str) -> bool:
    return variable.lower().endswith("_proxy")


def _words(problem: OSError) -> str:
    """What became of a connection, as the end of a sentence about the server."""
    if isinstance(problem, ConnectionRefusedError):
        return "refuses the connection"
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"has a certificate that is not trusted ({problem.verify_message})"
    return f"cannot be reached ({problem.strerror or problem})"
