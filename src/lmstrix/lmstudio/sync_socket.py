"""A connection for threads. Whoever waits for an answer reads, and hands out what is for others.

There is no thread of its own: with one thread at work an answer costs no switch between threads,
and nothing runs while nobody asks.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lmstrix.lmstudio.addresses import Address, tls_context
from lmstrix.lmstudio.errors import LMStudioTimeoutError
from lmstrix.lmstudio.link import Link
from lmstrix.lmstudio.silence import Silence, lost, unreachable
from lmstrix.lmstudio.tunnel import Tunnel

if TYPE_CHECKING:
    from lmstrix.lmstudio.addresses import Access
    from lmstrix.lmstudio.link import Inbox
    from lmstrix.protocol.lmstudio.envelopes import Auth

_CHUNK_BYTES = 256 * 2**10
_NOW = 0.0  # a deadline that has always passed
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class SyncSocket:
    """A connection to one namespace. Its methods may be called from any thread."""

    def __init__(self, link: Link, sock: socket.socket) -> None:
        self.link = link
        self._sock = sock
        self._silence = Silence()
        self._lock = threading.Lock()  # guards the link and what is written
        self._turn = threading.Condition(threading.Lock())
        self._reading = False
        self._torn = False  # within a read: what was read may not be taken yet

    @classmethod
    def connect(
        cls,
        address: Address,
        namespace: str,
        auth: Auth,
        access: Access,
        *,
        limit_s: float | None,
        limit_bytes: int,
    ) -> SyncSocket:
        """Open a connection, both handshakes included.

        Raises `LMStudioWebsocketError`; `LMStudioServerError` where the server refuses the client.
        """
        url = address.websocket_url(namespace)
        deadline = None if limit_s is None else time.monotonic() + limit_s
        try:
            sock = _connect(address, access, deadline)
        except OSError as problem:
            raise unreachable(url, problem) from None
        link = Link(url, auth, access.headers, limit_bytes=limit_bytes)
        opened = cls(link, sock)
        try:
            link.start()
            opened._write()  # its own
            opened._shake_hands(deadline, limit_s)  # its own
        except BaseException:
            opened.close()
            raise
        return opened

    @property
    def alive(self) -> bool:
        """Whether calls may be made, as far as is known."""
        return self.link.lost is None

    def check(self) -> bool:
        """Whether calls may be made, looked at: what came while nobody waited is read.

        After a long silence, or when the machine slept, the server is asked for a sign of life.
        """
        with self._turn:
            if self._reading:  # somebody is at it: the connection is in use
                return self.alive
            self._reading = True
        try:
            while self.alive and self._read(_NOW):
                pass
            if self.alive and self._silence.long():
                self._ask_for_life()
        finally:
            self._end_turn()
        return self.alive

    def call(self, endpoint: str, parameter: Any, notice: str) -> Inbox:
        """Send a remote call."""
        with self._lock:
            self._raise_iflost()
            inbox = self.link.call(endpoint, parameter, notice)
            self._flush()
        return inbox

    def open(self, endpoint: str, parameter: Any, notice: str) -> Inbox:
        """Open a channel."""
        with self._lock:
            self._raise_iflost()
            inbox = self.link.open(endpoint, parameter, notice)
            self._flush()
        return inbox

    def send(self, inbox: Inbox, message: Any) -> None:
        """Send a message on a channel."""
        with self._lock:
            self.link.send(inbox, message)
            self._flush()

    def release(self, inbox: Inbox) -> None:
        """Nobody reads that inbox any more."""
        with self._lock:
            self.link.release(inbox)

    def wait(self, inbox: Inbox, limit_s: float | None) -> None:
        """Wait until there is something in the inbox.

        Raises `LMStudioTimeoutError` when nothing came in time.
        """
        deadline = None if limit_s is None else time.monotonic() + limit_s
        while not inbox.ready:
            if deadline is not None and time.monotonic() >= deadline:
                raise LMStudioTimeoutError(
                    f"{inbox.notice}: the server said nothing for {limit_s:g} s.",
                    hint="Allow more with `timeouts`, or see what the server is doing.",
                )
            self._wait_once(inbox, deadline)

    def close(self) -> None:
        """End the connection; whatever waits on it ends with an error."""
        with self._lock:
            self.link.close()
            with suppress(OSError, ValueError):  # the goodbye is mere politeness
                for piece in self.link.outgoing():
                    self._sock.send(piece)
            with suppress(OSError):  # it may be connected no more
                self._sock.shutdown(socket.SHUT_RDWR)  # wakes whoever reads
            self._sock.close()

    def _shake_hands(self, deadline: float | None, limit_s: float | None) -> None:
        link = self.link
        while not link.ready and link.lost is None:
            if not self._read(deadline):
                problem = TimeoutError(f"it said nothing for {limit_s:g} s")
                raise unreachable(link.url, problem)
        if link.lost is not None:
            raise link.lost

    def _wait_once(self, inbox: Inbox, deadline: float | None) -> None:
        with self._turn:
            if inbox.ready:
                return
            if self._reading:
                self._turn.wait(None if deadline is None else deadline - time.monotonic())
                return
            self._reading = True
        try:
            self._read(deadline)
        finally:
            self._end_turn()

    def _end_turn(self) -> None:
        with self._turn:
            if (
                self._torn
            ):  # interrupted in the middle of a frame: nobody knows what was taken of it
                self._torn = False
                self.link.lose(lost(self.link.url, InterruptedError("interrupted while reading")))
            self._reading = False
            self._turn.notify_all()

    def _read(self, deadline: float | None) -> bool:
        """Read what there is, waiting until the deadline for the first of it; whether it came.

        The wait may be interrupted at any moment (Ctrl-C) and loses nothing.
        """
        sock = self._sock
        while True:
            self._torn = True
            try:
                data = sock.recv(_CHUNK_BYTES)
            except _WOULD_BLOCK:
                self._torn = False
                if deadline == _NOW or not _wait_for(sock, deadline, reading=True):
                    return False
                continue
            except (OSError, ValueError) as problem:
                with self._lock:
                    self.link.lose(lost(self.link.url, problem))
                self._torn = False
                return True
            break
        self._silence.broken()
        with self._lock:
            if data:
                self.link.feed(data)
            elif self.link.lost is None:
                self.link.feed_end()
            self._flush()
        self._torn = False
        return True

    def _ask_for_life(self) -> None:
        before = self.link.pongs
        with self._lock:
            self.link.ping()
            self._flush()
        deadline = time.monotonic() + Silence.ANSWER_S
        while self.alive and self.link.pongs == before:
            if not self._read(deadline):
                with self._lock:
                    self.link.lose(lost(self.link.url, TimeoutError("no sign of life")))

    def _raise_iflost(self) -> None:
        if self.link.lost is not None:
            raise self.link.lost

    def _write(self) -> None:
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        pieces = self.link.outgoing()
        if not pieces:
            return
        try:
            left = memoryview(b"".join(pieces))
            while left:
                try:
                    left = left[self._sock.send(left) :]
                except _WOULD_BLOCK:
                    _wait_for(self._sock, None, reading=False)
            if not pieces[-1]:
                self._sock.shutdown(socket.SHUT_WR)
        except (OSError, ValueError) as problem:
            self.link.lose(lost(self.link.url, problem))
        except BaseException:
            self.link.lose(lost(self.link.url, InterruptedError("interrupted while writing")))
            raise


def _connect(address: Address, access: Access, deadline: float | None) -> socket.socket:
    target = address if access.proxy is None else Address.parse(access.proxy)
    limit_s = None if deadline is None else max(0.001, deadline - time.monotonic())
    sock = socket.create_connection((target.host, target.port), limit_s)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if access.proxy is not None:
            tunnel = Tunnel(address, target)
            sock.sendall(tunnel.request())
            while not tunnel.open:
                tunnel.feed(sock.recv(_CHUNK_BYTES))
        context = tls_context(address, access)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=address.host)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _wait_for(sock: socket.socket, deadline: float | None, *, reading: bool) -> bool:
    """Wait until the socket can be read or written; false when the deadline came first."""
    left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN if reading else select.POLLOUT)
        return bool(poll.poll(None if left_s is None else left_s * 1000))
    wanted = [sock]
    ready = select.select(wanted if reading else [], [] if reading else wanted, [], left_s)
    return any(ready)
