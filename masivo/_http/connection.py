"""What is done to a connection when it is opened: its time is bounded, its writes are gathered.

The library's ``trace`` extension tells of each step of a request, before and after.
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
_HANDSHAKE: Final = 0.95  # of a request's time, by whose end the connection must be secure
_AN_INSTANT: Final = 0.001  # seconds; none at all would mean not to wait for sockets


class Deadline(threading.local):
    """Bounds a whole request.

    The library's own timeouts begin anew with every byte that arrives. Its ``trace`` extension
    tells of each connection before it is opened, and is given the arguments; and of each that is
    open. The stream's read and write are then given what is left of the current request's time
    (connections outlive requests, and stay on their thread while a request lasts).
    """

    at: float | None = None
    """When this thread's request must be over, by ``time.monotonic``; None while there is none."""

    def trace(self, name: str, info: dict[str, Any]) -> None:
        """Follow a request."""
        if name.endswith("start_tls.started") and self.at is not None:
            # An error of ours in this place would leave the connection open.
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
            # In pieces: the library's time begins anew with every part that the kernel takes.
            for start in range(0, len(data), _PIECE):
                write(data[start : start + _PIECE], self._left(timeout))

        return bounded


def bounded_handshake(
    timeout: float, *, gather: bool
) -> Callable[[str, dict[str, Any]], Awaitable[None]]:
    """A ``trace`` that ends a TLS handshake a little before the whole request is cancelled.

    By its own timeout the library closes the connection of a handshake, and says that nothing was
    sent. Cancelled (by a busy loop, where both are due at once; by a client's end), it forgets to.
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
    """Trace no further once a request is on its way: no connection will be opened for it.

    The library traces ten steps of a request, a fifteenth of its time. The request to a proxy
    shares its extensions with ours, which needs them for what follows.
    """
    if name.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
        info["request"].extensions.pop("trace", None)


class _Head:
    """Holds a request's head back until its body is there.

    Together they are one packet instead of two, and a twentieth of a request cheaper. That a
    request is complete the library says with an empty write; where a caller's client speaks
    HTTP/2 it does not.
    """

    def __init__(self) -> None:
        self._held = b""
        self._next_is_head = True

    def take(self, data: bytes) -> bytes:
        """What to write where the library would write ``data``."""
        if self._next_is_head and data:
            self._held, self._next_is_head = data, False
            return b""
        held, self._held = self._held, b""
        self._next_is_head = not data
        return held + data


def gather(name: str, info: dict[str, Any]) -> None:
    """Have a connection of threads, once it is open, send head and body together."""
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
