"""What is held in memory, how much, and how long."""

from __future__ import annotations

import gc
import gzip
import sys
import tracemalloc
import types
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from chaos.faults import MIB, bomb
from chaos.worlds import WORLDS, Job

from masivo import Client, MasivoError
from masivo.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from masivo.emulator import Emulator

CONTENT = "what-a-customer-did"
EVENT: dict[str, object] = {
    "type": "VIEW",
    "customer_id": "c",
    "brand_id": None,
    "metadata": {"note": CONTENT},
}
BOMBS: dict[str, Callable[[], Fault]] = {
    "gzip": lambda: Fault(
        status=200, process=True, body=bomb("gzip"), headers={"Content-Encoding": "gzip"}
    ),
    "gzip, twice": lambda: Fault(
        status=500, body=gzip.compress(bomb("gzip")), headers={"Content-Encoding": "gzip, gzip"}
    ),
    "endless": lambda: Fault(status=200, process=True, endless=True),
    "endless headers": lambda: Fault(raw=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (4 * MIB)),
    "a long status line": lambda: Fault(raw=b"HTTP/1.1 200 " + b"x" * (24 * MIB)),
    "deep json": lambda: Fault(status=422, body=b'{"error":' * 100_000),
}


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("world", WORLDS)
def test_a_bomb_is_bounded(world: str, kind: str, emulator: Emulator) -> None:
    """An answer of tens of megabytes, on the wire or decoded, never takes more than a few of
    memory: it is broken off at 1 MiB."""
    load = {"api_key": emulator.client_key, "base_url": emulator.url, "max_retries": 0}
    WORLDS[world](Job([(load, [EVENT])], 30.0))  # what is loaded once is loaded now
    fault = BOMBS[kind]()
    emulator.fail(fault, route="events")
    held = len(fault.raw or b"") * 3  # the emulator's own copies are in this process too
    tracemalloc.start()
    try:
        WORLDS[world](Job([(load, [EVENT])], 30.0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * MIB + held


def reachable(roots: Iterable[object]) -> Iterable[object]:
    """All that can be reached from some objects, without leaving by modules or functions."""
    seen: dict[int, object] = {}
    todo = list(roots)
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, types.ModuleType | types.FrameType | type):
            continue
        seen[id(each)] = each
        if isinstance(each, types.FunctionType):
            todo += [cell.cell_contents for cell in each.__closure__ or () if _filled(cell)]
            continue
        todo += gc.get_referents(each)
        for name in getattr(type(each), "__struct_fields__", ()):  # hidden from the collector
            todo.append(getattr(each, name))
    return seen.values()


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def texts(roots: Iterable[object]) -> str:
    """All texts that can be reached from some objects."""
    found: list[str] = []
    for each in reachable(roots):
        if isinstance(each, bytes | bytearray):
            found.append(each.decode("latin-1"))
        elif isinstance(each, str):
            found.append(each)
    return "\n".join(found)


def test_nothing_is_held_after_close(emulator: Emulator) -> None:
    """After ``close`` neither the client nor a delivery holds the token or an event any more; the
    key stays as long as the client itself."""
    client = Client(emulator.client_key, base_url=emulator.url)
    delivery = client.send_analytics_event(EVENT)
    token = client.get_token(10)
    before = texts([client, delivery])
    assert token in before, "the search finds nothing"
    assert CONTENT in before
    client.close()
    assert delivery.result(0).success
    after = texts([client, delivery])
    assert token not in after
    assert CONTENT not in after


def test_nothing_is_held_after_a_failure(emulator: Emulator) -> None:
    """Nor do an error and the log of failures hold the event that failed, or the request that
    carried token and key."""
    emulator.fail(Fault(close=True), route="events")
    client = Client(emulator.client_key, base_url=emulator.url, max_retries=0)
    delivery = client.send_analytics_event(EVENT)
    token = client.get_token(10)
    client.flush(10)
    error = delivery.exception(0)
    assert isinstance(error, MasivoError)
    assert error.__cause__ is not None
    held = texts([error, error.__cause__, *reachable([error])])
    client.close()
    for secret in (CONTENT, token, emulator.client_key):
        assert secret not in held
    assert CONTENT not in texts([client, delivery, error])


@pytest.mark.parametrize("way", ["close", "destroy", "forget"])
def test_a_client_that_is_gone_is_gone(way: str, emulator: Emulator) -> None:
    """A client that was closed, destroyed or just forgotten leaves nothing behind: its session,
    with key and connections, is collected."""
    client: Any = Client(emulator.client_key, base_url=emulator.url)
    client.send_analytics_event(EVENT)
    client.flush(10)
    session = client._buffer.owner
    remains = [weakref.ref(client), weakref.ref(session), weakref.ref(session.engine)]
    if way != "forget":
        getattr(client, way)()
    del client, session
    for _ in range(200):
        gc.collect()
        if not any(each() for each in remains):
            break
        for thread in list(sys.modules["threading"].enumerate()):
            if thread.name == "masivo":
                thread.join(0.1)  # it lets go when it has seen that nobody is left
    assert [each() for each in remains] == [None, None, None]
