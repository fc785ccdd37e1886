"""What can be chosen when the gateway is started."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  # msgspec resolves it at run time

import msgspec

from lmstrix.gateway.faults import Faults  # noqa: TC001  # msgspec resolves it at run time

DEFAULT_PORT = 1234


class GatewayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway serves. The defaults are those of `lmstrix serve`.

    `port` absent is 1234 where free, else any. `as_lmstudio` also listens where LM Studio's SDKs
    look. `tokens` are the ones that let somebody in; without any, everybody who reaches a
    loopback address is let in, and no other address is served. `aliases` maps names that
    programs use, with `*` and `?`, to models. `ttl_s` is how long an instance that was loaded on
    demand is kept without use (`None`: as long as the gateway runs), `max_loaded` how many of
    those there are at a time on one server; `jit` is whether there are any. `repositories` are
    the folders, and the addresses of other gateways, whose models clients may search and fetch.

    `hosts` are more names by which the gateway may be called, `origins` the web pages that may
    use it. Beyond `max_requests` at a time, `max_body_bytes`, `body_timeout_s` for a body to
    arrive and `request_timeout_s` for all of a request, callers are refused. `max_hops` is
    through how many gateways a request may have come. `faults` are for tests alone.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    as_lmstudio: bool = False
    tokens: tuple[str, ...] = ()
    aliases: Mapping[str, str] = {}
    ttl_s: float | None = 3600.0
    jit: bool = True
    max_loaded: int = 1
    repositories: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    max_requests: int = 256
    max_body_bytes: int = 64 * 2**20
    body_timeout_s: float = 60.0
    request_timeout_s: float | None = None
    max_hops: int = 3
    drain_s: float = 10.0
    faults: Faults | None = None
