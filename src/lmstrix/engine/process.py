"""One engine process: started, watched and ended."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from lmstrix.engine import deaths, memory
from lmstrix.engine.client import EngineClient
from lmstrix.engine.deaths import Death
from lmstrix.errors import LoadError, OutOfMemoryError, ProtocolError
from lmstrix.types import Phase, Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmstrix.types import MemoryUse, ProgressListener

_CHILD = Path(__file__).with_name("child.py")
_LOG_LINES = 600
_LINE_CHARS = 500
_STOP_S = 3.0
_LOG_S = 1.0
_WATCH_S = 0.05
# What the binding takes before any model: measured 22 MB on Linux, more with a GPU backend.
_BINDING_BYTES = 48 * 2**20

# What a line of the log says about how far the load is. The binding tells no fractions.
_STAGES = (
    ("loading model tensors", "reading weights"),
    ("constructing llama_context", "making the KV cache"),
    ("warming up", "warming up"),
    ("model loaded", "ready"),
)
_FAILED = "exiting due to model loading error"


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is to load, every choice made.

    `context_tokens` is what one request can use. `memory_limit_bytes` bounds weights, KV cache
    and compute buffers together (see `Engine`). `ttl_s` only matters to a resident engine.
    """

    model: str  # a name for messages
    path: str
    context_tokens: int
    parallel: int = 1
    threads: int = 1
    batch_tokens: int = 512
    kv_type_k: str | None = None
    kv_type_v: str | None = None
    flash_attention: bool | None = None
    gpu_layers: int | None = None
    embedding: bool = False
    memory_limit_bytes: int | None = None
    prompt_cache_bytes: int = 0
    ttl_s: float = 3600.0


class _Props(msgspec.Struct, frozen=True):
    class Settings(msgspec.Struct, frozen=True):
        n_ctx: int

    default_generation_settings: Settings
    total_slots: int


