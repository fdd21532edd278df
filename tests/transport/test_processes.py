"""Time that is frozen under our feet, forks, gevent, imports: each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from textwrap import dedent
from types import BuiltinFunctionType
from typing import TYPE_CHECKING

import pytest

from .certificates import authority_file, server_context
from .server import OK, Peer, Server
from .worlds import WORLDS

if TYPE_CHECKING:
    from pathlib import Path

REQUEST = """
import sys
from functools import partial
from masivo.protocol import Request, Response
url, world = sys.argv[1:3]
request = Request(1, "POST", url, (), b"{}", 10.0)
"""

SEND = """
def send_in(world, count, between=lambda: None):
    results = []
    if world == "threads":
        from masivo._http import ThreadSender
        from masivo._http.transport import Transport
        sender = ThreadSender(partial(Transport, url))
        for _ in range(count):
            results.append(sender.send(request))
            between()
        sender.close()
        return results
    async def main():
        from masivo._http.transport import Transport
        if world == "trio":
            from masivo._http.on_trio import Trio as World
        else:
            from masivo._http.on_asyncio import Asyncio as World
        sender = Transport(url, World())
        for _ in range(count):
            results.append(await sender.send(request))
            between()
        await sender.aclose()
    if world == "trio":
        import trio
        trio.run(main)
    elif world == "uvloop":
        import uvloop
        uvloop.run(main())
    else:
        import asyncio
        asyncio.run(main())
    return results
"""


def run(program: str, *args: str, **environ: str) -> str:
    """Run a program; its output."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", dedent(program), *args],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "", **environ},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("imports", ["", "import masivo._http.on_asyncio, masivo._http.on_trio\n"])
def test_frozen_time_breaks_nothing(imports: str) -> None:
    """A test that freezes time, before or between requests, does not touch the transport's, in no
    world: no request fails, and no connection is taken for an old one unless the transport is first
    imported while time is frozen."""
    program = """
    import freezegun
    frozen = freezegun.freeze_time("2012-01-14")
    for world in world.split():
        with freezegun.freeze_time("2032-01-14"):
            results = send_in(world, 2)
        turns = iter([frozen.start, frozen.stop] * 2)
        results += send_in(world, 4, lambda: next(turns)())
        assert all(isinstance(each, Response) for each in results), world
    """
    with Server() as server:
        run(imports + REQUEST + SEND + dedent(program), server.url, " ".join(WORLDS))
        assert server.opened == 2 * len(WORLDS) or not imports


def test_no_module_holds_the_functions_that_a_freeze_replaces() -> None:
    """freezegun replaces those of time in each module that has them under any name."""
    real = {time.monotonic, time.time}
    modules = [name for name in sys.modules if name.startswith(("masivo._", "masivo.spool"))]
    assert len(modules) > 50
    held = [
        f"{name}.{attribute}"
        for name in modules
        for attribute, value in vars(sys.modules[name]).items()
        if isinstance(value, BuiltinFunctionType) and value in real
    ]
    assert held == []


@pytest.mark.parametrize("world", ["threads", "asyncio", "trio"])
def test_what_is_imported(world: str) -> None:
    """Neither an HTTP library nor, for plain HTTP, TLS; nor what another world needs. A host that
    is an address takes no thread."""
    program = """
    import threading
    def check():
        assert threading.active_count() == 1, threading.enumerate()
    assert all(isinstance(each, Response) for each in send_in(world, 1, check))
    unwanted = {"httpx", "httpx2", "httpcore", "certifi", "urllib.request", "encodings.idna"}
    unwanted |= {"click", "rich"}
    if world == "threads":
        unwanted |= {"asyncio", "trio", "ssl"}
    if world == "asyncio":
        unwanted |= {"trio"}
    print(sorted(unwanted & set(sys.modules)))
    """
    with Server() as server:
        assert run(REQUEST + SEND + dedent(program), server.url, world) == "[]"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_fork_leaves_the_parents_connections_alone(tmp_path: Path, tls: bool) -> None:
    """A child opens its own, and neither uses nor ends its parent's, which go on after it."""
    program = """
    import os
    from masivo._http import ThreadSender
    from masivo._http.transport import Transport
    sender = ThreadSender(partial(Transport, url))
    ok = isinstance(sender.send(request), Response)
    child = os.fork()
    if child == 0:
        for _ in range(2):
            ok = ok and isinstance(sender.send(request), Response)
        sender.close()
        del sender
        os._exit(0 if ok else 1)
    ok = ok and os.waitpid(child, 0)[1] == 0
    ok = ok and isinstance(sender.send(request), Response)
    sender.close()
    print(ok)
    """
    requests: list[int] = []

    def talk(peer: Peer) -> None:
        while peer.request():
            requests.append(peer.number)
            peer.say(OK)

    with Server(talk, tls=server_context() if tls else None) as server:
        file = str(authority_file(tmp_path))
        out = run(REQUEST + dedent(program), server.url, "threads", SSL_CERT_FILE=file)
    assert out == "True"
    assert requests == [0, 1, 1, 0]


@pytest.mark.full
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_gevent(tmp_path: Path, tls: bool) -> None:
    """Under its monkey patching a request makes way for others: several are out at once."""
    pytest.importorskip("gevent", reason="it is in the group `lifecycles`")
    import threading

    gate = threading.Barrier(4, timeout=20)

    def talk(peer: Peer) -> None:
        while peer.request():
            gate.wait()
            peer.say(OK)

    program = """
    from gevent import monkey
    monkey.patch_all()
    import gevent
    """
    rest = """
    from masivo._http import ThreadSender
    from masivo._http.transport import Transport
    base_url = url.replace("127.0.0.1", "localhost") if "http:" in url else url
    sender = ThreadSender(partial(Transport, base_url))
    import msgspec
    if "http:" in url:
        request = msgspec.structs.replace(request, url=url.replace("127.0.0.1", "localhost"))
    for _ in range(2):
        jobs = [gevent.spawn(sender.send, request) for _ in range(4)]
        gevent.joinall(jobs)
        assert all(isinstance(job.value, Response) for job in jobs), [job.value for job in jobs]
    sender.close()
    print("done")
    """
    with Server(talk, tls=server_context() if tls else None) as server:
        file = str(authority_file(tmp_path))
        text = dedent(program) + REQUEST + dedent(rest)
        assert run(text, server.url, "threads", SSL_CERT_FILE=file) == "done"
        assert server.opened == 4
