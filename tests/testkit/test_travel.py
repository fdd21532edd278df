"""Tests that travel in time, with time-machine or freezegun: dates travel, waiting does not."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import freezegun
import pytest
import time_machine
import trio
import trio.testing

import masivo
from masivo.emulator import Fault
from masivo.testing.kit import travel as kit

from .events import event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from masivo.emulator import Emulator
    from masivo.testing import MasivoClock, MasivoEvents

    Journey = Callable[[], AbstractContextManager[object]]

PAST, FUTURE = "2020-01-05T10:00:00+00:00", "2040-01-05T10:00:00+00:00"


def time_machine_to(date: str, **options: Any) -> Journey:
    """A journey with time-machine."""
    return lambda: time_machine.travel(date, **options)


def freezegun_to(date: str, **options: Any) -> Journey:
    """A journey with freezegun."""
    return lambda: freezegun.freeze_time(date, **options)


JOURNEYS = {
    "time-machine, back": time_machine_to(PAST),
    "time-machine, on": time_machine_to(FUTURE),
    "time-machine, still": time_machine_to(PAST, tick=False),
    "freezegun, back": freezegun_to(PAST),
    "freezegun, on": freezegun_to(FUTURE),
    "freezegun, ticking": freezegun_to(PAST, tick=True),
    "freezegun, real loops": freezegun_to(PAST, real_asyncio=True),
}


@pytest.fixture(params=list(JOURNEYS))
def travel(request: pytest.FixtureRequest) -> Journey:
    """Begins a journey: with either library, back and forth, with a clock that runs and one that
    stands still."""
    return JOURNEYS[request.param]


def now() -> dt.datetime:
    """The date as code under test reads it."""
    return dt.datetime.now(dt.UTC)


def sent_at(emulator: Emulator) -> list[str]:
    """The years in which the events were issued."""
    return [str(each["issued_at"])[:4] for each in emulator.events]


def run(world: str, steps: Callable[[Any], Awaitable[object]], **options: Any) -> None:
    """Run steps with a client for a loop."""

    async def main() -> None:
        kind = masivo.AsyncClient if world == "asyncio" else masivo.TrioClient
        async with kind(**options) as client:
            await steps(client)

    asyncio.run(main()) if world == "asyncio" else trio.run(main)


def test_threads(travel: Journey, masivo_emulator: Emulator, masivo_events: MasivoEvents) -> None:
    """An event that is stamped by the client, and one that the app has stamped, arrive with the
    date of the journey; a retry and the idle trigger come when they are due in reality."""
    with travel():
        masivo_emulator.fail(Fault(status=503), route="events")
        client = masivo.Client(idle_timeout=0.05)
        assert client.send_analytics_event(event("ours")).result(10).success
        client.send_analytics_event(event("theirs", issued_at=now()))
        masivo_events.expect(customer_id="theirs")
        masivo_events.expect_delivered()
        assert sent_at(masivo_emulator) == [str(now().year)] * 2


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_loops(world: str, travel: Journey, masivo_emulator: Emulator) -> None:
    """The same in loops, even where freezegun has stopped the loop's own clock."""

    async def steps(client: masivo.AsyncClient) -> None:
        masivo_emulator.fail(Fault(status=503), route="events")
        assert (await client.send_analytics_event(event("ours"))).success
        await client.send_analytics_event(event("theirs", issued_at=now()))

    with travel():
        run(world, steps, idle_timeout=0.05, await_linger=None)
        assert sent_at(masivo_emulator) == [str(now().year)] * 2


@pytest.mark.parametrize(
    ("world", "journey"),
    [
        ("asyncio", freezegun_to(PAST, real_asyncio=True)),
        ("asyncio", time_machine_to(PAST, tick=False)),
        ("trio", time_machine_to(PAST, tick=False)),
    ],
)
def test_a_sleep_of_the_app(world: str, journey: Journey) -> None:
    """It ends on the journeys that the page advises for the loop."""
    with journey():
        asyncio.run(asyncio.sleep(0.01)) if world == "asyncio" else trio.run(trio.sleep, 0.01)


