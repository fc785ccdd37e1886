"""What every test gets: a home of its own, and a guard over the user's real one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lmstrix.config import Places

pytest_plugins = ["models.fixtures"]

_REAL_HOME = Path.home().resolve()
_CHECKOUT = Path(__file__).resolve().parents[1]
_ALLOWED = tuple(
    str(path) for path in (_CHECKOUT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
)
_trespasses: list[str] = []


def _watch_home(event: str, args: tuple[object, ...]) -> None:
    if event not in ("open", "os.remove", "os.rename", "os.mkdir", "sqlite3.connect"):
        return
    path = os.fspath(args[0]) if isinstance(args[0], str | os.PathLike) else None
    if path is None or not os.path.isabs(path) or not path.startswith(f"{_REAL_HOME}{os.sep}"):
        return
    if not path.startswith((*_ALLOWED, os.environ.get("TMPDIR", "\0"))):
        _trespasses.append(f"{event} {path}")


sys.addaudithook(_watch_home)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own, for it and every process it starts."""
    folder = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(("LMSTRIX_", "LMSTUDIO_", "LM_API", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.setenv("LMSTRIX_HOME", str(folder / "lmstrix"))
    return folder


@pytest.fixture(autouse=True)
def _leave_the_real_home_alone(home: Path) -> object:
    _trespasses.clear()
    yield
    assert not _trespasses, f"the test touched the user's home: {_trespasses}"


@pytest.fixture
def places(home: Path) -> Places:
    """Places below the test's home."""
    return Places.locate()


@pytest.fixture(scope="session")
def shipped() -> Path:
    """The folder of the models that come with LMStrix."""
    return _CHECKOUT / "src" / "lmstrix" / "shipped"
