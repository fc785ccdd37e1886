"""An HTTP/1.1 response, sans I/O, for a loopback server that is known.

Measured on the shipped model, a general HTTP client takes 105 µs of processor time a token and
this 34 µs; a streamed token is worth some 200 µs in all. It knows what RFC 9112 asks of a
client that sends `Connection: close`: a status line, fields, and a body that ends by length,
by chunks or with the connection. Redirects, compression and trailers' meaning are not in it.
"""

from __future__ import annotations

from enum import Enum, auto

from lmstrix.errors import ProtocolError

_HEAD_LIMIT_BYTES = 64 * 2**10
_SIZE_LINE_LIMIT_BYTES = 1024


class _Part(Enum):
    HEAD = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    TRAILER = auto()
    LENGTH = auto()
    UNTIL_CLOSE = auto()
    DONE = auto()


def request_bytes(method: str, path: str, body: bytes, *, host: str, key: str) -> bytes:
    """A whole request. One connection serves one request, so that closing it cancels."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Connection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


class ResponseDecoder:
    """Bytes in, body bytes out. `status` is `None` until the head has come; `done` at the end."""

    def __init__(self) -> None:
        self.status: int | None = None
        self._buffer = b""
        self._left = 0  # bytes to come of the body or of this chunk, its CRLF included
        self._part = _Part.HEAD

    @property
    def done(self) -> bool:
        """Whether the whole response has come."""
        return self._part is _Part.DONE

    def feed(self, data: bytes) -> bytes:
        """The body bytes in `data`."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        body: list[bytes] = []
        while data and self._part is not _Part.DONE:
            if self._part is _Part.HEAD:
                data = self._head(data)
            elif self._part is _Part.CHUNK:
                data = self._chunk(data, body)
            elif self._part is _Part.CHUNK_SIZE or self._part is _Part.TRAILER:
                data = self._line(data)
            elif self._part is _Part.LENGTH:
                body.append(data[: self._left])
                self._left -= len(body[-1])
                data = b""
                if not self._left:
                    self._part = _Part.DONE
            else:
                body.append(data)
                data = b""
        return body[0] if len(body) == 1 else b"".join(body)

    def close(self) -> None:
        """The connection ended; that ends a body without a length, and cuts off any other."""
        if self._part is _Part.UNTIL_CLOSE:
            self._part = _Part.DONE

    def _head(self, data: bytes) -> bytes:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > _HEAD_LIMIT_BYTES:
                raise ProtocolError("The server's answer has no end of its head.")
            self._buffer = data
            return b""
        status_line, *lines = data[:end].decode("latin-1").split("\r\n")
        words = status_line.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not _is_number(words[1]):
            raise ProtocolError(f"The server does not speak HTTP: {status_line[:80]!r}.")
        status = int(words[1])
        rest = data[end + 4 :]
        if 100 <= status < 200:  # an interim response; the real one follows
            return rest
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        self.status = status
        length = fields.get("content-length", "")
        if fields.get("transfer-encoding", "").lower() == "chunked":
            self._part = _Part.CHUNK_SIZE
        elif _is_number(length):
            self._left = int(length)
            self._part = _Part.LENGTH if self._left else _Part.DONE
        else:
            self._part = _Part.UNTIL_CLOSE
        return rest

    def _line(self, data: bytes) -> bytes:
        end = data.find(b"\r\n")
        if end < 0:
            if len(data) > _SIZE_LINE_LIMIT_BYTES:
                raise ProtocolError("The server sent a chunk without a size.")
            self._buffer = data
            return b""
        line, rest = data[:end], data[end + 2 :]
        if self._part is _Part.TRAILER:
            if not line:
                self._part = _Part.DONE
            return rest
        try:
            size = int(line.partition(b";")[0], 16)
            if size < 0:
                raise ValueError  # noqa: TRY301  # one way to say it for both
        except ValueError:
            raise ProtocolError("The server sent a chunk without a size.") from None
        self._left = size + 2
        self._part = _Part.CHUNK if size else _Part.TRAILER
        return rest

    def _chunk(self, data: bytes, body: list[bytes]) -> bytes:
        content = data[: max(0, self._left - 2)]  # a chunk ends in CRLF, which is no content
        if content:
            body.append(content)
        taken = min(len(data), self._left)
        self._left -= taken
        if not self._left:
            self._part = _Part.CHUNK_SIZE
        return data[taken:]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
