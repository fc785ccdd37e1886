"""Root as a user whom permissions bind, so that tests of them need no other user."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# capabilities(7) and capget(2), version 3: two words of each set.
_VERSION_3 = 0x20080522
_OVER_FILES = (1 << 1) | (1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Within it the calling thread may only read what it is allowed to, root or not."""
    if sys.platform == "win32" or os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("nothing binds root here")
    words = (_Word * 2)()
    _call("capget", words)
    before = words[0].effective
    words[0].effective = before & ~_OVER_FILES
    _call("capset", words)
    try:
        yield
    finally:
        words[0].effective = before
        _call("capset", words)


def _call(name: str, words: ctypes.Array[_Word]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header = _Header(_VERSION_3, 0)
    if getattr(libc, name)(ctypes.byref(header), words):
        raise OSError(ctypes.get_errno(), name)
