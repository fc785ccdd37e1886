"""Where an Ollama server usually is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVERYWHERE = frozenset({"", "0.0.0.0", "::", "localhost"})  # noqa: S104  # compared, not bound


def usual_server(environ: Mapping[str, str]) -> str:
    """Where Ollama is: as `OLLAMA_HOST` says, in every form that Ollama takes, else its default.

    An address that means every interface is reached at the loopback one.
    """
    named = environ.get("OLLAMA_HOST", "").strip().strip("\"'")
    scheme, mark, place = named.partition("://")
    if not mark:
        scheme, place = "http", named
    port = {"http": "80", "https": "443"}.get(scheme, "11434") if mark else "11434"
    authority, _, path = place.partition("/")
    host, bracket, rest = authority.rpartition("]")
    if bracket:
        host, given = host.removeprefix("["), rest.removeprefix(":")
    elif authority.count(":") > 1:
        host, given = authority, ""
    else:
        host, _, given = authority.partition(":")
    if host in _EVERYWHERE:
        host = "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    tail = f"/{path.strip('/')}" if path.strip("/") else ""
    return f"{scheme}://{shown}:{given if given.isdigit() else port}{tail}"
