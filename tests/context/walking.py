"""Runs a context test again and again, killed at another state transition each time.

    walking.py FOLDER

For each point a copy of this process runs the test of a model in a world, and kills itself (as
by `kill -9`) when it first gets to the point; another copy then runs it to the end. Writes
`FOLDER/found.json`: what was found and done by each, and by one that nobody killed.
A process of its own, since it forks: pytest's has threads.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import worlds

from lmstrix.config import Places, Settings
from lmstrix.context.families import Families
from lmstrix.context.families.keyed import Keyed
from lmstrix.context.options import TestOptions
from lmstrix.context.runner import test_model as run_test
from lmstrix.store import Entry, Store

if TYPE_CHECKING:
    from collections.abc import Callable

STORE_STEPS = ("begin_test", "begin_probe", "finish_probe", "save_test", "settle_abandoned")
BASE_TOKENS = 1024


class Watch:
    """Names each state transition when it comes, and kills the process at one."""

    def __init__(self, fatal: str | None) -> None:
        self.fatal = fatal
        self.seen: dict[str, None] = {}
        self.stage = "start"

    def at(self, moment: str, step: str) -> None:
        point = f"{moment} {step} ({self.stage})"
        self.seen[point] = None
        if point == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def watched_store(store: Store, watch: Watch) -> Store:
    def wrap(step: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if step == "begin_probe":
                at_length = args[1].value == "answer" and args[2] > BASE_TOKENS
                watch.stage = args[1].value + (" at length" if at_length else "")
            watch.at("before", step)
            found = method(*args, **kwargs)
            watch.at("after", step)
            return found

        return call

    for step in STORE_STEPS:
        setattr(store, step, wrap(step, getattr(store, step)))
    return store


class Watched(worlds.World):
    """A world in which doing something is a transition too."""

    watch: Watch

    async def stream(self, instance: Any, request: Any) -> Any:
        self.watch.at("before", "stream")
        async for item in super().stream(instance, request):
            yield item
            self.watch.at("during", "stream")

    async def load(self, *args: Any, **kwargs: Any) -> Any:
        self.watch.at("before", "load")
        found = await super().load(*args, **kwargs)
        self.watch.at("after", "load")
        return found

    async def unload(self, instance_id: str) -> None:
        self.watch.at("before", "unload")
        await super().unload(instance_id)
        self.watch.at("after", "unload")


def walk(home: Path, fatal: str | None) -> dict[str, Any]:
    places = Places.locate({"LMSTRIX_HOME": str(home)})
    home.mkdir(parents=True, exist_ok=True)
    watch = Watch(fatal)
    world = Watched(loads_up_to=3450)
    world.watch = watch
    with Store.open(places.database) as store:
        # What the system has is safe from the end of a process; only a power loss needs more.
        store._connection.execute("PRAGMA synchronous = OFF")
        before = store.probes(1)
        result = asyncio.run(
            run_test(
                Entry(model=worlds.model(declared=4096), added_at=0.0),
                world,
                watched_store(store, watch),
                TestOptions(economical=True),
                settings=Settings(),
                places=places,
                families=Families((Keyed(),), ()),
            )
        )
        after = store.probes(result.id)
    return {
        "result": msgspec.to_builtins(result),
        "before": msgspec.to_builtins(before),
        "probes": msgspec.to_builtins(after),
        "points": list(watch.seen),
        "loaded": world.loaded,
    }


def in_a_copy(home: Path, fatal: str | None) -> dict[str, Any] | None:
    """What `walk` returned in a forked process, or `None` when it was killed."""
    out = home.with_suffix(".json")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            out.write_text(json.dumps(walk(home, fatal)))
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return None
    assert os.waitstatus_to_exitcode(status) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    whole = in_a_copy(folder / "whole", None)
    assert whole is not None
    resumed = {}
    for number, point in enumerate(whole["points"]):
        home = folder / str(number)
        assert in_a_copy(home, point) is None, point
        resumed[point] = in_a_copy(home, None)
    (folder / "found.json").write_text(json.dumps({"whole": whole, "resumed": resumed}))


if __name__ == "__main__":
    main()
