"""What can be set, with its bounds and defaults."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", re.IGNORECASE)
_POWERS = "kmgt"
_HOST_AND_PORT = re.compile(r"([\w.-]+|\[[0-9a-f:]+\]):\d{1,5}(/|$)", re.IGNORECASE)

# The descriptions are what an error says was expected.
_Flag = Annotated[bool, Meta(description="true or false")]
_Text = Annotated[str, Meta(description="a text", min_length=1)]
_Texts = Annotated[tuple[str, ...], Meta(description="a list of texts")]
_Count = Annotated[int, Meta(description="a whole number of at least 1", ge=1)]
_Size = Annotated[int, Meta(description='a size such as 4294967296, "4GB" or "512MiB"', ge=0)]
_Seconds = Annotated[float, Meta(description="a number of seconds above 0", gt=0)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of settings."""


class EmbeddedSettings(_Section, frozen=True, kw_only=True):
    """The embedded engine. `None` leaves the choice to it; `ttl_s` is idle time."""

    enabled: _Flag = True
    threads: _Count | None = None
    parallel: _Count = 1
    ttl_s: _Seconds = 3600.0
    memory_limit_bytes: _Size | None = None
    prompt_cache_bytes: _Size = 0


class Timeouts(_Section, frozen=True, kw_only=True):
    """How long each phase of an answer may go without progress."""

    load_s: _Seconds = 600.0
    prompt_s: _Seconds = 300.0
    first_token_s: _Seconds = 120.0
    tokens_s: _Seconds = 120.0


class TestSettings(_Section, frozen=True, kw_only=True):
    """The context test.

    `threshold_tokens` is a hard ceiling, `reserve_bytes` the memory left to everything else,
    `timeout_s` the longest one probe may take.
    """

    threshold_tokens: _Count | None = None
    reserve_bytes: _Size | None = None
    timeout_s: _Seconds = 600.0


class ServerSettings(_Section, frozen=True, kw_only=True):
    """A server that is not where servers usually are, or not to be asked what it is.

    `url` is its root: scheme, host, port, and the path before the dialect's own (`/v1`, `/api`).
    `provider` is its kind; absent, the server is asked. `token_env` names the environment
    variable that holds its token. `headers` are sent with every request.
    """

    url: Annotated[
        str, Meta(description="an address such as http://host:8080", pattern="^https?://")
    ]
    provider: _Text | None = None
    token_env: _Text | None = None
    headers: dict[str, str] = {}
    ca_file: _Text | None = None
    proxy: _Text | None = None

    @property
    def root(self) -> str:
        """The address in the form in which servers are told apart."""
        return server_root(self.url)


class Settings(_Section, frozen=True, kw_only=True):
    """All settings. `None` means not set: the user of the setting has its own default.

    `aliases` maps short names to model names, `servers` names to servers; `server` is a name in
    it or an address. `discover` looks for servers at the usual places of this machine. Tokens
    and passwords are no settings and are never part of this.
    """

    model_folders: _Texts = ()
    shipped_models: _Flag = False
    aliases: dict[str, _Text] = {}
    embedded: EmbeddedSettings = EmbeddedSettings()
    timeouts: Timeouts = Timeouts()
    test: TestSettings = TestSettings()
    servers: dict[str, ServerSettings] = {}
    discover: _Flag = True
    provider: _Text | None = None
    server: _Text | None = None
    color: _Flag | None = None
    emoji: _Flag | None = None

    def server_address(self, server: str | None) -> str | None:
        """The address of a server that is named by its name here or by an address.

        `host:1234` is an address, too. What is neither is returned as it is.
        """
        if server is None:
            return None
        if (named := self.servers.get(server)) is not None:
            return named.root
        if _HOST_AND_PORT.match(server):
            server = f"http://{server}"
        return server_root(server) if "://" in server else server


def server_root(address: str) -> str:
    """An address in the form in which servers are told apart.

    `http://LocalHost:8080/v1/` and `http://127.0.0.1:8080` are one: what a dialect puts behind
    the root is cut off, and no address ends in a slash. A name and password are left out.
    """
    parts = urlsplit(address.strip())
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    place = parts.netloc.rpartition("@")[2].lower()
    host, colon, port = place.partition(":")
    if host == "localhost":
        place = f"127.0.0.1{colon}{port}"
    path = parts.path.rstrip("/")
    for own in ("/v1", "/api"):
        path = path.removesuffix(own).rstrip("/")
    return f"{scheme}://{place}{path}"


def parse_size(text: str) -> int:
    """Bytes of a size as people write it: `4GB` is decimal; `4GiB` and `4G` are binary.

    Raises `ValueError` for anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size")
    number, unit = match[1], match[2].lower()
    if unit == "i":
        raise ValueError(f"{text!r} is not a size")
    decimal = len(unit) == 1 and text.strip().lower().endswith("b")
    base = 1000 if decimal else 1024
    power = _POWERS.index(unit[0]) + 1 if unit else 0
    return round(float(number) * float(base) ** power)
