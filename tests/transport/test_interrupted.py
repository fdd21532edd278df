"""Requests that are cut off, at every place where that can happen: no socket stays open."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import uvloop

import masivo._http
from masivo._http.on_asyncio import Asyncio
from masivo._http.on_trio import Trio
from masivo._http.sockets import ThreadSender
from masivo._http.transport import Transport
from masivo.protocol import Failure, Response

from .certificates import server_context
from .server import OK, PATIENCE, Peer, Server
from .test_addresses import address, black_hole
from .worlds import to

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

    from masivo.protocol import Request

    from .worlds import Face, Run

MIB = 1 << 20
HERE = str(Path(masivo._http.__file__).parent)


@pytest.fixture
def no_socket_is_left(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Every socket that the transport has made is closed by it, not by the garbage collector."""
    made: list[Any] = []
    real = socket.socket.__init__

    def recorded(self: socket.socket, *args: Any, **options: Any) -> None:
        real(self, *args, **options)
        if threading.current_thread() is threading.main_thread():  # not the server's
            made.append(self)

    monkeypatch.setattr(socket.socket, "__init__", recorded)
    yield
    left = [each for each in made if each.fileno() != -1]
    made.clear()
    for each in left:
        each.close()
    gc.collect()
    assert left == []


def server(*, tls: bool) -> Server:
    """Refuses early, and leaves the body unread: so a request waits to connect, for the handshake,
    to write and for the response."""

    def talk(peer: Peer) -> None:
        head = peer.head()
        if b"content-length: 2\r\n" in head:
            peer.socket.recv(2)
            peer.say(OK)
            talk(peer)
        elif head:
            # The body may be in the kernel's buffers, all of it: then only this says not to go on.
            peer.say(b"HTTP/1.1 413 No\r\nconnection: close\r\ncontent-length: 2\r\n\r\n")
            peer.server.over.wait(0.05)
            peer.say(b"{}")

    return Server(talk, tls=server_context() if tls else None, receives=4096)


def large(url: str) -> Request:
    """More than the kernel takes."""
    return to(url, bytes(4 * MIB))


# ── Loops: cancelled at each wait ────────────────────────────────────────────────────────────


class Counted:
    """A world whose waits are counted; at one of them something is done first."""

    def __init__(self, world: Any, at: int, then: Callable[[], object]) -> None:
        self._world = world
        self.now = world.now
        self.bound = world.bound
        self._left = at
        self._then = then

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._then()

    async def in_thread(self, *args: Any) -> Any:
        """Count, and go on."""
        self._count()
        return await self._world.in_thread(*args)

    async def wait(self, *args: Any, **options: Any) -> None:
        """Count, and go on."""
        self._count()
        await self._world.wait(*args, **options)


async def _in_asyncio(url: str, at: int) -> bool:
    transport: Any = Transport(url, Asyncio())
    task = asyncio.ensure_future(transport.send(large(url)))
    transport._world = Counted(transport._world, at, task.cancel)
    await asyncio.wait([task])
    transport._world = transport._world._world
    cut: bool = task.cancelled()
    assert isinstance(await transport.send(to(url)), Response)
    await transport.aclose()
    return cut


async def _in_trio(url: str, at: int) -> bool:
    transport: Any = Transport(url, Trio())
    world = transport._world
    with trio.CancelScope() as scope:
        transport._world = Counted(world, at, scope.cancel)
        await transport.send(large(url))
    transport._world = world
    assert isinstance(await transport.send(to(url)), Response)
    await transport.aclose()
    cut: bool = scope.cancelled_caught
    return cut


CUT: dict[str, Callable[[str, int], bool]] = {
    "asyncio": lambda url, at: asyncio.run(_in_asyncio(url, at)),
    "uvloop": lambda url, at: uvloop.run(_in_asyncio(url, at)),
    "trio": lambda url, at: trio.run(_in_trio, url, at),
}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("world", CUT)
@pytest.mark.usefixtures("no_socket_is_left", "trusted")
def test_cancelled_at_each_wait(world: str, tls: bool) -> None:
    """Its connection is closed at once, and the next request has another."""
    with server(tls=tls) as serving:
        url = serving.url.replace("127.0.0.1", "localhost") if not tls else serving.url
        at = 0
        while CUT[world](url, at + 1):
            at += 1
            assert at < 100
        assert at >= 2  # the lookup or the certificates, and the response