def test_a_mock_clock_of_trio(masivo_emulator: Emulator) -> None:
    """The batches of a TrioClient go by the clock that its run was given, though a library for
    journeys is there."""
    clock = trio.testing.MockClock()

    def arrived(emulator: Emulator) -> bool:
        return emulator.event_count == 1

    async def main() -> None:
        async with masivo.TrioClient(idle_timeout=30) as client:
            client.send_analytics_event(event("ours"))
            clock.jump(30)
            await trio.to_thread.run_sync(masivo_emulator.wait_for, arrived)

    trio.run(main, clock=clock)


@pytest.mark.parametrize("library", [time_machine_to, freezegun_to])
def test_a_journey_with_a_client_in_use(
    library: Callable[[str], Journey], masivo_emulator: Emulator, masivo_events: MasivoEvents
) -> None:
    """A client that has sent events goes with the test, forward and back."""
    client = masivo.Client()
    for date in (None, FUTURE, PAST):
        with library(date)() if date else nullcontext():
            client.send_analytics_event(event())
            masivo_events.expect_delivered()
    assert sent_at(masivo_emulator)[-2:] == ["2040", "2020"]


def test_masivo_clock_in_threads(
    travel: Journey, masivo_clock: MasivoClock, masivo_emulator: Emulator
) -> None:
    """The virtual time starts at the date of the journey, and goes on as the test moves it."""
    with travel():
        client = masivo.Client()
        for number in range(2):
            client.send_analytics_event(event("ours"))
            client.send_analytics_event(event("theirs", issued_at=now()))
            masivo_clock.advance(30)
            assert masivo_emulator.event_count == 2 * number + 2
        assert sent_at(masivo_emulator) == [str(now().year)] * 4
        assert masivo_clock.time() == pytest.approx(now().timestamp() + 60, abs=20)


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_masivo_clock_in_loops(
    world: str, travel: Journey, masivo_clock: MasivoClock, masivo_emulator: Emulator
) -> None:
    """The same in loops."""

    async def steps(client: masivo.AsyncClient) -> None:
        client.send_analytics_event(event("ours"))
        client.send_analytics_event(event("theirs", issued_at=now()))
        await masivo_clock.aadvance(30)
        assert masivo_emulator.event_count == 2

    with travel():
        run(world, steps)
        assert sent_at(masivo_emulator) == [str(now().year)] * 2


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_stamps_in_virtual_time(
    world: str, masivo_clock: MasivoClock, masivo_emulator: Emulator
) -> None:
    """In loops, too, the wall clock is the virtual one: after half an hour without a response,
    stamps are of that time."""

    async def steps(client: masivo.AsyncClient) -> None:
        await client.get_token()
        await masivo_clock.aadvance(1800)
        client.send_analytics_event(event())
        await masivo_clock.aadvance(30)
        (arrived,) = masivo_emulator.events
        stamp = dt.datetime.fromisoformat(str(arrived["issued_at"])).timestamp()
        assert stamp == pytest.approx(masivo_clock.time() - 30, abs=2)

    run(world, steps, refresh_interval=None)


def test_a_clock_that_is_never_changed(travel: Journey) -> None:
    """The kit's own clock does not run backwards, and does not jump."""
    before = kit.monotonic()
    with travel():
        assert kit.is_travelling()
        inside = kit.monotonic()
    assert not kit.is_travelling()
    assert before <= inside <= kit.monotonic() < before + 10


def test_a_timer_ends_with_its_wait() -> None:
    """No thread is left waiting for a time that a loop has no need of any more."""
    woken: list[bool] = []
    with kit._LoopTime().alarm(kit.monotonic() + 3600, lambda: woken.append(True)):
        (timer,) = (each for each in threading.enumerate() if isinstance(each, threading.Timer))
    timer.join(10)
    assert not timer.is_alive()
    assert woken == []
