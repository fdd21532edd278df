"""The urllib driver over real sockets, with its own clock, HTTP and errors."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from urllib_driver import Client

from masivo import FlushResult, MasivoClosedError, MasivoError, MasivoNetworkError
from masivo.emulator import Emulator, Fault
from masivo.protocol import Failed, Secret, configure

from .events import arrived, event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from masivo.protocol import Delivery, FailedEvent

    Connect = Callable[..., Client]


@pytest.fixture
def connect(emulator: Emulator) -> Iterator[Connect]:
    """Makes clients for the emulator, and lets them go at the end."""
    made: list[Client] = []

    def connect(api_key: str | None = None, base_url: str | None = None, **settings: Any) -> Client:
        key = Secret(emulator.client_key if api_key is None else api_key)
        client = Client(configure(key, base_url=base_url or emulator.url, **settings))
        made.append(client)
        return client

    yield connect
    for client in made:
        client.buffer.destroy()
        client.pump()
    Client.sessions.clear()


def error_of(delivery: Delivery) -> MasivoError:
    """The error of a delivery that must have failed."""
    outcome = delivery.claim()
    assert isinstance(outcome, Failed), outcome
    return outcome.error


def test_events_arrive(connect: Connect, emulator: Emulator) -> None:
    """A full batch goes out from inside ``send``; ``flush`` sends the rest, in order."""
    client = connect(batch_size=3)
    deliveries = [client.send(event(n)) for n in range(7)]
    assert [delivery.done() for delivery in deliveries] == [True] * 6 + [False]
    assert client.flush(5) == FlushResult(7, 0)
    assert client.wait(deliveries[6], 0).success
    assert arrived(emulator) == list(range(7))


def test_nothing_happens_between_calls(connect: Connect, emulator: Emulator) -> None:
    """Events whose time has come go out with the next call, and not before."""
    client = connect(idle_timeout=1.0)
    client.send(event(1))
    [authorization] = emulator.requests
    assert authorization.route == "authorize"
    wake_at = client.pump()
    assert 0 < wake_at - time.monotonic() <= 1.0
    time.sleep(wake_at - time.monotonic())
    assert emulator.event_count == 0
    client.pump()
    assert arrived(emulator) == [1]


def test_an_outage_ends_in_a_timeout(connect: Connect, emulator: Emulator) -> None:
    """``flush`` raises TimeoutError when its time is over; the event stays pending."""
    emulator.fail(Fault.unavailable(retry_after=100), route="events")
    client = connect()
    delivery = client.send(event(1))
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        client.flush(0.2)
    assert 0.2 <= time.monotonic() - began < 2
    assert not delivery.done()


def test_close_cuts_a_stuck_request_short(connect: Connect, emulator: Emulator) -> None:
    """The deadline of ``close`` counts everything."""
    emulator.fail(Fault(delay=5), route="events")
    client = connect()
    delivery = client.send(event(1))
    began = time.monotonic()
    client.close(0.3)
    assert 0.3 <= time.monotonic() - began < 2
    assert isinstance(error_of(delivery), MasivoClosedError)
    with pytest.raises(MasivoClosedError):
        client.send(event(2))
    client.close()


@pytest.mark.parametrize(
    "fault",
    [Fault(delay=5), Fault(drip=0.05), Fault(delay_body=5)],
    ids=["silence", "drip", "body"],
)
def test_a_request_is_bounded_as_a_whole(
    connect: Connect, emulator: Emulator, fault: Fault
) -> None:
    """However slowly an answer comes, with a byte now and then, ``timeout`` bounds it all."""
    client = connect(timeout=0.4, max_retries=0)
    client.get_token(5)
    emulator.fail(fault, route="events")
    delivery = client.send(event(1))
    began = time.monotonic()
    assert client.flush(5).failed == 1
    assert 0.3 < time.monotonic() - began < 2
    assert isinstance(error_of(delivery), MasivoNetworkError)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(reset="before_reading"), None),
        (Fault.garbage(), None),
        (Fault(headers={"Content-Length": None}, truncate=5), 200),
        (Fault(size=(1 << 20) + 1), 200),
        (Fault(headers={"Content-Encoding": "gzip"}), 200),
    ],
    ids=repr,
)
def test_whatever_breaks_is_a_failure(
    connect: Connect, emulator: Emulator, fault: Fault, status: int | None
) -> None:
    """Nothing that a server does raises out of a call; a status that had arrived is kept."""
    client = connect(timeout=0.5, max_retries=0)
    client.get_token(5)
    emulator.fail(fault, route="events")
    delivery = client.send(event(1))
    assert client.flush(5) == FlushResult(0, 1)
    error = error_of(delivery)
    assert (type(error), error.status) == (MasivoNetworkError, status)
    with pytest.raises(MasivoNetworkError):
        client.wait(delivery)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_every_status_is_an_answer(connect: Connect, emulator: Emulator, status: int) -> None:
    """No redirect is followed, no status is an exception of urllib's."""
    client = connect(max_retries=0)
    client.get_token(5)
    emulator.fail(Fault(status=status, headers={"Location": emulator.url}), route="events")
    delivery = client.send(event(1))
    client.flush(5)
    assert error_of(delivery).status == status
    assert len(emulator.requests) == 2


