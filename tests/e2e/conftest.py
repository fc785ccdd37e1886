"""End to end: the installed command against what users and machines do to it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

COMMAND = str(Path(sys.executable).with_name("lmstrix"))
Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

_PR_CAPBSET_DROP = 24
_CAPABILITIES_OVER_FILES = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def bound_by_permissions() -> None:
    """In a child about to run a command: root too may only read what it is allowed to."""
    if sys.platform == "linux" and os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in _CAPABILITIES_OVER_FILES:
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


@pytest.fixture
def run(home: Path) -> Iterator[Run]:
    """`run("list", "--show", "id")`, as a user whom permissions bind; text in, text out."""

    def call(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=home,
            env={**os.environ, "COLUMNS": "80", "LMSTRIX_EMBEDDED__THREADS": "1", **environ},
            preexec_fn=bound_by_permissions if os.name == "posix" else None,
        )

    yield call
    if any((home / "lmstrix" / "run" / "engines").glob("*.json")):
        call("unload", "--all")
