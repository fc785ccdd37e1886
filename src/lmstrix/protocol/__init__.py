"""Wire formats, sans I/O: bytes in, messages out, and back. Nothing here opens a socket."""

from __future__ import annotations
