from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest

from lmstrix.engine.process import Engine
from lmstrix.engine.resident import Registration, Resident, _ended, residents, settle
from lmstrix.errors import LoadError
from lmstrix.types import Instance

if TYPE_CHECKING:
    from pathlib import Path

    from lmstrix.config import Places

Start = Callable[..., Awaitable[Engine]]
Reside = Callable[..., Awaitable[Resident]]


def instance(engine: Engine) -> Instance:
    return Instance(
        id="tiny-chat",
        model_key="tiny-chat",
        provider="embedded",
        server="embedded",
        context_tokens=engine.context_tokens,
        pid=engine.pid,
        memory=engine.memory,
    )


@pytest.fixture
async def reside(start: Start, places: Places) -> AsyncIterator[Reside]:
    """Starts resident engines, and ends them after the test."""

    async def reside(**changes: object) -> Resident:
        engine = await start(**changes)
        await settle(engine, instance(engine), places, names=["tiny-chat", "tiny-chat:2"])
        return next(one for one in residents(places) if one.instance.pid == engine.pid)

    yield reside
    for resident in residents(places):
        await resident.close()


async def gone(pid: int) -> None:
    await asyncio.to_thread(psutil.wait_procs, [psutil.Process(pid)], 10)


async def test_a_resident_engine_is_found_and_answers(reside: Reside) -> None:
    resident = await reside()
    status, _ = await resident.client.call("GET", "/health")
    assert status == 200
    memory = resident.instance_now().memory
    assert memory is not None
    assert memory.resident_bytes > 2**20


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX's")
async def test_a_registration_is_for_its_user_alone(reside: Reside, places: Places) -> None:
    places.residents.mkdir(mode=0o755, parents=True)
    await reside()
    assert stat.S_IMODE(places.residents.stat().st_mode) == 0o700
    for file in (*places.residents.iterdir(), *places.logs.iterdir()):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_it_ends_after_its_time_without_a_request(reside: Reside, places: Places) -> None:
    resident = await reside(ttl_s=0.4)
    assert resident.instance.pid is not None
    await gone(resident.instance.pid)
    assert list(places.residents.iterdir()) == []
    assert list(places.logs.iterdir()) == []


async def test_a_request_under_way_keeps_it_alive(reside: Reside) -> None:
    resident = await reside(ttl_s=0.4, context_tokens=8192)
    body = {"prompt": "Count to 40.", "max_tokens": 2500, "ignore_eos": True}
    status, answer = await resident.client.call(
        "POST", "/v1/completions", json.dumps(body).encode()
    )
    assert status == 200
    timings = json.loads(answer)["timings"]
    assert timings["predicted_n"] == 2500
    assert timings["predicted_ms"] > 400


async def test_told_to_end_it_leaves_nothing(reside: Reside, places: Places) -> None:
    resident = await reside()
    await resident.close()
    assert not psutil.pid_exists(resident.instance.pid or 0)
    assert list(places.residents.iterdir()) == []
    assert list(places.logs.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no zombies")
def test_one_that_ended_is_not_waited_for_until_somebody_collects_it() -> None:
    careless = (
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', '']).pid,"
        " flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", careless], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert _ended(child, 20)
        assert child.status() == psutil.STATUS_ZOMBIE


async def test_a_hanging_one_is_ended_all_the_same(
    reside: Reside, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmstrix.engine.resident._END_S", 0.2)
    resident = await reside()
    os.kill(resident.instance.pid or 0, signal.SIGSTOP)
    await resident.close()
    assert residents(places) == []


async def test_a_killed_one_is_swept_and_its_death_explained(
    reside: Reside, places: Places
) -> None:
    resident = await reside()
    assert await resident.ready() is None
    os.kill(resident.instance.pid or 0, signal.SIGKILL)
    death = await resident.death()
    assert death is not None
    assert not death.expected
    assert residents(places) == []
    assert list(places.residents.iterdir()) == []


async def test_a_registration_whose_number_is_now_another_process_is_stale(
    reside: Reside, places: Places
) -> None:
    resident = await reside()
    mine = psutil.Process()
    stale = msgspec.structs.replace(
        resident._registration, pid=mine.pid, started_at=mine.create_time() - 1000
    )
    path = places.residents / f"{mine.pid}.json"
    path.write_bytes(msgspec.json.encode(stale))
    assert [one.instance.pid for one in residents(places)] == [resident.instance.pid]
    assert not path.exists()
    assert mine.is_running()


def test_what_is_no_registration_is_passed_over(places: Places) -> None:
    places.residents.mkdir(parents=True)
    (places.residents / "x.json").write_text("{}")
    assert residents(places) == []
    assert (places.residents / "x.json").exists()


async def test_an_engine_that_cannot_register_is_a_failed_load(
    start: Start, places: Places
) -> None:
    engine = await start()
    with pytest.raises(LoadError, match="could not register"):
        await engine.settle(
            registration=places.residents / "no such folder" / "x.json",
            log=places.residents / "none" / "x.log",
            content=msgspec.json.encode(
                Registration(instance=instance(engine), url="", key="", pid=1, started_at=0.0)
            ).decode(),
        )


async def test_two_that_load_at_once_get_names_of_their_own(reside: Reside) -> None:
    both = await asyncio.gather(reside(), reside())
    assert {one.instance.id for one in both} == {"tiny-chat", "tiny-chat:2"}
    with pytest.raises(LoadError, match="tiny-chat:2 already"):
        await reside()


def planted(places: Places, name: str, **changes: object) -> Path:
    """A registration as an enemy, or a mistake, would write it."""
    gone = {"id": "a", "model_key": "a", "provider": "p", "server": "s", "context_tokens": 1}
    said = {
        "instance": gone,
        "url": "http://127.0.0.1:9",
        "key": "k",
        "pid": 2**30,
        "started_at": 0.0,
        **changes,
    }
    places.residents.mkdir(parents=True, exist_ok=True)
    path = places.residents / name
    path.write_bytes(msgspec.json.encode(said))
    return path


def test_sweeping_removes_no_file_that_a_registration_names(places: Places, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    path = planted(places, f"{2**30}.json", log=str(precious))
    assert residents(places) == []
    assert not path.exists()
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    "lie",
    [
        {"url": "http://203.0.113.7:80"},
        {"url": "http://127.0.0.1:80@203.0.113.7"},
        {"url": "nonsense"},
        {"key": "k\r\nHost: elsewhere"},
        {"pid": -1},
        {"pid": 2**70},
    ],
    ids=str,
)
def test_a_registration_that_would_lead_elsewhere_is_passed_over(
    places: Places, lie: dict[str, object]
) -> None:
    mine = psutil.Process()
    said = {"pid": mine.pid, "started_at": mine.create_time(), **lie}
    planted(places, f"{said['pid']}.json", **said)
    assert residents(places) == []


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a file away"
)
def test_another_users_registration_counts_for_nothing(places: Places) -> None:
    mine = psutil.Process()
    path = planted(places, f"{mine.pid}.json", pid=mine.pid, started_at=mine.create_time())
    assert len(residents(places)) == 1
    os.chown(path, 12345, -1)
    assert residents(places) == []
