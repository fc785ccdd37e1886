"""Memory: what an engine says it holds, what it really holds, and what this machine has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from lmstrix.types import MemoryUse

if TYPE_CHECKING:
    from collections.abc import Iterable

# "load_tensors:   CPU_Mapped model buffer size =     0.93 MiB"; one line per device and kind.
_BUFFER = re.compile(r"(model|KV|RS|compute|output) buffer size = +(\d+(?:\.\d+)?) MiB")
_PART = {
    "model": "weights_bytes",
    "KV": "kv_bytes",
    "RS": "kv_bytes",  # the state of recurrent layers is what they have for a cache
    "compute": "compute_bytes",
    "output": "compute_bytes",
}


def reported_memory(log: Iterable[str], *, resident_bytes: int = 0) -> MemoryUse:
    """The buffers that the engine's log names, summed over devices (to 0.01 MiB)."""
    sums = dict.fromkeys(_PART.values(), 0)
    for line in log:
        if found := _BUFFER.search(line):
            sums[_PART[found[1]]] += round(float(found[2]) * 2**20)
    return MemoryUse(**sums, resident_bytes=resident_bytes)


def resident_bytes(pid: int) -> int:
    """Physical memory of a process, mapped weights included; 0 once it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def machine_bytes() -> int:
    """Physical memory and swap of this machine; no engine can hold more."""
    return int(psutil.virtual_memory().total + psutil.swap_memory().total)


def oom_kills() -> int:
    """How many processes the system has killed for lack of memory since it started.

    Linux counts them; elsewhere this is always 0.
    """
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
