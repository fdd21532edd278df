"""The HTTP server: uvicorn on httptools, with bounds for slow and endless clients.

uvicorn bounds neither the time nor the size of a request's head, nor the time of its body.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from starlette.types import ASGIApp

__all__ = ["USUAL", "Limits", "Server"]

MAX_HEAD: Final = 32 * 1024
"""The most bytes of a request besides its body."""

MAX_WAITING: Final = 8
"""The most requests of a connection that wait for the response to an earlier one: uvicorn keeps all
of them in memory."""

_FRAMING: Final = 8
"""The most bytes of chunk framing that are allowed for each byte of a body."""


class Limits(NamedTuple):
    """The bounds for clients; times are in seconds."""

    head: float = 10.0
    """A request's head must be complete after this time, counted for the first one from the
    connection."""
    request: float = 30.0
    """A request must be complete after this time."""
    idle: int = 75
    """A connection is closed when it has waited this long for its next request."""
    connections: int = 4_000
    """More are closed at once."""
    memory: int = 64 * 1024 * 1024
    """The most bytes of all bodies that are in memory at the same time."""
    stop: int = 3
    """Requests that have begun get this time when the server stops."""


USUAL: Final = Limits()


class _InOnePiece:
    """A transport that sends together what is written in one iteration of the loop, such as a
    response's head and body."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.is_closing = transport.is_closing
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """See asyncio."""
        if not self._pieces:
            self._loop.call_soon(self._send)
        self._pieces.append(data)

    def _send(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces and not self.is_closing():  # on uvloop an error, which would fill the log
            self._transport.write(b"".join(pieces))

    def close(self) -> None:
        """See asyncio."""
        self._send()
        self._transport.close()


class _Protocol(HttpToolsProtocol):
    """One connection."""

    limits: Limits

    _since: float | None = None  # when its request began; None: it waits for one
    _unread_since: float | None = None  # when it began not to read our responses
    _in_head = True
    _beside = 0  # bytes of the current request that are no body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        whole: Any = _InOnePiece(cast("asyncio.Transport", transport))
        super().connection_made(whole)
        # Without this, a response to one of several requests at once waits for the client to
        # acknowledge an earlier one. asyncio sets it only if the listener was made with the
        # protocol's number.
        accepted: socket.socket = transport.get_extra_info("socket")
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > self.limits.connections:
            self.transport.abort()
        self._since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        if self._since is None:
            self._since = self.loop.time()
        self._beside += len(data)
        super().data_received(data)
        if self._beside > MAX_HEAD and not self.transport.is_closing():
            self._end(431, "Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self.transport.is_closing():
            return
        super().on_headers_complete()
        if len(self.pipeline) > MAX_WAITING:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        self._beside -= (1 + _FRAMING) * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._since, self._in_head, self._beside = None, True, 0
        super().on_message_complete()

    def end_if_slow(self, now: float) -> None:
        """End the connection if it takes too long for a request."""
        if self.flow.write_paused or self.transport.is_closing():
            self._unread_since = self._unread_since or now
            if now - self._unread_since > self.limits.request:
                self.transport.abort()
            return
        self._unread_since = None
        if self._since is not None:
            limit = self.limits.head if self._in_head else self.limits.request
            if now - self._since <= limit:
                return
            if self._in_head and not self._beside:  # nothing came at all
                self.transport.close()
            else:
                self._end(408, "Request Timeout")

    def _end(self, status: int, phrase: str) -> None:
        """Close the connection, with a response where none has begun."""
        if self._in_head or not self.cycle.response_started:
            head = f"HTTP/1.1 {status} {phrase}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode())
        self.transport.close()


class Server(uvicorn.Server):
    """Serves an application until ``should_exit`` is set.

    Args:
        application: what to serve.
        limits: for its clients.
    """

    def __init__(self, application: ASGIApp, limits: Limits) -> None:
        class Bounded(_Protocol):
            pass

        Bounded.limits = limits
        super().__init__(
            uvicorn.Config(
                application,
                http=Bounded,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=limits.idle,
                timeout_graceful_shutdown=limits.stop,
                backlog=1_024,
            )
        )

    async def on_tick(self, counter: int) -> bool:
        """See uvicorn: called ten times a second."""
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            cast("_Protocol", connection).end_if_slow(now)
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """See uvicorn: the service handles signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        self._ready()

    async def run_on(self, listener: socket.socket, ready: Callable[[], object]) -> None:
        """Serve on a socket that is bound, and close it in the end.

        Args:
            listener: the socket.
            ready: called once the server takes requests.
        """
        self._ready = ready
        await self.serve([listener])
