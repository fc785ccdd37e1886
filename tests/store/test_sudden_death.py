from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.store import Store, database
from lmstrix.store.migrations import MIGRATIONS

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the processes that die are forked")

_SCRIPT = Path(__file__).with_name("dying.py")


def _load_script() -> ModuleType:
    spec = spec_from_file_location("dying", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dying = _load_script()


def content(path: Path) -> dict[str, Any]:
    """Every row of the store but who owns it, read past our own code."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        found = {}
        for (table,) in tables:
            rows = db.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in rows.description]
            found[table] = [
                {n: v for n, v in zip(names, row, strict=True) if not n.startswith("owner_")}
                for row in rows
            ]
        return found


@pytest.mark.parametrize("step", [*dying.STEPS, *dying.OPENINGS])
def test_a_process_killed_at_any_point_leaves_the_state_before_or_after(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, str(_SCRIPT), step, str(tmp_path)], check=True)
    before = content(tmp_path / "before" / dying.NAME)
    after = content(tmp_path / "after" / dying.NAME)
    assert (before == after) is (step == "back up")
    points = sorted((f for f in tmp_path.iterdir() if f.name.isdigit()), key=lambda f: int(f.name))
    assert len(points) >= 5
    monkeypatch.setattr(database, "MIGRATIONS", MIGRATIONS)  # `take` adds one
    for folder in points:
        left = content(folder / dying.NAME)
        assert left in (before, after), f"killed at point {folder.name}"
        for backup in (folder / "backups").glob("*.db"):
            assert content(backup) == before
        dying.take(folder / dying.NAME, "migrate" if step == "migrate" else "remember")
        with Store.open(folder / dying.NAME) as store:
            assert store.integrity() == ()
            store.backup()
        assert all(file.suffix == ".db" for file in (folder / "backups").iterdir())
    assert left == after, "killed after the step had returned"
