"""Time under the test's control, in all worlds: nothing here waits for time to pass."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, cast

import pytest
import trio

import masivo
from masivo.emulator import Fault
from masivo.testing.kit.virtual import VirtualTime

from .events import event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from masivo.emulator import Emulator
    from masivo.testing import MasivoClock, MasivoEvents

pytestmark = pytest.mark.usefixtures("really_quick")


@pytest.fixture
def really_quick() -> Iterator[None]:
    """Virtual minutes do not pass in reality."""
    before = time.monotonic()
    yield
    assert time.monotonic() - before < 20


class AnyAsyncClient(Protocol):
    """The common interface of the clients of both loops."""

    def send_analytics_event(self, event: dict[str, object], /) -> Awaitable[object]:
        """Take an event."""
        ...


def test_batches_go_out_by_the_clock_in_threads(
    masivo_clock: MasivoClock, masivo_emulator: Emulator
) -> None:
    """Neither before idle_timeout or max_wait, nor after: when advance returns they are there."""
    client = masivo.Client(idle_timeout=30, max_wait=60)
    sent = client.send_analytics_event(event("idle"))
    masivo_clock.advance(29.9)
    assert masivo_emulator.batches == []
    masivo_clock.advance(0.1)
    assert masivo_emulator.event_count == 1
    assert sent.done()
    for number in range(6):
        client.send_analytics_event(event(f"steady-{number}"))
        masivo_clock.advance(11.9)
        assert masivo_emulator.event_count == (1 if number < 5 else 7)
    assert masivo_clock.elapsed == pytest.approx(30 + 6 * 11.9)
    assert repr(masivo_clock) == "<MasivoClock after 101.4 s>"


def test_on_error_has_been_called_when_advance_returns(
    masivo_clock: MasivoClock, masivo_emulator: Emulator
) -> None:
    """Everything due includes the driver's callbacks to the app."""
    failures: list[masivo.FailedEvent] = []
    client = masivo.Client(on_error=failures.append)
    for number in range(1, 21):
        masivo_emulator.fail(Fault(status=400), route="events")
        client.send_analytics_event(event())
        masivo_clock.advance(30)
        assert len(failures) == number


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_batches_go_out_by_the_clock_in_loops(
    world: str, masivo_clock: MasivoClock, masivo_emulator: Emulator
) -> None:
    """The same, with ``await masivo_clock.aadvance``."""

    async def steps(client: AnyAsyncClient) -> None:
        sent = client.send_analytics_event(event("idle"))
        await masivo_clock.aadvance(29.9)
        assert masivo_emulator.batches == []
        await masivo_clock.aadvance(0.1)
        assert masivo_emulator.event_count == 1
        await sent
        for number in range(6):
            client.send_analytics_event(event(f"steady-{number}"))
            await masivo_clock.aadvance(11.9)
            assert masivo_emulator.event_count == (1 if number < 5 else 7)
        with pytest.raises(RuntimeError, match="aadvance"):
            masivo_clock.advance(1)

    async def in_asyncio() -> None:
        async with masivo.AsyncClient() as client:
            await steps(client)

    async def in_trio() -> None:
        async with masivo.TrioClient() as client:
            await steps(client)

    if world == "asyncio":
        asyncio.run(in_asyncio())
    else:
        trio.run(in_trio)


@pytest.mark.masivo_emulator(token_ttl=3600)
def test_tokens_are_renewed_by_the_clock(
    masivo_clock: MasivoClock, masivo_emulator: Emulator
) -> None:
    """The emulator's time is the same, so a token expires when it should, and is renewed before."""
    client = masivo.Client(refresh_interval=None)
    client.get_token()
    masivo_clock.advance(3 * 3600)
    assert len(masivo_emulator.authorizations) in (4, 5)
    client.send_analytics_event(event())
    masivo_clock.advance(30)
    assert [each.status for each in masivo_emulator.batches] == [200]


def test_a_wait_in_the_test_lets_time_run_to_what_it_waits_for(
    masivo_clock: MasivoClock, masivo_emulator: Emulator
) -> None:
    """To a retry, to a batch's own trigger, to the wait's own end; and no further."""
    client = masivo.Client(await_linger=0.5)
    masivo_emulator.fail(Fault.unavailable(retry_after=120), route="events")
    sent = client.send_analytics_event(event("retried"))
    assert client.flush().delivered == 1
    assert 120 <= masivo_clock.elapsed < 125
    assert sent.result().status == 200
    began = masivo_clock.elapsed
    assert client.send_analytics_event(event("awaited")).result().success
    assert masivo_clock.elapsed == pytest.approx(began + 0.5)
    masivo_emulator.fail(Fault.unavailable(retry_after=200), route="events")
    client.send_analytics_event(event("too late"))
    began = masivo_clock.elapsed
    with pytest.raises(TimeoutError):
        client.flush(timeout=7)
    assert masivo_clock.elapsed == pytest.approx(began + 7)
    client.close(timeout=None)
    assert masivo_emulator.event_count == 3