@pytest.mark.usefixtures("no_socket_is_left")
@pytest.mark.parametrize("world", CUT)
def test_cancelled_in_the_middle_of_a_race(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are the sockets of a race."""
    with server(tls=False) as serving, black_hole() as one, black_hole() as two:

        def addresses(*_: Any) -> Any:
            return None, [address(one), address(two), address(serving.port)]

        monkeypatch.setattr("masivo._http.transport.Transport._prepare", addresses)
        monkeypatch.setattr("masivo._http.transport.HEAD_START", 0.02)
        at = 0
        while CUT[world](serving.url, at + 1):
            at += 1
            assert at < 100
        assert at >= 3


# ── Systems that are in the way ──────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("no_socket_is_left")
def test_a_socket_that_takes_no_options(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems refuse to set options of a socket that was reset at once: it is closed, too."""
    real = socket.socket.setsockopt

    def refuse(self: socket.socket, *args: Any) -> None:
        own = threading.current_thread() is threading.main_thread()  # not the server's
        if own and self.family == socket.AF_INET:  # nor a loop's
            raise OSError(errno.EINVAL, "Invalid argument")
        real(self, *args)

    with server(tls=False) as serving:
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "setsockopt", refuse)

            async def script(face: Face) -> None:
                failure = await face.send(to(serving.url))
                assert isinstance(failure, Failure)
                assert failure.reason.startswith("no connection: ")
                assert not failure.sent

            run(serving.url, script)
        assert serving.all_are_closed()


# ── Threads: interrupted at each line ────────────────────────────────────────────────────────


class _Interrupt(BaseException):
    """What a signal's handler raises."""


def interrupted(sender: ThreadSender, request: Request, at: int) -> bool:
    """Send, and be interrupted before a line of the package's; False if there are fewer lines."""
    left = at

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        code = frame.f_code
        # At the end of a `with` block a trace can raise where no signal's handler can: the lock of
        # `_prepare` would be held for ever.
        if not code.co_filename.startswith(HERE) or code.co_name == "_prepare":
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise _Interrupt
        return trace

    sys.settrace(trace)
    try:
        sender.send(request)
    except _Interrupt:
        return True
    finally:
        sys.settrace(None)
    return False


# In the instant in which a socket has no owner yet, or is being given back, the reference count
# closes it, and says so. So it is with a coroutine that has not begun.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:.*was never awaited:RuntimeWarning")
@pytest.mark.parametrize(
    "tls", [False, pytest.param(True, marks=pytest.mark.full)], ids=["plain", "tls"]
)
def test_interrupted_at_each_line(tls: bool, trusted: None) -> None:
    """A thread that is interrupted anywhere in a request leaves no connection open, and the next
    request succeeds."""
    with Server(tls=server_context() if tls else None) as serving:
        sender = ThreadSender(partial(Transport, serving.url))
        assert isinstance(sender.send(to(serving.url)), Response)
        sender.close()
        at = 0
        while True:
            sender = ThreadSender(partial(Transport, serving.url))
            if not interrupted(sender, to(serving.url), at + 1):
                break
            at += 1
            assert isinstance(sender.send(to(serving.url)), Response)
            sender.close()
            assert serving.all_are_closed()
        sender.close()
    assert at > 100


def test_ends_while_others_are_at_it() -> None:
    """A close in the middle of requests of other threads cuts none of them off."""
    gate = threading.Barrier(5, timeout=PATIENCE)

    def talk(peer: Peer) -> None:
        while peer.request():
            gate.wait()
            gate.wait()
            peer.say(OK)

    with Server(talk) as serving:
        sender = ThreadSender(partial(Transport, serving.url))
        results: list[Any] = []
        threads = [
            threading.Thread(target=lambda: results.append(sender.send(to(serving.url))))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        gate.wait()
        sender.close()
        gate.wait()
        for thread in threads:
            thread.join()
        assert all(isinstance(each, Response) for each in results)
        assert serving.all_are_closed()
