"""How often the loop is bothered: per batch, not per event."""

from __future__ import annotations

from threading import Thread, get_ident
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from drivers.events import event

from masivo._async.clock import Clock
from masivo._session import registry
from masivo.protocol import Engine
from masivo.spool.log import Log

from .loops import eventually, session_of

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Connect

pytestmark = pytest.mark.anyio

BATCH = 1000


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every poll of an engine."""
    counted: list[int] = []
    poll = Engine.poll

    def counting(self: Engine) -> Any:
        counted.append(1)
        return poll(self)

    monkeypatch.setattr(Engine, "poll", counting)
    return counted


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every work on a store, and every note or removal in a log, by its thread."""
    threads: list[int] = []

    def watch(kind: type[Any], name: str) -> None:
        real = getattr(kind, name)

        def noting(self: object, argument: object) -> object:
            threads.append(get_ident())
            return real(self, argument)

        monkeypatch.setattr(kind, name, noting)

    watch(Engine, "do_work")
    watch(Log, "note")
    watch(Log, "remove")
    return threads


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Grows with every wait of a driving task, by its end."""
    ends: list[float | None] = []
    wait = Clock.wait

    def noting(self: Clock, until: float | None, *how: Any) -> Any:
        ends.append(until)
        return wait(self, until, *how)

    monkeypatch.setattr(Clock, "wait", noting)
    return ends


def api() -> httpx.AsyncClient:
    """A client whose requests are answered in place, with success."""

    async def answer(request: httpx.Request) -> httpx.Response:
        await checkpoint()
        return httpx.Response(200, json={"data": "a-token"})

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


async def test_a_burst_from_one_task_wakes_the_driver_once(
    connect: Connect, polls: list[int]
) -> None:
    """20,000 events sent without a pause are one wake-up, and then a few polls for each batch."""
    async with (
        api() as http,
        connect(http_client=http, batch_size=BATCH, max_batch_bytes=1 << 24) as client,
    ):
        await checkpoint()
        before = len(polls)
        for n in range(20_000):
            client.send_analytics_event(event(n))
        assert len(polls) == before
        result = await client.flush()
        assert result.delivered == 20_000
        assert len(polls) - before < 10 + 3 * 20_000 / BATCH


async def test_a_trickle_wakes_the_driver_for_batches_only(
    connect: Connect, polls: list[int]
) -> None:
    """A task that lets others run after every event: still a few polls for each batch."""
    events = 10_000
    async with api() as http, connect(http_client=http, batch_size=BATCH) as client:
        for n in range(events):
            client.send_analytics_event(event(n))
            await checkpoint()
        await client.flush()
    assert client.stats().delivered == events
    assert len(polls) < 20 + 5 * events / BATCH


async def test_a_batch_takes_one_poll(connect: Connect, polls: list[int]) -> None:
    """A hundred batches of a client, one after another, are one poll each."""
    async with api() as http, connect(http_client=http, batch_size=10) as client:
        await client.get_token()
        before = len(polls)
        for n in range(1_000):
            client.send_analytics_event(event(n))
        await client.flush()
        assert client.stats().requests == 100
        assert len(polls) - before <= 100 + 3


async def test_others_run_between_two_batches(connect: Connect) -> None:
    """Requests through a caller's client that never waits for anything take turns with the rest of
    the program all the same."""
    turns: list[int] = []
    sent_at: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent_at.append(len(turns))
        return httpx.Response(200, json={"data": "a-token"})

    async def count() -> None:
        while True:
            turns.append(1)
            await checkpoint()

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
        connect(http_client=http, batch_size=1) as client,
        anyio.create_task_group() as tasks,
    ):
        await client.get_token()
        tasks.start_soon(count)
        for n in range(20):
            client.send_analytics_event(event(n))
        await client.flush()
        tasks.cancel_scope.cancel()
    # Not 21 for sure: trio shuffles the tasks of a turn.
    assert len(sent_at) == 21
    assert len(set(sent_at)) > 10


async def test_a_wake_during_a_poll_is_followed_by_another_poll(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that is sent while a poll is under way, as by a finalizer, does not wait for the
    next event."""
    poll = Engine.poll
    async with connect(batch_size=1) as client:
        await client.get_token()

        def then_send(engine: Engine) -> Any:
            output = poll(engine)
            if not client.stats().accepted:
                client.send_analytics_event(event())
            return output

        monkeypatch.setattr(Engine, "poll", then_send)
        session_of(client).wake()
        await eventually(lambda: client.stats().delivered == 1)


