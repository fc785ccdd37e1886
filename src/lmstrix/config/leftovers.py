"""Half-written files: named after their writer, so that a later one can remove those left behind.

A process that is killed while it writes a file beside the real one cannot tidy up. Whoever
writes into that folder next does it, and takes only what certainly has no writer any more.
"""

from __future__ import annotations

import os
import platform
import re
import zlib
from contextlib import suppress
from pathlib import Path

# With what SQLite puts beside a database that is being written.
_PARTIAL = re.compile(
    r"\..+\.(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]+)-[0-9a-f]{12}\.partial(?:-journal|-wal|-shm)?"
)
_NAME_CHARS = 40  # of the real name, so that the whole stays below what file systems take
_CLOCK_S = 2.0

_tidied: set[Path] = set()


def partial_beside(path: Path) -> Path:
    """A name beside `path` for what is to become it; no other call has the same."""
    mark = f"{_host()}-{os.getpid()}-{os.urandom(6).hex()}"
    return path.with_name(f".{path.name[:_NAME_CHARS]}.{mark}.partial")


def remove_leftovers(folder: Path) -> None:
    """Remove the partial files in `folder` whose process, one of this machine, is gone."""
    with suppress(OSError), os.scandir(folder) as files:
        for file in files:
            found = _PARTIAL.fullmatch(file.name)
            if found is None or found["host"] != _host():
                continue
            with suppress(OSError):  # another process tidies at the same moment
                if not _is_written(int(found["pid"]), file.stat(follow_symlinks=False).st_mtime):
                    Path(file.path).unlink(missing_ok=True)


def remove_leftovers_once(folder: Path) -> None:
    """The same, the first time that this process asks it of `folder`: it may hold thousands."""
    if folder not in _tidied:
        _tidied.add(folder)
        remove_leftovers(folder)


def _is_written(pid: int, written_at: float) -> bool:
    """Whether process `pid` runs and is the one that wrote at that moment, not a later one."""
    import psutil  # noqa: PLC0415  # only where a partial file was found

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.create_time() <= written_at + _CLOCK_S
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it runs, and does not say since when
        return True


def _host() -> str:
    """A mark of this machine: the processes of others on a shared folder cannot be seen."""
    return f"{zlib.crc32(platform.node().encode()):08x}"