class Engine:
    """A running engine. Made by `start` alone; belongs to the event loop it was started on.

    `died` is done as soon as the process is gone, however it went.

    `memory_limit_bytes` means the sum of the buffers the engine reports: weights, KV cache and
    compute. It is kept twice. On Linux the process has an RLIMIT_DATA of that plus an allowance
    for thread stacks and bookkeeping (192 MiB with the usual 8 MiB stacks), so that a larger
    allocation fails inside the engine; elsewhere a watchdog ends the process when its resident
    memory exceeds the limit plus 48 MiB. Then the reported sum is compared with the limit
    itself. Each way ends in `OutOfMemoryError`.
    """

    def __init__(
        self,
        spec: EngineSpec,
        process: subprocess.Popen[bytes],
        on_progress: ProgressListener | None,
    ) -> None:
        self.spec = spec
        self.pid = process.pid
        self.key = secrets.token_urlsafe(24)
        self.url = ""
        self.context_tokens = 0
        self.parallel = spec.parallel
        self.load_s = 0.0
        self.loaded_at = 0.0
        self.memory: MemoryUse | None = None
        self._process = process
        self._on_progress = on_progress
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._stage = 0
        self._logged = asyncio.Event()
        self._stopping = False
        self._over_limit = False
        self._oom_kills = memory.oom_kills()
        self._job = _tie(process.pid)
        self._loop = asyncio.get_running_loop()
        self.died: asyncio.Future[Death] = self._loop.create_future()
        # A thread, not the loop's own child support: a resident engine must outlive a closed
        # loop, which would end its children.
        self._thread = threading.Thread(
            target=self._read_log, name=f"lmstrix-engine-{self.pid}", daemon=True
        )
        self._thread.start()
        if spec.memory_limit_bytes is not None and _watchdog_needed():
            threading.Thread(
                target=self._watch_memory, args=(spec.memory_limit_bytes,), daemon=True
            ).start()

    @classmethod
    async def start(cls, spec: EngineSpec, *, on_progress: ProgressListener | None = None) -> Self:
        """Start a process and load the model.

        Raises `LoadError`, or its child `OutOfMemoryError`, with the reason from the engine's
        own log. Cancelling ends the process.
        """
        begun = time.monotonic()
        # Started from the loop's own thread: on Linux the engine ends with the thread that
        # started it.
        try:
            process = _spawn()
        except OSError as problem:  # no process, file or memory to be had
            raise LoadError(
                f"{spec.model} did not load: no process could be started ({problem.strerror}).",
                model=spec.model,
                context_tokens=spec.context_tokens,
                hint="End other programs, or allow this user more processes and open files.",
            ) from problem
        engine = cls(spec, process, on_progress)
        try:
            await engine._load()
        except BaseException:
            engine.kill()
            await asyncio.shield(engine.died)
            engine._close_pipes()
            raise
        engine.died.add_done_callback(lambda _: engine._close_pipes())
        engine.loaded_at = time.time()
        engine.load_s = time.monotonic() - begun
        return engine

    @property
    def client(self) -> EngineClient:
        """The way to it."""
        return EngineClient(self.url, self.key)

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines of the engine's own log. They hold no text of prompts or answers."""
        return tuple(self._log)

    def memory_now(self) -> MemoryUse | None:
        """What the engine reported at its load, with what it really holds now."""
        if self.memory is None:
            return None
        return msgspec.structs.replace(self.memory, resident_bytes=memory.resident_bytes(self.pid))

    def kill(self) -> None:
        """End the process at once; `died` follows."""
        self._stopping = True
        self._process.kill()

    async def stop(self, *, expected: bool = True) -> None:
        """End the process; returns when it is gone."""
        self._stopping = self._stopping or expected
        self._close_pipes()
        try:
            await asyncio.wait_for(asyncio.shield(self.died), _STOP_S)
        except TimeoutError:
            self.kill()
            await asyncio.shield(self.died)

    async def settle(self, *, registration: Path, log: Path, content: str) -> None:
        """Let a resident engine write its registration and go on without this process.

        Raises `LoadError` when it cannot write it.
        """
        self._send({"register": str(registration), "log": str(log), "content": content})
        if not (await self._report()).get("registered"):
            raise LoadError(
                f"The engine of {self.spec.model} could not register itself.",
                model=self.spec.model,
                log=self.log[-20:],
                hint=f"See that {registration.parent} can be written.",
            )
        if self._job is not None:
            self._job.release()
        self._close_pipes()

    async def _load(self) -> None:
        spec = msgspec.to_builtins(self.spec)
        self._send({**spec, "key": self.key, "owner_pid": os.getpid()})
        report = await self._report()
        if "url" not in report:
            raise await self._load_error(report)
        self.url = report["url"]
        # The engine silently makes a context larger than the model's own smaller.
        try:
            _, body = await self.client.call("GET", "/props")
            props = msgspec.json.decode(body, type=_Props)
        except (OSError, ProtocolError, msgspec.DecodeError) as problem:
            why = f"it came up and did not say what it holds ({problem})"
            raise await self._load_error({"error": why}) from None
        self.context_tokens = props.default_generation_settings.n_ctx
        self.parallel = props.total_slots
        await self._log_is_whole()
        self.memory = memory.reported_memory(
            self.log, resident_bytes=memory.resident_bytes(self.pid)
        )
        limit = self.spec.memory_limit_bytes
        taken = self.memory.weights_bytes + self.memory.kv_bytes + self.memory.compute_bytes
        if limit is not None and taken > limit:
            raise self._out_of_memory(
                f"it takes {_mib(taken)} and may take {_mib(limit)}",
            )

    async def _log_is_whole(self) -> None:
        """The log comes later than the report of the same moment, and by another way."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._logged.wait(), _LOG_S)

    async def _load_error(self, report: dict[str, Any]) -> LoadError:
        said = str(report.get("error", ""))
        if report.get("logged"):
            await self._log_is_whole()
        await self.stop(expected=False)
        died = self.died.result()
        if said:  # the engine lived to report it
            reason, no_memory = deaths.why_not_loaded(self.log, said)
        else:
            reason, no_memory = died.reason, died.out_of_memory
        if no_memory:
            return self._out_of_memory(reason)
        return LoadError(
            f"{self.spec.model} did not load: {reason}.",
            model=self.spec.model,
            context_tokens=self.spec.context_tokens,
            log=self.log[-40:],
            hint="If the file is damaged, download it again.",
        )

    def _out_of_memory(self, reason: str) -> OutOfMemoryError:
        return OutOfMemoryError(
            f"{self.spec.model} did not load with a context of "
            f"{self.spec.context_tokens:,} tokens for lack of memory: {reason}.",
            model=self.spec.model,
            context_tokens=self.spec.context_tokens,
            log=self.log[-40:],
            hint="Choose a smaller context or a smaller KV cache type.",
        )

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has died; reading its report says so
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()

    async def _report(self) -> dict[str, Any]:
        """The next message of the engine; empty when it ended without one."""
        assert self._process.stdout is not None
        line = await _in_thread(self._process.stdout.readline)
        try:
            return msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:  # nothing, or it was killed in the middle of a word
            return {}

    def _read_log(self) -> None:
        """Thread: keep the log, then wait for the end of the process."""
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for raw in iter(lambda: stream.readline(64 * 1024), b""):
                line = raw.decode("utf-8", "replace").rstrip()[:_LINE_CHARS]
                self._log.append(line)
                self._notice_stage(line)
        status = self._process.wait()
        if self._stopping:
            death = Death(reason="it was stopped", exit_status=status, expected=True)
        else:
            death = deaths.explain(
                status,
                self.log,
                oom_kills=memory.oom_kills() - self._oom_kills,
                over_limit=self._over_limit,
            )
        self._in_loop(self.died.set_result, death)

    def _notice_stage(self, line: str) -> None:
        if _FAILED in line:
            self._in_loop(self._logged.set)
        for at, (mark, note) in enumerate(_STAGES):
            if at >= self._stage and mark in line:
                self._stage = at + 1
                self._in_loop(self._tell, note)

    def _tell(self, note: str) -> None:
        if note == _STAGES[-1][1]:
            self._logged.set()
        if self._on_progress is not None:
            self._on_progress(Progress(phase=Phase.LOAD, note=note))

    def _watch_memory(self, limit: int) -> None:
        """Thread: end the process when it holds more than it may (where no limit can be set)."""
        while self._thread.is_alive():
            if memory.resident_bytes(self.pid) > limit + _BINDING_BYTES:
                self._over_limit = True
                self._process.kill()
                return
            self._thread.join(_WATCH_S)

    def _in_loop(self, action: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(action, *arguments)

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):  # it has gone with something unsent in the pipe
                pipe.close()


def _watchdog_needed() -> bool:
    return sys.platform != "linux"


def _tie(pid: int) -> Any:
    """What ends the engine with its owner on Windows; elsewhere it sees to that itself."""
    if sys.platform == "win32":
        from lmstrix.engine.windows_job import Job  # noqa: PLC0415  # exists there alone

        return Job(pid)
    return None


def _spawn() -> subprocess.Popen[bytes]:
    """The child, out of reach of the terminal's Ctrl-C, which is the owner's to handle."""
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        apart = {"creationflags": flags}
    # Variables that would let the engine print prompts or change its settings.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
    return subprocess.Popen(
        [sys.executable, "-I", str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        **apart,
    )


async def _in_thread(call: Callable[[], bytes]) -> bytes:
    """`call` in a thread of its own: the loop's own few threads may not be held for minutes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    def finish(result: bytes) -> None:
        if not done.done():
            done.set_result(result)

    def run() -> None:
        try:
            result = call()
        except (OSError, ValueError):  # the pipe was closed under it
            result = b""
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(finish, result)

    threading.Thread(target=run, daemon=True).start()
    return await done


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
