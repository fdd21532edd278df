"""Clients that are slow, idle or endless: each is cut off, and none costs the others anything."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import pytest

from masivo.relay.server import USUAL, Limits, _InOnePiece

from .memory import MemoryStore
from .relays import Running, batch, event, in_memory, running, upstream, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

HURRY = Limits(head=0.2, request=0.4)


@pytest.fixture(scope="module")
def relay() -> Iterator[Running]:
    """A relay that is in a hurry."""
    with in_memory(limits=HURRY) as (relay, _):
        yield relay


def rest_of(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    received = b""
    try:
        while data := connection.recv(65_536):
            received += data
    except ConnectionResetError:
        pass
    return received


def asks_for_health(connection: socket.socket) -> bool:
    """Whether a request on a connection gets its response."""
    connection.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
    received = b""
    while not received.endswith(b"alive\n"):
        data = connection.recv(65_536)
        if not data:
            return False
        received += data
    return True


def is_open(relay: Running) -> bool:
    """Whether it takes connections."""
    try:
        relay.connect().close()
    except ConnectionError:
        return False
    return True


def head(relay: Running, *lines: str) -> bytes:
    """The head of a batch's request, without its end."""
    first = (f"POST {relay.path}/behavior/events/bulk HTTP/1.1", "host: a")
    return "\r\n".join((*first, *lines, "")).encode()


def test_a_request_whose_head_does_not_end_is_cut_off(relay: Running) -> None:
    """With a 408, however busily it goes on."""
    with relay.connect() as connection:
        connection.sendall(head(relay))
        connection.settimeout(0.05)
        received = b""
        deadline = time.monotonic() + 10
        while not received:
            assert time.monotonic() < deadline
            connection.sendall(b"a: b\r\n")
            try:
                received = connection.recv(65_536)
            except TimeoutError:
                continue
        assert received.startswith(b"HTTP/1.1 408 ")


def test_a_request_whose_body_does_not_end_is_cut_off(relay: Running) -> None:
    """With a 408; its memory is given back, and nothing is kept."""
    token = relay.token()
    with relay.connect() as connection:
        connection.sendall(
            head(relay, f"authorization: Bearer {token}", "content-length: 100") + b"\r\n{"
        )
        assert rest_of(connection).startswith(b"HTTP/1.1 408 ")
    with relay.connect() as connection:
        connection.sendall(
            head(relay, f"authorization: Bearer {token}", "transfer-encoding: chunked")
            + b"\r\n1\r\n{\r\n"
        )
        assert rest_of(connection).startswith(b"HTTP/1.1 408 ")
    assert relay.send(batch(event(1)), token=token).status == 200


def test_a_connection_without_a_request_is_closed(relay: Running) -> None:
    """Without a word, as nothing was asked."""
    with relay.connect() as connection:
        assert rest_of(connection) == b""


def test_a_connection_that_waits_for_its_next_request_is_kept(relay: Running) -> None:
    """Longer than a request may take."""
    with relay.connect() as connection:
        for _ in range(2):
            assert asks_for_health(connection)
            with relay.connect() as other:  # which is closed by the server's look at all of them
                rest_of(other)


