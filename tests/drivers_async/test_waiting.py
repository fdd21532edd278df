"""Waiting for an outcome, in a loop: any number of waiters, cancellation, timeouts, on_error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import masivo
from masivo.emulator import Emulator, Fault

from .events import arrived, event
from .loops import error_of, eventually, logged, session_of, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from masivo import AsyncDelivery, FailedEvent

    from .conftest import AnyClient, Connect

pytestmark = pytest.mark.anyio

STUCK = Fault(delay=60, close=True)


async def test_any_number_of_tasks_wait_for_one_delivery(
    emulator: Emulator, connect: Connect
) -> None:
    """A delivery may be awaited by many tasks at once, and again later; all get the result."""
    results: list[masivo.SendEventResult] = []

    async def wait(delivery: AsyncDelivery) -> None:
        results.append(await delivery)
        assert await delivery.exception() is None

    async with connect(batch_size=1) as client:
        delivery = client.send_analytics_event(event())
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(wait, delivery)
        results.append(await delivery)
    assert [result.status for result in results] == [200] * 51
    assert arrived(emulator) == [0]


async def test_a_delivery_that_was_awaited_is_let_go(connect: Connect) -> None:
    """Awaiting what has its outcome already leaves nothing behind, however often."""
    async with connect() as client:
        delivery = client.send_analytics_event(event())
        await client.flush()
        for _ in range(3):
            await delivery
        assert not session_of(client).waiters._of_deliveries


async def test_every_waiter_gets_an_error_of_its_own(emulator: Emulator, connect: Connect) -> None:
    """Tasks that wait for one failed event raise errors that share no traceback."""
    emulator.fail(Fault(status=404), route="events", times=None)
    errors: list[masivo.MasivoError] = []

    async def wait(delivery: AsyncDelivery) -> None:
        with pytest.raises(masivo.MasivoError) as caught:
            await delivery
        errors.append(caught.value)

    async with connect(batch_size=1) as client:
        delivery = client.send_analytics_event(event())
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait, delivery)
        for _ in range(2):
            error = await delivery.exception()
            assert error is not None
            errors.append(error)
    assert [each.status for each in errors] == [404] * 5
    assert len({id(each) for each in errors}) == 5


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
    stay on their way."""
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


async def test_flush_tells_what_became_of_the_events(emulator: Emulator, connect: Connect) -> None:
    """flush returns when every event so far has its outcome, with the counts; it never raises
    for a failed event."""
    emulator.reject = lambda event: "bad" if event["customer_id"] == "bad" else None
    async with connect() as client:
        good = [client.send_analytics_event(event(n)) for n in range(5)]
        bad = client.send_analytics_event(event(9, customer_id="bad"))
        result = await client.flush(timeout=10)
        assert (result.delivered, result.failed) == (5, 1)
        assert all(delivery.done() for delivery in [*good, bad])
        assert error_of(bad) is not None
        assert (await client.flush()).delivered == 0


async def test_drain_waits_for_room(emulator: Emulator, connect: Connect) -> None:
    """A producer that drains before each send never meets a full buffer."""
    async with connect(max_queue=10, batch_size=5) as client:
        for n in range(100):
            await client.drain(timeout=10)
            client.send_analytics_event(event(n))
    assert client.stats().overflowed == 0
    assert arrived(emulator) == list(range(100))


async def test_a_token_for_a_sibling(emulator: Emulator, connect: Connect) -> None:
    """get_token authorizes where need be; concurrent callers share that request."""
    tokens: list[str] = []

    async def get(client: AnyClient) -> None:
        tokens.append(await client.get_token(timeout=10))

    async with connect() as client, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(get, client)
    assert len(tokens) == 20
    assert len(set(tokens)) == 1
    assert len(emulator.authorizations) == 1


async def test_a_refused_key_is_told_to_every_caller(emulator: Emulator, connect: Connect) -> None:
    """A SERVER key ends events and token calls with MasivoServerKeyError."""
    async with connect(api_key=emulator.server_key) as client:
        delivery = client.send_analytics_event(event())
        with pytest.raises(masivo.MasivoServerKeyError):
            await client.get_token(timeout=10)
        with pytest.raises(masivo.MasivoServerKeyError):
            await delivery


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


async def test_on_error_gets_the_event_and_its_error(emulator: Emulator, connect: Connect) -> None:
    """on_error is called once for each failed event, in the loop's own thread."""
    emulator.fail(Fault(status=404), route="events", times=None)
    failures: list[FailedEvent] = []
    async with connect(on_error=failures.append) as client:
        for n in range(3):
            client.send_analytics_event(event(n))
    assert [failure.event["metadata"] for failure in failures] == [{"n": n} for n in range(3)]
    assert [failure.error.status for failure in failures] == [404] * 3


async def test_on_error_may_send_for_ever(emulator: Emulator, connect: Connect) -> None:
    """A callback that answers each failure with a new event that fails at once keeps the driver
    busy, but not the loop from running others."""
    emulator.fail(Fault(status=401), route="authorize", times=None)
    calls = 0

    def on_error(_: FailedEvent) -> None:
        nonlocal calls
        calls += 1
        client.send_analytics_event(event(calls))

    async with connect(on_error=on_error) as client:
        client.send_analytics_event(event())
        await eventually(lambda: calls > 50)
        client.destroy()
