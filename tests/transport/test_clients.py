"""Clients in each world, over connections of their own: what the transport's tests cannot see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from .server import OK, PATIENCE, Peer, Server

CLIENTS = ["Client", "AsyncClient", "TrioClient"]
TOKEN = b'HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{"data": "a-token"}'
TIMEOUT = 0.5

Program = subprocess.Popen[str]

PROGRAM = """
import sys
import masivo

url, kind, timeout, retries, count = sys.argv[1:]
options = {"base_url": url, "timeout": float(timeout), "max_retries": int(retries)}
event = {"type": "VIEW", "customer_id": "c", "brand_id": None}


def threads():
    with masivo.Client("a-key", **options) as client:
        for _ in range(int(count)):
            client.send_analytics_event(event)
            client.flush(20)
        return client.stats()


async def loop():
    async with getattr(masivo, kind)("a-key", **options) as client:
        for _ in range(int(count)):
            client.send_analytics_event(event)
            await client.flush(20)
        return client.stats()


if kind == "Client":
    stats = threads()
elif kind == "AsyncClient":
    import asyncio
    stats = asyncio.run(loop())
else:
    import trio
    stats = trio.run(loop)
print(stats.delivered, stats.failed, stats.requests)
"""


def started(server: Server, kind: str, timeout: float, retries: int, count: int) -> Program:
    """Start a program that sends events, each in a request of its own; it prints how many were
    delivered, how many failed, and in how many requests."""
    return started_with(PROGRAM, server.url, kind, str(timeout), str(retries), str(count))


def started_with(program: str, *arguments: str) -> Program:
    """Start a program with these arguments."""
    return subprocess.Popen(
        [sys.executable, "-W", "error::ResourceWarning", "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stop(program: Program) -> None:
    """Stop a program, as ``kill -STOP`` does; return once it stands still."""
    os.kill(program.pid, signal.SIGSTOP)
    os.waitpid(program.pid, os.WUNTRACED)


def said(program: Program) -> str:
    """What a program prints before it ends."""
    try:
        return program.communicate(timeout=60)[0].strip()
    finally:
        program.kill()


@pytest.mark.parametrize("kind", CLIENTS)
def test_without_retries_a_stale_connection_costs_no_event(kind: str) -> None:
    """Each request has a fresh connection: here no other would get a response
    (``docs/reference/guarantees.md#no-retries``)."""

    def talk(peer: Peer) -> None:
        peer.say(TOKEN if peer.request().startswith(b"GET") else OK)
        peer.request()
        peer.close()

    with Server(talk) as server:
        assert said(started(server, kind, 10.0, 0, 3)) == "3 0 3"


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_process_that_was_frozen_loses_no_response(kind: str) -> None:
    """It is stopped while a request is on its way, and goes on long after its time: the response
    that has come meanwhile counts, and the batch is not sent again."""
    sent: list[bytes] = []
    answered = threading.Event()

    def talk(peer: Peer) -> None:
        while request := peer.request():
            if request.startswith(b"GET"):
                peer.say(TOKEN)
                continue
            sent.append(request)
            stop(program)
            peer.say(OK)
            answered.set()

    with Server(talk) as server:
        program = started(server, kind, TIMEOUT, 4, 1)
        assert answered.wait(PATIENCE)
        time.sleep(2 * TIMEOUT)  # its time is to be over
        program.send_signal(signal.SIGCONT)
        assert said(program) == "1 0 1"
    assert len(sent) == 1


SEVERAL = 5
DEADLINE = 2.0
"""Of the close, or of the exit, in seconds."""

CLOSING = """
import sys
import anyio
import masivo

url, kind, world, count, timeout = sys.argv[1:]
event = {"type": "VIEW", "customer_id": "c", "brand_id": None}


def close_in_a_thread(key):
    client = masivo.Client(key, base_url=url)
    delivery = client.send_analytics_event(event)
    client.close(float(timeout))
    return delivery.exception()


async def close(key):
    if kind == "Client":
        print(await anyio.to_thread.run_sync(close_in_a_thread, key))
        return
    client = getattr(masivo, kind)(key, base_url=url)
    async with client:
        delivery = client.send_analytics_event(event)
        await client.aclose(float(timeout))
        print(await delivery.exception())


async def main():
    async with anyio.create_task_group() as group:
        for number in range(int(count)):
            group.start_soon(close, f"key-{number}")


anyio.run(main, backend=world)
"""


def frozen(text: str, *arguments: str) -> str:
    """Run a program with several clients, which is stopped when the first event of each is on its
    way, until the deadlines are over; return what it said. The responses have come meanwhile."""
    sent: list[bytes] = []
    stopped, answered = threading.Event(), threading.Barrier(SEVERAL + 1, timeout=PATIENCE)

    def talk(peer: Peer) -> None:
        while request := peer.request():
            if request.startswith(b"GET"):
                peer.say(TOKEN)
                continue
            sent.append(request)
            if len(sent) == SEVERAL:
                stop(program)
                stopped.set()
            assert stopped.wait(PATIENCE)
            peer.say(OK)
            answered.wait()

    with Server(talk) as server:
        program = started_with(text, server.url, *arguments)
        answered.wait()
        time.sleep(DEADLINE + 0.5)
        program.send_signal(signal.SIGCONT)
        heard = said(program)
    assert len(sent) == SEVERAL
    return heard


@pytest.mark.parametrize(
    ("kind", "world"),
    [("Client", "asyncio"), ("AsyncClient", "asyncio"), ("TrioClient", "trio")],
)
def test_a_process_that_was_frozen_during_a_close_loses_no_response(kind: str, world: str) -> None:
    """Nor does it where the deadline of a close has passed meanwhile: what has come is read first,
    here by each of several clients."""
    heard = frozen(CLOSING, kind, world, str(SEVERAL), str(DEADLINE))
    assert heard.splitlines() == ["None"] * SEVERAL


EXITING = """
import sys
import masivo
from masivo import _process

url, count, timeout = sys.argv[1:]
_process.EXIT_TIMEOUT = float(timeout)
clients = [masivo.Client(f"key-{number}", base_url=url) for number in range(int(count))]
for client in clients:
    client.send_analytics_event({"type": "VIEW", "customer_id": "c", "brand_id": None})
"""


def test_a_process_that_was_frozen_at_its_exit_loses_no_response() -> None:
    """Nor does it log the loss of an event that the API has accepted."""
    assert frozen(EXITING, str(SEVERAL), str(DEADLINE)) == ""
