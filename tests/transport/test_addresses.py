"""A host of several addresses: they are raced."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from drivers.events import closed_port

from masivo._http.connections import is_connected
from masivo._http.on_asyncio import Asyncio
from masivo._http.transport import HEAD_START, Transport
from masivo.protocol import Failure, Response

from .server import Server
from .worlds import to

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from masivo._http.connections import Address

    from .worlds import Face, Run


@contextmanager
def black_hole(host: str = "127.0.0.1") -> Generator[int]:
    """A port where connections are neither accepted nor refused: its backlog is full."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind((host, 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket(family))
            filler.setblocking(False)
            filler.connect_ex((host, port))
        yield port


def address(port: int, host: str = "127.0.0.1") -> Address:
    """An address as a name's lookup gives it."""
    if ":" in host:
        return socket.AF_INET6, socket.SOCK_STREAM, 0, "", (host, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Address]], None]:
    """Has every host be at these addresses."""

    def to_these(addresses: Sequence[Address]) -> None:
        def lookup(*_: Any) -> tuple[None, Sequence[Address]]:
            return None, addresses

        monkeypatch.setattr(Transport, "_prepare", lookup)

    return to_these


def can_listen(host: str) -> bool:
    """Whether this machine has an address."""
    try:
        socket.create_server((host, 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


V6 = pytest.mark.skipif(not can_listen("::1"), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    "holes",
    [
        ["127.0.0.1"],
        pytest.param(["::1"], marks=V6),
        pytest.param(["::1", "::1", "127.0.0.1", "127.0.0.1"], marks=V6),
    ],
    ids=len,
)
def test_a_black_hole_does_not_swallow_requests(
    run: Run, resolve: Any, monkeypatch: pytest.MonkeyPatch, holes: Sequence[str]
) -> None:
    """Where a good address comes last, each of several new connections is there after the head
    starts of those before it, of either version."""
    monkeypatch.setattr("masivo._http.transport.HEAD_START", 0.05)
    with Server() as server, ExitStack() as stack:
        ports = [stack.enter_context(black_hole(host)) for host in holes]
        resolve([*map(address, ports, holes), address(server.port)])

        async def script(face: Face) -> None:
            for _ in range(3):
                began = time.monotonic()
                assert isinstance(await face.send(to(server.url, last_try=True)), Response)
                assert time.monotonic() - began < 3

        run(server.url, script)
        assert server.opened == 3


@pytest.mark.parametrize("others", [0, 1])
def test_an_address_has_its_head_start(
    run: Run, resolve: Any, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """An address that takes a moment is waited for, and no other is tried meanwhile."""
    looks: list[socket.socket] = []

    def not_at_once(sock: socket.socket) -> bool:
        looks.append(sock)
        return len(looks) > 1 and is_connected(sock)

    monkeypatch.setattr("masivo._http.transport.is_connected", not_at_once)
    with Server() as server:
        resolve([address(server.port) for _ in range(1 + others)])

        async def script(face: Face) -> None:
            assert isinstance(await face.send(to(server.url)), Response)

        run(server.url, script)
        assert server.opened == 1
    assert looks == [looks[0]] * 2


def test_a_short_time_is_shared(run: Run, resolve: Any) -> None:
    """Even where all of the time is less than the head start of two."""
    with Server() as server, black_hole() as one, black_hole() as two:
        resolve([address(one), address(two), address(server.port)])

        async def script(face: Face) -> None:
            response = await face.send(to(server.url, timeout=1.6 * HEAD_START))
            assert isinstance(response, Response)

        run(server.url, script)


def test_an_address_that_refuses_is_passed_at_once(run: Run, resolve: Any) -> None:
    """No head start is waited for."""
    with Server() as server:
        # The last of a network of its own: the kernel has no way there, or none for us.
        resolve([address(closed_port()) for _ in range(20)] + [address(server.port)])

        async def script(face: Face) -> None:
            began = time.monotonic()
            assert isinstance(await face.send(to(server.url)), Response)
            assert time.monotonic() - began < 20 * HEAD_START

        run(server.url, script)


def test_an_unknown_family_is_passed(run: Run, resolve: Any) -> None:
    """An address that this machine cannot even try counts as one that refuses."""
    with Server() as server:
        odd = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_UDP, "", ("::1", 9, 0, 0))
        resolve([odd, address(server.port)])

        async def script(face: Face) -> None:
            assert isinstance(await face.send(to(server.url)), Response)

        run(server.url, script)


def test_an_address_that_is_none(run: Run, resolve: Any) -> None:
    """What cannot be an address fails the request; its socket is closed all the same."""
    resolve([address(70_000)])
    url = "http://127.0.0.1:9/v1"

    async def script(face: Face) -> None:
        failure = await face.send(to(url))
        assert isinstance(failure, Failure)
        assert not failure.sent
        assert isinstance(failure.cause, OverflowError)

    run(url, script)
    gc.collect()  # an open socket would warn


def test_all_refuse(run: Run, resolve: Any) -> None:
    """The failure is that of the last; nothing was sent."""
    odd = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_UDP, "", ("::1", 9, 0, 0))
    refusing = address(closed_port())
    url = "http://127.0.0.1:9/v1"

    async def script(face: Face) -> None:
        for addresses in ([odd, refusing], [refusing, odd]):
            resolve(addresses)
            failure = await face.send(to(url))
            assert isinstance(failure, Failure)
            assert not failure.sent
            assert failure.reason.startswith("no connection: ")
            assert ("refused" in failure.reason) is (addresses[-1] is refusing)
            assert isinstance(failure.cause, OSError)

    run(url, script)


def test_only_black_holes(run: Run, resolve: Any) -> None:
    """The failure says that there was no connection in time."""
    with black_hole() as one, black_hole() as two:
        resolve([address(one), address(two)])
        url = "http://127.0.0.1:9/v1"

        async def script(face: Face) -> None:
            failure = await face.send(to(url, timeout=0.4))
            assert isinstance(failure, Failure)
            assert not failure.sent
            assert failure.reason.startswith("no connection within 0.4 s")

        run(url, script)


def test_a_name_with_several_addresses(run: Run) -> None:
    """``localhost`` is looked up; where it is ``::1`` as well, nobody listens there."""
    with Server() as server:
        url = server.url.replace("127.0.0.1", "localhost")

        async def script(face: Face) -> None:
            for _ in range(2):
                assert isinstance(await face.send(to(url)), Response)

        run(url, script)
        assert server.opened == 1


def test_a_name_is_looked_up_while_the_applications_threads_are_busy(run_in_a_loop: Run) -> None:
    """The threads that a loop has for the application may all wait for something else."""
    free = threading.Event()

    async def script(face: Face) -> None:
        if isinstance(face.transport._world, Asyncio):
            loop = asyncio.get_running_loop()
            for _ in range(40):  # more than an executor ever has by default
                loop.run_in_executor(None, free.wait)
            response = await face.send(to(url, timeout=5.0))
            free.set()
            assert isinstance(response, Response)
            return
        limiter = trio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = 1
        async with limiter:
            assert isinstance(await face.send(to(url, timeout=5.0)), Response)

    with Server() as server:
        url = server.url.replace("127.0.0.1", "localhost")
        run_in_a_loop(url, script)


def test_an_address_of_version_6(run: Run) -> None:
    """In brackets, as in any URL."""
    url = f"http://[::1]:{closed_port()}/v1"

    async def script(face: Face) -> None:
        failure = await face.send(to(url))
        assert isinstance(failure, Failure)
        assert failure.reason.startswith("no connection: ")

    run(url, script)


def test_an_address_is_not_looked_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No resolver is asked for the host of a URL that is an address, of either version."""

    def none(*_: object, **__: object) -> None:
        raise AssertionError("a lookup")

    with Server() as server, monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", none)

        async def script(face: Face) -> None:
            assert isinstance(await face.send(to(server.url)), Response)

        run(server.url, script)

        async def script_6(face: Face) -> None:
            failure = await face.send(to(url))
            assert isinstance(failure, Failure)
            assert isinstance(failure.cause, OSError)

        url = f"http://[::1]:{closed_port()}/v1"
        run(url, script_6)
        patch.undo()


def test_a_name_that_is_unknown(run: Run) -> None:
    """A name without an address is no connection."""
    url = "http://nowhere.invalid/v1"

    async def script(face: Face) -> None:
        failure = await face.send(to(url))
        assert isinstance(failure, Failure)
        assert not failure.sent
        assert failure.reason.startswith("no connection: ")
        assert isinstance(failure.cause, socket.gaierror)

    run(url, script)
