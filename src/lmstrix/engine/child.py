"""What runs in the engine's own process; started by file, so it imports next to nothing.

It talks with its owner in lines of JSON. In, on stdin: the spec; for a resident engine then
`{"register": path, "content": text}`. Out, on stdout: `{"url": …}` or `{"error": …}`, then
`{"registered": true}`. The engine's own log goes to stderr.

An owned engine ends when its stdin closes. While the model loads the binding holds the
interpreter's lock and no Python runs, so during that time the system has to end it: by the
parent-death signal on Linux, by a job object on Windows (set by the owner), elsewhere by a
shell that watches whose child this process is.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from types import FrameType

_LOG_LIMIT_BYTES = 4 * 2**20
_PR_SET_PDEATHSIG = 1
# The engine starts some 14 threads. Each reserves a stack, which counts as data of the process
# although next to none of it is ever touched; the rest is the vocabulary and bookkeeping.
_STACKS = 20
_SLACK_BYTES = 32 * 2**20


def main() -> None:
    """Load what the spec on stdin asks for and serve it until the owner, or nobody, needs it."""
    # Whatever the native code prints to stdout must not mix with the messages to the owner.
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    spec = json.loads(sys.stdin.buffer.readline())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner cancels; the terminal does not
    watcher = _end_with(spec["owner_pid"])
    os.environ["GGML_NO_BACKTRACE"] = "1"  # an abort would start a debugger
    try:
        server = _load(spec)
    except (RuntimeError, MemoryError, ValueError, AttributeError) as problem:
        _report(reports, {"error": str(problem), "logged": isinstance(problem, RuntimeError)})
        sys.stdin.buffer.readline()  # the engine writes its log late; the owner waits for its end
        _exit(3)
    _report(reports, {"url": server.listening_address})
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):  # the owner is gone, if need be in the middle of its order
        _exit(0)
    order = json.loads(line)
    try:
        _reside(server, spec, order, reports, watcher)
    except OSError as problem:
        sys.stderr.write(f"The engine could not register: {problem}.\n")
        sys.stderr.flush()
        _exit(3)


def _load(spec: dict[str, Any]) -> Any:
    import xllamacpp  # noqa: PLC0415  # the memory limit counts from here

    params = xllamacpp.CommonParams()
    params.model.path = spec["path"]
    params.model_alias = {spec["model"]}  # else answers would name the file's path
    params.n_ctx = spec["context_tokens"] * spec["parallel"]
    params.n_parallel = spec["parallel"]
    params.n_batch = params.n_ubatch = spec["batch_tokens"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = spec["threads"]
    params.embedding = spec["embedding"]
    for side in ("k", "v"):
        if kind := spec[f"kv_type_{side}"]:
            setattr(params, f"cache_type_{side}", _named(xllamacpp.ggml_type, "GGML_TYPE_", kind))
    if spec["flash_attention"] is not None:
        kind = "ENABLED" if spec["flash_attention"] else "DISABLED"
        params.flash_attn_type = _named(
            xllamacpp.llama_flash_attn_type, "LLAMA_FLASH_ATTN_TYPE_", kind
        )
    if spec["gpu_layers"] is not None:
        params.n_gpu_layers = spec["gpu_layers"]
    # What is unsafe or surprising by default: pages of any origin may call it without a key, a
    # web page is served, 8 GiB are set aside for old prompts, and too large a context is
    # silently made smaller.
    params.api_keys = [spec["key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.cors_origins = "http://127.0.0.1"
    params.cors_credentials = False
    params.ui = False
    params.endpoint_props = False  # reading is always allowed; this is about changing them
    params.endpoint_metrics = True  # how a resident engine knows that it is idle
    params.cache_ram_mib = spec["prompt_cache_bytes"] // 2**20
    params.cache_idle_slots = False
    params.fit_params = False
    params.ctx_shift = False
    params.offline = True
    params.verbosity = 4  # buffer sizes; no text of prompts or answers below 5
    if sys.platform == "linux" and (limit := spec["memory_limit_bytes"]) is not None:
        # Weights that are read, not mapped, count as memory of the process exactly once.
        params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
        _cap_memory(limit)
    return xllamacpp.Server(params)


def _named(enum: Any, prefix: str, name: str) -> Any:
    try:
        return enum[prefix + name.upper()]
    except KeyError:
        raise ValueError(f"{name!r} is no type that this engine knows") from None


def _cap_memory(limit: int) -> None:
    """Let allocations fail beyond `limit` bytes more than this process holds now (Linux).

    RLIMIT_DATA counts private writable memory, so neither the binding's own code nor mapped
    files; RLIMIT_AS also counts address space that is only reserved, and makes the binding
    abort when it starts its threads.
    """
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415  # not on Windows

    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123  # pathlib costs start-up time
        held = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    stack = 8 * 2**20 if stack == resource.RLIM_INFINITY else stack
    most = held + _STACKS * stack + _SLACK_BYTES + limit
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _end_with(owner_pid: int) -> subprocess.Popen[bytes] | None:
    """Let the system end this process with its owner while no Python runs here."""
    if sys.platform == "win32":
        return None
    if sys.platform == "linux":
        _set_parent_death_signal(signal.SIGKILL)
        _go_first_when_memory_runs_out()
        watcher = None
    else:
        watcher = _watch_from_shell(os.getpid(), owner_pid)
    if os.getppid() != owner_pid:  # it died before the line above could know
        _exit(0)
    return watcher


def _go_first_when_memory_runs_out() -> None:
    with (
        contextlib.suppress(OSError),  # a container may forbid it
        open("/proc/self/oom_score_adj", "w", encoding="ascii") as score,  # noqa: PTH123  # as above
    ):
        score.write("500")


def _watch_from_shell(pid: int, owner_pid: int) -> subprocess.Popen[bytes]:
    """A process that kills `pid` within a second of its becoming somebody else's child."""
    script = (
        'while parent=$(ps -o ppid= -p "$0"); do '
        '[ "$parent" -eq "$1" ] || { kill -9 "$0"; exit; }; sleep 1; done'
    )
    return subprocess.Popen(
        ["/bin/sh", "-c", script, str(pid), str(owner_pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _set_parent_death_signal(number: int) -> None:
    import ctypes  # noqa: PLC0415  # only Linux needs it

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _stop_watching(watcher: subprocess.Popen[bytes] | None) -> None:
    if sys.platform == "linux":
        _set_parent_death_signal(0)
    if watcher is not None:
        watcher.kill()
        watcher.wait()


def _reside(
    server: Any,
    spec: dict[str, Any],
    order: dict[str, str],
    reports: Any,
    watcher: subprocess.Popen[bytes] | None,
) -> NoReturn:
    """Register, let go of the owner, and end after `ttl_s` without a request."""
    registration = order["register"]
    stop = threading.Event()

    def told_to_end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, told_to_end)
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    os.dup2(log, 1)
    _write_privately(registration, order["content"])
    _stop_watching(watcher)
    _report(reports, {"registered": True})
    reports.close()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # the owner's pipe
    try:
        _wait_until_idle(server, math.inf if spec["ttl_s"] is None else spec["ttl_s"], stop, log)
    finally:
        _remove(registration)
        _remove(order["log"])
        _exit(0)


def _wait_until_idle(server: Any, ttl_s: float, stop: threading.Event, log: int) -> None:
    seen, since = "", time.monotonic()
    while not stop.wait(min(5.0, ttl_s / 4)):
        now = time.monotonic()
        counters, busy = _activity(server.handle_metrics())
        if busy or counters != seen:
            seen, since = counters, now
        elif now - since >= ttl_s:
            return
        if os.fstat(log).st_size > _LOG_LIMIT_BYTES:
            os.ftruncate(log, 0)


def _activity(metrics: str) -> tuple[str, bool]:
    """The engine's counters, and whether a request is under way."""
    lines = [line for line in metrics.splitlines() if not line.startswith("#")]
    counters = "\n".join(line for line in lines if "_total " in line)
    under_way = ("llamacpp:requests_processing ", "llamacpp:requests_deferred ")
    busy = any(line.startswith(under_way) and line.split()[-1] != "0" for line in lines)
    return counters, busy


def _write_privately(path: str, text: str) -> None:
    """Write beside and rename, readable by the user alone from its first byte on."""
    beside = f"{path}.{os.getpid()}"
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(handle)
    os.replace(beside, path)  # noqa: PTH105  # pathlib costs start-up time


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):  # whoever sweeps later finds the pid gone as well
        os.remove(path)  # noqa: PTH107  # pathlib costs start-up time


def _report(reports: Any, message: dict[str, object]) -> None:
    try:
        reports.write(json.dumps(message) + "\n")
        reports.flush()
    except OSError:
        _exit(0)  # nobody is left to report to


def _exit(status: int) -> NoReturn:
    """End at once: the binding's destructor can hang (measured: right after a load, always)."""
    os._exit(status)


if __name__ == "__main__":
    main()