def test_a_refused_connection_was_not_sent(connect: Connect) -> None:
    """``sent`` is False where there was no connection, and the error says so."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    client = connect(base_url=f"http://127.0.0.1:{port}", max_retries=0)
    delivery = client.send(event(1))
    assert client.flush(5).failed == 1
    assert "nothing was sent" in error_of(delivery).message


def test_a_cause_leads_to_no_secret(connect: Connect, emulator: Emulator) -> None:
    """The transport's exception is kept, without the frames that hold the headers."""
    emulator.fail(Fault(close=True), route="events", times=None)
    client = connect(max_retries=0)
    delivery = client.send(event(1))
    client.flush(5)
    cause = error_of(delivery).__cause__
    assert cause is not None
    while cause is not None:
        assert cause.__traceback__ is None
        cause = cause.__cause__ or cause.__context__


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator that speaks https, with a certificate that the environment can be told of."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate: Any = authority.issue_cert("127.0.0.1")
    certificate.configure_cert(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Emulator(ssl_context=context) as emulator:
        yield emulator


def test_events_arrive_over_tls(connect: Connect, secure: Emulator) -> None:
    """https works, with the certificates that Python trusts."""
    client = connect(secure.client_key, secure.url)
    client.send(event(1))
    assert client.flush(5) == FlushResult(1, 0)
    assert arrived(secure) == [1]


def test_a_request_is_bounded_over_tls_too(connect: Connect, secure: Emulator) -> None:
    """An answer that drips over TLS does not outlast the timeout."""
    client = connect(secure.client_key, secure.url, timeout=0.5, max_retries=0)
    client.get_token(5)
    secure.fail(Fault(drip=0.05), route="events")
    client.send(event(1))
    began = time.monotonic()
    assert client.flush(5) == FlushResult(0, 1)
    assert time.monotonic() - began < 2


def test_an_unknown_certificate_is_refused(
    connect: Connect, secure: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that nobody vouches for gets nothing, the key included."""
    monkeypatch.delenv("SSL_CERT_FILE")
    client = connect(secure.client_key, secure.url, max_retries=0)
    delivery = client.send(event(1))
    assert client.flush(5).failed == 1
    assert "certificate" in error_of(delivery).message.lower()
    assert "nothing was sent" in error_of(delivery).message
    assert secure.requests == []


def test_on_error_may_send_but_not_wait(connect: Connect, emulator: Emulator) -> None:
    """A wait inside ``on_error`` is a RuntimeError at once; a send goes out, and nothing is
    closed or lost."""
    emulator.fail(Fault(status=403), route="events")
    refused: list[str] = []

    def on_error(failure: FailedEvent) -> None:
        for call in (client.flush, client.close, client.get_token, client.pump):
            with pytest.raises(RuntimeError):
                call()
            refused.append(call.__name__)
        client.send(event(2))

    client = connect(batch_size=1, on_error=on_error)
    client.send(event(1))
    assert refused == ["flush", "close", "get_token", "pump"]
    assert arrived(emulator) == [2]
    client.flush(5)
    assert (client.buffer.stats().delivered, client.buffer.stats().failed) == (1, 1)


def test_an_interrupt_loses_no_event(
    connect: Connect, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A KeyboardInterrupt in the middle of a request leaves its events on their way."""
    client = connect()
    client.get_token(5)
    client.send(event(1))
    with monkeypatch.context() as patched:

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(client.session.http, "send", interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.flush(5)
    assert client.flush(5) == FlushResult(1, 0)
    assert arrived(emulator) == [1]
