"""Which process began something, told in a way that outlives the process and its number."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import NamedTuple


class Owner(NamedTuple):
    """A process. Numbers are used again, so `started` tells two of the same number apart."""

    pid: int
    started: str


def this_process() -> Owner:
    """The owner mark of the calling process."""
    return _mark(os.getpid())


def is_alive(owner: Owner) -> bool:
    """Whether that very process still runs. One that ended but was not waited for does not."""
    return _started(owner.pid) == owner.started


@functools.cache
def _mark(pid: int) -> Owner:
    return Owner(pid, _started(pid) or "")


def _started(pid: int) -> str | None:
    """When process `pid` began, or `None` when it does not run."""
    return _started_on_linux(pid) if sys.platform == "linux" else _started_elsewhere(pid)


def _started_on_linux(pid: int) -> str | None:
    """Clock ticks since boot (proc(5), `stat` fields 3 and 22), with the boot's own id.

    psutil's Unix time is these ticks plus the wall clock, which may be set in between.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None  # gone, or its number is another user's by now, who may be hidden
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return f"{_boot()} {int(fields[19])}"


@functools.cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _started_elsewhere(pid: int) -> str | None:
    import psutil  # noqa: PLC0415  # not needed on Linux, and slow to import

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{process.create_time():.3f}"
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None  # gone, or its number is another user's by now
