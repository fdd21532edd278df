"""Open connections: moving bytes without waiting, and keeping idle ones for the next request."""

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
"""How long a connection is kept for the next request, in seconds."""
MAX_AGE: Final = 300.0
"""How long a connection is used at most, in seconds: a change of DNS is seen then."""
MOST_IDLE: Final = 20
"""How many are kept at most."""

_CHUNK: Final = 65_536
_ON_ITS_WAY: Final = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)


class _Time:
    # Held by a class: a test that freezes time replaces what it finds in modules.
    monotonic = staticmethod(time.monotonic)


def now() -> float:
    """Return the time in seconds; it never runs backwards."""
    return _Time.monotonic()


def set_out(address: Address) -> socket.socket:
    """Return a socket that does not block, on its way to an address.

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
    """Return whether a socket that has set out is connected.

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
    """An open connection. It never waits: whoever owns it waits for its socket.

    Args:
        sock: a connected socket that does not block; it is owned from now on.
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
        """True while something is still to be sent."""
        return bool(self._unsent)

    def secure(self) -> bool:
        """Go on with the handshake as far as it gets; return whether it is complete.

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
        """Have ``data`` sent, all that can be at once, the rest by ``flush``."""
        if self._tls is not None:
            self._tls.encrypt(data)
        else:
            self._unsent = memoryview(data)
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now. A failure is kept: a response may be there all the same."""
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
        """Return bytes that have arrived: none at the connection's end, None if there are none yet.

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
        """Go on sending, and give an exchange all that has arrived, until it is complete.

        Raises:
            OSError: the connection is broken.
            BrokenResponseError: the response is.
        """
        self.flush()
        while (data := self.read()) is not None:
            if exchange.receive(data):
                return

    def is_usable(self) -> bool:
        """Return whether an idle connection can carry a request: it is this process's, neither too
        old nor idle for too long, and the server has neither closed it nor said anything."""
        if self._process != os.getpid() or self.is_stale():
            return False
        try:
            return self.read() is None
        except OSError:
            return False

    def is_stale(self) -> bool:
        """Return whether an idle connection has had its time."""
        at = now()
        return at - self.idle_since >= MAX_IDLE or at - self._born >= MAX_AGE

    def close(self) -> None:
        """Close it; nothing is waited for."""
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
        with suppress(IndexError):  # others may take them meanwhile
            while len(self._connections) > MOST_IDLE or self._connections[0].is_stale():
                self._connections.popleft().close()

    def close(self) -> None:
        """Close every connection, and those that come later."""
        self._closed = True
        with suppress(IndexError):
            while True:
                self._connections.pop().close()
