"""Responses that cannot be used, from a reset to a gzip bomb
(``docs/reference/guarantees.md#success-is-final``;
``docs/reference/guarantees.md#size-of-a-response``)."""

from __future__ import annotations

import gzip
import json
import threading
import time
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from masivo import Api, MasivoAuthError, MasivoError, MasivoNetworkError
from masivo.emulator import Emulator, Fault

from .events import arrived, event, sent, statuses
from .odd_servers import closed_port, serving, silent, sipping

if TYPE_CHECKING:
    from .conftest import Connect

MIB = 1 << 20
TIMEOUT = 0.4
SLACK = 3.0
"""How much longer than its timeout a request may take on a busy machine, in seconds."""

NOTHING_CAME = {
    "reset before reading": Fault(reset="before_reading"),
    "reset after reading": Fault(reset="after_reading"),
    "lost answer": Fault.lost_response(),
    "closed": Fault(close=True),
    "closed within the headers": Fault(truncate_headers=20, process=True),
    "no HTTP": Fault.garbage(),
    "a cut 503": Fault(status=503, truncate=5),
    "an endless 503": Fault(status=503, endless=True),
    "a huge 500": Fault(status=500, size=MIB + 1),
    "a huge 422": Fault(status=422, size=MIB + 1),
    "a cut 422": Fault(status=422, truncate=5),
    "a 400 that is no gzip": Fault(status=400, headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("name", NOTHING_CAME)
@pytest.mark.parametrize("route", ["authorize", "events"])
def test_no_usable_answer_is_repeated(
    connect: Connect, emulator: Emulator, name: str, route: str
) -> None:
    """Without a complete answer, or with a malformed one that is no 2xx, a request is repeated."""
    emulator.fail(NOTHING_CAME[name], route=route)
    client = connect()
    delivery = client.send_analytics_event(event(1))
    assert client.flush(10).delivered == 1
    assert delivery.result(0).success
    assert len([each for each in emulator.requests if each.route == route]) == 2


@pytest.mark.parametrize("name", NOTHING_CAME)
def test_a_repeat_is_bounded(connect: Connect, emulator: Emulator, name: str) -> None:
    """With ``max_retries=0`` nothing is repeated: the batch fails with a MasivoNetworkError."""
    emulator.fail(NOTHING_CAME[name], route="events")
    client = connect(max_retries=0)
    delivery = client.send_analytics_event(event(1))
    assert client.flush(10).failed == 1
    error = delivery.exception(0)
    assert isinstance(error, MasivoNetworkError)
    assert "nothing was sent" not in error.message  # nobody knows what has arrived
    assert len(emulator.batches) <= 1


def test_a_repeat_is_the_same_batch(connect: Connect, emulator: Emulator) -> None:
    """A repeat has the same body and Idempotency-Key: events arrive at least once."""
    emulator.fail(Fault.lost_response(), route="events")
    client = connect()
    client.send_analytics_event(event(1))
    assert client.flush(10).delivered == 1
    first, second = emulator.batches
    assert first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert arrived(emulator) == [1, 1]
    client.send_analytics_event(event(2))
    client.flush(5)
    assert emulator.batches[-1].headers["idempotency-key"] != first.headers["idempotency-key"]


BEGUN_WELL = {
    "cut off": Fault(truncate=5),
    "cut off at once": Fault(truncate=0),
    "shorter than announced": Fault(content_length=4096),
    "longer than announced": Fault(content_length=3),
    "endless": Fault(endless=True),
    "over 1 MiB": Fault(size=MIB + 1),
    "no gzip": Fault(headers={"Content-Encoding": "gzip"}),
    "an unasked encoding": Fault(headers={"Content-Encoding": "br"}),
    "a cut gzip": Fault(
        body=gzip.compress(b'{"data":1}' * 50)[:-12], headers={"Content-Encoding": "gzip"}
    ),
    "a gzip header alone": Fault(
        body=gzip.compress(b'{"data":1}')[:10], headers={"Content-Encoding": "gzip"}
    ),
    "a gzip bomb": Fault(
        body=gzip.compress(b"\0" * (4 * MIB), 1), headers={"Content-Encoding": "gzip"}
    ),
    "a deflate bomb": Fault(
        body=zlib.compress(b" " * (4 * MIB), 1), headers={"Content-Encoding": "deflate"}
    ),
}


@pytest.mark.parametrize("name", BEGUN_WELL)
def test_a_success_that_breaks_is_not_repeated(
    connect: Connect, emulator: Emulator, name: str
) -> None:
    """Once a 2xx has begun, the batch is never sent again: the error says that it may have been
    accepted, and carries the status."""
    emulator.fail(BEGUN_WELL[name], route="events")
    client = connect()
    delivery = client.send_analytics_event(event(1))
    assert client.flush(10).failed == 1
    error = delivery.exception(0)
    assert isinstance(error, MasivoNetworkError)
    assert error.status == 200
    assert "may have been accepted" in error.message
    assert len(emulator.batches) == 1


@pytest.mark.parametrize("name", ["cut off", "endless", "over 1 MiB", "a gzip bomb"])
def test_a_broken_authorization_is_repeated(
    connect: Connect, emulator: Emulator, name: str
) -> None:
    """Asking for a token changes nothing, so its broken 2xx is repeated like any failure."""
    emulator.fail(BEGUN_WELL[name], route="authorize")
    client = connect()
    client.send_analytics_event(event(1))
    assert client.flush(10).delivered == 1
    assert len(emulator.authorizations) == 2


@pytest.mark.parametrize("size", [MIB, MIB + 1])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_the_bound_is_exact(connect: Connect, emulator: Emulator, encoding: str, size: int) -> None:
    """A body of 1 MiB, decoded, is an answer; with one byte more it is malformed."""
    body = json.dumps({"data": "x" * (size - 12)}).encode()
    assert len(body) == size
    body = gzip.compress(body) if encoding == "gzip" else body
    emulator.fail(Fault(body=body, headers={"Content-Encoding": encoding}), route="events")
    client = connect()
    delivery = client.send_analytics_event(event(1))
    assert client.flush(10).delivered == (1 if size == MIB else 0)
    error = delivery.exception(0)
    assert (error is None) == (size == MIB)
    assert error is None or error.status == 200


def test_a_bomb_is_not_held_in_memory(connect: Connect, emulator: Emulator) -> None:
    """64 MiB of zeros in 300 KiB of gzip cost little more than the bound of 1 MiB."""
    emulator.fail(BEGUN_WELL["a gzip bomb"], route="events")
    client = connect()
    client.get_token(5)
    tracemalloc.start()
    try:
        client.send_analytics_event(event(1))
        assert client.flush(10).failed == 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MIB


def test_rubbish_after_a_gzip_body_is_bounded(connect: Connect) -> None:
    """What follows the end of a compressed body counts towards the bound too."""
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n"
    token = gzip.compress(b'{"data": "an-opaque-token"}')

    def talk(connection: Any, over: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(head + token)
        sent_bytes = 0
        while not over.is_set() and sent_bytes < 256 * MIB:
            connection.sendall(bytes(MIB))
            sent_bytes += MIB

    with serving(talk) as port:
        client = connect(base_url=f"http://127.0.0.1:{port}", max_retries=0, timeout=5)
        tracemalloc.start()
        try:
            with pytest.raises(MasivoNetworkError, match="larger"):
                client.get_token(10)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 16 * MIB
        client.destroy()


WELL = {
    "exactly 1 MiB": Fault(size=MIB, process=True),
    "gzip": Fault(
        body=gzip.compress(b'{"data": {"n": 1}}'),
        headers={"Content-Encoding": "gzip"},
        process=True,
    ),
    "deflate": Fault(
        body=zlib.compress(b'{"data": {"n": 1}}'),
        headers={"Content-Encoding": "deflate"},
        process=True,
    ),
    "chunked": Fault(headers={"Content-Length": None}),
    "without a body": Fault(status=204, body=b"", process=True),
    "empty": Fault(status=202, body=b"", process=True),
    "empty gzip": Fault(body=b"", headers={"Content-Encoding": "gzip"}, process=True),
    "another JSON": Fault(body=b" [1, 2] ", process=True),
    "byte by byte": Fault(drip=0.0005),
}


@pytest.mark.parametrize("name", WELL)
def test_odd_but_good_answers(connect: Connect, emulator: Emulator, name: str) -> None:
    """Any complete 2xx that is JSON, or empty, is a success; its body is the result's data."""
    emulator.fail(WELL[name], route="events")
    client = connect()
    delivery = client.send_analytics_event(event(1))
    assert client.flush(10).delivered == 1
    result = delivery.result(0)
    body = WELL[name].body
    if body == b"":
        assert result.data is None
    elif name in ("gzip", "deflate"):
        assert result.data == {"data": {"n": 1}}
    elif isinstance(body, bytes):
        assert result.data == json.loads(body)
    assert arrived(emulator) == [1]


def test_a_success_that_is_no_json_blames_the_address(connect: Connect, emulator: Emulator) -> None:
    """A complete 2xx that is not JSON is an error that says to check ``base_url``."""
    emulator.fail(Fault.html(), route="events")
    client = connect()
    delivery = client.send_analytics_event(event(1))
    assert client.flush(10).failed == 1
    error = delivery.exception(0)
    assert type(error) is MasivoError
    assert "base_url" in error.message
    assert len(emulator.batches) == 1


def test_an_authorization_answered_with_a_page(connect: Connect, emulator: Emulator) -> None:
    """A 200 without a token is a MasivoAuthError that says to check ``base_url``."""
    emulator.fail(Fault.html(), route="authorize")
    client = connect()
    delivery = client.send_analytics_event(event(1))
    error = delivery.exception(10)
    assert isinstance(error, MasivoAuthError)
    assert "base_url" in error.message
    assert emulator.batches == []


def test_the_page_at_the_root_is_no_api(connect: Connect, emulator: Emulator) -> None:
    """An address that leads to the emulator's own page is told like any wrong one."""
    client = connect(base_url=emulator.inspector_url, api=Api(authorize_path="/"))
    error = client.send_analytics_event(event(1)).exception(10)
    assert isinstance(error, MasivoAuthError)
    assert "base_url" in error.message
    assert emulator.requests == []


# ── The timeout bounds the whole of a request ────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fault",
    [
        Fault(delay=30),
        Fault(delay_body=30),
        Fault(drip=0.05),
        Fault(drip=0.05, size=100_000, headers={"X-Long": "x" * 2000}),
        Fault(drip=0.02, headers={"Content-Length": None}),
    ],
    ids=["late", "late body", "drip", "long drip", "chunked drip"],
)
@pytest.mark.parametrize("route", ["authorize", "events"])
def test_a_slow_answer_is_cut_off(
    connect: Connect, emulator: Emulator, fault: Fault, route: str
) -> None:
    """However the bytes trickle in, a request is over when its ``timeout`` is."""
    client = connect(timeout=TIMEOUT, max_retries=0)
    if route == "events":
        client.get_token(5)
    emulator.fail(fault, route=route)
    began = time.monotonic()
    delivery = client.send_analytics_event(event(1))
    client.flush(10)
    took = time.monotonic() - began
    assert isinstance(delivery.exception(0), MasivoNetworkError)
    assert TIMEOUT - 0.1 < took < TIMEOUT + SLACK


def test_a_slow_reader_is_cut_off(connect: Connect) -> None:
    """A server that takes a large body sip by sip cannot prolong the request."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n"
    authorized = threading.Event()

    def talk(connection: Any, over: threading.Event) -> None:
        if not authorized.is_set():
            connection.recv(65_536)
            connection.sendall(head + b'{"data":"token"}')
            authorized.set()
        sipping(connection, over)

    with serving(talk) as port:
        client = connect(
            base_url=f"http://127.0.0.1:{port}",
            timeout=TIMEOUT,
            max_retries=0,
            max_batch_bytes=64 * MIB,
            batch_size=200,
        )
        client.get_token(5)
        # The kernel takes some 4 MiB at once; the rest moves at the reader's pace.
        deliveries = [
            client.send_analytics_event(event(n, referral_code="x" * 250_000)) for n in range(160)
        ]
        began = time.monotonic()
        assert client.flush(20).failed == 160
        took = time.monotonic() - began
        assert isinstance(deliveries[0].exception(0), MasivoNetworkError)
        assert took < TIMEOUT + SLACK
        client.destroy()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_silent_server_is_cut_off(connect: Connect, scheme: str) -> None:
    """A server that accepts and says nothing, to a TLS greeting either, costs one timeout."""
    with serving(silent) as port:
        client = connect(base_url=f"{scheme}://127.0.0.1:{port}", timeout=TIMEOUT, max_retries=0)
        began = time.monotonic()
        with pytest.raises(MasivoNetworkError):
            client.get_token(10)
        assert TIMEOUT - 0.1 < time.monotonic() - began < TIMEOUT + SLACK
        client.destroy()


# ── No connection ────────────────────────────────────────────────────────────────────────────


def test_nobody_listens(connect: Connect) -> None:
    """A closed port is a MasivoNetworkError that says that nothing was sent."""
    client = connect(base_url=f"http://127.0.0.1:{closed_port()}", max_retries=1)
    delivery = client.send_analytics_event(event(1))
    assert client.flush(10).failed == 1
    error = delivery.exception(0)
    assert isinstance(error, MasivoNetworkError)
    assert error.status is None
    assert "nothing was sent" in error.message
    assert "base_url" in error.message
    assert client.stats().authorizations == 2


def test_no_secure_connection(connect: Connect, emulator: Emulator) -> None:
    """A server that does not speak TLS is a MasivoNetworkError that says what to check."""
    client = connect(base_url=emulator.url.replace("http:", "https:"), max_retries=0)
    with pytest.raises(MasivoNetworkError, match=r"no secure connection.*base_url"):
        client.get_token(10)


def test_a_server_that_comes_back(connect: Connect, emulator: Emulator) -> None:
    """Events outlive a server's restart: what is repeated arrives, in order."""
    # Enough repeats for a machine that takes seconds to start the server again.
    client = connect(batch_size=2, max_retries=20)
    client.get_token(5)
    emulator.stop()
    for n in range(6):
        client.send_analytics_event(event(n))
    with pytest.raises(TimeoutError):
        client.flush(0.1)
    emulator.start()
    emulator_ready = client.flush(20)
    assert emulator_ready.delivered == 6
    assert arrived(emulator) == list(range(6))
    assert [sent(batch) for batch in emulator.batches] == [[0, 1], [2, 3], [4, 5]]
    assert statuses(emulator.batches) == [200] * 3
