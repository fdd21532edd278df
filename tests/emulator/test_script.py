"""From response and fault to bytes, with h11 on both sides and no socket."""

import json
from itertools import islice

import h11
import pytest

from masivo.emulator import Fault
from masivo.emulator.responses import Response, json_response
from masivo.emulator.script import Close, Send, Step, Wait, altered, steps

RESPONSE = json_response(201, {"data": [1, 2, 3]}, (("Date", "now"),))
BASE = (("Date", "base"),)


def request(method: str = "GET", version: str = "1.1") -> h11.Connection:
    """Return a server's connection that has read a whole request."""
    conn = h11.Connection(h11.SERVER)
    conn.receive_data(f"{method} / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    assert isinstance(conn.next_event(), h11.Request)
    assert isinstance(conn.next_event(), h11.EndOfMessage)
    return conn


def performed(
    fault: Fault,
    *,
    response: Response | None = RESPONSE,
    method: str = "GET",
    limit: int | None = None,
) -> list[Step]:
    """Return the steps, the first `limit` of them if that is given."""
    conn = request(method)
    return list(islice(steps(conn, method, altered(response, fault, BASE), fault), limit))


def sent(performed: list[Step]) -> bytes:
    """Return all bytes that the steps send."""
    return b"".join(step.data for step in performed if isinstance(step, Send))


def parsed(data: bytes, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
    """Read a complete response as a client: status, headers, body."""
    conn = h11.Connection(h11.CLIENT)
    conn.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    conn.send(h11.EndOfMessage())
    conn.receive_data(data)
    response = conn.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := conn.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert conn.trailing_data == (b"", False)
    return response.status_code, dict(response.headers), body


def test_an_unaltered_response_is_one_write() -> None:
    """Without a fault, head and body go out in one piece and the connection can be reused."""
    conn = request()
    performed = list(steps(conn, "GET", RESPONSE, Fault()))
    assert len(performed) == 1
    status, headers, body = parsed(sent(performed))
    assert (status, body) == (201, RESPONSE.body)
    assert headers[b"date"] == b"now"
    assert conn.our_state is h11.DONE


def test_head_has_no_body() -> None:
    """The response to HEAD is the headers alone, Content-Length included."""
    status, headers, body = parsed(sent(performed(Fault(), method="HEAD")), "HEAD")
    assert (status, body) == (201, b"")
    assert headers[b"content-length"] == str(len(RESPONSE.body)).encode()


def test_old_clients_are_closed_on() -> None:
    """An HTTP/1.0 client's connection is not reused."""
    conn = request(version="1.0")
    list(steps(conn, "GET", RESPONSE, Fault()))
    assert conn.our_state is h11.MUST_CLOSE


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(status: int) -> None:
    """Statuses that have no body get none."""
    data = sent(performed(Fault(status=status, body="ignored")))
    assert parsed(data)[2] == b""
    assert b"ignored" not in data


def test_a_status_in_place_of_the_api() -> None:
    """A status alone has a body in the vendor's form, and the emulator's own headers."""
    status, headers, body = parsed(sent(performed(Fault(status=503), response=None)))
    assert status == 503
    assert headers[b"date"] == b"base"
    assert json.loads(body)["error"] == "Service Unavailable"
    assert isinstance(json.loads(body)["details"], str)
    status, _, body = parsed(sent(performed(Fault(status=202), response=None)))
    assert (status, json.loads(body)) == (202, {"data": {"status": "PENDING"}})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\xff\x00", b"\xff\x00"),
        ("né", "né".encode()),
        ({"a": [1]}, b'{"a":[1]}'),
        ([1, "x"], b'[1,"x"]'),
        (b"", b""),
    ],
)
def test_bodies(body: bytes | str | dict[str, object] | list[object], expected: bytes) -> None:
    """Bytes and text go out as they are, everything else as JSON; the status is 200."""
    assert parsed(sent(performed(Fault(body=body), response=None)))[::2] == (200, expected)


def test_a_body_with_the_apis_status() -> None:
    """Where the API processed the request, what the fault leaves open is the API's."""
    fault = Fault(body="changed", process=True)
    assert parsed(sent(performed(fault)))[::2] == (201, b"changed")


def test_headers_are_replaced_and_removed() -> None:
    """A fault's headers replace those of the same name; None removes one."""
    fault = Fault(headers={"date": None, "CONTENT-TYPE": "text/x", "X-New": "1"})
    headers = parsed(sent(performed(fault)))[1]
    assert b"date" not in headers
    assert headers[b"content-type"] == b"text/x"
    assert headers[b"x-new"] == b"1"


