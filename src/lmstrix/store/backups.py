"""Copies of the store, made while others use it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lmstrix.config.atomic_write import sync_folder
from lmstrix.config.leftovers import partial_beside, remove_leftovers

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 10


def copy_database(source: sqlite3.Connection, path: Path) -> Path:
    """Copy the database behind `source`, which lies at `path`, into `backups` beside it.

    The copy has its name only once it is whole. All but the `KEPT` newest are removed, and what
    is left of copies whose process was killed.
    """
    folder = path.parent / "backups"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    whole = folder / f"{path.stem}-{moment}-{os.getpid()}.db"
    remove_leftovers(folder)
    partial = partial_beside(whole)
    try:
        with closing(sqlite3.connect(partial, isolation_level=None)) as target:
            source.backup(target)
            # A copy is one file: whoever carries it off cannot forget its log.
            target.execute("PRAGMA journal_mode = DELETE")
        copy = partial.rename(whole)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    for old in sorted(folder.glob(f"{path.stem}-*.db"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return copy
