"""Adjustments of a connection when it opens: a bounded request time, gathered writes.

The library calls the ``trace`` extension before and after each step of a request.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Deadline", "bounded_handshake", "gather"]

_OPENING: Final = ("connect_tcp.started", "connect_unix_socket.started")
_CONNECTED: Final = ("connect_tcp.complete", "connect_unix_socket.complete")
_OPENED: Final = (*_CONNECTED, "start_tls.complete")
_PIECE: Final = 65_536
_HANDSHAKE: Final = 0.95  # of a request's time: the TLS handshake must be complete by then
_AN_INSTANT: Final = 0.001  # seconds; 0 would make the sockets non-blocking


class Deadline(threading.local):
    """A bound on the time of a whole request.

    The library's own timeouts restart with every byte that arrives. Its ``trace`` extension is
    called before a connection is opened, with the arguments, and after it. Reads and writes of the
    stream are then limited to the time that the current request has left (connections outlive
    requests, and stay on their thread during a request).
    """

    at: float | None = None
    """The ``time.monotonic`` by which this thread's request must end; None without a request."""

    def trace(self, name: str, info: dict[str, Any]) -> None:
        """Handle one step of a request."""
        if name.endswith("start_tls.started") and self.at is not None:
            # An exception raised here would leave the connection open.
            info["timeout"] = max(_AN_INSTANT, self.at - time.monotonic())
        elif name.endswith(_OPENING):
            info["timeout"] = self._left(info["timeout"])
        elif name.endswith(_OPENED):
            stream = info["return_value"]
            stream.read = self._bounded_read(stream.read)
            stream.write = self._bounded_write(stream.write)
        else:
            _end_trace(name, info)

    def _left(self, timeout: float | None) -> float | None:
        if self.at is None:
            return timeout
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left if timeout is None else min(timeout, left)

    def _bounded_read(self, read: Callable[..., bytes]) -> Callable[..., bytes]:
        def bounded(size: int, timeout: float | None = None) -> bytes:
            return read(size, self._left(timeout))

        return bounded

    def _bounded_write(self, write: Callable[..., None]) -> Callable[..., None]:
        def bounded(data: bytes, timeout: float | None = None) -> None:
            # In pieces: the library's timeout restarts with every part that the kernel takes.
            for start in range(0, len(data), _PIECE):
                write(data[start : start + _PIECE], self._left(timeout))

        return bounded


def bounded_handshake(
    timeout: float, *, gather: bool
) -> Callable[[str, dict[str, Any]], Awaitable[None]]:
    """Return a ``trace`` that ends a TLS handshake a little before the request would be cancelled.

    When its own timeout ends a handshake, the library closes the connection and reports that
    nothing was sent. When it is cancelled (by a busy loop in which both are due at once, or by the
    end of a client), it leaves the connection open.
    """
    until = time.monotonic() + timeout * _HANDSHAKE
    connection: Any = None

    async def trace(name: str, info: dict[str, Any]) -> None:
        nonlocal connection
        if gather and name.endswith(_OPENED):
            stream = info["return_value"]
            stream.write = _gathered_async(stream.write)
        if name.endswith(_CONNECTED):
            connection = info["return_value"]
        elif name.endswith("start_tls.started"):
            info["timeout"] = max(0.0, until - time.monotonic())
        elif name.endswith("start_tls.failed") and connection is not None:
            await connection.aclose()
        else:
            _end_trace(name, info)

    return trace


def _end_trace(name: str, info: dict[str, Any]) -> None:
    """Stop tracing once a request is being sent: no connection will be opened for it.

    Tracing every step costs a noticeable part of a request's time. A CONNECT to a proxy keeps its
    trace: it shares its extensions with the request that follows.
    """
    if name.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
        info["request"].extensions.pop("trace", None)


class _Head:
    """A request's head, kept back until its body follows.

    Together they are one packet instead of two, which is cheaper. The library marks the end of a
    request with an empty write, except in HTTP/2, which only a caller's client speaks.
    """

    def __init__(self) -> None:
        self._kept = b""
        self._next_is_head = True

    def take(self, data: bytes) -> bytes:
        """Return the bytes to write when the library writes ``data``."""
        if self._next_is_head and data:
            self._kept, self._next_is_head = data, False
            return b""
        kept, self._kept = self._kept, b""
        self._next_is_head = not data
        return kept + data


def gather(name: str, info: dict[str, Any]) -> None:
    """Make a newly opened connection, of threads, send head and body together."""
    if name.endswith(_OPENED):
        stream = info["return_value"]
        stream.write = _gathered(stream.write)


def _gathered(write: Callable[..., None]) -> Callable[..., None]:
    head = _Head()

    def gathered(data: bytes, timeout: float | None = None) -> None:
        if data := head.take(data):
            write(data, timeout)

    return gathered


def _gathered_async(write: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    head = _Head()

    async def gathered(data: bytes, timeout: float | None = None) -> None:
        if data := head.take(data):
            await write(data, timeout)

    return gathered
