"""What could be wrong with servers: those the user named, and what listens at the usual places."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lmstrix.errors import LMStrixError, UnreachableError
from lmstrix.health import Finding, State
from lmstrix.providers.found import Kinds, preferred
from lmstrix.providers.http import HttpServer
from lmstrix.providers.identify import LMSTUDIO, identify, shared
from lmstrix.providers.ollama.place import usual_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from lmstrix.config import Places, ServerSettings, Settings
    from lmstrix.providers import Provider
    from lmstrix.providers.identify import Said

_LISTING_S = 5.0
_GATEWAY_PLACES = ("http://127.0.0.1:1234",)


async def check_servers(places: Places, settings: Settings) -> AsyncIterator[Finding]:
    """Findings on each server that is configured or set, then on the usual places."""
    kinds = Kinds(settings, places)
    named = dict(settings.servers)
    chosen = settings.server_address(settings.server)
    if chosen is not None and "://" in chosen and all(s.root != chosen for s in named.values()):
        from lmstrix.config import ServerSettings  # noqa: PLC0415  # rarely needed

        named[chosen] = ServerSettings(url=chosen, provider=settings.provider)
    for finding in _twice(named):
        yield finding
    checks = [_configured(name, server, kinds, settings) for name, server in named.items()]
    for found in await asyncio.gather(*checks):
        for finding in found:
            yield finding
    if settings.discover:
        for finding in await _usual(kinds, {one.root for one in named.values()}, settings):
            yield finding
    for problem in kinds.problems:
        yield Finding(
            check="providers",
            state=State.WARNING,
            detail=problem,
            remedy="Update or uninstall the package that brings it.",
        )


def _twice(named: dict[str, ServerSettings]) -> Iterator[Finding]:
    """Names that mean one server."""
    by_root: dict[str, list[str]] = {}
    for name, server in named.items():
        by_root.setdefault(server.root, []).append(name)
    for root, names in by_root.items():
        if len(names) > 1:
            yield Finding(
                check="servers",
                state=State.WARNING,
                detail=f"{' and '.join(names)} are one server, {root}; the first one's settings"
                " are used.",
                remedy=f"Keep one of them in the settings: servers.{names[0]}.",
            )


async def _configured(
    name: str, server: ServerSettings, kinds: Kinds, settings: Settings
) -> list[Finding]:
    check = f"server {name}" if name != server.root else "server"
    if missing := _unset(check, name, server):
        return [missing]
    http = HttpServer.known(server.root, settings)
    try:
        said = await identify(http)
    except LMStrixError as problem:  # its certificates or its proxy cannot be used
        return [_failed(check, problem)]
    if said is None and server.provider is None:
        return [
            Finding(
                check=check,
                state=State.WARNING,
                detail=f"Nothing that runs models answers at {server.root}.",
                remedy="Start it, mend its address, or take it out of the settings.",
            )
        ]
    kind = server.provider or _best(kinds, said)
    provider = kinds.at(kind, server.root)
    if provider is None:
        return [
            Finding(
                check=check,
                state=State.FAILURE,
                detail=f"There is no provider {kind}.",
                remedy=f"Name one of these: {', '.join(kinds.names)}.",
            )
        ]
    found = [await _listed(check, provider, said)]
    if said is not None and kind not in said.kinds and found[0].state is State.OK:
        speaks = ", ".join(sorted(said.kinds))
        found.append(
            Finding(
                check=check,
                state=State.WARNING,
                detail=f"It is used as {kind}, and says that it is {speaks}: some of what it can"
                " do stays unused.",
                remedy=f'Unless you want that: servers.{name}.provider = "{_best(kinds, said)}".',
            )
        )
    return found


def _unset(check: str, name: str, server: ServerSettings) -> Finding | None:
    """What the settings name and is not there."""
    if server.token_env is not None and not os.environ.get(server.token_env):
        return Finding(
            check=check,
            state=State.WARNING,
            detail=f"Its token is to be in {server.token_env}, which is not set.",
            remedy=f"export {server.token_env}=..., or take servers.{name}.token_env out.",
        )
    if server.ca_file is not None and not Path(server.ca_file).expanduser().is_file():
        return Finding(
            check=check,
            state=State.FAILURE,
            detail=f"There is no certificate file {server.ca_file}.",
            remedy=f"Mend servers.{name}.ca_file in the settings.",
        )
    return None


async def _listed(check: str, provider: Provider, said: Said | None) -> Finding:
    """Whether it tells its models, which takes a token where it wants one."""
    try:
        async with asyncio.timeout(_LISTING_S):
            listing = await provider.list_models()
    except TimeoutError:
        return Finding(
            check=check,
            state=State.WARNING,
            detail=f"{provider.server} has not told its models within {_LISTING_S:g} s.",
            remedy="Is it busy? Its own log may tell.",
        )
    except LMStrixError as problem:
        return _failed(check, problem)
    finally:
        await provider.aclose()
    number = len(listing.models)
    models = "no models" if not number else f"{number:,} model{'s' if number > 1 else ''}"
    what = _self_description(provider, said)
    return Finding(
        check=check,
        state=State.OK if number else State.WARNING,
        detail=f"{what} at {provider.server}, used as {provider.name}: {models}.",
        remedy="" if number else "Give it models, or see whether the token is for others.",
    )


def _self_description(provider: Provider, said: Said | None) -> str:
    """What it says that it is."""
    if said is not None and said.gateway:
        return f"A gateway of LMStrix {said.gateway}"
    if provider.engine:
        return provider.engine[:1].upper() + provider.engine[1:]
    return "LM Studio" if said is not None and said.kinds == LMSTUDIO else "A server"


def _failed(check: str, problem: LMStrixError) -> Finding:
    denied = "token" in problem.message
    if isinstance(problem, UnreachableError) and not denied:
        return Finding(
            check=check,
            state=State.WARNING,
            detail=problem.message,
            remedy="Start it, or mend what the settings say of it.",
        )
    state = State.WARNING if denied else State.FAILURE
    return Finding(check=check, state=state, detail=problem.message, remedy=problem.hint)


async def _usual(kinds: Kinds, named: set[str], settings: Settings) -> Sequence[Finding]:
    """What listens where servers usually are, apart from those that are `named`."""
    there = [one for one in await kinds.discover() if one.server not in named]
    views: dict[str, list[str]] = {}
    for one in sorted(there, key=lambda one: -one.preference):
        views.setdefault(one.server, []).append(one.name)
    findings = await asyncio.gather(
        *(_found(one, views[one.server], settings) for one in preferred(there))
    )
    for url in (*_GATEWAY_PLACES, usual_server(os.environ)):
        if url not in named and url not in views:
            said = await shared(HttpServer.known(url, settings))
            if said is not None and said.gateway:
                findings.append(
                    Finding(
                        check="servers",
                        state=State.OK,
                        detail=f"At {url} is a gateway of LMStrix {said.gateway}, which is not"
                        f" used unless it is named: --server {url}.",
                    )
                )
    if not findings:
        return [
            Finding(
                check="servers",
                state=State.OK,
                detail="None at the usual places of LM Studio, Ollama, llama.cpp and vLLM.",
            )
        ]
    return findings


async def _found(provider: Provider, views: Sequence[str], settings: Settings) -> Finding:
    finding = await _listed(
        "servers", provider, await shared(HttpServer.known(provider.server, settings))
    )
    others = [name for name in views if name != provider.name]
    if finding.state is State.OK and others:
        also = f" Another view of it: --provider {' or '.join(others)}."
        return Finding(check=finding.check, state=finding.state, detail=finding.detail + also)
    return finding


def _best(kinds: Kinds, said: Said | None) -> str:
    assert said is not None
    return max(sorted(said.kinds), key=kinds.preference)
