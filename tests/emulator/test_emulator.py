"""The emulator over real connections: its responses and its records."""

import contextlib
import errno
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest

from masivo.emulator import Emulator, Fault, Json, RecordedRequest
from masivo.emulator.api import StorefrontApi
from masivo.emulator.faults import FaultPlan

from .clients import Client, batch, connected, event, head, plain_socket, read_all


def emulator_threads() -> list[threading.Thread]:
    """Return the emulators' threads that are alive."""
    return [each for each in threading.enumerate() if each.name.startswith("masivo-emulator")]


# Starting and stopping


def test_it_has_an_address_once_started() -> None:
    """The port is bound by `start`, and the same one serves again after a stop."""
    emulator = Emulator()
    with pytest.raises(RuntimeError):
        _ = emulator.url
    with emulator:
        url = emulator.url
        assert urlsplit(url).path == "/api/storefront/v1"
        assert url.startswith("http://127.0.0.1:")
    with emulator, connected(emulator) as client:
        assert emulator.url == url
        assert client.authorize().status == 200


def test_start_and_stop_are_idempotent() -> None:
    """A second start or stop does nothing. The representation tells the state."""
    emulator = Emulator()
    emulator.stop()
    assert repr(emulator) == "<Emulator stopped, 0 events accepted>"
    assert emulator.start() is emulator
    url = emulator.url
    emulator.start()
    assert emulator.url == url
    assert repr(emulator) == f"<Emulator {url} running, 0 events accepted>"
    emulator.stop()
    emulator.stop()
    assert repr(emulator) == f"<Emulator {url} stopped, 0 events accepted>"
    assert emulator_threads() == []


def test_only_loopback_hosts() -> None:
    """It never listens where another machine could reach it."""
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com", ""):
        with pytest.raises(ValueError, match="loopback"):
            Emulator(host=host)
    with Emulator(host="localhost") as emulator, connected(emulator) as client:
        assert client.authorize().status == 200


def test_ipv6() -> None:
    """The IPv6 loopback address is in brackets in the URL."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Emulator(host="::1") as emulator, connected(emulator) as client:
        assert "//[::1]:" in emulator.url
        assert client.authorize().status == 200


def test_a_taken_port() -> None:
    """A port in use is an OSError from `start`, which leaks nothing."""
    with Emulator() as emulator:
        other = Emulator(port=urlsplit(emulator.url).port or 0)
        with pytest.raises(OSError, match="in use"):
            other.start()


def test_arguments_are_checked() -> None:
    """Wrong arguments are a ValueError at construction."""
    for port in (-1, 65_536):
        with pytest.raises(ValueError, match="port"):
            Emulator(port=port)
    Emulator(port=65_535)
    with pytest.raises(ValueError, match="token_ttl"):
        Emulator(token_ttl=0)
    with pytest.raises(ValueError, match="daily_quota"):
        Emulator(daily_quota=-1)
    with pytest.raises(ValueError, match="differ"):
        Emulator(client_key="same", server_key="same")


def test_stop_ends_every_connection(emulator: Emulator) -> None:
    """Stopping closes idle, half-sent and silent connections at once."""
    with connected(emulator) as idle, plain_socket(emulator) as half, plain_socket(emulator) as new:
        idle.authorize()
        half.sendall(head(emulator)[:20])
        started = time.monotonic()
        emulator.stop()
        assert time.monotonic() - started < 1
        assert emulator_threads() == []
        assert half.recv(1) == b""
        assert new.recv(1) == b""
    with pytest.raises(ConnectionRefusedError), plain_socket(emulator):
        pass


@pytest.mark.parametrize(
    "fault",
    [
        Fault(delay=3600),
        Fault(delay_body=float("inf")),
        Fault(drip=3600),
        Fault(endless=True),
    ],
)
def test_stop_ends_every_delay(emulator: Emulator, fault: Fault) -> None:
    """No delay, and no client that does not read, holds up a stop."""
    emulator.fail(fault)
    with plain_socket(emulator) as sock:
        sock.sendall(head(emulator))
        emulator.wait_for(lambda e: e.requests)
        started = time.monotonic()
        emulator.stop()
        assert time.monotonic() - started < 1
        assert emulator_threads() == []


def test_a_callback_can_stop_it(emulator: Emulator) -> None:
    """`stop` may be called from the emulator's own threads."""

    def decide(_: RecordedRequest) -> None:
        emulator.stop()

    emulator.on_request = decide
    with plain_socket(emulator) as sock:
        sock.sendall(head(emulator))
        assert sock.recv(1) == b""


