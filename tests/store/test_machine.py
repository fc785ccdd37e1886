from __future__ import annotations

import platform
import re
import subprocess
import sys

import pytest

from lmstrix.store import machine, machine_id


def test_the_machine_has_the_same_name_in_every_process() -> None:
    code = "from lmstrix.store import machine_id; print(machine_id())"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert told == machine_id()
    assert re.fullmatch("[0-9a-f]{16}", told)


@pytest.fixture
def fresh() -> object:
    machine_id.cache_clear()
    yield
    machine_id.cache_clear()


def test_other_memory_is_another_machine(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine_id()
    machine_id.cache_clear()
    monkeypatch.setattr(machine, "_memory_gib", lambda: 12345)
    assert machine_id() != before


@pytest.mark.parametrize("in_container", [True, False])
def test_the_host_name_counts_outside_of_containers_only(
    in_container: bool,  # noqa: FBT001  # a case
    fresh: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    mark = tmp_path_factory.mktemp("mark") / ("here" if in_container else "not/here")
    if in_container:
        mark.touch()
    monkeypatch.setattr(machine, "_CONTAINER_MARKS", (mark,))
    names = []
    for node in ("one", "two"):
        monkeypatch.setattr(platform, "node", lambda node=node: node)
        machine_id.cache_clear()
        names.append(machine_id())
    assert (names[0] == names[1]) is in_container
