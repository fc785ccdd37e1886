"""Engines that outlive the command that loaded them, found through their registrations.

A registration is a file that only its user can read (it holds the engine's key), written by the
engine and removed when it ends. One whose process is gone, or is another one by that number,
is stale and swept away by whoever looks next. What it says is believed only as far as it can do
no harm: it names no path, its address is this machine's, and another user's counts for nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import msgspec
import psutil
from msgspec.structs import replace

from lmstrix.engine import deaths
from lmstrix.engine.client import EngineClient
from lmstrix.engine.memory import resident_bytes
from lmstrix.errors import LoadError
from lmstrix.types import Instance  # noqa: TC001  # msgspec resolves it at run time

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence
    from pathlib import Path

    from lmstrix.config import Places
    from lmstrix.engine.deaths import Death
    from lmstrix.engine.process import Engine

# Start times are told in ticks and relative to the boot, which the clock's corrections move.
_START_TOLERANCE_S = 2.0
_END_S = 5.0
_DEATH_S = 2.0
_POLL_S = 0.005
_NAMES_S = 10.0
_LOG_TAIL_BYTES = 64 * 1024


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What a resident engine says of itself. `started_at` tells its process from a later one."""

    instance: Instance
    url: Annotated[str, msgspec.Meta(pattern=r"^http://127\.0\.0\.1:[0-9]{1,5}$")]
    key: Annotated[str, msgspec.Meta(pattern=r"^[\w-]+$")]
    pid: Annotated[int, msgspec.Meta(gt=1, lt=2**31)]
    started_at: float


class Resident:
    """A living resident engine, with the face of `engine.owned.Owned`."""

    def __init__(self, registration: Registration, path: Path, log: Path) -> None:
        self.instance = registration.instance
        self.client = EngineClient(registration.url, registration.key)
        self._registration = registration
        self._path = path
        self._log = log

    @property
    def log(self) -> Sequence[str]:
        """The last lines of the engine's log; none once it has ended in order."""
        try:
            with self._log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - _LOG_TAIL_BYTES))
                return log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ()

    def instance_now(self) -> Instance:
        """The instance with the memory it holds at this moment."""
        if self.instance.memory is None:
            return self.instance
        held = resident_bytes(self._registration.pid)
        return replace(self.instance, memory=replace(self.instance.memory, resident_bytes=held))

    async def ready(self) -> None:
        """Nothing to wait for: nobody but itself ends or replaces it."""

    async def death(self) -> Death | None:
        """Why it is gone, as far as its log tells, if it is; nobody saw its exit status."""
        process = _process(self._registration)
        if process is not None and not await asyncio.to_thread(_ended, process, _DEATH_S):
            return None
        return deaths.explain(None, self.log)

    def begin(self) -> None:
        """A stream starts."""

    def saw_batch(self) -> None:
        """A prompt batch is done."""

    def finish(self, *, cancelled: bool) -> None:
        """A stream ended. Others may be using the engine: it is never replaced from here."""

    async def close(self) -> None:
        """Tell the engine to end, and see that it does."""
        process = _process(self._registration)
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
                if not await asyncio.to_thread(_ended, process, _END_S):
                    process.kill()
                    await asyncio.to_thread(_ended, process, _END_S)
        _sweep(self._path, self._log)


async def settle(
    engine: Engine, instance: Instance, places: Places, *, names: Iterable[str]
) -> Instance:
    """Register `engine` as resident; it then no longer ends with this process.

    Its instance gets the first of `names` that no other resident one has: processes that load
    at the same time do not know of each other before. Raises `LoadError` when it cannot
    register or every name is taken, `OSError` when its folders cannot be made.
    """
    from filelock import AsyncFileLock  # noqa: PLC0415  # slow to import, for residents alone

    for folder in (places.residents, places.logs, places.locks):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    places.residents.chmod(0o700)  # it may have been made before, by another hand
    async with AsyncFileLock(places.locks / "resident-names.lock", timeout=_NAMES_S):
        others = await asyncio.to_thread(residents, places)
        name = free_name(names, {one.instance.id for one in others}, model=instance.model_key)
        instance = replace(instance, id=name)
        registration = Registration(
            instance=instance,
            url=engine.url,
            key=engine.key,
            pid=engine.pid,
            started_at=psutil.Process(engine.pid).create_time(),
        )
        await engine.settle(
            registration=places.residents / f"{engine.pid}.json",
            log=_log_of(engine.pid, places),
            content=msgspec.json.encode(registration).decode(),
        )
    return instance


def free_name(names: Iterable[str], taken: Container[str], *, model: str) -> str:
    """The first of `names` that is not taken. Raises `LoadError` when all are."""
    name = ""
    for name in names:
        if name not in taken:
            return name
    raise LoadError(
        f"There is an instance named {name} already.",
        model=model,
        hint=f"Unload it first: lmstrix unload {name}",
    )


def residents(places: Places) -> list[Resident]:
    """Every resident engine that lives, oldest first. Sweeps stale registrations."""
    found = []
    for path in sorted(places.residents.glob("*.json")):
        try:
            if not _is_mine(path):
                continue
            registration = msgspec.json.decode(path.read_bytes(), type=Registration)
        except (OSError, msgspec.DecodeError):
            continue  # just removed, or of a version that this one does not know
        if path.stem != str(registration.pid):
            continue
        log = _log_of(registration.pid, places)
        if _process(registration) is None:
            _sweep(path, log)
        else:
            found.append(Resident(registration, path, log))
    return sorted(found, key=lambda resident: resident.instance.loaded_at)


def _log_of(pid: int, places: Places) -> Path:
    return places.logs / f"engine-{pid}.log"


def _is_mine(path: Path) -> bool:
    """Whether this user wrote it. A planted one would see prompts, or end a process of ours."""
    return os.name != "posix" or path.lstat().st_uid == os.geteuid()


def _ended(process: psutil.Process, timeout_s: float) -> bool:
    """Whether it ended in time."""
    deadline = time.monotonic() + timeout_s
    while _lives(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _lives(process: psutil.Process) -> bool:
    """Whether it runs; one that ended lives no more, however long nobody collects its status."""
    try:
        if not process.is_running():
            return False
        # While other threads end after the first, the memory is not free yet.
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.Error:  # gone, or another user's by now
        return False


def _process(registration: Registration) -> psutil.Process | None:
    try:
        process = psutil.Process(registration.pid)
        if abs(process.create_time() - registration.started_at) > _START_TOLERANCE_S:
            return None
    except psutil.Error:
        return None
    return process if _lives(process) else None


def _sweep(path: Path, log: Path) -> None:
    for file in (path, log):
        with suppress(OSError):  # another one swept it at the same moment
            file.unlink(missing_ok=True)