# Responses


def test_the_happy_path(emulator: Emulator, client: Client) -> None:
    """A key is exchanged for a token, and a batch sent with it is accepted and kept."""
    token = client.token()
    reply = client.send(token, batch(event(n=1), event(n=2)))
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("application/json")
    assert [each["n"] for each in emulator.events] == [1, 2]
    assert emulator.event_count == 2
    authorize, events = emulator.requests
    assert (authorize.number, authorize.route, authorize.status) == (1, "authorize", 200)
    assert authorize.headers["x-api-key"] == emulator.client_key
    assert (events.number, events.route, events.method) == (2, "events", "POST")
    assert (events.status, events.accepted, events.fault) == (200, 2, None)
    assert events.body == batch(event(n=1), event(n=2))
    assert events.events == emulator.events
    assert events.path == "/api/storefront/v1/behavior/events/bulk"
    assert events.responded_at is not None
    assert 0 <= events.responded_at - events.received_at < 5
    assert emulator.authorizations == [authorize]
    assert emulator.batches == [events]


def test_its_clock_is_given() -> None:
    """Date, expiry and `issued_at` follow the clock that it was given."""
    now = 1_000_000.0
    with Emulator(clock=lambda: now, token_ttl=60) as emulator, connected(emulator) as client:
        reply = client.authorize()
        assert reply.headers["date"] == "Mon, 12 Jan 1970 13:46:40 GMT"
        token = client.token()
        past = event(issued_at="1970-01-12T13:46:40Z")
        assert client.send(token, batch(past)).status == 200
        assert client.send(token, batch(event(issued_at="1970-01-12T13:46:41Z"))).status == 422
        now += 60
        assert client.send(token).status == 401
        assert emulator.requests[0].received_at == 1_000_000.0


def test_reject_and_quota_and_revocation() -> None:
    """The options of the API reach it."""

    def reject(event: dict[str, Json]) -> str | None:
        return "bad" if event.get("sku") == "BAD" else None

    with Emulator(reject=reject, daily_quota=5) as emulator, connected(emulator) as client:
        token = client.token()
        assert client.send(token, batch(event(sku="BAD"))).status == 422
        emulator.reject = None
        assert client.send(token, batch(event(sku="BAD"))).status == 200
        emulator.revoke_tokens()
        assert client.send(token).status == 401
        assert client.authorize().headers["x-ratelimit-remaining"] == "0"
        reply = client.authorize()
        assert reply.status == 429
        assert int(reply.headers["retry-after"]) > 0


def test_expect_100_continue(emulator: Emulator) -> None:
    """A client with `Expect: 100-continue` gets a 100 before it sends the body."""
    body = batch()
    with plain_socket(emulator) as sock:
        more = (f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close")
        sock.sendall(head(emulator, "POST", "/behavior/events/bulk", *more))
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body)
        assert read_all(sock).startswith(b"HTTP/1.1 401 ")


def test_pipelined_requests(emulator: Emulator) -> None:
    """Requests sent without waiting get their responses in order."""
    with plain_socket(emulator) as sock:
        last = head(emulator, "GET", "/c", "Connection: close")
        sock.sendall(head(emulator, "GET", "/a") + head(emulator, "GET", "/b") + last)
        assert read_all(sock).count(b"HTTP/1.1 404 ") == 3
    assert [each.path[-1] for each in emulator.requests] == ["a", "b", "c"]


def test_a_chunked_request(emulator: Emulator) -> None:
    """A body in chunks is put together."""
    with plain_socket(emulator) as sock:
        more = ("Transfer-Encoding: chunked", "Connection: close")
        sock.sendall(head(emulator, "POST", "/behavior/events", *more))
        sock.sendall(b"2\r\n{}\r\n3\r\n   \r\n0\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 401 ")
    assert emulator.requests[0].body == b"{}   "


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"illegal request line"),
        (b"GET\r\n\r\n", b"illegal request line"),
        (b"G" * 100_000, b"too long"),
    ],
)
def test_what_is_not_http(emulator: Emulator, data: bytes, reason: bytes) -> None:
    """A request that is not HTTP gets a 4xx with the reason, and the connection is closed."""
    with plain_socket(emulator) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        response = read_all(sock)
    assert response.startswith(b"HTTP/1.1 4")
    assert reason in response
    assert emulator.requests == []


