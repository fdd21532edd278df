"""Open connections: moves bytes without waiting, and keeps idle connections for the next
request."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from .exchange import Exchange
    from .tls import Tls

__all__ = ["Address", "Connection", "Idle", "has_arrived", "now", "set_out"]

Address = tuple[int, int, int, str, Any]
"""One address, as ``getaddrinfo`` gives it."""

MAX_IDLE: Final = 5.0
"""Seconds for which an idle connection is kept."""
MAX_AGE: Final = 300.0
"""The longest use of a connection, in seconds, so that a change of DNS takes effect."""
MOST_IDLE: Final = 20
"""The most idle connections that are kept."""

_CHUNK: Final = 65_536
_ON_ITS_WAY: Final = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)


class _Time:
    # Held by a class: a test that freezes time replaces what it finds in modules.
    monotonic = staticmethod(time.monotonic)


def now() -> float:
    """Return the time in seconds; it never runs backwards."""
    return _Time.monotonic()


def set_out(address: Address) -> socket.socket:
    """Return a non-blocking socket that is connecting to an address.

    Raises:
        OSError: the address cannot be reached.
    """
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(where)
    except BaseException:
        sock.close()
        raise
    return sock if code in _ON_ITS_WAY else _failed(sock, code)


def has_arrived(sock: socket.socket) -> bool:
    """Return True if a connecting socket is connected.

    Raises:
        OSError: it has failed, and is closed.
    """
    if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        _failed(sock, code)
    try:
        sock.getpeername()
    except OSError:  # not yet
        return False
    return True


def _failed(sock: socket.socket, code: int) -> NoReturn:
    sock.close()
    raise OSError(code, os.strerror(code))


class Connection:
    """An open connection. It never waits: its owner waits for its socket.

    Args:
        sock: a connected non-blocking socket, which the connection owns.
        tls: its encryption, before the handshake; None for none.
    """

    def __init__(self, sock: socket.socket, tls: Tls | None) -> None:
        self.socket = sock
        self._tls = tls
        self._unsent = memoryview(b"")
        self._broken: OSError | None = None
        self._ended = False
        self._process = os.getpid()
        self._born = self.idle_since = now()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def blocked(self) -> bool:
        """True while bytes wait to be sent."""
        return bool(self._unsent)

    def secure(self) -> bool:
        """Continue the handshake as far as possible; return True once it is complete.

        Raises:
            OSError: it has failed.
        """
        tls = self._tls
        if tls is None:
            return True
        done = tls.shake_hands()
        while not done:
            self.flush()
            data = self._received()
            if data is None:
                return False
            done = tls.shake_hands(data)
        return True

    def write(self, data: bytes) -> None:
        """Send as much of ``data`` as possible now, the rest by ``flush``."""
        if self._tls is not None:
            self._tls.encrypt(data)
        else:
            self._unsent = memoryview(data)
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now. A failure is kept for later: a response may have arrived
        before it."""
        if self._tls is not None and (more := self._tls.leaving()):
            self._unsent = memoryview(bytes(self._unsent) + more)
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._broken, self._unsent = error, memoryview(b"")

    def read(self) -> bytes | None:
        """Return bytes that have arrived: an empty string at the connection's end, None if there
        are none yet.

        Raises:
            OSError: the connection is broken.
        """
        while not self._ended:
            data = self._received()
            if data is None or self._tls is None:
                return data
            plain, self._ended = self._tls.decrypt(data)
            if plain:
                return plain
        return b""

    def _received(self) -> bytes | None:
        try:
            return self.socket.recv(_CHUNK)
        except BlockingIOError:
            if self._broken is not None:
                raise self._broken from None
            return None

    def feed(self, exchange: Exchange) -> None:
        """Continue sending, and pass all that has arrived to an exchange, until it is complete.

        Raises:
            OSError: the connection is broken.
            BrokenResponseError: the response is.
        """
        self.flush()
        while (data := self.read()) is not None:
            if exchange.receive(data):
                return

    def is_usable(self) -> bool:
        """Return True if an idle connection can carry a request: it belongs to this process, is
        neither too old nor idle for too long, and the server has neither closed it nor sent
        anything."""
        if self._process != os.getpid() or self.is_stale():
            return False
        try:
            return self.read() is None
        except OSError:
            return False

    def is_stale(self) -> bool:
        """Return True if an idle connection is too old, or idle for too long."""
        at = now()
        return at - self.idle_since >= MAX_IDLE or at - self._born >= MAX_AGE

    def close(self) -> None:
        """Close it, without waiting."""
        self.socket.close()


class Idle:
    """Connections that wait for a request. Safe in threads: each step is one of the deque's own."""

    def __init__(self) -> None:
        self._connections: deque[Connection] = deque()  # the freshest is the last
        self._closed = False

    def take(self) -> Connection | None:
        """Return a connection that can be used, None if there is none."""
        with suppress(IndexError):
            while not (connection := self._connections.pop()).is_usable():
                connection.close()
            return connection
        return None

    def put(self, connection: Connection) -> None:
        """Keep a connection; close those that have waited for too long."""
        connection.idle_since = now()
        self._connections.append(connection)
        if self._closed:
            self.close()
        with suppress(IndexError):  # other threads may take them meanwhile
            while len(self._connections) > MOST_IDLE or self._connections[0].is_stale():
                self._connections.popleft().close()

    def close(self) -> None:
        """Close every connection, and those that come later."""
        self._closed = True
        with suppress(IndexError):
            while True:
                self._connections.pop().close()
