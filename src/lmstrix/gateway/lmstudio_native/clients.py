"""Who is connected: API tokens, guests, and what belongs to each."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING

from lmstrix.gateway.admission import is_token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.types import Scope

    from lmstrix.gateway.lmstudio_native.files import Files
    from lmstrix.protocol.lmstudio.envelopes import Auth


_OTHER_PASSKEY = "Another client is connected by this identifier, with another passkey."


@dataclass(eq=False)
class _Client:
    passkey: str
    connections: int = 0


class Clients:
    """Lets clients in, and tells them apart by their identifiers.

    The first passkey of an identifier holds for it while it is connected: nobody else gets at its
    files by its name. Where tokens are needed, one must come in the handshake, as its two halves,
    or in the `Authorization` header.
    """

    def __init__(self, tokens: Sequence[str], files: Files) -> None:
        self._tokens = tuple(tokens)
        self._files = files
        self._clients: dict[str, _Client] = {}
        self._admitted: dict[str, str] = {}

    def refusal(self, auth: Auth, scope: Scope) -> str:
        """Why that client may not come in; empty where it may."""
        admitted = self._admitted.get(auth.client_identifier)
        if admitted is not None:
            return "" if _same(admitted, auth.client_passkey) else _OTHER_PASSKEY
        if self._tokens and not (self._is_token(auth.token) or self._is_token(_bearer(scope))):
            return (
                "An API token is needed here. LM Studio's SDKs send one that looks like "
                "sk-lm-xxxxxxxx:xxxxxxxxxxxxxxxxxxxx (api_token, or LM_API_TOKEN)."
            )
        known = self._clients.get(auth.client_identifier)
        if known is not None and not _same(known.passkey, auth.client_passkey):
            return _OTHER_PASSKEY
        return ""

    def enter(self, auth: Auth) -> None:
        """One more connection of that client."""
        client = self._clients.setdefault(auth.client_identifier, _Client(auth.client_passkey))
        client.connections += 1

    def leave(self, auth: Auth) -> None:
        """One connection less; with the last one its files are forgotten."""
        client = self._clients[auth.client_identifier]
        client.connections -= 1
        if not client.connections:
            del self._clients[auth.client_identifier]
            self._files.forget(auth.client_identifier)

    @contextmanager
    def admitting(self, identifier: str, passkey: str) -> Iterator[None]:
        """While the block runs these credentials are as good as a token."""
        self._admitted[identifier] = passkey
        try:
            yield
        finally:
            del self._admitted[identifier]

    def right_of(self, auth: Auth) -> str:
        """By what right that client is here: equal for all who are one user."""
        return auth.token if self._tokens else ""

    def _is_token(self, given: str) -> bool:
        return is_token(given, self._tokens)


def _same(one: str, other: str) -> bool:
    return compare_digest(one.encode(), other.encode())


def _bearer(scope: Scope) -> str:
    for name, value in scope.get("headers", ()):
        if name == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if kind.lower() == "bearer" else ""
    return ""
