from __future__ import annotations

import os
from pathlib import Path

from lmstrix.config import Places


def test_everything_is_below_the_home_that_is_named(tmp_path: Path) -> None:
    places = Places.locate({"LMSTRIX_HOME": str(tmp_path)})
    for path in (
        places.database,
        places.backups,
        places.residents,
        places.locks,
        places.logs,
        places.settings_file,
        places.legacy,
    ):
        assert path.is_relative_to(tmp_path)
    assert places.database == tmp_path / "lmstrix.db"
    assert places.settings_file == tmp_path / "config.toml"
    assert list(tmp_path.iterdir()) == []


def test_a_home_with_a_tilde_is_the_users(tmp_path: Path) -> None:
    environ = {"LMSTRIX_HOME": "~/x", "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    assert Places.locate(environ).data == tmp_path / "x"


def test_a_relative_home_holds_when_the_working_folder_changes() -> None:
    assert Places.locate({"LMSTRIX_HOME": "x"}).data == Path.cwd() / "x"


def test_without_a_home_the_platforms_folders_are_used(home: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "LMSTRIX_HOME"}
    places = Places.locate(environ)
    assert places.legacy == home / ".lmstrix"
    assert "lmstrix" in places.data.parts
    assert places.data.is_relative_to(home)
    assert places.runtime.is_relative_to(home)
