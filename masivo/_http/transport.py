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
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

from masivo import MasivoConfigError
from masivo.protocol import Failure

from .building import build_lock
from .connections import Connection, Idle, has_arrived, set_out
from .exchange import BrokenResponseError, Exchange, request_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from masivo.protocol import Request, Response

    from .connections import Address
    from .tls import Tls

__all__ = ["Transport", "World", "failure_of"]

T = TypeVar("T")

HEAD_START: Final = 0.25
"""Seconds before the next address is tried in parallel (RFC 8305)."""


Lack = Literal["no connection", "no secure connection", "no response"]
"""The step at which a request failed. Before the last, nothing was sent."""

_PRIVATE_CA: Final = (
    ". If the server's certificate is signed by a CA of your own, name that CA's certificate (PEM) "
    "in SSL_CERT_FILE, or pass an http_client that knows it"
)


class World(Protocol):
    """The part that differs between threads, asyncio and trio."""

    def now(self) -> float:
        """Return the time in seconds: real time, unless the world has a clock of its own."""
        ...

    async def in_thread(self, function: Callable[[], T], seconds: float) -> T:
        """Call a slow function, in a thread if one can be started, so that a loop is not blocked;
        return or raise what it does.

        Raises:
            TimeoutError: it took too long (in worlds that can bound it).
        """
        ...

    async def wait(
        self, reading: Sequence[socket.socket], writing: Sequence[socket.socket], seconds: float
    ) -> None:
        """Wait until one of the sockets is ready, or for this many seconds; returning early is
        harmless."""
        ...


class Transport:
    """Connections of our own to one origin.

    Args:
        world: see World.
        base_url: scheme, host and port of it are the origin.
    """

    def __init__(self, world: World, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._world = world
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.hostname or ""
        self._secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)
        self._idle = Idle()
        self._has_context = False

    def close(self) -> None:
        """Close the connections that are idle; those in use close when their request is over."""
        self._idle.close()

    async def aclose(self) -> None:
        """As ``close``, without waiting."""
        self.close()

    async def send(self, request: Request) -> Response | Failure:
        """Carry out a request. Never raises an Exception.

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
                encryption = await self._encryption(until)
                connection = Connection(await self._connect(until), encryption)
                lacks = "no secure connection"
                while not connection.secure():
                    self._left(until)
                    await self._ready(connection, until)
                self._left(until)
            lacks = "no response"
            connection.write(outgoing)
            response = await self._response(connection, exchange, until)
            if exchange.reusable and not fresh and not connection.blocked:
                kept, connection = connection, None
                self._idle.put(kept)
            return response
        except Exception as error:  # noqa: BLE001 (what escaped from here would hang a batch)
            return failure_of(error, lacks, request.timeout, exchange.status)
        finally:
            if connection is not None:
                connection.close()

    async def _encryption(self, until: float) -> Tls | None:
        if not self._secure:
            return None
        make = partial(_encryption, self._host)
        if not self._has_context:
            encryption = await self._world.in_thread(make, self._left(until))
            self._has_context = True
            return encryption
        return make()

    async def _response(self, connection: Connection, exchange: Exchange, until: float) -> Response:
        """Return the response, once it is complete.

        Raises:
            TimeoutError: it is not, in time.
            OSError: the connection is broken.
            BrokenResponseError: the response is.
        """
        while True:
            late = until <= self._world.now()  # read before the last check of the socket
            await self._ready(connection, until)
            connection.feed(exchange)
            if exchange.response is not None:
                return exchange.response
            if late:
                raise TimeoutError

    async def _ready(self, connection: Connection, until: float) -> None:
        """Wait until the connection is ready, or until the deadline."""
        sockets = (connection.socket,)
        blocked = sockets if connection.blocked else ()
        await self._world.wait(sockets, blocked, max(0.0, until - self._world.now()))

    async def _connect(self, until: float) -> socket.socket:
        """Return a socket that is connected to one of the host's addresses.

        Each has a head start before the next; the first that is connected wins.

        Raises:
            OSError: none can be reached; the error is the last one's.
            TimeoutError: none was reached in time.
        """
        addresses = [*await self._addresses(until)]
        head_start = min(HEAD_START, self._left(until) / (len(addresses) + 1))
        next_at = self._world.now()
        racers: list[socket.socket] = []
        error = OSError("its name has no address")
        try:
            while addresses or racers:
                try:
                    if addresses and (not racers or self._world.now() >= next_at):
                        next_at = self._world.now() + head_start
                        racers.append(set_out(addresses.pop(0)))
                    for racer in racers:
                        if has_arrived(racer):
                            racers.remove(racer)
                            return racer
                except OSError as failed:
                    error, next_at = failed, self._world.now()
                    racers = [racer for racer in racers if racer.fileno() != -1]
                    continue
                soon = min(next_at, until) if addresses else until
                await self._world.wait((), racers, max(0.0, soon - self._world.now()))
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

    async def _addresses(self, until: float) -> Sequence[Address]:
        # Bytes: a str would import the codec `idna`, possibly during a fork.
        host = self._host.encode("ascii")
        try:
            return socket.getaddrinfo(
                host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        except socket.gaierror:
            look_up = partial(socket.getaddrinfo, host, self._port, type=socket.SOCK_STREAM)
            return await self._world.in_thread(look_up, self._left(until))


def _encryption(host: str) -> Tls:
    """Return a connection's encryption. The first one imports ``ssl`` and reads certificates."""
    with build_lock:
        from .tls import Tls, client_context  # only a client that needs it pays for it

        return Tls(client_context(), host)


def failure_of(error: Exception, lack: Lack, timeout: float, status: int | None) -> Failure:
    """Return a request's failure.

    Args:
        error: what was raised.
        lack: the step at which the request failed.
        timeout: the request's, in seconds.
        status: the response's, where its headers have arrived.
    """
    what = lack if status is None else "no complete response"
    if isinstance(error, MasivoConfigError):
        return Failure(error.message, sent=False, fatal=error)
    cure = "; check the network and base_url"
    if isinstance(error, TimeoutError):
        reason = f"{what} within {timeout:g} s (timeout){cure}"
    elif isinstance(error, BrokenResponseError):
        reason = f"the response was broken: {error}"
    elif not isinstance(error, OSError):
        reason = f"the request failed: {type(error).__name__}: {error}"
    elif lack == "no response":
        reason = f"{what}: {error}"
    else:
        reason = f"{what}: {error}{_PRIVATE_CA if _is_untrusted(error) else cure}"
    return Failure(reason, sent=lack == "no response", status=status, cause=error)


def _is_untrusted(error: BaseException) -> bool:
    """Return True if the server's certificate was not trusted."""
    return type(error).__name__ == "SSLCertVerificationError"  # without importing ssl
