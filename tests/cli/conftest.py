"""The installed command, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COMMAND = str(Path(sys.executable).with_name("lmstrix"))


class Run(Protocol):
    """Runs `lmstrix` with arguments; `bytes` in, texts out."""

    def __call__(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def environ(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A quiet, small environment: no colours, one thread, the shipped models only."""
    for name in ("COLUMNS", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    return {
        **os.environ,
        "LMSTRIX_SHIPPED_MODELS": "true",
        "LMSTRIX_EMBEDDED__THREADS": "1",
        "COLUMNS": "80",
    }


@pytest.fixture
def lmstrix(environ: dict[str, str], home: Path) -> Iterator[Run]:
    """Run the command; engines it left loaded are ended with the test."""

    def run(
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [COMMAND, *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env={**environ, **(env or {})},
            cwd=cwd or home,
            timeout=100,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    yield run
    if any((home / "lmstrix" / "run" / "engines").glob("*.json")):
        run("unload", "--all")
