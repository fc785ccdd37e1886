"""The gateway on its sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn

from lmstrix.errors import BusyError, UsageError
from lmstrix.gateway.admission import is_loopback
from lmstrix.gateway.app import application
from lmstrix.gateway.connection import Connection
from lmstrix.gateway.gateway import Gateway
from lmstrix.gateway.options import DEFAULT_PORT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from lmstrix.async_client import AsyncLMStrix
    from lmstrix.gateway.options import GatewayOptions

# Where LM Studio's SDKs look for it, on this machine only.
LMSTUDIO_PORTS = (41343, 52993, 16141, 39414, 22931)
_LOOPBACK = "127.0.0.1"
_KEEP_ALIVE_S = 75  # longer than clients keep theirs, so that none writes into a closing one


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Serving:
    """A gateway that is being served. `urls` are its addresses, the main one first."""

    def __init__(
        self, gateway: Gateway, server: _Server, running: asyncio.Task[None], urls: Sequence[str]
    ) -> None:
        self.gateway = gateway
        self.urls = tuple(urls)
        self._server = server
        self._running = running

    @property
    def url(self) -> str:
        """The main address, without a slash at its end."""
        return self.urls[0]

    @property
    def port(self) -> int:
        """The port of the main address."""
        return int(self.url.rpartition(":")[2])

    def stop(self, *, at_once: bool = False) -> None:
        """Take no more requests; let those under way finish, or end them `at_once`."""
        self._server.should_exit = True
        if at_once:
            self._server.force_exit = True
            for task in list(self._server.server_state.tasks):
                task.cancel()

    async def ended(self) -> None:
        """Return when nothing is served any more."""
        await asyncio.shield(self._running)


@asynccontextmanager
async def serving(client: AsyncLMStrix, options: GatewayOptions) -> AsyncGenerator[Serving, None]:
    """Serve while the block runs. Leaving it drains for `options.drain_s` at most.

    Raises `BusyError` when the port is taken, and `UsageError` where a token is needed.
    """
    refuse_open_doors(options)
    sockets = bind(options)
    # What it says of failing requests is said by `guard`, without a word of what was asked.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    try:
        async with Gateway(client, options) as gateway:
            config = uvicorn.Config(
                application(gateway),
                http=Connection,
                ws="websockets-sansio",
                ws_max_size=options.max_body_bytes,
                ws_per_message_deflate=False,  # fragments are too small to gain by it
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(options.drain_s)),
            )
            server = _Server(config)
            running = asyncio.create_task(server.serve(sockets))
            try:
                yield Serving(gateway, server, running, [_url(one) for one in sockets])
            finally:
                server.should_exit = True
                await running
    finally:
        for one in sockets:
            one.close()


def refuse_open_doors(options: GatewayOptions) -> None:
    """Raise `UsageError` for an address that others reach and no token."""
    if not options.tokens and not is_loopback(options.host):
        raise UsageError(
            f"Whoever reaches {options.host} could use every model: a token is needed there.",
            hint="Put one into a variable and name it: LMSTRIX_TOKEN=… lmstrix serve "
            f"--host {options.host} --token-env LMSTRIX_TOKEN",
        )


def bind(options: GatewayOptions) -> list[socket.socket]:
    """The sockets that `options` ask for, bound and listening.

    Raises `BusyError` for a port that is taken.
    """
    if options.port is None:
        try:
            sockets = [_bound(options.host, DEFAULT_PORT)]
        except BusyError:
            sockets = [_bound(options.host, 0)]
    else:
        sockets = [_bound(options.host, options.port)]
    if options.as_lmstudio:
        try:
            sockets.append(_discoverable())
        except BusyError:
            sockets[0].close()
            raise
    return sockets


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends small pieces at once; else each waits some 40 ms.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(2048)
    except OSError as problem:
        made.close()
        raise BusyError(
            f"Port {port} of {host} cannot be used: {problem.strerror or problem}.",
            hint="Choose another with --port, or end the program that has it.",
        ) from None
    made.setblocking(False)
    return made


def _discoverable() -> socket.socket:
    for port in LMSTUDIO_PORTS:
        with suppress(BusyError):
            return _bound(_LOOPBACK, port)
    raise BusyError(
        "Every port on which LM Studio is looked for is taken.",
        hint="Is LM Studio running? Serve without --as-lmstudio.",
    )


def _url(one: socket.socket) -> str:
    host, port = one.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
