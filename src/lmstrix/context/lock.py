"""One test of a model at a time, across all processes of this user."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from lmstrix.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def testing(model_key: str, identity: str, folder: Path) -> Iterator[None]:
    """Hold the test lock of the model `identity`; `folder` is made where it is missing.

    The system frees the lock however the process ends. Raises `BusyError` with the process
    that holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = "test-" + hashlib.sha256(identity.encode()).hexdigest()[:24]
    holder = folder / f"{name}.pid"
    lock = FileLock(folder / f"{name}.lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        pid = _read_pid(holder)
        by = "another process" if pid is None else f"process {pid}"
        raise BusyError(
            f"{model_key} is being tested by {by}.",
            pid=pid,
            hint="Wait for it, or test another model meanwhile.",
        ) from None
    try:
        holder.write_text(str(os.getpid()), encoding="ascii")
        yield
    finally:
        lock.release()


def _read_pid(holder: Path) -> int | None:
    try:
        return int(holder.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None  # it has the lock and has not written yet
