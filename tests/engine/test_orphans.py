"""No engine survives its owner, however that dies, and a resident one does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from lmstrix.engine.resident import residents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmstrix.config import Places

_OWNER = Path(__file__).with_name("owner.py")


@contextmanager
def owner(*arguments: object) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """A process that owns an engine, and that engine."""
    process = subprocess.Popen(
        [sys.executable, str(_OWNER), *map(str, arguments)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process, psutil.Process(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_engine_ends_with_its_owner(shipped: Path, number: int) -> None:
    with owner(shipped / "tiny-chat.gguf", 1024, "loaded") as (process, engine):
        assert engine.is_running()
        os.kill(process.pid, number)
        engine.wait(5)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_an_engine_ends_with_its_owner_while_it_loads(shipped: Path) -> None:
    with owner(shipped / "tiny-chat.gguf", 10**6, "loading") as (process, engine):
        assert engine.is_running()
        process.kill()
        process.wait()
        engine.wait(2)


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_where_the_system_sends_no_signal_a_shell_ends_the_engine() -> None:
    with owner("shell") as (process, engine):
        assert engine.is_running()
        process.kill()
        process.wait()
        engine.wait(5)


def test_a_resident_engine_outlives_its_owner(shipped: Path, places: Places) -> None:
    with owner(shipped / "tiny-chat.gguf", 1024, "resident") as (process, engine):
        process.kill()
        process.wait()
        (resident,) = residents(places)
        assert resident.instance.id == "tiny"
        engine.terminate()
        engine.wait(5)
    assert list(places.residents.iterdir()) == []
