"""Requests through an HTTP client of the caller's, as they arrive."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import trio

from masivo._http import opener_of
from masivo.protocol import MAX_BODY, Failure, Response

from .server import Peer, Server
from .worlds import sender_in, to


def _send(world: str, client: Any, url: str) -> Response | Failure:
    if world == "threads":
        opener = opener_of(client, "Client", url)
        with client:
            result: Response | Failure = sender_in(world, opener).send(to(url))
            return result
    opener = opener_of(client, "AsyncClient", url)

    async def main() -> Response | Failure:
        async with client:
            result: Response | Failure = await sender_in(world, opener).send(to(url))
            return result

    return trio.run(main) if world == "trio" else asyncio.run(main())


@pytest.mark.parametrize("world", ["threads", "asyncio", "trio"])
def test_a_request_is_the_packages_whatever_the_client_adds(world: str) -> None:
    """It asks for gzip alone, as only that is decoded; the client's credentials are not sent, its
    redirects not followed; its own headers are."""
    heard: list[bytes] = []

    def talk(peer: Peer) -> None:
        while head := peer.request().lower():
            heard.append(head)
            peer.say(b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n")

    kind = httpx.Client if world == "threads" else httpx.AsyncClient
    client = kind(
        auth=("user", "pass"),
        follow_redirects=True,
        headers={"accept-encoding": "br, deflate", "x-mine": "yes"},
    )
    with Server(talk) as server:
        response = _send(world, client, server.url)
    assert isinstance(response, Response)
    assert response.status == 302
    (head,) = heard
    assert [line for line in head.split(b"\r\n") if line.startswith(b"accept-encoding")] == [
        b"accept-encoding: gzip"
    ]
    assert b"\r\nauthorization:" not in head
    assert b"\r\nx-mine: yes\r\n" in head


@pytest.mark.parametrize("world", ["threads", "asyncio", "trio"])
def test_headers_that_come_twice_are_joined(world: str) -> None:
    """As over connections of our own: in order, by commas."""

    def talk(peer: Peer) -> None:
        while peer.request():
            peer.say(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\ncontent-length: 0\r\n\r\n")

    kind = httpx.Client if world == "threads" else httpx.AsyncClient
    with Server(talk) as server:
        response = _send(world, kind(), server.url)
    assert isinstance(response, Response)
    assert response.headers["x-a"] == "1, 2"


class _SpeechlessError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


# Generators inside httpx are left where they were; trio says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("world", ["threads", "asyncio", "trio"])
def test_a_body_without_end_is_broken_off(world: str) -> None:
    """A body that never ends is broken off once it is too long, not at the timeout: it must not
    fill the memory."""

    def talk(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.say(60_000 * b" ")

    kind = httpx.Client if world == "threads" else httpx.AsyncClient
    with Server(talk) as server:
        failure = _send(world, kind(), server.url)
    assert isinstance(failure, Failure)
    assert failure.status == 200
    assert f"longer than {MAX_BODY} bytes" in failure.reason


def test_an_exception_without_words_is_named() -> None:
    """Its class is all that the failure says."""

    def handle(_: httpx.Request) -> httpx.Response:
        raise _SpeechlessError

    with Server() as server:
        client = httpx.Client(transport=httpx.MockTransport(handle))
        failure = _send("threads", client, server.url)
    assert isinstance(failure, Failure)
    assert failure.reason == "the request failed: _SpeechlessError"


def test_the_words_of_its_cause_stand_for_an_exception_without_any() -> None:
    """They come from the nearest one that has some."""

    def handle(_: httpx.Request) -> httpx.Response:
        raise _SpeechlessError from ValueError("the reason")

    with Server() as server:
        client = httpx.Client(transport=httpx.MockTransport(handle))
        failure = _send("threads", client, server.url)
    assert isinstance(failure, Failure)
    assert failure.reason == "the request failed: _SpeechlessError: the reason"


def test_each_step_of_a_request_has_its_whole_time() -> None:
    """A transport finds the request's timeout for each step, however it reads it: one by one, when
    it is the time left, or all at once."""
    found: list[dict[str, float]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        timeout = request.extensions["timeout"]
        found.append({**timeout})
        assert 0 < timeout.get("read") <= 10.0
        return httpx.Response(200)

    with Server() as server:
        client = httpx.Client(timeout=1.0, transport=httpx.MockTransport(handle))
        assert isinstance(_send("threads", client, server.url), Response)
    assert found == [{"connect": 10.0, "read": 10.0, "write": 10.0, "pool": 10.0}]


def test_a_success_whose_headers_have_arrived_is_given_up_with_its_status() -> None:
    """A request that is given up in threads says which status has arrived: after a success the
    batch is not sent again (``docs/reference/guarantees.md#success-is-final``)."""
    asked: list[int | None] = []

    class Body(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            asked.append(sender.given_up(request).status)
            yield b"{}"

    request = to("http://127.0.0.1/v1")
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Body()))
    with httpx.Client(transport=transport) as mine:
        sender = sender_in("threads", opener_of(mine, "Client", request.url))
        assert sender.given_up(request).status is None
        assert isinstance(sender.send(request), Response)
    assert asked == [200]
    assert sender.given_up(request).status is None


def test_what_breaks_off_was_sent() -> None:
    """Once the headers of a response have arrived, its request was sent, whatever the class of the
    exception that ends it says: a caller's transport can raise any."""

    class Body(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            raise httpx.ConnectError("gone")

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Body()))
    failure = _send("threads", httpx.Client(transport=transport), "http://127.0.0.1:1/v1")
    assert isinstance(failure, Failure)
    assert (failure.sent, failure.status) == (True, 200)
