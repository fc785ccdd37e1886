"""Who may come in: names of this machine, origins of web pages, tokens. Pure."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lmstrix.gateway.errors import Kind, Problem
from lmstrix.hops import HEADER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lmstrix.gateway.options import GatewayOptions

# What tells no more than that somebody is there, and is asked before there is a token to send.
_OPEN_PATHS = frozenset({"/health", "/lmstudio-greeting"})
_BEARER = "bearer "


def is_loopback(host: str) -> bool:
    """Whether `host`, without a port, can only be this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_token(given: str, tokens: Iterable[str]) -> bool:
    """Whether `given` is one of `tokens`; how long that takes does not tell how close it was."""
    sent = given.encode()
    same = [hmac.compare_digest(sent, token.encode()) for token in tokens]  # all of them, always
    return any(same)


class Admission:
    """Decides by a request's path and header fields (lower-case names) alone."""

    def __init__(self, options: GatewayOptions) -> None:
        self._tokens = options.tokens
        self._local = is_loopback(options.host)
        self._hosts = frozenset(host.lower() for host in options.hosts)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in options.origins)
        self._max_hops = options.max_hops

    def refusal(
        self, path: str, fields: Mapping[str, str], *, needs_token: bool = True
    ) -> Problem | None:
        """Why the request is refused; `None` lets it in.

        A web page that has made its own name point at this machine is known by that name, and
        one that just sends requests here by its origin.
        """
        host = fields.get("host", "").lower()
        name = urlsplit(f"//{host}").hostname or "" if host.isprintable() else ""
        if self._local and not is_loopback(name) and name not in self._hosts:
            return _forbidden(
                f"This gateway serves its own machine and is not called {name[:80]!r}.",
                "Call it by 127.0.0.1, or allow the name with --allow-host.",
            )
        origin = fields.get("origin", "").lower()
        if origin and not self._is_welcome(origin, host):
            return _forbidden(
                f"The web page {origin[:80]!r} may not use this gateway.",
                "Allow it with --allow-origin.",
            )
        needs_token = needs_token and bool(self._tokens) and path not in _OPEN_PATHS
        if needs_token and not self._has_token(fields):
            return Problem(
                status=401,
                kind=Kind.UNAUTHORIZED,
                message="The token is missing or wrong. Send it as `Authorization: Bearer TOKEN` "
                "or `x-api-key: TOKEN`.",
            )
        if hops_of(fields) > self._max_hops:
            return Problem(
                status=508,
                kind=Kind.LOOP,
                message=f"This request has come through {hops_of(fields)} gateways: two of them "
                "have each other as their server.",
            )
        return None

    def reader(self, fields: Mapping[str, str]) -> str | None:
        """The foreign origin, as it was sent, whose page may read the answer."""
        origin = fields.get("origin", "")
        return origin if origin and self._is_listed(origin.lower()) else None

    def _is_welcome(self, origin: str, host: str) -> bool:
        return self._is_listed(origin) or origin in (f"http://{host}", f"https://{host}")

    def _is_listed(self, origin: str) -> bool:
        return "*" in self._origins or origin.rstrip("/") in self._origins

    def _has_token(self, fields: Mapping[str, str]) -> bool:
        given = fields.get("x-api-key") or fields.get("authorization", "")
        if given[: len(_BEARER)].lower() == _BEARER:
            given = given[len(_BEARER) :]
        return is_token(given.strip(), self._tokens)


def hops_of(fields: Mapping[str, str]) -> int:
    """Through how many gateways the request has come before this one."""
    told = fields.get(HEADER, "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 4 else 0


def _forbidden(message: str, hint: str) -> Problem:
    return Problem(status=403, kind=Kind.FORBIDDEN, message=f"{message} {hint}")
