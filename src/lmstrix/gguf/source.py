"""The bytes of a header, a chunk in memory at a time, none taken that is not there."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

from lmstrix.errors import GGUFError, TruncatedFileError

if TYPE_CHECKING:
    from pathlib import Path

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")

# Far beyond any real model, small enough that a hostile file costs seconds and megabytes.
MOST_HEADER_BYTES = 1 << 28
MOST_TEXT_BYTES = 1 << 24
CHUNK_BYTES = 1 << 20


class Source:
    """The bytes of one file from its start, a chunk in memory at a time."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._file = file
        self._buffer = b""
        self._start = 0  # of the buffer, in the file
        self._at = 0  # in the buffer; past its end after a skip

    @property
    def position(self) -> int:
        """Where the next byte comes from."""
        return self._start + self._at

    def wrong(self, what: str, *, hint: str = "") -> GGUFError:
        """The error that says `what` is wrong with this file."""
        return GGUFError(f"{self.path.name}: {what}", path=self.path, hint=hint)

    def truncated(self, needed: int) -> TruncatedFileError:
        """The error for a file that should have `needed` bytes."""
        return TruncatedFileError(
            f"{self.path.name} has {self.size:,} bytes and needs at least {needed:,}",
            path=self.path,
            hint="The download is not complete; download it again.",
        )

    def _have(self, count: int) -> None:
        if len(self._buffer) - self._at >= count:
            return
        start = self.position
        if start + count > self.size:
            raise self.truncated(start + count)
        if start + count > MOST_HEADER_BYTES:
            raise self.wrong("the header has no end within 256 MiB")
        self._file.seek(start)
        self._buffer = self._file.read(max(count, CHUNK_BYTES))
        self._start, self._at = start, 0
        if len(self._buffer) < count:
            raise self.truncated(start + count)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self._have(count)
        self._at += count
        return self._buffer[self._at - count : self._at]

    def number(self, kind: struct.Struct) -> int | float | bool:
        """The next scalar."""
        self._have(kind.size)
        self._at += kind.size
        value: int | float | bool = kind.unpack_from(self._buffer, self._at - kind.size)[0]
        return value

    def u32(self) -> int:
        """The next unsigned 32-bit integer."""
        return int(self.number(_U32))

    def u64(self) -> int:
        """The next unsigned 64-bit integer."""
        return int(self.number(_U64))

    def text(self, most: int = MOST_TEXT_BYTES) -> str:
        """The next text; bytes that are no UTF-8 are replaced."""
        length = self.u64()
        if self.position + length > self.size:
            raise self.truncated(self.position + length)
        if length > most:
            raise self.wrong(f"a text of {length:,} bytes in the header")
        return self.take(length).decode("utf-8", "replace")

    def count(self, what: str, most: int, smallest: int) -> int:
        """A count of things that take at least `smallest` bytes each."""
        count = self.u64()
        if count > most:
            raise self.wrong(f"{count:,} {what} are not plausible")
        needed = self.position + count * smallest
        if needed > self.size:
            raise self.truncated(needed)
        return count

    def skip(self, count: int) -> None:
        """Pass over bytes without reading them."""
        if self.position + count > self.size:
            raise self.truncated(self.position + count)
        self._at += count

    def skip_texts(self, count: int) -> None:
        """Pass over texts, reading only their lengths."""
        unpack = _U64.unpack_from
        while count:
            self._have(8)
            buffer, at, done = self._buffer, self._at, 0
            try:
                for done in range(count):  # noqa: B007  # read after the loop broke off
                    at += unpack(buffer, at)[0] + 8
            except (struct.error, OverflowError):
                count -= done
            else:
                count = 0
            # `at` may lie beyond the buffer: the next text starts there.
            self._at = at
            if self.position > self.size:
                raise self.truncated(self.position)
