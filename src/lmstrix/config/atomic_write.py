"""Write a file whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from lmstrix.config.leftovers import partial_beside, remove_leftovers_once
from lmstrix.errors import StoreFullError

# A full disk, a limit on file sizes, a quota.
NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader, or a power loss, sees the old or the new whole.

    An existing file keeps its mode, and a link stays a link. Raises `StoreFullError` when
    there is no room, `OSError` for anything else; the old file is intact either way. What a
    process that was killed while it wrote into that folder left there is removed.
    """
    target = Path(os.path.realpath(path))
    remove_leftovers_once(target.parent)
    # Beside it, since a rename is only atomic within one file system; made by `os.open` so that
    # the umask decides the mode of a new file.
    beside = partial_beside(target)
    try:
        _write_whole(beside, data)
        _copy_mode(target, beside)
        beside.replace(target)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise StoreFullError(
                f"No room left to write {path} ({len(data):,} bytes); what was there is intact.",
                path=path,
                hint="Free some space on that disk and try again.",
            ) from error
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power loss, where the platform lets us."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_whole(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _copy_mode(source: Path, target: Path) -> None:
    try:
        mode = stat.S_IMODE(source.stat().st_mode)
    except FileNotFoundError:
        return
    target.chmod(mode)