async def test_a_driver_of_a_parent_process_sleeps(
    connect: Connect, pauses: list[float | None]
) -> None:
    """The driving task that a fork took along does nothing more, not even at its last timer."""
    async with connect(idle_timeout=0.05) as client:
        await client.get_token()
        client.send_analytics_event(event())
        session = session_of(client)
        await eventually(lambda: pauses[-1] is not None and session._wake_at == pauses[-1])
        session.forked()
        pauses.clear()
        await eventually(lambda: pauses)
        for _ in range(50):
            await checkpoint()
        assert pauses == [None]
        # It is a parent's in truth, and has to end.
        session.dead = False
        registry[session._key] = session
        client.destroy()


async def test_an_answer_wakes_the_loop_from_inside(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request takes no call that wakes the loop from outside, which is a write to a socket."""
    calls: list[object] = []
    async with api() as http, connect(http_client=http, batch_size=10) as client:
        await client.get_token()
        session = session_of(client)
        wake = session._call_soon

        def counting(function: Any) -> None:
            calls.append(function)
            wake(function)

        monkeypatch.setattr(session, "_call_soon", counting)
        for n in range(1_000):
            client.send_analytics_event(event(n))
        await client.flush()
        assert client.stats().requests == 100
        assert 0 < len(calls) <= 4


async def test_a_task_carries_out_the_requests_of_one_client(connect: Connect) -> None:
    """Others are left to tasks of their own client, which in trio end with its block."""
    async with (
        api() as http,
        connect(http_client=http, batch_size=1) as one,
        connect(http_client=http, batch_size=1) as another,
    ):
        await another.get_token()
        await one.get_token()
        session = session_of(one)
        assert session is session_of(another)
        assert one._joined is not None
        for client in (another, one):
            client.send_analytics_event(event())
        kept = session.step(one._joined.owner)
        assert kept is not None
        assert kept.owner is one._joined.owner
        await session.carry_out(kept)
        assert (one.stats().delivered, (await another.flush()).failed) == (1, 0)


async def test_the_loop_does_not_wait_for_disks(
    connect: Connect, tmp_path: Path, works: list[int]
) -> None:
    """With a spool, the call to send alone writes in the loop's thread: notes, reads and removals
    are left to another (``docs/reference/guarantees.md#loops-with-a-spool``)."""
    async with api() as http, connect(http_client=http, spool=tmp_path) as client:
        client.send_analytics_event(event())
        assert (await client.flush()).delivered == 1
    assert works
    assert get_ident() not in works


async def test_without_threads_the_loop_works_on_disks(
    connect: Connect, tmp_path: Path, works: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be had, as at a limit of the system, the loop does it: events go out."""

    def none(_: Thread) -> bool:
        return False

    monkeypatch.setattr("masivo._helpers.start_thread", none)
    async with api() as http, connect(http_client=http, spool=tmp_path) as client:
        client.send_analytics_event(event())
        assert (await client.flush(10)).delivered == 1
    assert {*works} == {get_ident()}


async def test_an_idle_client_does_nothing(connect: Connect, polls: list[int]) -> None:
    """Without events there is nothing to poll for, and one waiting event is not looked at again
    before its time."""
    async with api() as http, connect(http_client=http) as client:
        await anyio.sleep(0.1)
        assert len(polls) <= 1
        client.send_analytics_event(event())
        await anyio.sleep(0.1)
        seen = len(polls)
        for _ in range(50):
            client.send_analytics_event(event())
            await anyio.sleep(0.002)
        assert len(polls) == seen
