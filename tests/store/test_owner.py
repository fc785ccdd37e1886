from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lmstrix.store import owner
from lmstrix.store.owner import Owner, is_alive, this_process

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["this platform's way", "the portable way"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "the portable way":
        monkeypatch.setattr(owner, "_started", owner._started_elsewhere)
    owner._mark.cache_clear()
    yield
    owner._mark.cache_clear()


def test_this_process_is_alive(way: None) -> None:
    assert this_process().pid == os.getpid()
    assert is_alive(this_process())


def test_another_process_is_alive_until_it_ends(way: None) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        mark = Owner(child.pid, owner._started(child.pid) or "")
        assert is_alive(mark)
        child.kill()
        child.wait()
        assert not is_alive(mark)


def test_a_number_given_to_another_process_is_not_the_owner(way: None) -> None:
    assert not is_alive(Owner(os.getpid(), "another time"))
    assert not is_alive(Owner(os.getpid(), ""))


@pytest.mark.skipif(sys.platform != "linux", reason="the mark is read from /proc")
def test_a_command_name_with_brackets_and_spaces_is_read_rightly() -> None:
    rename = "open('/proc/self/comm', 'w').write(') Z 1 ('); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        started = owner._started(child.pid)
        assert started is not None
        assert started.split()[1].isdigit()
        child.kill()
