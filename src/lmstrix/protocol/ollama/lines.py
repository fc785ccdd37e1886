"""Newline-delimited JSON: bytes in, lines out."""

from __future__ import annotations

from lmstrix.errors import ProtocolError

# The longest line Ollama's own client accepts is 8 MB (`maxBufferSize` in its api/client.go).
LINE_LIMIT_BYTES = 10 * 2**20


class LineDecoder:
    """Cuts a byte stream, in whatever pieces it arrives, into lines without their ends.

    A piece may end within a letter: nothing is decoded here. Empty lines are passed over. A line
    longer than `limit_bytes` raises `ProtocolError`.
    """

    def __init__(self, *, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._pending: list[bytes] = []  # pieces of a line whose end has not come
        self._pending_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes."""
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        if self._pending:
            chunk = b"".join((*self._pending, chunk))
            self._pending.clear()
            self._pending_bytes = 0
        *lines, rest = chunk.split(b"\n")
        self._keep(rest)
        found = [stripped for line in lines if (stripped := line.strip())]
        for line in found:
            if len(line) > self._limit:
                raise self._too_long()
        return found

    def finish(self) -> list[bytes]:
        """The last line, where the stream ended without an end of line."""
        last = b"".join(self._pending).strip()
        self._pending.clear()
        self._pending_bytes = 0
        return [last] if last else []

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._pending_bytes += len(piece)
        if self._pending_bytes > self._limit:
            raise self._too_long()
        self._pending.append(piece)

    def _too_long(self) -> ProtocolError:
        return ProtocolError(
            f"The server sent a line of more than {self._limit:,} bytes.",
            hint="It does not speak Ollama's dialect there; look at its log.",
        )
