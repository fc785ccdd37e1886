"""What a server is, by what it says of itself."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from lmstrix.errors import LMStrixError
from lmstrix.protocol.openai.models import MODELS, PROPS, ModelList, Props
from lmstrix.protocol.openai.requests import Dialect
from lmstrix.providers.http import GATEWAY_FIELD, HttpServer

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Iterable, Sequence

    from lmstrix.config import Settings
    from lmstrix.providers.http import Whole

_T = TypeVar("_T")

# The whole of a discovery takes a second at most.
_WITHIN_S = 0.8
_SHARED_S = 1.0
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

LMSTUDIO = frozenset({"lmstudio", "lmstudio-openai"})
OLLAMA = frozenset({"ollama"})
OPENAI = frozenset({"openai"})


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a server said of itself.

    `kinds` are the names of the providers it is for. `gateway` is the version of LMStrix where
    it is a gateway of ours. `models` and `props` are its own answers, where it gave them.
    """

    kinds: frozenset[str]
    dialect: Dialect = Dialect.OPENAI
    version: str = ""
    gateway: str = ""
    models: ModelList | None = None
    props: Props | None = None


class _Greeting(msgspec.Struct):
    lmstudio: bool


class _Version(msgspec.Struct):
    version: str


async def identify(server: HttpServer, *, within_s: float = _WITHIN_S) -> Said | None:
    """What the server is; `None` for one that is silent or speaks nothing known.

    All that is asked takes a server no work and tells it nothing.
    """
    paths = ("/lmstudio-greeting", "/api/version", PROPS, "/version", MODELS)
    answers = await asyncio.gather(*(_ask(server, path, within_s) for path in paths))
    greeting, ollama, props, version, models = answers
    gateway = next((one.fields[GATEWAY_FIELD] for one in answers if one and _is_ours(one)), "")
    listed = _as(models, ModelList)
    if (greeted := _as(greeting, _Greeting)) and greeted.lmstudio:
        return Said(kinds=LMSTUDIO, dialect=Dialect.LMSTUDIO, gateway=gateway, models=listed)
    if found := _as(ollama, _Version):
        return Said(kinds=OLLAMA, version=found.version, gateway=gateway, models=listed)
    if models is None or (listed is None and models.status not in _DENIED):
        return None
    number = _as(version, _Version)
    return _speaks_openai(listed, _as(props, Props), number.version if number else "", gateway)


def _speaks_openai(
    listed: ModelList | None, props: Props | None, version: str, gateway: str
) -> Said:
    owners = {entry.owned_by for entry in listed.data} if listed else set()
    dialect = Dialect.OPENAI
    if props is not None or "llamacpp" in owners:
        dialect, version = Dialect.LLAMA, props.build_info if props else ""
    elif "vllm" in owners:
        dialect = Dialect.VLLM
    return Said(
        kinds=OPENAI,
        dialect=dialect,
        version=version,
        gateway=gateway,
        models=listed,
        props=props,
    )


async def _ask(server: HttpServer, path: str, within_s: float) -> Whole | None:
    try:
        return await server.call("GET", path, within_s=within_s)
    except LMStrixError:
        return None  # silent, no HTTP, elsewhere, or without its token: not found in any case


def _is_ours(answer: Whole) -> bool:
    return bool(answer.fields.get(GATEWAY_FIELD))


def _as(answer: Whole | None, kind: type[_T]) -> _T | None:
    """The answer as `kind`; LM Studio answers 200 with an error text to what it does not know."""
    if answer is None or not answer.ok:
        return None
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


_asked: WeakKeyDictionary[AbstractEventLoop, dict[str, asyncio.Task[Said | None]]]
_asked = WeakKeyDictionary()


async def shared(server: HttpServer) -> Said | None:
    """As `identify`; those who ask within the same second share one answer.

    Each kind of provider looks for servers by itself, mostly at the same places.
    """
    loop = asyncio.get_running_loop()
    tasks = _asked.setdefault(loop, {})
    if (task := tasks.get(server.root)) is None:
        task = tasks[server.root] = loop.create_task(identify(server))
        task.add_done_callback(lambda _: loop.call_later(_SHARED_S, tasks.pop, server.root, None))
    return await asyncio.shield(task)


async def look_for(
    kind: str, settings: Settings, usual: Iterable[str] = ()
) -> Sequence[tuple[HttpServer, Said, bool]]:
    """The servers for providers called `kind`, what each said, and whether the user named it.

    It looks at the `usual` places if the settings let it, at servers whose kind the settings do
    not say, and at an address that is set as the server. A gateway of ours counts only where the
    user named it.
    """
    named = [one.root for one in settings.servers.values() if one.provider is None]
    chosen = settings.server_address(settings.server)
    if chosen is not None and "://" in chosen:
        named.append(chosen)
    told = {one.root for one in settings.servers.values() if one.provider is not None}
    places = dict.fromkeys(place for place in named if place not in told)
    if settings.discover:
        places |= dict.fromkeys(place for place in usual if place not in told)
    servers = [HttpServer.known(place, settings) for place in places]
    answers = await asyncio.gather(*(shared(server) for server in servers))
    return [
        (server, said, server.root in named)
        for server, said in zip(servers, answers, strict=True)
        if said is not None and kind in said.kinds and (server.root in named or not said.gateway)
    ]


def configured(kind: str, settings: Settings) -> list[HttpServer]:
    """The servers that the settings say are for providers called `kind`."""
    return [HttpServer(one.root, one) for one in settings.servers.values() if one.provider == kind]
