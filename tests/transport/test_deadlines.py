"""One deadline for a whole request, and responses that are there when it is looked at late."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from masivo._http import on_asyncio, on_trio
from masivo._http.connections import Connection
from masivo.protocol import Failure, Response

from .certificates import server_context
from .server import OK, PATIENCE, Peer, Server
from .worlds import LOOPS, to

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo._http.exchange import Exchange

    from .conftest import Clock
    from .worlds import Face, Run

MIB = 1 << 20
TIMEOUT = 0.3
SLACK = 3.0
"""How much later a failure may come on a busy machine, in seconds."""


def silent(peer: Peer) -> None:
    """Read the request, say nothing."""
    peer.request()


def deaf(peer: Peer) -> None:
    """Read nothing."""
    peer.server.over.wait(PATIENCE)


def dripping(*parts: bytes) -> Callable[[Peer], None]:
    """What sends the last part byte by byte, for ever."""

    def talk(peer: Peer) -> None:
        peer.request()
        for part in parts[:-1]:
            peer.say(part)
        while not peer.server.over.wait(0.02):
            peer.say(parts[-1])

    return talk


def sipping(peer: Peer) -> None:
    """Read the body a little at a time."""
    peer.head()
    while not peer.server.over.wait(0.02):
        if not peer.socket.recv(4096):
            return


SLOW = {
    "silent": (silent, None, "no response"),
    "deaf": (deaf, None, "no response"),
    "sipping": (sipping, None, "no response"),
    "a head that drips": (dripping(b"HTTP/1.1 200 OK\r\nx: ", b"y"), None, "no response"),
    "a body that drips": (
        dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", b" "),
        200,
        "no complete response",
    ),
    "a body without end": (dripping(b"HTTP/1.1 503 No\r\n\r\n", b" "), 503, "no complete response"),
    "only 100": (dripping(b"HTTP/1.1 100 Continue\r\n\r\n"), None, "no response"),
}


@pytest.mark.parametrize(
    ("name", "tls"),
    [*[(name, False) for name in SLOW], ("silent", True), ("sipping", True)],
)
def test_a_slow_server_is_given_up_in_time(run: Run, trusted: None, name: str, tls: bool) -> None:
    """However the bytes trickle, in either direction: the request is over when its time is. The
    failure says how far it came."""
    talk, status, lack = SLOW[name]
    timeout = 3 * TIMEOUT if tls else TIMEOUT  # a handshake takes its time
    with Server(talk, tls=server_context() if tls else None, receives=4096) as server:

        async def script(face: Face) -> None:
            began = time.monotonic()
            body = bytes(8 * MIB) if talk in (deaf, sipping) else b"{}"
            failure = await face.send(to(server.url, body, timeout=timeout))
            took = time.monotonic() - began
            assert isinstance(failure, Failure)
            assert (failure.status, failure.sent) == (status, True)
            assert failure.reason.startswith(f"{lack} within {timeout:g} s")
            assert timeout - 0.01 <= took < timeout + SLACK

        run(server.url, script)


def test_a_handshake_without_end(run: Run, trusted: None) -> None:
    """The handshake counts, too. Nothing was sent."""
    with Server(deaf) as server:
        url = server.url.replace("http:", "https:")

        async def script(face: Face) -> None:
            failure = await face.send(to(url, timeout=3 * TIMEOUT))
            assert isinstance(failure, Failure)
            assert not failure.sent
            assert failure.reason.startswith("no secure connection within 0.9 s")

        run(url, script)


@pytest.mark.parametrize("world", LOOPS)
def test_a_name_that_is_looked_up_for_ever(
    world: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does the lookup of a name, in event loops, whose end does not wait for it. (A thread waits
    for the system's resolver.)"""
    from .worlds import run_in

    over = threading.Event()
    real: Any = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if host == b"slow.invalid":
            over.wait(PATIENCE)
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def script(face: Face) -> None:
        failure = await face.send(to("http://slow.invalid/v1", timeout=TIMEOUT))
        assert isinstance(failure, Failure)
        assert not failure.sent
        assert failure.reason.startswith("no connection within 0.3 s")

    began = time.monotonic()
    run_in(world)("http://slow.invalid/v1", script)
    assert time.monotonic() - began < PATIENCE
    over.set()


