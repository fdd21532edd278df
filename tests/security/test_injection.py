"""Nothing that a caller or an event brings changes the shape of a request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from chaos.raw_server import scripted
from chaos.responses import EXAMPLES
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from masivo import Api, Client, MasivoConfigError, MasivoError, MasivoValidationError

if TYPE_CHECKING:
    from chaos.raw_server import Scripted

FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
EVENT: dict[str, object] = {"type": "VIEW", "customer_id": "c", "brand_id": None}
EVIL = st.sampled_from(
    [
        "key\r\nx-evil: 1",
        "key\nx-evil: 1",
        "key\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        "key\x00",
        "key\x7f",
        " key",
        "key ",
        "k\u00e9y",
        "key\u2028x-evil: 1",
        "key\x85x-evil: 1",
    ]
)
TEXT = EVIL | st.text(max_size=30) | st.text(st.characters(codec="ascii"), max_size=30)
HEADERS = [b"host", b"accept", b"user-agent", b"accept-encoding"]
AUTHORIZES = sorted([*HEADERS, b"x-api-key", b"x-masivo-sdk"])
SENDS = sorted([*HEADERS, b"authorization", b"content-type", b"idempotency-key", b"content-length"])


@pytest.fixture
def server() -> Iterator[Scripted]:
    """A server that keeps the bytes of every request."""
    with scripted() as server:
        yield server


def names(request: bytes) -> list[bytes]:
    """The names of a request's headers, sorted; but for that of the connection's reuse."""
    head = request.partition(b"\r\n\r\n")[0]
    found = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    return sorted(name for name in found if name != b"connection")


def check_requests(server: Scripted) -> None:
    """The requests have the headers that they should have, and no other."""
    authorize, send = (request for request, _ in server.said)
    assert names(authorize) == AUTHORIZES
    assert names(send) == SENDS
    assert all(request.count(b"HTTP/1.1\r\n") == 1 for request in (authorize, send))


def made(key: str, base_url: str) -> tuple[Client | None, str]:
    """A client, or what its refusal says."""
    try:
        return Client(key, base_url=base_url), ""
    except MasivoConfigError as error:
        return None, f"{error} {error!r}"


@FUZZ
@given(key=TEXT)
def test_a_key_injects_nothing(server: Scripted, key: str) -> None:
    """A key is refused at construction, without being shown, or it is one header's value."""
    server.said = []
    client, refusal = made(key, f"http://127.0.0.1:{server.port}")
    if client is None:
        assert len(key.strip()) < 4 or key.strip() not in refusal
        return
    with client:
        client.send_analytics_event(EVENT)
        assert client.flush(10).delivered == 1
    check_requests(server)
    assert f"\r\nx-api-key: {key}\r\n".encode() in server.said[0][0]


@FUZZ
@given(value=TEXT, setting=st.sampled_from(["sdk_header", "authorize_path", "events_path"]))
@example(value="/a b HTTP/1.1\r\nx-evil: 1", setting="events_path")
@example(value="/../../evil", setting="events_path")
@example(value="//evil.example/x", setting="authorize_path")
@example(value="/@evil.example/x", setting="authorize_path")
@example(value="/a?b#c", setting="events_path")
def test_an_api_setting_injects_nothing(server: Scripted, value: str, setting: str) -> None:
    """The fields of Api are refused, or end up where they belong; the host stays the same."""
    server.said = []
    changes: dict[str, Any] = {setting: value}
    try:
        api = Api(**changes)
    except MasivoConfigError:
        return
    base_url = f"http://127.0.0.1:{server.port}"
    with Client("some-client-key", base_url=base_url, api=api, max_retries=0) as client:
        delivery = client.send_analytics_event(EVENT)
        client.flush(10)
        assume(delivery.exception(0) is None)  # such as a path that no URL can carry
    check_requests(server)
    host = f"\r\nhost: 127.0.0.1:{server.port}\r\n".encode()
    assert all(host in request.lower() for request, _ in server.said)


