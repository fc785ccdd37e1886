"""Tool, gateway or the gateway's engine killed while `lmstrix test` is at work over a network."""

from __future__ import annotations

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
from lmstrix.results import FailureKind, ProbeKind
from lmstrix.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmstrix.config import Places
    from lmstrix.results import Probe

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")

COMMAND = str(Path(sys.executable).with_name("lmstrix"))
KINDS = ("lmstudio", "ollama")
VICTIMS = ("tool", "gateway", "engine")
# What the tool says of itself at each state of a test, and the options that lead through it.
STATES = {
    "loading": ("--threshold", "1024", "--fast"),
    "processing": ("--threshold", "1024", "--fast"),
    "answering": ("--threshold", "1100"),
}


class Place:
    """A gateway that can be killed and started anew at its address, and tools that use it."""

    def __init__(self, home: Path, kind: str) -> None:
        self._home = home
        self._kind = kind
        self._port = "0"
        self.gateway = self.start()

    def start(self) -> subprocess.Popen[str]:
        """Start the gateway, the second time where it was the first."""
        theirs = self._home / "theirs"
        theirs.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [COMMAND, "serve", "--port", self._port],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=theirs,
            env={
                **os.environ,
                "LMSTRIX_HOME": str(theirs),
                "LMSTRIX_SHIPPED_MODELS": "true",
                "LMSTRIX_DISCOVER": "false",
                "LMSTRIX_EMBEDDED__THREADS": "1",
            },
        )
        self._port = process.stdout.readline().split(" at ")[1].split()[0].rpartition(":")[2]
        return process

    def tool(self, *words: str) -> subprocess.Popen[str]:
        """Start `lmstrix` with the gateway as its only server."""
        return subprocess.Popen(
            [COMMAND, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "LMSTRIX_SERVERS__THERE__URL": f"http://127.0.0.1:{self._port}",
                "LMSTRIX_SERVERS__THERE__PROVIDER": self._kind,
                "LMSTRIX_PROVIDER": self._kind,
                "LMSTRIX_DISCOVER": "false",
            },
        )

    def run(self, *words: str) -> tuple[int, str]:
        """Run it to its end."""
        tool = self.tool(*words)
        _, said = tool.communicate(timeout=200)
        return tool.returncode, said

    def engines(self) -> list[psutil.Process]:
        """The gateway's engines."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.gateway.pid).children(recursive=True)
        return []

    def kill(self, victim: str, tool: subprocess.Popen[str]) -> None:
        """Kill one of the three; the gateway is started again at once, as a supervisor would."""
        engines = self.engines()
        if victim == "tool":
            tool.kill()
        elif victim == "engine":
            for engine in engines:
                with suppress(psutil.NoSuchProcess):
                    engine.kill()
        else:
            self.end()
            tool.communicate(timeout=200)
            self.gateway = self.start()

    def end(self) -> None:
        """Kill the gateway; its engines go with it."""
        engines = self.engines()
        self.gateway.kill()
        self.gateway.communicate()
        _, alive = psutil.wait_procs(engines, timeout=10)
        assert not [one for one in alive if _lives(one)], "an engine outlived its gateway"


@pytest.fixture
def place(home: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    at = Place(home, request.param)
    assert at.run("scan")[0] == 0
    yield at
    at.end()


def journal(places: Places) -> list[Probe]:
    """Every probe of the chat model's tests, oldest first."""
    with Store.open(places.database) as store:
        assert not store.integrity()
        entries = [one for one in store.entries() if one.model.key.startswith("tiny-chat")]
        tests = {result.id for one in entries for result in store.results(one.model)}
        return [probe for test in sorted(tests) for probe in store.probes(test)]


def check(before: list[Probe], places: Places) -> None:
    """Nothing that was finished is lost, and nothing that loaded or failed is tried again."""
    after = {probe.id: probe for probe in journal(places)}
    finished = {probe.id: probe for probe in before if probe.outcome is not None}
    assert finished.items() <= after.items(), "a finished probe was lost"
    sizes = [
        (probe.kind, probe.tokens)
        for probe in after.values()
        if probe.kind is not ProbeKind.ANSWER
        and probe.outcome is not None
        and (probe.outcome.failure is None or probe.outcome.failure.blames_model)
    ]
    assert len(sizes) == len(set(sizes)), "a size was tried again"


@pytest.mark.parametrize("place", KINDS, indirect=True)
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("state", STATES)
def test_a_test_goes_on_after_a_kill_at_each_of_its_states(
    place: Place, places: Places, victim: str, state: str
):
    words = ("test", "tiny-chat", *STATES[state])
    tool = place.tool(*words)
    for line in tool.stderr:
        if state in line:
            break
    else:
        raise AssertionError(f"the tool never said {state!r}")
    place.kill(victim, tool)
    tool.communicate(timeout=200)
    before = journal(places)
    code, said = place.run(*words)
    assert code in (0, 1), said
    check(before, places)
    assert not place.engines() or victim == "engine"
    failures = [p.outcome.failure for p in journal(places) if p.outcome and p.outcome.failure]
    blamed = [failure for failure in failures if failure.blames_model]
    assert blamed in ([], [FailureKind.CRASH])
    if victim == "gateway":
        assert "UNREACHABLE" in {failure.name for failure in failures}


def kill_until_done(place: Place, places: Places, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    words = ("test", "tiny-chat", "--threshold", "1500", "--quiet")
    for _ in range(kills):
        tool = place.tool(*words)
        with suppress(subprocess.TimeoutExpired):
            tool.wait(chance.uniform(0.3, 4.0))
        place.kill(chance.choice(VICTIMS), tool)
        tool.kill()
        tool.communicate()
        before = journal(places)
        check(before, places)
    code, said = place.run(*words)
    assert code in (0, 1), f"{said} (seed {seed})"
    check(before, places)


@pytest.mark.parametrize("place", KINDS, indirect=True)
def test_a_test_over_a_network_killed_three_times_gets_through(place: Place, places: Places):
    kill_until_done(place, places, 3, random.SystemRandom().randrange(2**32))


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(10))
@pytest.mark.parametrize("place", KINDS, indirect=True)
def test_a_test_over_a_network_killed_ten_times_gets_through(
    place: Place, places: Places, turn: int
):
    kill_until_done(place, places, 10, random.SystemRandom().randrange(2**32))
