"""Which connection a request takes, where no ``http_client`` was given."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Self

import pytest
import trio

from masivo._async.on_trio import _bound
from masivo._http import AsyncHttp, Http
from masivo._http.response import BadBodyError, Body
from masivo.protocol import Failure, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEPT = 20
"""How many idle connections are kept."""

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Server:
    """Answers every request, when ``gate`` is open, and counts the connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/events"
        self.open: set[socket.socket] = set()
        self.opened = 0
        self.waiting = 0
        self.gate = threading.Event()
        self.gate.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.opened += 1
                self.open.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while connection.recv(65_536):
                self.waiting += 1
                self.gate.wait(10)
                connection.sendall(ANSWER)
        self.open.discard(connection)

    def hang_up(self) -> None:
        """Close every connection, and return when the other side must know."""
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of its own for each test."""
    with Server() as server:
        yield server


def all_good(answers: list[Response | Failure]) -> bool:
    """Whether every request was answered."""
    return all(isinstance(answer, Response) and answer.status == 200 for answer in answers)


Round = tuple[int, "Callable[[], object] | None"]
"""So many requests at once, and what is done after them."""


class Worlds:
    """The same rounds of requests in each world; at the end the connections are let go."""

    @staticmethod
    def threads(request: Request, rounds: list[Round]) -> list[Response | Failure]:
        """With a thread for each request of a round."""
        http = Http(None, request.url)
        answers: list[Response | Failure] = []
        for count, then in rounds:
            threads = [
                threading.Thread(target=lambda: answers.append(http.send(request)))
                for _ in range(count)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if then is not None:
                then()
        http.close()
        return answers

    @staticmethod
    def asyncio(request: Request, rounds: list[Round]) -> list[Response | Failure]:
        """In asyncio."""

        async def main() -> list[Response | Failure]:
            http = AsyncHttp(None, request.url, asyncio.timeout, partial(asyncio.sleep, 0))
            answers: list[Response | Failure] = []
            for count, then in rounds:
                answers += await asyncio.gather(*[http.send(request) for _ in range(count)])
                if then is not None:
                    await asyncio.to_thread(then)
            await http.aclose()
            return answers

        return asyncio.run(main())

    @staticmethod
    def trio(request: Request, rounds: list[Round]) -> list[Response | Failure]:
        """In trio."""
        answers: list[Response | Failure] = []

        async def main() -> None:
            http = AsyncHttp(None, request.url, _bound, trio.lowlevel.checkpoint)

            async def one() -> None:
                answers.append(await http.send(request))

            for count, then in rounds:
                async with trio.open_nursery() as nursery:
                    for _ in range(count):
                        nursery.start_soon(one)
                if then is not None:
                    await trio.to_thread.run_sync(then)
            await http.aclose()

        trio.run(main)
        return answers


@pytest.fixture(params=["threads", "asyncio", "trio"])
def carry_out(
    request: pytest.FixtureRequest, server: Server
) -> Callable[[list[Round]], list[Response | Failure]]:
    """Sends rounds of requests to the server in one of the worlds."""
    outgoing = Request(1, "POST", server.url, (("content-type", "application/json"),), b"{}", 5.0)
    world = getattr(Worlds, request.param)
    return lambda rounds: world(outgoing, rounds)


def test_one_request_after_another_takes_one_connection(
    server: Server, carry_out: Callable[[list[Round]], list[Response | Failure]]
) -> None:
    """A connection is used again when its answer was read."""
    assert all_good(carry_out([(1, None)] * 5))
    assert server.opened == 1


def test_a_connection_that_the_server_has_closed_is_not_used_again(
    server: Server, carry_out: Callable[[list[Round]], list[Response | Failure]]
) -> None:
    """The next request opens another, and nobody is told."""

    opened: list[int] = []

    def hang_up() -> None:
        server.hang_up()
        while server.open:
            threading.Event().wait(0.001)
        opened.append(server.opened)

    assert all_good(carry_out([(3, hang_up), (1, None)]))
    assert server.opened == opened[0] + 1


def test_requests_at_once_take_a_connection_each_and_some_are_kept(
    server: Server, carry_out: Callable[[list[Round]], list[Response | Failure]]
) -> None:
    """What is beyond the bound is closed after its answer; the rest when all is over."""
    open_after: list[int] = []

    def note() -> None:
        for _ in range(2000):
            if len(server.open) <= KEPT:
                break
            threading.Event().wait(0.001)
        open_after.append(len(server.open))

    server.gate.clear()

    def open_the_gate() -> None:
        while server.waiting < KEPT + 5:
            threading.Event().wait(0.001)
        server.gate.set()

    opener = threading.Thread(target=open_the_gate)
    opener.start()
    assert all_good(carry_out([(KEPT + 5, note), (KEPT, None)]))
    opener.join()
    assert server.opened == KEPT + 5
    assert open_after == [KEPT]
    for _ in range(2000):
        if not server.open:
            break
        threading.Event().wait(0.001)
    assert not server.open


def test_a_connection_that_waited_too_long_is_not_used_again(
    server: Server,
    carry_out: Callable[[list[Round]], list[Response | Failure]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server may be about to close it."""
    monkeypatch.setattr("masivo._http.bare._IDLE", -1.0)
    assert all_good(carry_out([(1, None)] * 3))
    assert server.opened == 3


def test_an_interrupt_while_an_answer_is_closed_spoils_no_request(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C there, a connection that calls itself idle is not fit for another request."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    request = Request(1, "POST", server.url, (), b"{}", 5.0)
    http = Http(None, server.url)
    with monkeypatch.context() as patch:
        patch.setattr("h11.Connection.start_next_cycle", interrupted)
        with pytest.raises(KeyboardInterrupt):
            http.send(request)
    assert all_good([http.send(request)])
    http.close()
    assert server.opened == 2


@pytest.mark.filterwarnings("error")
def test_a_cancellation_while_a_bad_answer_is_closed_leaves_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that was broken off is not left to the garbage collector, of which trio warns."""
    request = Request(1, "POST", server.url, (), b"{}", 5.0)

    async def main() -> None:
        http = AsyncHttp(None, request.url, _bound, trio.lowlevel.checkpoint)
        with trio.CancelScope() as scope:

            def refuse(*_: object) -> None:
                scope.cancel()
                raise BadBodyError

            monkeypatch.setattr(Body, "feed", refuse)
            await http.send(request)
        assert scope.cancelled_caught
        await http.aclose()

    trio.run(main)
    gc.collect()
