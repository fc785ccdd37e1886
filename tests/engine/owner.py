"""A process that owns engines, to be killed by the tests: `owner.py MODEL TOKENS HOW`.

Prints the pid of its engine at the moment that HOW names, then waits for its end.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil

from lmstrix.config import Places
from lmstrix.engine import child
from lmstrix.engine.process import Engine, EngineSpec
from lmstrix.engine.resident import settle
from lmstrix.types import Instance, Progress


def say(pid: int) -> None:
    sys.stdout.write(f"{pid}\n")
    sys.stdout.flush()


def say_pid(_progress: Progress | None = None) -> None:
    (engine,) = psutil.Process().children()
    say(engine.pid)


async def main(model: str, tokens: int, how: str) -> None:
    spec = EngineSpec(model="tiny", path=model, context_tokens=tokens)
    told = say_pid if how == "loading" else None
    engine = await Engine.start(spec, on_progress=told)
    if how == "loading":
        raise SystemExit("the load was over before the test could kill")
    if how == "resident":
        instance = Instance(
            id="tiny", model_key="tiny", provider="embedded", server="embedded", context_tokens=1
        )
        await settle(engine, instance, Places.locate(), names=["tiny"])
    say_pid()
    await asyncio.Event().wait()


def watch_from_shell() -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    child._watch_from_shell(victim.pid, psutil.Process().pid)
    say(victim.pid)
    victim.wait()


if __name__ == "__main__":
    if sys.argv[1] == "shell":
        watch_from_shell()
    else:
        asyncio.run(main(str(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3]))
