"""Who loads a model and who answers from an instance, known to all processes of this user.

A claim is a locked file, so the system ends it with its process, however that dies. To load a
model, or to end an instance of it, is for one at a time (`loading`). Any number may use an
instance (`using`), and whoever wants to end it waits for them (`ending`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

from lmstrix.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    from filelock import BaseFileLock

    from lmstrix.types import Instance, Model

    WaitListener: TypeAlias = Callable[[str], None]

_POLL_S = 0.02
_MOMENT_S = 10.0


class Claims:
    """The claims below `folder`, which is made where it is missing.

    Every wait lasts at most `wait_s`, is told in a few words, once, and ends in `BusyError`.
    """

    def __init__(self, folder: Path, *, wait_s: float) -> None:
        self._folder = folder
        self._wait_s = wait_s

    @asynccontextmanager
    async def loading(self, model: Model, on_wait: WaitListener) -> AsyncGenerator[None, None]:
        """Be the only one who loads `model` or ends instances of it, once the one before is done.

        Raises `BusyError`.
        """
        name = f"load-{_digest(model.provider, model.server, model.key)}"
        holder = self._folder / f"{name}.pid"
        lock = self._lock(name)
        deadline: float | None = None
        while not _taken(lock):
            now = asyncio.get_running_loop().time()
            if deadline is None:
                deadline = now + self._wait_s
                on_wait(f"after {_process(_read_pid(holder))}, which is loading it")
            elif now >= deadline:
                pid = _read_pid(holder)
                raise BusyError(
                    f"{model.key} has been loaded by {_process(pid)} for {self._wait_s:g} s.",
                    pid=pid,
                    hint="Wait for it, or end that process.",
                )
            await asyncio.sleep(_POLL_S)
        try:
            holder.write_text(str(os.getpid()), encoding="ascii")
            self._sweep()
            yield
        finally:
            lock.release()

    @contextmanager
    def using(self, instance: Instance) -> Iterator[None]:
        """Answer from `instance`: nobody ends it for the sake of another load meanwhile."""
        name = f"{_uses(instance)}-{os.getpid()}-{os.urandom(6).hex()}"
        lock = self._lock(name)
        lock.acquire(timeout=_MOMENT_S)
        try:
            yield
        finally:
            lock.release()
            with suppress(OSError):  # Windows: another process looks at it; it is swept later
                (self._folder / f"{name}.lock").unlink(missing_ok=True)

    @asynccontextmanager
    async def ending(self, instance: Instance, on_wait: WaitListener) -> AsyncGenerator[None, None]:
        """End `instance` once nobody uses it, and let nobody begin to.

        Only within `loading` of its model. Raises `BusyError`.
        """
        mark = self._mark(instance)
        mark.touch(mode=0o600)
        try:
            loop = asyncio.get_running_loop()
            deadline: float | None = None
            while (pid := self._user(instance)) is not None:
                if deadline is None:
                    deadline = loop.time() + self._wait_s
                    on_wait(f"after the answer that {_process(pid)} is getting")
                elif loop.time() >= deadline:
                    raise BusyError(
                        f"{instance.id} has been answering {_process(pid)} for "
                        f"{self._wait_s:g} s and cannot be loaded anew before it is done.",
                        pid=pid,
                        hint="Wait for it, ask without --in_ctx and --reload, or end it with all "
                        f"its answers: lmstrix unload {instance.id}",
                    )
                await asyncio.sleep(_POLL_S)
            yield
        finally:
            mark.unlink(missing_ok=True)

    def ends(self, instance: Instance) -> bool:
        """Whether somebody is about to end `instance`, or died over it.

        Asked after one's own `using` has begun, and before anything is sent. Within `loading`
        nobody else is.
        """
        return self._mark(instance).exists()

    def spare(self, instance: Instance) -> None:
        """Forget who died over ending `instance`. Only within `loading` of its model."""
        self._mark(instance).unlink(missing_ok=True)

    def _user(self, instance: Instance) -> int | None:
        """The process of one who uses `instance`; sweeps up after those that died."""
        for path in self._folder.glob(f"{_uses(instance)}-*.lock"):
            lock = self._lock(path.stem)
            if not _taken(lock):
                return _pid_in(path)
            lock.release()
            path.unlink(missing_ok=True)
        return None

    def _sweep(self) -> None:
        """Remove what processes left that died while they used any instance."""
        import psutil  # noqa: PLC0415  # slow to import, and a load takes longer

        for path in self._folder.glob("use-*.lock"):
            if not psutil.pid_exists(_pid_in(path)):
                with suppress(OSError):  # another process sweeps at the same moment
                    path.unlink(missing_ok=True)

    def _mark(self, instance: Instance) -> Path:
        return self._folder / f"{_uses(instance)}.ending"

    def _lock(self, name: str) -> BaseFileLock:
        from filelock import FileLock  # noqa: PLC0415  # slow to import, and nobody may ask

        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileLock(self._folder / f"{name}.lock", thread_local=False)


def _taken(lock: BaseFileLock) -> bool:
    """Whether the lock was free; it is ours then."""
    from filelock import Timeout  # noqa: PLC0415  # as above

    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _uses(instance: Instance) -> str:
    # A name may be given again; a process has its number for as long as it lives.
    place = _digest(instance.provider, instance.server, instance.id, str(instance.pid))
    return f"use-{place}"


def _pid_in(path: Path) -> int:
    return int(path.stem.split("-")[2])


def _read_pid(holder: Path) -> int | None:
    try:
        return int(holder.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None  # it has the lock and has not written yet


def _process(pid: int | None) -> str:
    if pid is None:
        return "another process"
    return "this very process" if pid == os.getpid() else f"process {pid}"