def test_a_wait_in_another_thread_moves_nothing(
    masivo_clock: MasivoClock, masivo_emulator: Emulator
) -> None:
    """The app's own threads wait until the test moves the clock."""
    client = masivo.Client(await_linger=None)
    outcomes: list[bool] = []
    sent = client.send_analytics_event(event())
    waiter = threading.Thread(target=lambda: outcomes.append(sent.result().success))
    waiter.start()
    masivo_clock.advance(29)
    assert (outcomes, masivo_clock.elapsed) == ([], 29)
    masivo_clock.advance(1)
    waiter.join(10)
    assert outcomes == [True]
    assert masivo_emulator.event_count == 1


def test_awaiting_goes_by_the_clock_in_loops(
    masivo_clock: MasivoClock, masivo_emulator: Emulator
) -> None:
    """A task that awaits an event has it sent after ``await_linger`` virtual seconds."""

    async def main() -> None:
        async with masivo.AsyncClient(await_linger=5) as client:
            waiter = asyncio.ensure_future(client.send_analytics_event(event()))
            await asyncio.sleep(0)
            await masivo_clock.aadvance(4.5)
            assert masivo_emulator.batches == []
            await masivo_clock.aadvance(0.5)
            assert (await waiter).success

    asyncio.run(main())


def test_retries_go_by_the_clock_in_loops(
    masivo_clock: MasivoClock, masivo_emulator: Emulator, masivo_events: MasivoEvents
) -> None:
    """The test advances the clock for a flush that needs retries."""

    async def main() -> None:
        async with masivo.AsyncClient() as client:
            masivo_emulator.fail(Fault.unavailable(retry_after=100), route="events")
            client.send_analytics_event(event())
            flush = asyncio.create_task(client.flush())
            await masivo_clock.aadvance(99)
            assert not flush.done()
            await masivo_clock.aadvance(2)
            assert (await flush).delivered == 1
            await masivo_events.aexpect_delivered()

    asyncio.run(main())


def test_the_wall_clock_goes_on_from_the_real_time(masivo_clock: MasivoClock) -> None:
    """``time`` is in seconds since the epoch; the clock is moved forward only."""
    assert abs(masivo_clock.time() - time.time()) < 60
    began = masivo_clock.time()
    masivo_clock.advance(3600)
    assert masivo_clock.time() == began + 3600
    for wrong in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="from 0 on"):
            masivo_clock.advance(wrong)


def test_threads_and_loops_share_the_clock(
    masivo_clock: MasivoClock, masivo_emulator: Emulator
) -> None:
    """A test in asyncio moves the clients for threads that its app has, too."""
    client = masivo.Client(idle_timeout=5)

    async def main() -> None:
        async with masivo.AsyncClient(idle_timeout=10) as other:
            client.send_analytics_event(event("threads"))
            other.send_analytics_event(event("asyncio"))
            await masivo_clock.aadvance(5)
            assert [each["customer_id"] for each in masivo_emulator.events] == ["threads"]
            await masivo_clock.aadvance(5)
            assert masivo_emulator.event_count == 2

    asyncio.run(main())


def test_an_unfinished_advance_is_an_error(
    masivo_clock: MasivoClock,
    masivo_emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request without a response ends ``advance`` with an error that says so."""
    monkeypatch.setattr("masivo.testing.kit.virtual.LIMIT", 0.2)
    masivo_emulator.fail(Fault(delay=60), route="events")
    client = masivo.Client()
    client.send_analytics_event(event())
    with pytest.raises(RuntimeError, match=r"request 2 \(POST\) is not"):
        masivo_clock.advance(30)
    client.destroy()


def test_a_client_that_is_in_use_is_an_error(
    masivo_emulator: Emulator, request: pytest.FixtureRequest
) -> None:
    """It uses the real time, so the clock comes too late."""
    client = masivo.Client()
    client.send_analytics_event(event())
    assert masivo_emulator.url in repr(client)
    with pytest.raises(RuntimeError, match="masivo_clock comes too late"):
        request.getfixturevalue("masivo_clock")


def test_seconds_are_a_number(masivo_clock: MasivoClock) -> None:
    """The error for a timedelta says how to get one."""
    with pytest.raises(TypeError, match=r"a timedelta has total_seconds\(\)"):
        masivo_clock.advance(cast("Any", timedelta(seconds=30)))


def test_waiting_moves_time_in_the_test_s_own_thread_alone() -> None:
    """Not in a thread of the code under test, and not in an event loop, whose other tasks would see
    it jump."""
    virtual = VirtualTime()
    elsewhere: list[bool] = []
    thread = threading.Thread(target=lambda: elsewhere.append(virtual.is_test()))
    thread.start()
    thread.join()

    async def main() -> bool:
        return virtual.is_test()

    assert virtual.is_test()
    assert elsewhere == [False]
    assert not asyncio.run(main())
    assert not trio.run(main)