@FUZZ
@given(base_url=TEXT | TEXT.map("http://127.0.0.1/".__add__) | TEXT.map("https://".__add__))
@example(base_url="http://127.0.0.1@evil.example/")
@example(base_url="http://evil.example#127.0.0.1")
@example(base_url="http://127.0.0.1.evil.example")
@example(base_url="http://localhost.evil.example")
@example(base_url="http://0.0.0.0")
@example(base_url="https://user:password@api.example/v1")
@example(base_url="http://[::ffff:8.8.8.8]/")
@example(base_url="http://2130706433.evil.example/")
@example(base_url="http://127.0.0.1\\@evil.example/")
def test_a_base_url_is_plain_http_only_to_loopback(base_url: str) -> None:
    """A base URL is refused with a MasivoConfigError, or it is https, or of a loopback host."""
    try:
        client = Client("some-client-key", base_url=base_url)
    except MasivoConfigError:
        return
    client.destroy()
    loopback = ("http://127.", "http://localhost", "http://[::1]", "http://[::ffff:127.")
    assert base_url.startswith(("https://", *loopback)), base_url
    assert "@" not in base_url.split("/")[2]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=10,
)


@FUZZ
@given(extra=st.dictionaries(st.text(max_size=12), VALUES, max_size=4), text=st.text(min_size=1))
@example(extra={"__proto__": {"x": 1}, 'a"b': "\r\n"}, text='"},{"type":"PURCHASE')
@example(extra={"metadata": "\u2028</script>"}, text="\r\nx-evil: 1\r\n\r\n")
def test_an_event_injects_nothing(server: Scripted, extra: dict[str, object], text: str) -> None:
    """An event's texts stay its own: a batch carries just the events that were sent, with just
    the fields that they had, whatever is in them."""
    server.said = []
    event = {**extra, "type": "VIEW", "customer_id": text, "brand_id": text, "issued_at": "x"}
    with Client("some-client-key", base_url=f"http://127.0.0.1:{server.port}") as client:
        try:
            client.send_analytics_event(event)
        except MasivoValidationError:
            return
        client.send_analytics_event(EVENT | {"issued_at": "x"})
        assert client.flush(10).delivered == 2
    check_requests(server)
    body = json.loads(server.said[1][0].partition(b"\r\n\r\n")[2])
    assert body == {"events": [event, EVENT | {"issued_at": "x"}]}


class Hostile(Mapping[str, object]):
    """A mapping that does not behave."""

    def __getitem__(self, name: str) -> object:
        raise RuntimeError(f"no {name} here")

    def __iter__(self) -> Iterator[str]:
        yield from ("type", "customer_id", "brand_id")

    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({"type": "V", "customer_id": "c", "brand_id": None, "x": 1e999}, id="inf"),
        pytest.param({"type": "V", "customer_id": "c" * 300_000, "brand_id": None}, id="too large"),
        pytest.param({"type": "PURCHASE", "customer_id": "c", "brand_id": None}, id="reserved"),
        pytest.param({"type": "V", "customer_id": "\ud800", "brand_id": None}, id="surrogate"),
    ],
)
def test_a_hostile_event_is_invalid(server: Scripted, event: dict[str, object]) -> None:
    """The call that sends it raises, before anything is buffered, and does not hurt the events
    beside it."""
    with Client("some-client-key", base_url=f"http://127.0.0.1:{server.port}") as client:
        good = client.send_analytics_event(EVENT)
        with pytest.raises(MasivoValidationError):
            client.send_analytics_event(event)
        client.flush(10)
        assert good.result(0).success


def test_a_nested_event_is_invalid(server: Scripted) -> None:
    """An event that is nested without end, or holds itself, is invalid: no stack overflows."""
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"x": deep}
    cycle: dict[str, object] = {}
    cycle["x"] = cycle
    with Client("some-client-key", base_url=f"http://127.0.0.1:{server.port}") as client:
        for metadata in (deep, cycle, [[cycle]]):
            with pytest.raises(MasivoValidationError):
                client.send_analytics_event(EVENT | {"metadata": metadata})
        while deep:  # taken apart here: the interpreter would do it by recursion
            deep = deep.pop("x")  # type: ignore[assignment]
        assert client.stats().accepted == 0


def test_errors_are_ours(server: Scripted) -> None:
    """A mapping that raises does so at the call, and leaves the client as it was."""
    with Client("some-client-key", base_url=f"http://127.0.0.1:{server.port}") as client:
        with pytest.raises((RuntimeError, MasivoError)):
            client.send_analytics_event(Hostile())
        client.send_analytics_event(EVENT)
        assert client.flush(10).delivered == 1