@pytest.mark.parametrize(
    "endless",
    [b"a: b\r\n", b"a: " + b"b" * 4_000, b"x"],
    ids=["headers", "a header", "a name"],
)
def test_an_endless_head_is_cut_off(endless: bytes) -> None:
    """At 32 KiB, with a 431: it would be kept in memory."""
    with in_memory() as (relay, _), relay.connect() as connection:
        try:
            connection.sendall(head(relay) + endless * (100_000 // len(endless)))
            received = rest_of(connection)
        except ConnectionError:  # it was closed while we sent
            received = rest_of(connection)
        assert received == b"" or received.startswith(b"HTTP/1.1 431 ")
        assert relay.send(batch(event(1))).status == 200


def test_a_head_counts_for_its_request_alone(relay: Running) -> None:
    """Many requests on one connection may have more than that together."""
    with relay.connect() as connection:
        for _ in range(40):
            connection.sendall(
                b"GET /nowhere HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 2_000 + b"\r\n\r\n"
            )
            assert connection.recv(65_536).startswith(b"HTTP/1.1 404 ")
            assert asks_for_health(connection)


def test_who_does_not_read_responses_is_cut_off() -> None:
    """While the relay cannot send them: they are in its memory."""
    store = MemoryStore()
    asked = b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n"
    with (
        running(lambda _: store, upstream(), limits=HURRY, send_buffer=4_096) as relay,
        socket.socket() as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", relay.port))
        deadline = time.monotonic() + 10
        try:
            for _ in range(60):
                connection.sendall(asked)
                relay.ask("GET", "/health", root=True)
            while not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                assert time.monotonic() < deadline
        except ConnectionError:
            pass  # it was cut off before that


def test_many_requests_at_once_are_cut_off() -> None:
    """A few may follow each other without waiting for responses; each that waits takes memory."""
    asked = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"
    with in_memory() as (relay, _):
        with relay.connect() as connection:
            connection.sendall(asked * 5)
            received = b""
            while received.count(b"alive\n") < 5:
                data = connection.recv(65_536)
                assert data
                received += data
        with relay.connect() as connection:
            with suppress(ConnectionError):
                connection.sendall(asked * 5_000)
            assert rest_of(connection).count(b"alive\n") < 5_000


def test_who_goes_away_is_no_line_of_the_log(
    relay: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of a body, say."""
    token = relay.token()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with relay.connect() as connection:
                lines = (f"authorization: Bearer {token}", "content-length: 100")
                connection.sendall(head(relay, *lines) + b"\r\n{")
        deadline = time.monotonic() + 10
        name = 'masivo_relay_responses_total{route="events",status="500"}'
        while relay.numbers().get(name, 0) < 3:
            assert time.monotonic() < deadline
    assert caplog.messages == []


def test_endless_trailers_are_cut_off() -> None:
    """As a head is."""
    with in_memory() as (relay, store), relay.connect() as connection:
        start = head(relay, f"authorization: Bearer {relay.token()}", "transfer-encoding: chunked")
        trailers = b"a: b\r\n" * 20_000
        with suppress(ConnectionError):
            connection.sendall(start + b"\r\n2\r\n{}\r\n0\r\n" + trailers)
        rest_of(connection)
        assert store.events == []
        assert relay.ask("GET", "/health", root=True).status == 200


def test_hundreds_of_idle_connections_harm_nobody() -> None:
    """They are open all the while, and batches are kept as ever."""
    with in_memory() as (relay, store):
        token = relay.token()
        idle = [relay.connect() for _ in range(300)]  # of each two descriptors are in this process
        begun = [relay.connect() for _ in range(100)]
        try:
            for connection in begun:
                connection.sendall(head(relay))
            assert relay.send(batch(event(1)), token=token).status == 200
            assert all(map(asks_for_health, idle))
            assert relay.send(batch(event(2)), token=token).status == 200
            assert len(store.events) == 2
        finally:
            for connection in (*idle, *begun):
                connection.close()


def test_a_response_is_sent_in_one_piece() -> None:
    """Its head and its body: a client reads them at once."""
    with in_memory() as (relay, _), relay.connect() as connection:
        connection.settimeout(20)
        for _ in range(20):
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
            assert connection.recv(65_536).endswith(b"\r\n\r\nalive\n")


def test_a_response_to_who_is_gone_is_not_written() -> None:
    """uvloop makes an error of it, and anybody could fill the log."""

    class Transport:
        def __init__(self) -> None:
            self.written: list[bytes] = []
            self.is_closed = False

        def is_closing(self) -> bool:
            return self.is_closed

        def write(self, data: bytes) -> None:
            self.written.append(data)

    async def main() -> list[bytes]:
        transport = Transport()
        whole = _InOnePiece(cast("asyncio.Transport", transport))
        for piece in (b"head, ", b"body", b""):
            whole.write(piece)
        await asyncio.sleep(0)
        whole.write(b"more")
        transport.is_closed = True
        await asyncio.sleep(0)
        return transport.written

    assert asyncio.run(main()) == [b"head, body"]


def test_a_response_does_not_wait_for_an_acknowledgement() -> None:
    """Of the response to an earlier one of several requests at once: clients delay it by 40 ms."""
    with in_memory() as (relay, _), relay.connect() as connection:
        connection.settimeout(20)
        times: list[float] = []
        for _ in range(40):
            began, received = time.monotonic(), b""
            connection.sendall(2 * b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
            while received.count(b"alive\n") < 2:
                received += connection.recv(65_536)
            times.append(time.monotonic() - began)
    assert min(times[20:]) < 0.03


def test_more_connections_than_there_may_be_are_closed() -> None:
    """Those that are there go on."""
    with in_memory(limits=Limits(connections=3)) as (relay, _):
        kept = [relay.connect() for _ in range(3)]
        assert all(map(asks_for_health, kept))
        with relay.connect() as surplus:
            surplus.settimeout(5)
            assert rest_of(surplus) == b""
        assert all(map(asks_for_health, kept))
        for connection in kept:
            connection.close()


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"\r\n" * 5 + b"?"])
def test_what_is_no_http_is_a_400(relay: Running, junk: bytes) -> None:
    """TLS, say, that was meant for a proxy."""
    with relay.connect() as connection:
        connection.sendall(junk + b"\r\n\r\n")
        assert rest_of(connection).startswith(b"HTTP/1.1 400 ")


def test_the_usual_limits_are_those_of_the_documents() -> None:
    """They are stated for people who run a relay."""
    assert (USUAL.head, USUAL.request, USUAL.connections) == (10, 30, 4_000)


def test_a_request_that_has_begun_is_finished_at_the_end() -> None:
    """The relay stops while a batch is on its way: it is kept and answered, and then the store
    stops."""
    with in_memory() as (relay, store):
        token, body = relay.token(), batch(event(1))
        with relay.connect() as connection:
            connection.sendall(
                head(relay, f"authorization: Bearer {token}", f"content-length: {len(body)}")
                + b"\r\n"
                + body[:5]
            )
            relay.ask("GET", "/health", root=True)  # so it has seen what came before
            relay.stop()
            while is_open(relay):
                pass
            assert store.stopped is None
            connection.sendall(body[5:])
            assert rest_of(connection).startswith(b"HTTP/1.1 200 ")
    assert len(store.events) == 1
    assert store.stopped == 5.0


def test_a_stop_does_not_wait_for_a_request_that_hangs() -> None:
    """Its time runs out, and the relay ends: a store may not respond."""
    with in_memory(limits=Limits(stop=0)) as (relay, store), relay.connect() as connection:
        relay.call(store.gate.clear)
        body = batch(event(1))
        lines = (f"authorization: Bearer {relay.token()}", f"content-length: {len(body)}")
        connection.sendall(head(relay, *lines) + b"\r\n" + body)
        wait_for(lambda: store.waiting)
        relay.stop()
        try:
            wait_for(lambda: store.stopped, 10.0)
        finally:
            with suppress(RuntimeError):  # it has ended
                relay.call(store.gate.set)
    assert store.events == []
