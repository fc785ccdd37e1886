"""What could be wrong on this machine, and the step that mends it.

Each check looks at one thing and yields findings; nothing is changed unless `fix` says so, and
then only what cannot hurt: missing folders are made. Registrations of engines that are gone are
removed by looking.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from contextlib import suppress
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lmstrix import __version__
from lmstrix.errors import LMStrixError, StoreVersionError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from lmstrix.config import Places, Settings

_DISK_NEEDED = 50 * 10**6
_DISK_COMFORTABLE = 10**9
_MEMORY_COMFORTABLE = 500 * 10**6
_QUESTION, _ANSWER = "What is 2+3?", "5"
_SELF_TEST_TOKENS = 512


class State(StrEnum):
    """How a check came out. Only `FAILURE` keeps LMStrix from working."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check saw. `remedy` is the step that mends it, empty where all is well."""

    check: str
    state: State
    detail: str
    remedy: str = ""


async def check_health(
    places: Places, settings: Settings, *, fix: bool = False
) -> AsyncIterator[Finding]:
    """Every check in turn; findings come as they are made."""
    for finding in (
        *_versions(),
        *_processor(),
        *_folders(places, fix=fix),
        *_store(places),
        *_lmstudio(),
        *_model_folders(settings),
        *_disk(places),
        *_memory(),
        *_residents(places),
    ):
        yield finding
    from lmstrix.server_health import check_servers  # noqa: PLC0415  # it has its findings from here

    async for finding in check_servers(places, settings):
        yield finding
    if settings.embedded.enabled:
        yield await _engine(places, settings)


def _versions() -> Iterator[Finding]:
    python = platform.python_version()
    try:
        binding = metadata.version("xllamacpp")
    except metadata.PackageNotFoundError:
        yield Finding(
            check="versions",
            state=State.FAILURE,
            detail=f"LMStrix {__version__} on Python {python}, without the engine's package.",
            remedy="pip install xllamacpp",
        )
        return
    yield Finding(
        check="versions",
        state=State.OK,
        detail=f"LMStrix {__version__}, Python {python}, xllamacpp {binding},"
        f" {platform.system()} {platform.machine()}.",
    )


