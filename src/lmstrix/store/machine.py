"""A name for this machine that says nothing about its owner."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from pathlib import Path
from urllib.parse import urlsplit

_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_here(server: str) -> bool:
    """Whether what a server loads is loaded into this machine's memory."""
    return "://" not in server or urlsplit(server).hostname in _LOOPBACK


@functools.cache
def machine_id() -> str:
    """Sixteen hex digits, the same until processor, memory or host name change.

    A hash, so it cannot be turned back. In a container the host name is left out, as each new
    container has another and results are to outlive it.
    """
    node = "" if any(mark.exists() for mark in _CONTAINER_MARKS) else platform.node()
    parts = (node, platform.machine(), _processor(), str(os.cpu_count()), str(_memory_gib()))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(("model name", "Hardware")):
                    return line.partition(":")[2].strip()
    except FileNotFoundError:
        return platform.processor() if os.name == "nt" else ""  # elsewhere it runs a program
    return ""


def _memory_gib() -> int:
    """Whole GiB: the exact size differs a little from one kernel to the next."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        import psutil  # noqa: PLC0415  # Windows has no sysconf

        total = psutil.virtual_memory().total
    return round(total / 2**30)
