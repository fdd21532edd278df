"""Which connection a request takes."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from masivo._http.connections import MAX_AGE, MAX_IDLE
from masivo.protocol import Failure, Response

from .server import OK, PATIENCE, Peer, Server, respond
from .worlds import to

if TYPE_CHECKING:
    from .conftest import Clock
    from .worlds import Face, Run


def good(*results: Response | Failure) -> bool:
    """Whether every request has a good response."""
    return all(isinstance(each, Response) and each.status == 200 for each in results)


def test_one_request_after_another_takes_one_connection(run: Run) -> None:
    """A connection carries the next request once its response was read."""
    with Server() as server:

        async def script(face: Face) -> None:
            for _ in range(5):
                assert good(await face.send(to(server.url)))

        run(server.url, script)
        assert server.opened == 1


def test_nothing_is_held_back(run: Run) -> None:
    """A connection does not wait for more to send: a small request leaves at once."""
    with Server() as server:

        async def script(face: Face) -> None:
            assert good(await face.send(to(server.url)))
            (connection,) = face.transport._idle._connections
            assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

        run(server.url, script)


def test_requests_at_once_have_a_connection_each(run: Run) -> None:
    """There are as many connections as requests in flight; they all carry the next ones."""
    gate = threading.Barrier(8, timeout=PATIENCE)

    def talk(peer: Peer) -> None:
        while peer.request():
            gate.wait()
            peer.say(OK)

    with Server(talk) as server:

        async def script(face: Face) -> None:
            for _ in range(3):
                assert good(*await face.together([to(server.url)] * 8))

        run(server.url, script)
        assert server.opened == 8


@pytest.mark.parametrize("how", ["closed", "reset", "spoken"])
def test_a_connection_that_died_or_spoke_is_not_used(run: Run, how: str) -> None:
    """The server has closed it, or said something without a request: the next request opens
    another, and succeeds."""
    done = threading.Event()

    def talk(peer: Peer) -> None:
        assert peer.request()
        peer.say(OK)
        if peer.number == 0:
            while not peer.server.over.is_set() and not go.wait(0.01):
                pass
            if how == "spoken":
                peer.say(OK)
            elif how == "closed":
                peer.close()
            else:
                peer.reset()
            done.set()

    go = threading.Event()
    with Server(talk) as server:

        async def script(face: Face) -> None:
            assert good(await face.send(to(server.url)))
            go.set()
            assert done.wait(PATIENCE)
            assert good(await face.send(to(server.url)))

        run(server.url, script)
        assert server.opened == 2


def test_an_idle_connection_is_replaced_in_time(run: Run, clock: Clock) -> None:
    """One that has been idle for 5 s is closed, and not used."""
    with Server() as server:

        async def script(face: Face) -> None:
            assert good(await face.send(to(server.url)))
            clock.ahead += MAX_IDLE - 0.5
            assert good(await face.send(to(server.url)))
            assert server.opened == 1
            clock.ahead += MAX_IDLE
            assert good(await face.send(to(server.url)))

        run(server.url, script)
        assert server.opened == 2


def test_an_old_connection_is_replaced(run: Run, clock: Clock) -> None:
    """Under steady traffic a connection lives for 5 min: then a change of DNS is seen."""
    with Server() as server:

        async def script(face: Face) -> None:
            seconds = 0.0
            while seconds < MAX_AGE:
                assert good(await face.send(to(server.url)))
                assert server.opened == 1
                clock.ahead += MAX_IDLE / 2
                seconds += MAX_IDLE / 2
            assert good(await face.send(to(server.url)))

        run(server.url, script)
        assert server.opened == 2


def test_the_last_try_has_a_connection_of_its_own(run: Run) -> None:
    """It takes none that is idle, and leaves none behind; the server is told."""
    heads: list[tuple[int, bool]] = []

    def talk(peer: Peer) -> None:
        while head := peer.request():
            heads.append((peer.number, b"connection: close" in head))
            peer.say(OK)

    with Server(talk) as server:

        async def script(face: Face) -> None:
            assert good(await face.send(to(server.url)))
            assert good(await face.send(to(server.url, last_try=True)))
            assert good(await face.send(to(server.url)))

        run(server.url, script)
    assert heads == [(0, False), (1, True), (0, False)]


def test_a_closed_sender_keeps_no_connection(run: Run) -> None:
    """A request may come after the end: it is carried out, and its connection closed."""
    with Server() as server:

        async def script(face: Face) -> None:
            await face.close()
            assert good(await face.send(to(server.url)))
            assert server.all_are_closed()

        run(server.url, script)


def test_a_connection_is_kept_only_after_a_whole_response(run: Run) -> None:
    """What broke is closed at once, not at the end."""
    with Server(respond(b"HTTP/1.1 200 OK\r\nrubbish\r\n\r\n")) as server:

        async def script(face: Face) -> None:
            assert isinstance(await face.send(to(server.url)), Failure)
            assert server.all_are_closed()

        run(server.url, script)
