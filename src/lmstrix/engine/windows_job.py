"""A Windows job object that ends a process when its owner's handle to the job closes.

Unverified: written from Microsoft's documentation of `CreateJobObjectW`,
`SetInformationJobObject` and `AssignProcessToJobObject`, never run.
"""

from __future__ import annotations

import ctypes
import sys
from typing import ClassVar

assert sys.platform == "win32", "jobs are Windows' own"

_EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
_KILL_ON_CLOSE = 0x2000  # JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
_MAY_ASSIGN = 0x0101  # PROCESS_SET_QUOTA | PROCESS_TERMINATE


class _BasicLimits(ctypes.Structure):
    _fields_: ClassVar = [
        ("per_process_time", ctypes.c_int64),
        ("per_job_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32),
        ("minimum_working_set", ctypes.c_size_t),
        ("maximum_working_set", ctypes.c_size_t),
        ("active_processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority_class", ctypes.c_uint32),
        ("scheduling_class", ctypes.c_uint32),
    ]


class _ExtendedLimits(ctypes.Structure):
    _fields_: ClassVar = [
        ("basic", _BasicLimits),
        ("io_counters", ctypes.c_uint64 * 6),
        ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t),
        ("peak_process_memory", ctypes.c_size_t),
        ("peak_job_memory", ctypes.c_size_t),
    ]


class Job:
    """Ties the process `pid` to this one until `release`."""

    def __init__(self, pid: int) -> None:
        self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        for name in ("CreateJobObjectW", "OpenProcess"):
            getattr(self._kernel, name).restype = ctypes.c_void_p
        self._handle = ctypes.c_void_p(self._kernel.CreateJobObjectW(None, None))
        self._limit(_KILL_ON_CLOSE)
        process = ctypes.c_void_p(self._kernel.OpenProcess(_MAY_ASSIGN, False, pid))
        if not process:  # it has died already
            return
        assigned = self._kernel.AssignProcessToJobObject(self._handle, process)
        self._kernel.CloseHandle(process)
        if not assigned:
            raise ctypes.WinError(ctypes.get_last_error())

    def release(self) -> None:
        """Let the process go on without this one."""
        self._limit(0)

    def _limit(self, flags: int) -> None:
        limits = _ExtendedLimits()
        limits.basic.flags = flags
        if not self._kernel.SetInformationJobObject(
            self._handle, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)
        ):
            raise ctypes.WinError(ctypes.get_last_error())
