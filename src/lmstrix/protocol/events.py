"""Server-sent events: bytes in, events out.

The format is the one of the HTML standard, section 9.2.6 "Interpreting an event stream":
lines end in LF, CRLF or CR, an empty line ends an event, a line that starts with a colon is a
comment (servers send them to keep a connection alive).
"""

from __future__ import annotations

import msgspec

from lmstrix.errors import ProtocolError

_BOM = b"\xef\xbb\xbf"


class Event(msgspec.Struct, frozen=True):
    """One event. `data` stays bytes: what it holds is the next decoder's business."""

    data: bytes
    name: str = "message"
    id: str | None = None


class EventDecoder:
    """Cuts a byte stream, in whatever pieces it arrives, into events.

    A line or an event longer than `limit_bytes` raises `ProtocolError`. An event that the end
    of the stream cuts off is no event, as the standard says.
    """

    def __init__(self, *, limit_bytes: int = 64 * 2**20) -> None:
        self._limit = limit_bytes
        self._pending: list[bytes] = []  # pieces of a line whose end has not come
        self._pending_bytes = 0
        self._after_cr = False
        self._at_start = True
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = ""
        self._id: str | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == 0x0A:  # the second half of a CRLF
                chunk = chunk[1:]
        if b"\r" in chunk:
            return self._lines(chunk)
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        chunk = self._with_pending(chunk)
        if self._at_start or self._data or self._name:
            return self._lines(chunk)
        # What servers really send: one line of data, then an empty one.
        events: list[Event] = []
        *blocks, rest = chunk.split(b"\n\n")
        for block in blocks:
            if block[:6] == b"data: " and b"\n" not in block:
                events.append(Event(block[6:], id=self._id))
            else:
                events += self._lines(block + b"\n\n")
        return events + self._lines(rest) if rest else events

    def _with_pending(self, chunk: bytes) -> bytes:
        if self._pending:
            chunk = b"".join((*self._pending, chunk))
            self._pending.clear()
            self._pending_bytes = 0
        return chunk

    def _lines(self, chunk: bytes) -> list[Event]:
        lines = self._with_pending(chunk).splitlines(keepends=True)
        if not lines:
            return []
        last = lines[-1][-1]
        if last == 0x0D:
            self._after_cr = True
        elif last != 0x0A:
            self._keep(lines.pop())
        return [event for line in lines if (event := self._take(line)) is not None]

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._pending_bytes += len(piece)
        if self._pending_bytes > self._limit:
            raise ProtocolError(
                f"The server sent a line of more than {self._limit:,} bytes.",
            )
        self._pending.append(piece)

    def _take(self, raw: bytes) -> Event | None:
        line = raw.rstrip(b"\r\n")
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data_bytes += len(value) + 1
            if self._data_bytes > self._limit:
                raise ProtocolError(f"The server sent an event of more than {self._limit:,} bytes.")
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        elif field == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        return None  # a comment, `retry`, or a field that nobody knows

    def _dispatch(self) -> Event | None:
        name, self._name = self._name, ""
        if not self._data:
            return None
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        self._data_bytes = 0
        return Event(data, name or "message", self._id)
