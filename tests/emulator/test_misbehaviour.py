"""Faults as a client meets them on a real connection."""

import http.client
import os
import threading
import time

import pytest

from masivo.emulator import Emulator, Fault, RecordedRequest

from .clients import Client, batch, connected, event, head, plain_socket, read_all


def test_a_status_for_the_next_batches(emulator: Emulator, client: Client) -> None:
    """The next two batches fail without being processed; authorizations are left alone."""
    emulator.fail(Fault.unavailable(retry_after=2), route="events", times=2)
    token = client.token()
    replies = [client.send(token) for _ in range(3)]
    assert [reply.status for reply in replies] == [503, 503, 200]
    assert replies[0].headers["retry-after"] == "2"
    assert "date" in replies[0].headers
    assert [(each.status, each.accepted) for each in emulator.batches] == [
        (503, 0),
        (503, 0),
        (200, 1),
    ]
    assert emulator.batches[0].fault == Fault.unavailable(retry_after=2)


def test_a_number_is_a_status(emulator: Emulator, client: Client) -> None:
    """`fail(503)` is short for a fault with that status."""
    emulator.fail(503, route="events")
    assert client.send(client.token()).status == 503
    assert emulator.batches[0].fault == Fault(status=503)


@pytest.mark.parametrize("route", ["events", "/api/storefront/v1/behavior/events/bulk"])
def test_a_route_by_its_path(emulator: Emulator, client: Client, route: str) -> None:
    """A route has a name and a path."""
    emulator.fail(503, route=route)
    assert client.send(client.token()).status == 503


@pytest.mark.parametrize("route", ["bulk", ""])
def test_an_unknown_route(emulator: Emulator, route: str) -> None:
    """A name that no route has is an error of the call, with the names that there are."""
    with pytest.raises(ValueError, match=r"use 'authorize', 'events' \(batches\), 'event', or"):
        emulator.fail(503, route=route)


@pytest.mark.parametrize("fault", ["503", None, True])
def test_what_is_no_fault(emulator: Emulator, fault: Fault) -> None:
    """Anything but a Fault or a number is an error of the call."""
    with pytest.raises(
        TypeError, match=r"a Fault or the number of a status, not .*: such as fail\(503\)"
    ):
        emulator.fail(fault)


def test_a_status_although_it_was_accepted(emulator: Emulator, client: Client) -> None:
    """With `process` the events count, whatever the response says."""
    emulator.fail(Fault(status=500, process=True), route="events", number=1)
    assert client.send(client.token()).status == 500
    assert emulator.event_count == emulator.batches[0].accepted == 1


def test_a_function_decides(emulator: Emulator, client: Client) -> None:
    """`on_request` sees the whole request, and is called when no fault is queued."""

    def decide(record: RecordedRequest) -> Fault | None:
        return Fault(status=400) if record.events and len(record.events) > 1 else None

    emulator.on_request = decide
    token = client.token()
    assert client.send(token, batch(event(), event())).status == 400
    assert client.send(token).status == 200
    emulator.fail(Fault(status=418))
    assert client.send(token, batch(event(), event())).status == 418
    emulator.heal()
    assert client.send(token, batch(event(), event())).status == 200
    assert [each.fault and each.fault.status for each in emulator.batches] == [400, None, 418, None]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_function_that_fails(emulator: Emulator, client: Client) -> None:
    """An exception of a caller's function ends the connection; the request is kept."""

    def decide(_: RecordedRequest) -> Fault | None:
        raise RuntimeError("a mistake in the test")

    emulator.on_request = decide
    with pytest.raises(ConnectionError):
        client.authorize()
    emulator.wait_for(lambda e: e.requests)
    emulator.heal()
    with connected(emulator) as other:
        assert other.authorize().status == 200