def test_a_connection_that_cannot_be_accepted(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no file descriptor is free: it is accepted once one is."""
    real, failed = socket.socket.accept, list[OSError]()

    def accept(listener: socket.socket) -> tuple[socket.socket, object]:
        if not failed:
            failed.append(OSError(errno.EMFILE, "Too many open files"))
            raise failed[0]
        return real(listener)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with connected(emulator) as client:
        assert client.authorize().status == 200
    assert failed


def test_a_broken_body(emulator: Emulator) -> None:
    """A request that breaks off in HTTP's own framing is kept, and gets a 4xx."""
    with plain_socket(emulator) as sock:
        sock.sendall(head(emulator, "POST", "/x", "Transfer-Encoding: chunked") + b"1\r\nazz")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).startswith(b"HTTP/1.1 400 ")
    assert (emulator.requests[0].body, emulator.requests[0].status) == (b"a", None)


def test_a_client_that_vanishes(emulator: Emulator) -> None:
    """A request whose client goes away in its body is kept with what had arrived."""
    with plain_socket(emulator) as sock:
        sock.sendall(head(emulator, "POST", "/x", "Content-Length: 10") + b"abc")
    emulator.wait_for(lambda e: e.requests)
    assert (emulator.requests[0].body, emulator.requests[0].status) == (b"abc", None)


def test_a_body_that_is_too_large(
    emulator: Emulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body over the limit gets a 413, though the client is still sending."""
    for module in ("api", "connection", "exchange"):
        monkeypatch.setattr(f"masivo.emulator.{module}.MAX_BODY", 1000)
    token = client.token()
    reply = client.send(token, batch(event(filler="x" * 3_000_000)))
    assert reply.status == 413
    assert reply.headers["connection"] == "close"
    assert parsedate_to_datetime(reply.headers["date"]).tzinfo is UTC
    assert emulator.events == []
    assert emulator.requests[-1].route == "events"


def test_a_body_of_the_largest_size(
    emulator: Emulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read like any other, and its connection carries the next request."""
    body = batch(event(filler="x" * 3_000))
    for module in ("api", "connection", "exchange"):
        monkeypatch.setattr(f"masivo.emulator.{module}.MAX_BODY", len(body))
    token = client.token()
    sock = client.connection.sock
    assert client.send(token, body).status == 200
    assert client.send(token).status == 200
    assert client.connection.sock is sock


def test_a_client_that_still_sends_can_read_the_response(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is not reset while the client of a body over the limit still sends, nor is it
    after the response."""
    for module in ("connection", "exchange"):
        monkeypatch.setattr(f"masivo.emulator.{module}.MAX_BODY", 1000)
    monkeypatch.setattr("masivo.emulator.connection.LINGER", 10.0)
    with plain_socket(emulator) as sock:
        sock.sendall(head(emulator, "POST", "/x", "Content-Length: 5000") + b"a" * 2000)
        response = read_all(sock)
        (serving,) = (each for each in emulator_threads() if each.name.endswith("connection"))
        for _ in range(3):
            sock.sendall(b"a" * 1000)
        sock.shutdown(socket.SHUT_WR)
        serving.join(10)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert response.startswith(b"HTTP/1.1 413 ")


def test_what_connections_share_is_used_under_the_lock(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API's state and the faults: requests are served, and faults queued and removed, in
    threads of their own."""
    without: list[str] = []

    def under_the_lock(place: type, name: str) -> None:
        original = getattr(place, name)

        def call(*args: object, **options: object) -> object:
            try:
                emulator._journal.changed.notify_all()
            except RuntimeError:  # this thread does not hold it
                without.append(name)
            return original(*args, **options)

        monkeypatch.setattr(place, name, call)

    for place, names in (
        (StorefrontApi, ("respond", "revoke_tokens")),
        (FaultPlan, ("add", "take", "clear")),
    ):
        for name in names:
            under_the_lock(place, name)
    emulator.fail(Fault(status=503), route="events")
    with connected(emulator) as client:
        token = client.token()
        assert client.send(token).status == 503
        emulator.heal()
        assert client.send(token).status == 200
        emulator.revoke_tokens()
        assert client.send(token).status == 401
    assert without == []


def test_many_connections_at_once(emulator: Emulator) -> None:
    """Requests of several connections are all counted once, and each batch is kept together."""
    with connected(emulator) as first:
        token = first.token()

    def send(sender: int) -> None:
        with connected(emulator) as client:
            for n in range(20):
                reply = client.send(token, batch(*[event(sender=sender, n=n)] * 10))
                assert reply.status == 200

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))
    assert emulator.event_count == len(emulator.events) == 8 * 20 * 10
    assert [each.number for each in emulator.requests] == list(range(1, 162))
    batches = [emulator.events[at : at + 10] for at in range(0, 1600, 10)]
    assert all(each == [each[0]] * 10 for each in batches)


