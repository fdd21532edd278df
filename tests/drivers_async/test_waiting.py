"""Waiting for an outcome, in a loop: cancellation, timeouts, on_error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from drivers.events import arrived, event

import masivo
from masivo.emulator import Emulator, Fault
from masivo.protocol import BatchSettled

from .loops import error_of, eventually, logged, session_of, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from masivo import AsyncDelivery, FailedEvent
    from masivo.protocol import Activity

    from .conftest import AnyClient, Connect

pytestmark = pytest.mark.anyio

STUCK = Fault(delay=60, close=True)


async def test_a_delivery_that_was_awaited_is_let_go(connect: Connect) -> None:
    """Awaiting what has its outcome already leaves nothing behind, however often."""
    async with connect() as client:
        delivery = client.send_analytics_event(event())
        await client.flush()
        for _ in range(3):
            await delivery
        assert not session_of(client).waiters._of_deliveries


async def test_a_cancelled_waiter_cancels_nothing_else(
    emulator: Emulator, connect: Connect
) -> None:
    """Cancelling a task that waits for a delivery stops neither the event nor other waiters."""
    emulator.fail(Fault(delay=0.3), route="events")
    others: list[int] = []

    async def wait(delivery: AsyncDelivery) -> None:
        others.append((await delivery).status)

    async with connect(batch_size=1) as client, anyio.create_task_group() as tasks:
        delivery = client.send_analytics_event(event())
        tasks.start_soon(wait, delivery)
        await until(emulator, lambda emulator: emulator.batches)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await delivery
        assert scope.cancelled_caught
        with anyio.move_on_after(0.01):
            await client.flush()
        assert not delivery.done()
    assert others == [200]
    assert arrived(emulator) == [0]


async def test_a_wait_without_end_is_a_timeout_error(emulator: Emulator, connect: Connect) -> None:
    """flush, drain and get_token raise TimeoutError in time, with what that means, and the events
    stay pending."""
    emulator.fail(STUCK, route="authorize")
    async with connect(max_queue=2, batch_size=2) as client:
        client.send_analytics_event(event(1))
        client.send_analytics_event(event(2))
        for call in (client.flush, client.drain, client.get_token):
            for timeout in (0, 0.05):
                with pytest.raises(TimeoutError, match=r"they stay|no room|no token"):
                    await call(timeout=timeout)
        assert client.stats().queued == 2
        assert client.stats().failed == 0
        client.destroy()


async def test_a_call_without_time_returns_what_is_there(connect: Connect) -> None:
    """With a timeout of 0 a call looks before it gives up
    (``docs/reference/guarantees.md#flush``)."""
    async with connect() as client:
        token = await client.get_token()
        client.send_analytics_event(event())
        await client.flush()
        assert await client.flush(0) == masivo.FlushResult(0, 0)
        assert await client.get_token(0) == token
        await client.drain(0)
        client.send_analytics_event(event())
        with pytest.raises(TimeoutError):
            await client.flush(0)


async def test_a_drain_that_gave_up_is_forgotten(emulator: Emulator, connect: Connect) -> None:
    """A producer whose drain timed out, or was cancelled, leaves nothing behind."""
    emulator.fail(STUCK, route="authorize")
    async with connect(max_queue=1, batch_size=1) as client:
        client.send_analytics_event(event())
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await client.drain(timeout=0)
            with anyio.move_on_after(0):
                await client.drain()
        session = session_of(client)
        await eventually(lambda: not session.engine.pending)
        assert not session.waiters._of_tickets
        client.destroy()


CALLS: dict[str, Callable[[AnyClient], Coroutine[Any, Any, object]]] = {
    "flush": lambda client: client.flush(),
    "drain": lambda client: client.drain(),
    "get_token": lambda client: client.get_token(),
    "aclose": lambda client: client.aclose(),
}


@pytest.mark.parametrize("name", CALLS)
async def test_on_error_must_not_wait_for_the_driver(
    emulator: Emulator, connect: Connect, name: str
) -> None:
    """A call inside on_error that would wait for the driver is a RuntimeError at once, and has
    no other effect: the client goes on."""
    emulator.fail(Fault(status=404), route="events")
    refused: list[RuntimeError] = []

    def on_error(_failed: FailedEvent) -> None:
        with pytest.raises(RuntimeError, match="on_error") as caught:
            _ = CALLS[name](client)
        refused.append(caught.value)

    async with connect(on_error=on_error) as client:
        failed = client.send_analytics_event(event(1))
        await client.flush(timeout=10)
        assert len(refused) == 1
        assert error_of(failed) is not None
        client.send_analytics_event(event(2))
    assert arrived(emulator) == [2]


async def test_on_activity_must_not_wait_either(connect: Connect) -> None:
    """A call inside on_activity that would wait for the driver is a RuntimeError at once."""
    refused: list[RuntimeError] = []

    def on_activity(activity: Activity) -> None:
        if isinstance(activity, BatchSettled):
            with pytest.raises(RuntimeError, match="on_activity") as caught:
                _ = client.flush()
            refused.append(caught.value)

    async with connect(on_activity=on_activity) as client:
        client.send_analytics_event(event(1))
        assert (await client.flush(timeout=10)).delivered == 1
    assert len(refused) == 1


async def test_on_error_must_not_await_an_unfinished_delivery(
    emulator: Emulator, connect: Connect
) -> None:
    """Awaiting an unfinished delivery by hand inside on_error is a RuntimeError, not a hang."""
    emulator.fail(Fault(status=404), route="events")
    refused: list[str] = []

    def on_error(_: FailedEvent) -> None:
        try:
            other.__await__().send(None)
        except RuntimeError as error:
            refused.append(str(error))

    async with connect(on_error=on_error, batch_size=1) as client:
        first = client.send_analytics_event(event(1))
        other = client.send_analytics_event(event(2))
        with pytest.raises(masivo.MasivoError):
            await first
    assert len(refused) == 1
    assert "on_error" in refused[0]
    assert arrived(emulator) == [2]


class LooksLikeCancelled(BaseException):
    """As trio's Cancelled, which cannot be made by hand: no Exception."""


@pytest.mark.parametrize(
    "raised", [ValueError("x"), SystemExit(3), asyncio.CancelledError(), LooksLikeCancelled()]
)
async def test_what_on_error_raises_harms_nothing(
    emulator: Emulator,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    raised: BaseException,
) -> None:
    """What on_error raises, whatever it is, is logged, and the driver goes on."""
    emulator.fail(Fault(status=404), route="events")

    def on_error(_: FailedEvent) -> None:
        raise raised

    async with connect(on_error=on_error, isolate_rejected=False) as client:
        failed = [client.send_analytics_event(event(n)) for n in range(3)]
        assert (await client.flush(timeout=10)).failed == 3
        assert all(error_of(each) is not None for each in failed)
        client.send_analytics_event(event(7))
    assert arrived(emulator) == [7]
    assert sum("on_error raised" in line for line in logged(caplog)) == 3


async def test_on_error_may_send_for_ever(emulator: Emulator, connect: Connect) -> None:
    """A callback that sends a new event for each failure, which fails too, keeps the driver busy,
    but not the loop from running others."""
    emulator.fail(Fault(status=403), route="events", times=None)
    calls = 0

    def on_error(_: FailedEvent) -> None:
        nonlocal calls
        calls += 1
        client.send_analytics_event(event(calls))

    async with connect(on_error=on_error, batch_size=1) as client:
        client.send_analytics_event(event())
        await eventually(lambda: calls > 50)
        client.destroy()


async def test_on_error_is_not_called_for_what_it_sends_in_vain(
    emulator: Emulator, connect: Connect
) -> None:
    """While the key is refused, an event that ``on_error`` sends fails at once, and it is not
    called for that: it would send for ever."""
    emulator.fail(Fault(status=401), route="authorize", times=None)
    calls = 0

    def on_error(_: FailedEvent) -> None:
        nonlocal calls
        calls += 1
        client.send_analytics_event(event(calls))

    async with connect(on_error=on_error) as client:
        client.send_analytics_event(event())
        await eventually(lambda: client.stats().failed == 2)
        client.send_analytics_event(event())
        await eventually(lambda: client.stats().failed == 4)
        assert (await client.flush()).failed == 4
        assert calls == 2