def _processor() -> Iterator[Finding]:
    """The engine's Linux build for x86-64 is compiled for AVX2; without it the child dies."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpuinfo.is_file():
        return
    if " avx2" not in cpuinfo.read_text(encoding="utf-8", errors="replace"):
        yield Finding(
            check="processor",
            state=State.FAILURE,
            detail="This processor lacks AVX2, which the engine's package needs.",
            remedy="Build it for this machine: pip install --no-binary xllamacpp xllamacpp",
        )


def _folders(places: Places, *, fix: bool) -> Iterator[Finding]:
    made = []
    for folder in (places.data, places.config, places.runtime, places.logs):
        if fix and not folder.exists():
            with suppress(OSError):  # the check below says why
                folder.mkdir(mode=0o700, parents=True)
                made.append(str(folder))
        nearest = _nearest_existing(folder)
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            yield Finding(
                check="folders",
                state=State.FAILURE,
                detail=f"{nearest} cannot be written to, and LMStrix keeps its files in {folder}.",
                remedy=f"Give yourself the right (chmod u+wx {nearest}), or set LMSTRIX_HOME to"
                " a folder of your own.",
            )
            return
    detail = f"Made {', '.join(made)}." if made else f"Data goes to {places.data}."
    yield Finding(check="folders", state=State.OK, detail=detail)


def _nearest_existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _store(places: Places) -> Iterator[Finding]:
    from lmstrix.store import Store  # noqa: PLC0415  # SQLite, only where it is looked at

    path = places.database
    if not path.exists():
        yield Finding(
            check="store",
            state=State.OK,
            detail=f"There is none yet at {path}.",
            remedy="lmstrix scan makes it.",
        )
        return
    newest = max(places.backups.glob("*.db"), default=None)
    restore = f"Put the newest backup in its place: {newest}" if newest else ""
    try:
        store = Store.open(path)
        try:
            problems = store.integrity()
            models = sum(1 for _ in store.entries())
        finally:
            store.close()
    except StoreVersionError as error:
        yield Finding(check="store", state=State.FAILURE, detail=error.message, remedy=error.hint)
        return
    except LMStrixError as error:
        yield Finding(
            check="store",
            state=State.FAILURE,
            detail=error.message,
            remedy=error.hint or restore or f"Move {path} aside, then: lmstrix scan",
        )
        return
    for problem in problems:
        yield Finding(
            check="store",
            state=State.FAILURE,
            detail=problem,
            remedy=restore or f"Move {path} aside, then: lmstrix scan",
        )
    if not problems:
        yield Finding(
            check="store", state=State.OK, detail=f"{path} is sound; models known: {models:,}."
        )


def _lmstudio() -> Iterator[Finding]:
    from lmstrix.config import lmstudio_home  # noqa: PLC0415  # beside its use

    home = lmstudio_home()
    yield Finding(
        check="LM Studio",
        state=State.OK,
        detail=f"Its home is {home}." if home else "Not on this machine; it is not needed.",
    )


def _model_folders(settings: Settings) -> Iterator[Finding]:
    from lmstrix.config import lmstudio_folders  # noqa: PLC0415  # beside its use

    folders = [*lmstudio_folders(), *(Path(name) for name in settings.model_folders)]
    for folder in folders:
        if not folder.is_dir():
            yield Finding(
                check="model folders",
                state=State.FAILURE,
                detail=f"{folder} is not there.",
                remedy="Create it, or take it out of model_folders in the settings.",
            )
        elif not os.access(folder, os.R_OK | os.X_OK):
            yield Finding(
                check="model folders",
                state=State.FAILURE,
                detail=f"{folder} cannot be read.",
                remedy=f"chmod u+rx {folder}",
            )
        else:
            yield Finding(check="model folders", state=State.OK, detail=f"{folder} can be read.")
    if not folders and not settings.shipped_models:
        yield Finding(
            check="model folders",
            state=State.WARNING,
            detail="There is no folder to look for models in.",
            remedy="Set LMSTRIX_MODEL_FOLDERS, or model_folders in the settings, to where your"
            " GGUF files are.",
        )


def _disk(places: Places) -> Iterator[Finding]:
    free = shutil.disk_usage(_nearest_existing(places.data)).free
    state = (
        State.FAILURE
        if free < _DISK_NEEDED
        else State.WARNING
        if free < _DISK_COMFORTABLE
        else State.OK
    )
    yield Finding(
        check="disk",
        state=state,
        detail=f"{free / 10**9:,.1f} GB free for {places.data}.",
        remedy="" if state is State.OK else "Free some space on that disk.",
    )


def _memory() -> Iterator[Finding]:
    import psutil  # noqa: PLC0415  # 10 ms, only where it is asked

    memory = psutil.virtual_memory()
    low = memory.available < _MEMORY_COMFORTABLE
    yield Finding(
        check="memory",
        state=State.WARNING if low else State.OK,
        detail=f"{memory.available / 10**9:,.1f} of {memory.total / 10**9:,.1f} GB free.",
        remedy="Close other programs, or: lmstrix unload --all" if low else "",
    )


def _residents(places: Places) -> Iterator[Finding]:
    from lmstrix.engine.resident import residents  # noqa: PLC0415  # beside its use

    before = len(list(places.residents.glob("*.json")))
    alive = len(residents(places))  # sweeps the registrations of those that are gone
    swept = before - len(list(places.residents.glob("*.json")))
    unreadable = before - swept - alive
    detail = f"{alive} loaded" + (f", {swept} stale registrations removed." if swept else ".")
    if unreadable > 0:
        yield Finding(
            check="engines",
            state=State.WARNING,
            detail=f"{detail} {unreadable} registrations cannot be read.",
            remedy=f"Were they left by another version? Then remove them from {places.residents}.",
        )
    else:
        yield Finding(check="engines", state=State.OK, detail=detail)


async def _engine(places: Places, settings: Settings) -> Finding:
    """Load the shipped model in an engine of its own and let it answer a sum."""
    from lmstrix.gguf import describe  # noqa: PLC0415  # beside its use
    from lmstrix.providers.embedded import EmbeddedProvider  # noqa: PLC0415
    from lmstrix.types import (  # noqa: PLC0415
        Fragment,
        LoadConfig,
        Message,
        Request,
        Role,
        Sampling,
    )

    path = Path(__file__).parent / "shipped" / "tiny-chat.gguf"
    install = f"Install the engine anew: {sys.executable} -m pip install -U xllamacpp"
    request = Request(
        messages=(Message(Role.USER, _QUESTION),), sampling=Sampling(temperature=0, max_tokens=16)
    )
    provider = EmbeddedProvider.connect(settings, places)[0]
    try:
        model = describe(path, provider=provider.name, server=provider.server, folder=path.parent)
        instance = await provider.load(model, LoadConfig(context_tokens=_SELF_TEST_TOKENS))
        text = "".join(
            [
                item.text
                async for item in provider.stream(instance, request)
                if isinstance(item, Fragment)
            ]
        )
    except (LMStrixError, OSError) as error:
        return Finding(
            check="engine self-test",
            state=State.FAILURE,
            detail=str(error),
            remedy=getattr(error, "hint", "")
            or f"Install it anew: {sys.executable} -m pip install -U xllamacpp",
        )
    finally:
        await provider.aclose()
    right = _ANSWER in text
    return Finding(
        check="engine self-test",
        state=State.OK if right else State.FAILURE,
        detail=f"Loaded the shipped model in {instance.load_s:.1f} s; {_QUESTION} {text.strip()}",
        remedy="" if right else install,
    )