def test_connections_that_have_ended_are_forgotten(emulator: Emulator) -> None:
    """However many there were, an emulator that runs for days does not grow by them."""
    for _ in range(20):
        with connected(emulator) as client:
            client.authorize()
    while len(emulator_threads()) > 1:
        for thread in emulator_threads():
            if thread.name.endswith("connection"):
                thread.join(10)
    with connected(emulator) as client:
        client.authorize()
        assert emulator._server is not None
        assert len(emulator._server._connections) == 1


def test_tls() -> None:
    """With an SSL context it speaks https, and survives a client that does not."""
    server = anonymous(ssl.PROTOCOL_TLS_SERVER)
    trusting = anonymous(ssl.PROTOCOL_TLS_CLIENT)
    with Emulator(ssl_context=server) as emulator:
        assert emulator.url.startswith("https://")
        with plain_socket(emulator) as plain:
            plain.sendall(head(emulator))
            with contextlib.suppress(ConnectionResetError):
                read_all(plain)
        with plain_socket(emulator) as sock, trusting.wrap_socket(sock) as tls:
            tls.sendall(head(emulator, "GET", "/x", "Connection: close"))
            data = b""
            while b"}" not in data:
                data += tls.recv(1000)
            assert data.startswith(b"HTTP/1.1 404 ")
        with plain_socket(emulator) as sock, trusting.wrap_socket(sock) as tls:
            emulator.fail(Fault(delay=3600))
            tls.sendall(head(emulator))
            emulator.wait_for(lambda e: len(e.requests) > 1)
            emulator.stop()
    assert emulator_threads() == []


def anonymous(protocol: int) -> ssl.SSLContext:
    """Return a context that needs no certificate."""
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context


# Keeping


def test_snapshots_are_copies(emulator: Emulator, client: Client) -> None:
    """Lists that were read before stay unchanged; `clear` forgets."""
    client.send(client.token())
    events, requests = emulator.events, emulator.requests
    emulator.clear()
    assert (len(events), len(requests)) == (1, 2)
    assert (emulator.events, emulator.requests, emulator.event_count) == ([], [], 0)
    client.token()
    assert emulator.requests[0].number == 1


def test_wait_for_says_what_happened(emulator: Emulator, client: Client) -> None:
    """A wait that times out reports how far it got."""
    client.token()
    with pytest.raises(TimeoutError, match=r"0.01 s, after 1 requests and 0 .*GET authorize"):
        emulator.wait_for(lambda e: e.event_count == 1, timeout=0.01)


def test_its_tokens_can_be_opaque() -> None:
    """Then they have no parts to read."""
    with Emulator(opaque_tokens=True) as emulator, connected(emulator) as client:
        assert "." not in client.token()


def test_one_that_is_not_stopped_keeps_no_program_alive() -> None:
    """A program that forgets to stop it ends all the same."""
    program = "from masivo.emulator import Emulator; Emulator().start()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


def test_reprs_show_no_secret(emulator: Emulator, client: Client) -> None:
    """The reprs of emulator and requests show neither key nor token."""
    token = client.token()
    client.send(token)
    shown = repr(emulator) + repr(emulator.requests)
    for secret in (token, emulator.client_key, emulator.server_key):
        assert secret not in shown
    assert emulator.url in shown


def test_on_response_sees_every_request(emulator: Emulator, client: Client) -> None:
    """`on_response` sees each request once, with its outcome."""
    told: list[int | None] = []

    def tell(record: RecordedRequest) -> None:
        assert record.settled
        told.append(record.status)

    emulator.on_response = tell
    client.authorize("nobody")
    emulator.fail(Fault(close=True))
    with pytest.raises(ConnectionError):
        client.authorize()
    assert told == [401, None]


def test_bodies_are_exact(emulator: Emulator, client: Client) -> None:
    """The body is kept byte for byte, whatever its parsed form."""
    body = b'{ "events":[{"customer_id":"\\u00e9","type":"t","brand_id":null,"v":1.10}]}'
    assert client.send(client.token(), body).status == 200
    assert emulator.batches[0].body == body
    assert emulator.events[0]["customer_id"] == "é"
    assert json.loads(body)["events"] == emulator.events
