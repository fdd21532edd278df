"""Open connections: moves bytes without waiting, and keeps idle connections for the next
request."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from masivo.protocol import Response

    from .exchange import Exchange

__all__ = ["Address", "Connection", "Idle", "begin_connect", "is_connected", "literal", "now"]

Address = tuple[int, int, int, str, Any]
"""One address, as ``getaddrinfo`` gives it."""

MAX_IDLE: Final = 5.0
"""Seconds for which an idle connection is kept."""
MAX_AGE: Final = 300.0
"""The longest use of a connection, in seconds, so that a change of DNS takes effect."""

_CHUNK: Final = 65_536


now: Final = partial(time.monotonic)
"""Returns the time in seconds; it never runs backwards. Not the function itself: a test that
freezes time replaces that wherever it finds it."""


def literal(host: str, port: int) -> Sequence[Address]:
    """Return the address that a host already is; none for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, host)
            return [(family, socket.SOCK_STREAM, 0, "", (host, port))]
    return []


def begin_connect(address: Address) -> socket.socket:
    """Return a non-blocking socket that is connecting to an address.

    Raises:
        OSError: the address cannot be reached.
    """
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BlockingIOError):
            sock.connect(where)
    except BaseException:
        sock.close()
        raise
    return sock


def is_connected(sock: socket.socket) -> bool:
    """Return True if a connecting socket is connected.

    Raises:
        OSError: it has failed, and is closed.
    """
    if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        sock.close()
        raise OSError(code, os.strerror(code))
    with suppress(OSError):  # not yet
        sock.getpeername()
        return True
    return False


class Connection:
    """An open connection. It never waits: its owner waits for its socket.

    Args:
        sock: a connected non-blocking socket, which the connection owns.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.unsent = memoryview(b"")
        """Bytes that ``feed`` has to send."""
        self._broken: OSError | None = None
        self._not_yet: tuple[type[OSError], ...] = (BlockingIOError,)
        self._process = os.getpid()
        self._born = self.idle_since = now()

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from now on. ``is_secure`` does the handshake.

        No ``close_notify`` is ever sent: in the child of a fork it would end the connection of the
        parent.

        Args:
            context: which certificates are trusted.
            host: the server's name or address.
        """
        import ssl  # loaded already, for the context

        self._not_yet = ssl.SSLWantReadError, ssl.SSLWantWriteError
        self.socket = context.wrap_socket(
            self.socket, server_hostname=host, do_handshake_on_connect=False
        )

    def is_secure(self) -> bool:
        """Do as much of the handshake as possible; return True once it is complete.

        Raises:
            OSError: it has failed.
        """
        try:
            cast("ssl.SSLSocket", self.socket).do_handshake()
        except self._not_yet:
            return False
        return True

    def _read(self) -> bytes | None:
        """Return bytes that have arrived: an empty string at the connection's end, None if there
        are none yet.

        Raises:
            OSError: the connection is broken.
        """
        try:
            return self.socket.recv(_CHUNK)
        except self._not_yet:
            if self._broken is not None:
                raise self._broken from None
            return None

    def feed(self, exchange: Exchange) -> Response | None:
        """Send as much as possible, and pass all that has arrived to an exchange; return the
        response once it is complete. A call that completes the sending reads nothing: it is too
        early.

        Raises:
            OSError: the connection is broken.
            BrokenResponseError: the response is.
        """
        if self.unsent:
            try:
                while self.unsent:
                    self.unsent = self.unsent[self.socket.send(self.unsent) :]
                return None
            except self._not_yet:
                pass
            except OSError as error:  # a response may have arrived before it
                self._broken, self.unsent = error, memoryview(b"")
        while (data := self._read()) is not None:
            if response := exchange.receive(data):
                return response
        return None

    def is_usable(self) -> bool:
        """Return True if an idle connection can carry a request: it belongs to this process, is
        neither too old nor idle for too long, and the server has neither closed it nor sent
        anything."""
        if self._process != os.getpid() or self.is_stale():
            return False
        try:
            return self._read() is None
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
            while self._connections[0].is_stale():
                self._connections.popleft().close()

    def close(self) -> None:
        """Close every connection, and those that come later."""
        self._closed = True
        with suppress(IndexError):
            while True:
                self._connections.pop().close()
