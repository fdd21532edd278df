"""Requests over our own connections, the same for every world.

Sockets never block here. A world (``sockets``, ``on_asyncio``, ``on_trio``) does the rest: it waits
until a socket is ready, and calls slow functions in a thread. In the world of threads both block,
so the coroutine runs to its end without being suspended.

After each wait, everything that has arrived is read before the clock is: a response that is there
counts, however late it is.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from .building import build_lock
from .connections import Connection, Idle, begin_connect, is_connected, literal
from .exchange import Exchange, request_bytes
from .failures import Lack, failure_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from masivo.protocol import Failure, Request, Response

    from .connections import Address

__all__ = ["Transport", "World"]

T = TypeVar("T")

HEAD_START: Final = 0.25
"""Seconds before the next address is tried in parallel (RFC 8305)."""


class World(Protocol):
    """The part that differs between threads, asyncio and trio."""

    def now(self) -> float:
        """Return the time in seconds: real time, unless the world has its own clock."""
        ...

    def bound(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """Return a context manager that cancels its block after this many seconds and then raises
        TimeoutError (in worlds that can)."""
        ...

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Call a slow function, in a thread if one can be started, so that a loop is not blocked;
        return or raise what it does."""
        ...

    async def wait(
        self, sockets: Sequence[socket.socket], seconds: float, *, writing: bool = False
    ) -> None:
        """Wait until one of the sockets can be read (or written, if ``writing``), or for this many
        seconds; returning early is harmless. Other tasks run at least once."""
        ...


class Transport:
    """Our own connections to one origin.

    Args:
        base_url: its scheme, host and port are the origin.
        world: see World.
    """

    def __init__(self, base_url: str, world: World) -> None:
        parts = urlsplit(base_url)
        self._world = world
        self._origin = f"{parts.scheme}://{parts.netloc}"
        # Bytes: a str would import the codec `idna`, possibly during a fork.
        self._host = (parts.hostname or "").encode("ascii")
        self._secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)
        self._literal = literal(parts.hostname or "", self._port)
        self._idle = Idle()

    async def aclose(self) -> None:
        """Close the idle connections; those in use are closed after their requests."""
        self._idle.close()

    def given_up(self, request: Request) -> Failure:
        """Return the failure of a request that is given up: it is stuck in a name lookup."""
        return failure_of(TimeoutError(), "no response", request.timeout, None)

    async def send(self, request: Request) -> Response | Failure:
        """Carry out a request. Never raises an Exception; several may be out at once.

        A last try uses a new connection: a reused one that the server has just closed would cost
        its events.
        """
        fresh = request.last_try
        until = self._world.now() + request.timeout
        exchange = Exchange(request.method)
        lacks: Lack = "no connection"
        connection = None
        try:
            outgoing = request_bytes(request, self._origin, keep_alive=not fresh)
            connection = None if fresh else self._idle.take()
            if connection is None:
                if self._literal and not self._secure:
                    context, addresses = self._prepare()
                else:
                    async with self._world.bound(self._left(until)):
                        context, addresses = await self._world.in_thread(self._prepare)
                connection = Connection(await self._connect(addresses, until))
                if context is not None:
                    lacks = "no secure connection"
                    connection.secure(context, self._host.decode())
                    await self._go_on(connection, connection.is_secure, until)
                self._left(until)
            lacks = "no response"
            connection.unsent = memoryview(outgoing)
            response = await self._go_on(connection, partial(connection.feed, exchange), until)
            if exchange.reusable and not fresh and not connection.unsent:
                kept, connection = connection, None
                self._idle.put(kept)
            return response
        except Exception as error:  # noqa: BLE001 (what escaped from here would hang a batch)
            return failure_of(error, lacks, request.timeout, exchange.status)
        finally:
            if connection is not None:
                connection.close()

    def _prepare(self) -> tuple[ssl.SSLContext | None, Sequence[Address]]:
        """Look up the host and read certificates, as far as they are needed: both are slow."""
        found = self._literal or socket.getaddrinfo(self._host, self._port, 0, socket.SOCK_STREAM)
        if not self._secure:
            return None, found
        with build_lock:
            from .tls import client_context  # only a client that needs it pays for it

            return client_context(), found

    async def _go_on(self, connection: Connection, step: Callable[[], T | None], until: float) -> T:
        """Call a step now, and each time the connection can continue; return its result.

        Raises:
            TimeoutError: it had none in time.
        """
        late = False
        while not (result := step()):
            if late:
                raise TimeoutError
            seconds = max(0.0, until - self._world.now())
            late = not seconds  # one more step, for what has arrived meanwhile
            await self._world.wait([connection.socket], seconds, writing=bool(connection.unsent))
        return result

    async def _connect(self, addresses: Sequence[Address], until: float) -> socket.socket:
        """Return a socket that is connected to one of the host's addresses.

        Each has a head start before the next; the first that is connected wins.

        Raises:
            OSError: none can be reached; the error is the last one's.
            TimeoutError: none was reached in time.
        """
        untried = [*addresses]
        head_start = min(HEAD_START, self._left(until) / (len(untried) + 1))
        next_at = self._world.now()
        racers: list[socket.socket] = []
        error = OSError("its name has no address")
        try:
            while untried or racers:
                try:
                    if untried and (not racers or self._world.now() >= next_at):
                        next_at = self._world.now() + head_start
                        racers.append(begin_connect(untried.pop(0)))
                    if (winner := next(filter(is_connected, racers), None)) is not None:
                        racers.remove(winner)
                        return winner
                except OSError as failed:
                    error, next_at = failed, self._world.now()
                    racers = [racer for racer in racers if racer.fileno() != -1]
                    continue
                soon = min(next_at, until) if untried else until
                await self._world.wait(racers, max(0.0, soon - self._world.now()), writing=True)
                self._left(until)
            raise error
        finally:
            for racer in racers:
                racer.close()

    def _left(self, until: float) -> float:
        """Return the seconds until the deadline.

        Raises:
            TimeoutError: none.
        """
        seconds = until - self._world.now()
        if seconds <= 0:
            raise TimeoutError
        return seconds
