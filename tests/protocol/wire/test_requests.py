"""Both requests, byte for byte, and the encoding of a batch's body."""

from __future__ import annotations

import gzip
import json
from typing import Literal

import pytest

from masivo._protocol import __version__
from masivo._protocol.errors import MasivoConfigError
from masivo._protocol.wire import bodies, requests
from masivo.protocol import Api
from protocol.requests import header
from protocol.simulator import Driver, event, in_batch

COMMON = {"accept": "application/json", "user-agent": f"masivo-python/{__version__}"}
PACKED = gzip.compress(b"x", mtime=0)
EVENTS = [b'{"n":1}', b'{"n":2}']


@pytest.mark.parametrize("sdk", ["client", None])
def test_an_authorization(sdk: str | None) -> None:
    """The key, the header that names the kind of SDK (if any), and no body."""
    call = requests.authorization(Api(authorize_path="/a", sdk_header=sdk), "the-key")
    assert (call.method, call.path, call.body) == ("GET", "/a", b"")
    named = {} if sdk is None else {"x-masivo-sdk": sdk}
    assert dict(call.headers) == {"x-api-key": "the-key"} | named | COMMON


def test_a_batch() -> None:
    """The token, the idempotency key, and the events in their envelope."""
    call = requests.batch(Api(events_path="/e"), "t", "k", EVENTS)
    assert (call.method, call.path) == ("POST", "/e")
    assert call.body == b'{"events":[{"n":1},{"n":2}]}'
    assert dict(call.headers) == COMMON | {
        "authorization": "Bearer t",
        "content-type": "application/json",
        "idempotency-key": "k",
    }


@pytest.mark.parametrize("key", ["events", 'a"b', "é", None])
def test_the_envelope_wraps_events(key: str | None) -> None:
    """Whatever the key's characters; ``envelope_size`` is what it adds."""
    api = Api(events_key=key)
    body = requests.batch(api, "t", "k", EVENTS).body
    events = [{"n": 1}, {"n": 2}]
    assert json.loads(body) == (events if key is None else {key: events})
    assert len(body) == requests.envelope_size(api) + len(b",".join(EVENTS))


# ── The encoding ─────────────────────────────────────────────────────────────────────────────


def test_a_body_can_be_compressed() -> None:
    """``content_encoding="gzip"``: a header says so, and the body unpacks to that without it."""
    plain = requests.batch(Api(), "t", "k", EVENTS)
    packed = requests.batch(Api(content_encoding="gzip"), "t", "k", EVENTS)
    assert gzip.decompress(packed.body) == plain.body
    assert dict(packed.headers) == dict(plain.headers) | {"content-encoding": "gzip"}
    assert "content-encoding" not in dict(plain.headers)


def test_an_authorization_is_not_compressed() -> None:
    """It has no body."""
    call = requests.authorization(Api(content_encoding="gzip"), "k")
    assert call == requests.authorization(Api(), "k")


def test_a_retry_of_a_compressed_batch_is_the_same_request() -> None:
    """Equal bytes under the same key, also after a fresh token, and whatever the time; what
    bounds a batch is its size without the encoding."""
    events = [event(n, text="x" * 500) for n in range(3)]
    driver = Driver(api=Api(content_encoding="gzip"), max_batch_bytes=1300, max_event_bytes=1300)
    driver.sign_in()
    driver.send(*events)
    first = driver.batch()
    assert len(json.loads(gzip.decompress(first.body))["events"]) == 2
    assert len(first.body) < 400
    driver.respond(503)
    driver.sleep()
    second = driver.batch()
    assert (second.body, second.headers) == (first.body, first.headers)
    driver.respond(401)
    driver.grant()
    assert driver.batch().body == first.body
    assert header(driver.batch(), "idempotency-key") == header(first, "idempotency-key")


def test_a_batch_is_sent_as_it_is_by_default() -> None:
    """Without the choice there is neither an encoding nor a header."""
    request, _ = in_batch(Driver(), 1)
    assert header(request, "content-encoding") is None
    assert request.body.startswith(b'{"events":[')


@pytest.mark.parametrize("value", ["", "GZIP", "br", "deflate", True, b"gzip"])
def test_any_other_encoding_is_no_choice(value: object) -> None:
    """``"gzip"`` or None; the error names the field."""
    with pytest.raises(MasivoConfigError) as caught:
        Api(content_encoding=value)  # type: ignore[arg-type]
    assert caught.value.message == "Api.content_encoding must be 'gzip', or None for no encoding"


# ── The encoding, as a server reads it ───────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_server_reads_what_was_sent(encoding: Literal["gzip"] | None) -> None:
    """Up to its limit, which counts what the body is without its encoding."""
    call = requests.batch(Api(content_encoding=encoding), "t", "k", EVENTS * 500)
    plain = requests.batch(Api(), "t", "k", EVENTS * 500).body
    assert bodies.read_body(dict(call.headers), call.body, len(plain)) == plain
    if encoding is not None:
        with pytest.raises(bodies.TooLongError) as caught:
            bodies.read_body(dict(call.headers), call.body, len(plain) - 1)
        assert str(caught.value) == f"it is longer than {len(plain) - 1} bytes without its encoding"


@pytest.mark.parametrize("encoding", ["", "identity", " GZip ", "x-gzip"])
def test_the_name_of_an_encoding_is_read_in_any_case(encoding: str) -> None:
    """Blanks around it do not count; none is no encoding."""
    body = PACKED if "gzip" in encoding.lower() else b"x"
    assert bodies.read_body({"content-encoding": encoding}, body, 9) == b"x"


@pytest.mark.parametrize(
    ("encoding", "body", "said"),
    [
        ("br", b"x", "content-encoding 'br' is not known"),
        ("gzip", b'{"events":[]}', "it is not gzip: Error -3 .*"),
        *(
            ("gzip", body, "it is cut short, or something follows it")
            for body in (b"", PACKED[:-1], PACKED + b"y", PACKED + PACKED)
        ),
        ("identity", b"1234567890", "it is longer than 9 bytes"),
    ],
)
def test_a_body_that_is_not_what_its_header_says(encoding: str, body: bytes, said: str) -> None:
    """The error says why."""
    with pytest.raises(ValueError, match=f"^{said}$"):
        bodies.read_body({"content-encoding": encoding}, body, 9)