def test_the_thread_of_a_lookup_is_known_by_its_name() -> None:
    """Whoever lists an application's threads sees whose it is. The interpreter's end does not wait
    for it."""

    async def main() -> threading.Thread:
        return await on_asyncio.Asyncio().in_thread(threading.current_thread)

    thread = asyncio.run(main())
    assert (thread.name, thread.daemon) == ("masivo", True)


# ── Late ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_response_that_is_there_counts_however_late_it_is(
    run: Run, clock: Clock, trusted: None, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is frozen once the request is on its way, and the deadline passes long before it
    goes on: what lies in the socket is read first."""
    answered = threading.Event()
    feed = Connection.feed

    def and_freeze(self: Connection, exchange: Exchange) -> Response | None:
        if response := feed(self, exchange):
            return response
        assert answered.wait(PATIENCE)
        clock.ahead += 3600
        return None

    monkeypatch.setattr(Connection, "feed", and_freeze)

    def talk(peer: Peer) -> None:
        peer.request()
        peer.say(OK)
        answered.set()

    with Server(talk, tls=server_context() if tls else None) as server:

        async def script(face: Face) -> None:
            assert isinstance(await face.send(to(server.url)), Response)

        run(server.url, script)


@pytest.mark.parametrize("size", [2, MIB // 8])
def test_a_loop_that_was_blocked_loses_no_response(run_in_a_loop: Run, size: int) -> None:
    """The application blocks the loop until the response has come and its time is over: the loop
    may see the timer first, but the response is there."""
    answered = threading.Event()
    timeout = TIMEOUT / 2  # the loop's thread is busy for as long

    def talk(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b" " * size)
        answered.set()

    with Server(talk) as server:

        async def script(face: Face) -> None:
            real, blocked = face.transport._world.wait, False

            async def wait(*args: Any, writing: bool) -> None:
                nonlocal blocked
                if not (writing or blocked):
                    blocked = True
                    began = time.monotonic()
                    _call_soon(face, lambda: _block(answered, began + 1.2 * timeout))
                await real(*args, writing=writing)

            face.transport._world.wait = wait
            response = await face.send(to(server.url, timeout=timeout))
            assert blocked
            assert isinstance(response, Response)
            assert len(response.body) == size

        run_in_a_loop(server.url, script)


def _call_soon(face: Face, function: Callable[[], object]) -> None:
    """Have the loop call a function once the request waits."""
    if isinstance(face.transport._world, on_trio.Trio):
        import trio

        trio.lowlevel.current_trio_token().run_sync_soon(function)
    else:
        assert isinstance(face.transport._world, on_asyncio.Asyncio)
        import asyncio

        asyncio.get_running_loop().call_soon(function)


def _block(answered: threading.Event, until: float) -> None:
    """What an application must not do: keep the loop's thread, here until it is too late."""
    assert answered.wait(PATIENCE)
    while time.monotonic() < until:
        pass


def test_nothing_is_sent_after_the_deadline(run: Run, clock: Clock) -> None:
    """A connection that is there too late carries nothing: the request was not sent."""
    with Server() as server:

        async def script(face: Face) -> None:
            transport = face.transport
            connect = transport._connect

            async def late(*args: Any) -> socket.socket:
                sock: socket.socket = await connect(*args)
                clock.ahead += 60
                return sock

            transport._connect = late
            failure = await face.send(to(server.url))
            assert isinstance(failure, Failure)
            assert not failure.sent
            assert server.all_are_closed()

        run(server.url, script)


def test_a_response_in_time(run: Run) -> None:
    """The least that is asked of a deadline."""

    def talk(peer: Peer) -> None:
        while peer.request():
            peer.say(OK)

    with Server(talk) as server:

        async def script(face: Face) -> None:
            assert isinstance(await face.send(to(server.url, timeout=1e9)), Response)

        run(server.url, script)


def test_under_a_mock_clock_of_trio_requests_go_by_its_time() -> None:
    """A test that moves the time on lets requests run out of theirs."""
    clock = trio.testing.MockClock()

    async def main() -> None:
        world = on_trio.Trio()
        began = world.now()
        clock.jump(1000.0)
        assert world.now() - began == 1000.0

    trio.run(main, clock=clock)
