"""Responses as servers send them: good, odd and broken."""

from __future__ import annotations

import errno
import gzip
import socket
import threading
import tracemalloc
import zlib
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from masivo._http.exchange import MAX_RESPONSE, Exchange, body_of
from masivo._http.failures import BrokenResponseError
from masivo.protocol import MAX_BODY, Failure, Response

from .certificates import server_context
from .server import OK, PATIENCE, Peer, Server, respond
from .worlds import WORLDS, run_in, to

if TYPE_CHECKING:
    from collections.abc import Callable

    from .worlds import Face, Run

MIB = 1 << 20
ZIPPED = gzip.compress(b'{"n": 1}')
ALLOWED = gzip.compress(b" " * MAX_BODY)


def said(*headers: str, body: bytes = b"", status: str = "200 OK", version: str = "1.1") -> bytes:
    """A response with a content-length of its own only if the headers have one."""
    head = "\r\n".join([f"HTTP/{version} {status}", *headers, "\r\n"])
    return head.encode() + body


GOOD = {
    "the common one": (OK, 200, b"{}", True),
    "no headers but the length": (said("Content-Length: 0"), 200, b"", True),
    "another status": (said("content-length: 2", status="503 No", body=b"{}"), 503, b"{}", True),
    "without a body": (said(status="204 No Content"), 204, b"", True),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 1\r\n\r\n1", 200, b"1", True),
    "103, 100, then 200": (
        said("link: </x>", status="103 Early Hints") + said(status="100 Continue") + OK,
        200,
        b"{}",
        True,
    ),
    "connection: close": (
        said("connection: close", "content-length: 2", body=b"{}"),
        200,
        b"{}",
        False,
    ),
    "connection: keep-alive": (
        said("Connection: keep-alive", "content-length: 2", body=b"{}"),
        200,
        b"{}",
        True,
    ),
    "HTTP/1.0": (said("content-length: 2", body=b"{}", version="1.0"), 200, b"{}", False),
    "chunked with trailers": (
        said("transfer-encoding: chunked", body=b"1\r\n{\r\n1;x=y\r\n}\r\n0\r\nx-sum: 1\r\n\r\n"),
        200,
        b"{}",
        True,
    ),
    "gzip": (
        said("content-encoding: gzip", f"content-length: {len(ZIPPED)}", body=ZIPPED),
        200,
        b'{"n": 1}',
        True,
    ),
    "gzip in chunks": (
        said(
            "content-encoding: gzip",
            "transfer-encoding: chunked",
            body=b"".join(b"1\r\n%c\r\n" % each for each in ZIPPED) + b"0\r\n\r\n",
        ),
        200,
        b'{"n": 1}',
        True,
    ),
    "an empty body that is called gzip": (
        said("content-encoding: gzip", "content-length: 0"),
        200,
        b"",
        True,
    ),
    "as much as is read, in gzip": (
        said("content-encoding: gzip", f"content-length: {len(ALLOWED)}", body=ALLOWED),
        200,
        b" " * MAX_BODY,
        True,
    ),
    "as much as is read": (
        said(f"content-length: {MAX_BODY}", body=b" " * MAX_BODY),
        200,
        b" " * MAX_BODY,
        True,
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_responses(name: str) -> None:
    """Each is read as it was meant, in one piece or in many, and again on the same connection where
    it allows that; in each world."""
    data, status, body, reusable = GOOD[name]

    def whole(peer: Peer) -> None:
        while peer.request():
            peer.say(data)

    def in_pieces(peer: Peer) -> None:
        while peer.request():
            for at in range(min(len(data), 300)):
                peer.say(data[at : at + 1])
            peer.say(data[300:])

    for world, talk in product(WORLDS, (whole, in_pieces)):
        with Server(talk) as server:
            url = server.url

            async def script(face: Face, url: str = url) -> None:
                for _ in range(3):
                    response = await face.send(to(url))
                    assert isinstance(response, Response)
                    assert (response.status, response.body) == (status, body)

            run_in(world)(url, script)
            assert server.opened == (1 if reusable else 3), world


def test_a_body_that_ends_with_its_connection(run: Run) -> None:
    """Such a response is whole; the next request has a new connection."""

    def talk(peer: Peer) -> None:
        peer.request()
        peer.say(said(body=b"{}"))
        peer.close()

    with Server(talk) as server:

        async def script(face: Face) -> None:
            for _ in range(2):
                response = await face.send(to(server.url))
                assert isinstance(response, Response)
                assert response.body == b"{}"

        run(server.url, script)
        assert server.opened == 2


def test_headers_are_joined(run: Run) -> None:
    """Names are in lower case; values of the same name are joined, in their order."""
    data = said("X-A: 1", "x-b: \xe9", "x-a:2", "Content-Length: 0")
    with Server(respond(data)) as server:

        async def script(face: Face) -> None:
            response = await face.send(to(server.url))
            assert isinstance(response, Response)
            assert response.headers == {"x-a": "1, 2", "x-b": "\xc3\xa9", "content-length": "0"}

        run(server.url, script)


BODILESS = {
    "204 with a body": said(status="204 No Content", body=b"{}"),
    "204 with a length and a body": said("content-length: 2", status="204 No", body=b"{}"),
    "204 in chunks": said(
        "transfer-encoding: chunked", status="204 No", body=b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "204 and another response": said(status="204 No Content") + OK,
    "304 with a body": said("content-length: 2", status="304 Not Modified", body=b"{}"),
}


@pytest.mark.parametrize("name", BODILESS)
@pytest.mark.parametrize("at_once", [True, False])
def test_what_follows_a_response_without_a_body_is_not_read(
    run: Run, name: str, at_once: bool
) -> None:
    """A 204 or 304 ends with its headers. Bytes after them end the connection, whether they arrive
    with the headers or later, and are not taken for the next response."""
    data = BODILESS[name]
    head = data.index(b"\r\n\r\n") + 4
    answered = threading.Event()
    spoken = threading.Event()

    def talk(peer: Peer) -> None:
        peer.request()
        answered.clear()
        peer.say(data if at_once else data[:head])
        if not at_once:
            assert answered.wait(PATIENCE)
            peer.say(data[head:])
        spoken.set()

    with Server(talk) as server:

        async def script(face: Face) -> None:
            for _ in range(2):
                spoken.clear()
                response = await face.send(to(server.url))
                assert isinstance(response, Response)
                assert (response.status, response.body) == (int(data[9:12]), b"")
                answered.set()
                assert spoken.wait(PATIENCE)

        run(server.url, script)
        assert server.opened == 2


BROKEN = {
    "garbage": (b"\x00\xffthis is not HTTP\r\n\r\n", None, "broken"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", None, "broken"),
    "closed at once": (b"", None, "closed the connection"),
    "closed in the head": (b"HTTP/1.1 200 OK\r\nconte", None, "closed the connection"),
    "closed after a 100": (said(status="100 Continue"), None, "closed the connection"),
    "cut": (said("content-length: 10", body=b"{}"), 200, "peer closed"),
    "cut in a chunk": (said("transfer-encoding: chunked", body=b"9\r\n{"), 200, "peer closed"),
    "a chunk of no length": (said("transfer-encoding: chunked", body=b"x\r\n{"), 200, "broken"),
    "two lengths": (said("content-length: 2", "content-length: 3", body=b"{}"), 200, "broken"),
    "a length in words": (said("content-length: two", body=b"{}"), 200, "broken"),
    "a name with a blank": (said("x y: z", status="204 No Content"), 204, "broken"),
    "an unknown transfer": (said("transfer-encoding: gzip, chunked"), 200, "broken"),
    "103, then two lengths": (
        said("link: </x>", status="103 Early Hints")
        + said("content-length: 2", "content-length: 3", body=b"{}"),
        200,
        "broken",
    ),
    "two lengths of a 503": (
        said("content-length: 2", "content-length: 3", status="503 No", body=said()),
        None,
        "broken",
    ),
    "a bad line in a head that is cut": (b"HTTP/1.1 200 OK\r\nx y: z\r\n", None, "closed the"),
    "a second response": (OK + OK, 200, "more bytes"),
    "garbage after the length": (OK + b"\x00\xff\r\n", 200, "more bytes"),
    "garbage after the last chunk": (
        said("transfer-encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n\x00"),
        200,
        "more bytes",
    ),
    "a 100 with a body": (
        said("content-length: 2", status="100 Continue", body=b"{}") + OK,
        None,
        "broken",
    ),
    "longer than announced": (said("content-length: 1", body=b"{}"), 200, "more bytes"),
    "too large": (
        said(f"content-length: {MAX_BODY + 1}", body=b" " * (MAX_BODY + 1)),
        200,
        "longer than",
    ),
    "too large in gzip": (
        said("content-encoding: gzip", body=gzip.compress(b" " * (MAX_BODY + 1))),
        200,
        "longer than",
    ),
    "too large a head": (b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * MIB, None, "broken"),
    "no gzip": (said("content-encoding: gzip", "content-length: 2", body=b"{}"), 200, "broken"),
    "a cut gzip": (said("content-encoding: gzip", body=ZIPPED[:-5]), 200, "cut short"),
    "a gzip header alone": (said("content-encoding: gzip", body=ZIPPED[:10]), 200, "cut short"),
    "several members of gzip": (
        said("content-encoding: gzip", body=ZIPPED + ZIPPED),
        200,
        "something follows",
    ),
    "deflate": (
        said("content-encoding: deflate", body=zlib.compress(b"{}")),
        200,
        "content-encoding 'deflate' is not known",
    ),
    "an encoding of its own": (said("content-encoding: br", body=b"{}"), 200, "content-encoding"),
    "101": (said("upgrade: x", status="101 Switching Protocols"), None, "broken"),
    "a 400 that is no gzip": (
        said("content-encoding: gzip", "content-length: 2", status="400 No", body=b"{}"),
        400,
        "broken",
    ),
    "a cut 503": (said("content-length: 9", status="503 No", body=b"{}"), 503, "peer closed"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_responses(name: str) -> None:
    """Each is a failure that says what is wrong, with the status where the headers have arrived (of
    a success also if they are broken), and that the request can have reached the server. Nothing of
    it is left for the next request, in any world."""
    data, status, reason = BROKEN[name]

    def talk(peer: Peer) -> None:
        peer.request()
        if peer.number % 2 == 0:
            peer.say(data)
            peer.close()
        else:
            peer.say(OK)

    with Server(talk) as server:

        async def script(face: Face) -> None:
            failure = await face.send(to(server.url))
            assert isinstance(failure, Failure)
            assert (failure.status, failure.sent) == (status, True)
            assert reason in failure.reason
            assert isinstance(await face.send(to(server.url)), Response)

        for world in WORLDS:
            run_in(world)(server.url, script)


ENDLESS = {
    "interim responses": (b"", said("link: " + 60_000 * "x", status="103 Early Hints"), None),
    "chunks": (
        said("transfer-encoding: chunked"),
        b"1;" + 60_000 * b"x" + b"\r\n \r\n",
        200,
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_server_that_is_faster_than_we_are(name: str) -> None:
    """A response without end is broken off after a little more than the largest body, even if more
    of it is always there: neither the deadline nor the event loop waits for it."""
    first, part, status = ENDLESS[name]

    def talk(peer: Peer) -> None:
        peer.request()
        peer.say(first)
        while True:
            peer.say(8 * part)

    with Server(talk) as server:

        async def script(face: Face) -> None:
            failure = await face.send(to(server.url))
            assert isinstance(failure, Failure)
            assert failure.status == status
            assert f"it is longer than {MAX_RESPONSE} bytes" in failure.reason

        for world in WORLDS:
            run_in(world)(server.url, script)


def test_many_interim_responses_before_a_broken_one() -> None:
    """The time to see whether broken headers were those of a success does not depend on what came
    before them."""
    interim = 2_000 * said(status="103 Early Hints")
    for headers, status in ((said("x y: z"), 200), (said("x y: z", status="400 No"), None)):
        exchange = Exchange("POST")
        with pytest.raises(BrokenResponseError):
            exchange.receive(interim + headers)
        assert exchange.status == status


def test_a_reset(run: Run) -> None:
    """A connection that is reset is a failure without a response."""

    def talk(peer: Peer) -> None:
        peer.request()
        peer.reset()

    with Server(talk) as server:

        async def script(face: Face) -> None:
            failure = await face.send(to(server.url))
            assert isinstance(failure, Failure)
            assert failure.sent
            assert failure.reason.startswith("no response: ")

        run(server.url, script)


BOMBS: dict[str, Callable[[], tuple[str, bytes]]] = {
    "gzip": lambda: ("gzip", zlib.compress(bytes(16 * MIB), 1, wbits=31)),
    "rubbish behind the end of a gzip body": lambda: ("gzip", ZIPPED + bytes(16 * MIB)),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_does_not_go_off(run: Run, kind: str) -> None:
    """16 MiB, on the wire or decoded, cost little more than the bound of 1 MiB."""
    encoding, bomb = BOMBS[kind]()
    data = said(f"content-encoding: {encoding}", f"content-length: {len(bomb)}", body=bomb)
    with Server(respond(data)) as server:

        async def script(face: Face) -> None:
            tracemalloc.start()
            try:
                failure = await face.send(to(server.url))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert isinstance(failure, Failure)
            assert "longer than" in failure.reason
            assert peak < 6 * MIB

        run(server.url, script)


def test_a_body_is_inflated_no_further_than_the_bound() -> None:
    """Whatever its size would be."""
    bomb = zlib.compress(bytes(8 * MIB), 9, wbits=31)
    tracemalloc.start()
    try:
        with pytest.raises(BrokenResponseError, match="longer than"):
            body_of({"content-encoding": "gzip"}, bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * MIB


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.usefixtures("trusted")
def test_an_early_refusal_is_read(run: Run, tls: bool) -> None:
    """A 413 that comes while the body is still being written ends the request. The rest of the body
    is not sent, and the connection not used again."""
    read = threading.Event()  # only then does the server read on: else all may have been written

    def talk(peer: Peer) -> None:
        peer.head()
        peer.say(said("content-length: 2", status="413 Too Large", body=b"{}"))
        read.wait(PATIENCE)

    with Server(talk, tls=server_context() if tls else None, receives=65_536) as server:

        async def script(face: Face) -> None:
            for _ in range(2):
                read.clear()
                response = await face.send(to(server.url, bytes(8 * MIB)))
                assert isinstance(response, Response)
                assert (response.status, response.body) == (413, b"{}")
                read.set()
                assert server.all_are_closed()

        run(server.url, script)
        assert server.opened == 2


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.usefixtures("trusted")
def test_a_refusal_before_the_connection_breaks_is_read(run: Run, tls: bool) -> None:
    """So is one of a server that then resets the connection: the write fails, the response is
    there."""
    refused, gone = threading.Event(), threading.Event()

    def talk(peer: Peer) -> None:
        peer.head()
        refused.set()
        peer.say(said("content-length: 2", "connection: close", status="413 No", body=b"{}"))
        peer.reset()
        gone.set()

    with Server(talk, tls=server_context() if tls else None, receives=4096) as server:

        async def script(face: Face) -> None:
            real = face.transport._world.wait

            async def wait(*args: Any, writing: bool) -> None:
                await real(*args, writing=writing)
                if refused.is_set():  # nothing is read before the connection breaks
                    assert gone.wait(PATIENCE)

            face.transport._world.wait = wait
            response = await face.send(to(server.url, bytes(4 * MIB)))
            assert isinstance(response, Response)
            assert response.status == 413

        run(server.url, script)


def test_a_request_that_the_system_does_not_take_is_a_failure_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing arrives any more: the failure says why, and does not wait for its timeout."""
    real: Any = socket.socket.send

    def send(self: socket.socket, data: bytes) -> int:
        if bytes(data[:4]) == b"POST":
            raise OSError(errno.ENOBUFS, "No room")
        return int(real(self, data))

    monkeypatch.setattr(socket.socket, "send", send)

    with Server() as server:

        async def script(face: Face) -> None:
            failure = await face.send(to(server.url))
            assert isinstance(failure, Failure)
            assert "No room" in failure.reason

        run(server.url, script)


def test_a_large_body_arrives_whole(run: Run) -> None:
    """A body that the kernel does not take at once is sent as the server reads it."""
    body = bytes(range(256)) * 16_384
    got: list[bytes] = []

    def talk(peer: Peer) -> None:
        got.append(peer.request())
        peer.say(OK)

    with Server(talk, receives=65_536) as server:

        async def script(face: Face) -> None:
            assert isinstance(await face.send(to(server.url, body)), Response)

        run(server.url, script)
    assert got[0].endswith(b"\r\n\r\n" + body)


def test_a_request_as_it_arrives(run: Run) -> None:
    """Host, headers and body; a request without a body announces that."""
    got: list[bytes] = []

    def talk(peer: Peer) -> None:
        while request := peer.request():
            got.append(request)
            peer.say(OK)

    with Server(talk) as server:

        async def script(face: Face) -> None:
            await face.send(to(server.url + "/a?b", b"{}"))
            await face.send(to(server.url, b"", method="GET"))
            await face.send(to(server.url, b""))
            await face.send(to(server.url.removesuffix("/v1"), b""))

        run(server.url, script)
    post, get, empty, root = got
    assert (
        post
        == (
            f"POST /v1/a?b HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\n"
            "content-type: application/json\r\naccept-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}"
        ).encode()
    )
    assert b"content-length" not in get
    assert b"content-length: 0\r\n" in empty
    assert root.startswith(b"POST / HTTP/1.1\r\n")


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\0b", "caf\xe9", "\u2028"])
def test_what_would_break_out_of_a_header_is_not_sent(value: str) -> None:
    """A value that is more than its line fails the request before anything is sent."""
    with Server() as server:
        request = to(server.url)
        odd = type(request)(1, "POST", server.url, (("x-a", value),), b"", 5.0)

        async def script(face: Face) -> None:
            failure = await face.send(odd)
            assert isinstance(failure, Failure)
            assert not failure.sent
            assert "a character that no header can carry" in failure.reason
            assert "x-evil" not in failure.reason

        for world in WORLDS:
            run_in(world)(server.url, script)
        assert server.opened == 0
