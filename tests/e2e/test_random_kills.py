"""`lmstrix test` killed at random moments, tool or engine, until it gets through."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from lmstrix.engine.resident import _lives
from lmstrix.results import ProbeKind
from lmstrix.store import Store

if TYPE_CHECKING:
    from conftest import Run

    from lmstrix.config import Places
    from lmstrix.results import Probe

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")

COMMAND = str(Path(sys.executable).with_name("lmstrix"))
LONGEST_LIFE_S = 4.0
TEST = ("test", "tiny-chat", "--threshold", "2048")  # a few lives long, however slow the machine


def start(home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [COMMAND, *TEST, "--quiet"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=home,
    )


def engines_of(tool: psutil.Process) -> list[psutil.Process]:
    try:
        return tool.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill_once(home: Path, chance: random.Random) -> None:
    """Start a test and kill it, or its engine, somewhere in its first seconds."""
    with start(home) as popen:
        tool = psutil.Process(popen.pid)
        wait(popen, chance)
        engines = engines_of(tool)  # known before the tool's end makes them another's children
        if engines and chance.random() < 0.3:
            engines[0].kill()
            wait(popen, chance)  # what has lost its engine goes on
            engines += engines_of(tool)
        popen.kill()
        _, alive = psutil.wait_procs(engines, timeout=10)
        alive = [engine for engine in alive if _lives(engine)]  # not one nobody has collected
        assert not alive, "an engine outlived the tool"


def wait(popen: subprocess.Popen[bytes], chance: random.Random) -> None:
    with suppress(subprocess.TimeoutExpired):
        popen.wait(chance.uniform(0.2, LONGEST_LIFE_S))


def finished(places: Places) -> dict[int, Probe]:
    with Store.open(places.database) as store:
        assert not store.integrity()
        entry = next(e for e in store.entries() if e.model.key == "tiny-chat")
        if entry.result is None:
            return {}
        return {p.id: p for p in store.probes(entry.result.id) if p.outcome is not None}


def kill_until_done(run: Run, home: Path, places: Places, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    run("scan")
    before: dict[int, Probe] = {}
    for _ in range(kills):
        kill_once(home, chance)
        now = finished(places)
        assert before.items() <= now.items(), f"a finished probe was lost (seed {seed})"
        before = now
    done = run(*TEST)
    assert done.returncode in (0, 1), done.stderr
    probes = finished(places).values()
    loads = [p.tokens for p in probes if p.kind is ProbeKind.LOAD]
    assert len(loads) == len(set(loads)), f"a load was repeated (seed {seed})"
    listed = json.loads(run("list", "--show", "json").stdout)
    statuses = {model["key"]: model["status"] for model in listed}
    assert statuses["tiny-chat"] in ("completed", "failed"), done.stdout + done.stderr


@pytest.fixture(autouse=True)
def shipped_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMSTRIX_SHIPPED_MODELS", "true")
    monkeypatch.setenv("LMSTRIX_EMBEDDED__THREADS", "1")


def test_a_test_killed_three_times_gets_through(run: Run, home: Path, places: Places):
    kill_until_done(run, home, places, 3, random.SystemRandom().randrange(2**32))


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(20))
def test_a_test_killed_ten_times_gets_through(run: Run, home: Path, places: Places, turn: int):
    kill_until_done(run, home, places, 10, random.SystemRandom().randrange(2**32))