def test_without_content_length_the_body_is_chunked() -> None:
    """A response whose Content-Length is removed is framed in chunks, and complete."""
    status, headers, body = parsed(sent(performed(Fault(headers={"Content-Length": None}))))
    assert headers[b"transfer-encoding"] == b"chunked"
    assert (status, body) == (201, RESPONSE.body)


def test_html() -> None:
    """`Fault.html` is a page with status 200."""
    status, headers, body = parsed(sent(performed(Fault.html(), response=None)))
    assert status == 200
    assert headers[b"content-type"].startswith(b"text/html")
    assert body.startswith(b"<!doctype html>")


@pytest.mark.parametrize("size", [2, 11, 12, 100_000])
def test_size(size: int) -> None:
    """`size` gives valid JSON of exactly that many bytes."""
    status, _, body = parsed(sent(performed(Fault(size=size))))
    assert (status, len(body)) == (201, size)
    json.loads(body)


@pytest.mark.parametrize("kept", [0, 1, 5])
def test_truncate(kept: int) -> None:
    """A truncated body keeps its Content-Length, and the connection closes after the rest."""
    done = performed(Fault(truncate=kept))
    head, _, body = sent(done).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(RESPONSE.body)}".encode() in head
    assert body == RESPONSE.body[:kept]
    assert done[-1] == Close()


def test_truncate_headers() -> None:
    """The response can end in the middle of its headers, slowly too."""
    done = performed(Fault(truncate_headers=20))
    assert sent(done) == b"HTTP/1.1 201 Created"
    assert done[-1] == Close()
    done = performed(Fault(truncate_headers=2, drip=0.25))
    assert done == [Send(b"H"), Wait(0.25), Send(b"T"), Wait(0.25), Close()]


@pytest.mark.parametrize("length", [0, 3, 10_000])
def test_a_wrong_content_length(length: int) -> None:
    """The announced length is the fault's, by its field or by a header of its own; the body is
    whole, and the connection closes."""
    header = {"content-length": str(length)}
    faults = [
        Fault(content_length=length),
        Fault(headers=header),
        Fault(content_length=length, headers=header),
    ]
    for fault in faults:
        done = performed(fault)
        head, _, body = sent(done).partition(b"\r\n\r\n")
        assert head.lower().count(b"content-length") == 1
        assert f"content-length: {length}".encode() in head.lower()
        assert body == RESPONSE.body
        assert done[-1] == Close()


def test_chunked_that_is_not() -> None:
    """A body can claim to be chunked without being so."""
    done = performed(Fault(headers={"Transfer-Encoding": "chunked"}))
    head, _, body = sent(done).partition(b"\r\n\r\n")
    assert b"content-length" not in head.lower()
    assert body == RESPONSE.body
    assert done[-1] == Close()


def test_raw() -> None:
    """`raw` is sent as it is, and the connection closes."""
    assert performed(Fault(raw=b"\x00hello")) == [Send(b"\x00hello"), Close()]


def test_delay_in_the_middle() -> None:
    """`delay_body` waits after the headers and half of the body."""
    first, wait, second = performed(Fault(delay_body=7))
    assert wait == Wait(7)
    assert isinstance(first, Send)
    assert isinstance(second, Send)
    assert first.data.endswith(RESPONSE.body[: len(RESPONSE.body) // 2])
    assert parsed(first.data + second.data)[2] == RESPONSE.body


def test_drip() -> None:
    """`drip` sends every byte alone, and waits after each."""
    done = performed(Fault(drip=0.25))
    assert all(len(step.data) == 1 for step in done[::2] if isinstance(step, Send))
    assert all(step == Wait(0.25) for step in done[1::2])
    assert parsed(sent(done))[2] == RESPONSE.body


def test_endless() -> None:
    """An endless body is chunked and does not end."""
    conn = h11.Connection(h11.CLIENT)
    conn.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    conn.send(h11.EndOfMessage())
    for step in performed(Fault(endless=True), limit=50):
        assert isinstance(step, Send)
        conn.receive_data(step.data)
    assert isinstance(conn.next_event(), h11.Response)
    total = 0
    while isinstance(event := conn.next_event(), h11.Data):
        total += len(event.data)
    assert event is h11.NEED_DATA
    assert total > 1_000_000


def test_endless_with_an_opening_and_a_length() -> None:
    """An endless body can begin with a given one, and can lie about its length."""
    fault = Fault(endless=True, body="[", content_length=10, delay_body=1)
    done = performed(fault, limit=4)
    assert done[2] == Wait(1)
    assert sent(done).partition(b"\r\n\r\n")[2].startswith(b"[xxx")