@pytest.mark.parametrize("moment", ["after_reading", "after_processing"])
def test_a_reset(emulator: Emulator, client: Client, moment: str) -> None:
    """A reset is a reset, not a close; only after processing do the events count."""
    fault = Fault(reset="after_reading" if moment == "after_reading" else "after_processing")
    emulator.fail(fault, route="events")
    token = client.token()
    with pytest.raises(ConnectionResetError):
        client.send(token)
    assert emulator.event_count == (moment == "after_processing")
    record = emulator.batches[0]
    assert (record.status, record.responded_at, record.body) == (None, None, batch())
    with connected(emulator) as other:
        assert other.send(token).status == 200


def test_a_reset_before_the_body_is_read(emulator: Emulator) -> None:
    """The connection is reset as soon as the headers are there, without waiting for the body."""
    emulator.fail(Fault(reset="before_reading"))
    with plain_socket(emulator) as sock:
        sock.sendall(head(emulator, "POST", "/behavior/events/bulk", "Content-Length: 1000"))
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert (emulator.requests[0].body, emulator.requests[0].events) == (b"", None)


def test_a_close_without_a_response(emulator: Emulator) -> None:
    """The connection is closed in order, and nothing was sent."""
    emulator.fail(Fault(close=True))
    with plain_socket(emulator) as sock:
        sock.sendall(head(emulator))
        assert read_all(sock) == b""


def test_a_truncated_body(emulator: Emulator, client: Client) -> None:
    """The events were accepted, the response is cut off."""
    token = client.token()
    emulator.fail(Fault(truncate=5))
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.send(token)
    assert len(caught.value.partial) == 5
    assert emulator.event_count == 1


def test_garbage(emulator: Emulator, client: Client) -> None:
    """The bytes are not HTTP."""
    emulator.fail(Fault.garbage())
    with pytest.raises(http.client.BadStatusLine):
        client.authorize()
    assert emulator.requests[0].status is None


def test_an_endless_body_ends_with_the_client(emulator: Emulator) -> None:
    """The endless body stops when its reader leaves, and the emulator keeps running."""
    emulator.fail(Fault(endless=True))
    with plain_socket(emulator) as sock:
        sock.sendall(head(emulator))
        received = 0
        while received < 3_000_000:
            received += len(sock.recv(65_536))
    with connected(emulator) as client:
        assert client.authorize().status == 200


def test_delays(emulator: Emulator, client: Client) -> None:
    """Delays before the response and in its middle add up, and the response is whole."""
    emulator.fail(Fault(delay=0.05, delay_body=0.05))
    started = time.monotonic()
    assert client.authorize().status == 200
    assert time.monotonic() - started >= 0.1
    assert client.authorize().status == 200


def test_a_delayed_batch_counts_at_once(emulator: Emulator) -> None:
    """The events are accepted before the delay, so a client that gives up has sent them."""
    with connected(emulator) as client:
        token = client.token()
        emulator.fail(Fault(delay=3600))
        client.connection.request(
            "POST",
            "/api/storefront/v1/behavior/events/bulk",
            batch(),
            {"authorization": f"Bearer {token}"},
        )
        emulator.wait_for(lambda e: e.event_count == 1)
        record = emulator.batches[0]
        assert (record.accepted, record.status, record.responded_at) == (1, None, None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_does_not_keep_connections_open(emulator: Emulator, client: Client) -> None:
    """A reset reaches the client though a child process had inherited the sockets."""
    client.authorize()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        emulator.fail(Fault(reset="after_reading"))
        with pytest.raises(ConnectionResetError):
            client.authorize()
    finally:
        os.close(writing)
        os.close(reading)
        os.waitpid(child, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_does_not_keep_the_emulator_up(emulator: Emulator) -> None:
    """It stops at once though a child process goes on that had inherited its sockets."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    stopping = threading.Thread(target=emulator.stop)
    stopping.start()
    stopping.join(10)
    stopped = not stopping.is_alive()
    os.close(writing)
    os.close(reading)
    os.waitpid(child, 0)
    stopping.join(10)
    assert stopped
