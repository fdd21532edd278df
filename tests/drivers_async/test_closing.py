"""Leaving a client, in a loop: with a flush, at once, against a deadline, twice, all at once."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import httpx
import pytest
from drivers.events import arrived, event

import masivo
from masivo.emulator import Emulator, Fault
from masivo.testing.kit.isolation import open_clients

from .loops import error_of, eventually, logged, until

if TYPE_CHECKING:
    from .conftest import AnyClient, Connect

pytestmark = pytest.mark.anyio

STUCK = Fault(delay=60, close=True)
CLOSED = masivo.MasivoClosedError


async def test_leaving_the_block_flushes(emulator: Emulator, connect: Connect) -> None:
    """A block that ends normally delivers what is buffered, and lets go of everything."""
    async with connect() as client:
        deliveries = [client.send_analytics_event(event(n)) for n in range(250)]
    assert all(delivery.done() for delivery in deliveries)
    assert arrived(emulator) == list(range(250))
    with pytest.raises(CLOSED):
        client.send_analytics_event(event())
    for call in (client.flush, client.drain, client.get_token):
        with pytest.raises(CLOSED):
            await call()
    client.destroy()
    await client.aclose()


class BlockError(Exception):
    """Raised in a block."""


async def test_an_exception_closes_a_client_for_good(connect: Connect) -> None:
    """A block that is left by an exception closes its client, also for the kit for tests, which has
    the clients that are open begin anew with each test."""
    client = connect()
    with pytest.raises(BlockError):
        async with client:
            raise BlockError
    with pytest.raises(CLOSED):
        client.send_analytics_event(event())
    with pytest.raises(CLOSED):
        await client.flush()
    assert client not in open_clients()


@pytest.mark.parametrize("route", ["authorize", "events"])
async def test_an_exception_releases_at_once_and_comes_out_plain(
    emulator: Emulator, connect: Connect, caplog: pytest.LogCaptureFixture, route: str
) -> None:
    """A block left by an exception does not wait for a stuck request; the exception is the
    block's own, in no group; one warning counts what was not sent, and says why."""
    emulator.fail(STUCK, route=route)
    deliveries: list[masivo.AsyncDelivery] = []
    began = time.monotonic()

    async def work() -> None:
        async with connect(batch_size=2) as client:
            deliveries.extend(client.send_analytics_event(event(n)) for n in range(3))
            await until(
                emulator,
                lambda emulator: emulator.requests and emulator.requests[-1].route == route,
            )
            raise BlockError

    with pytest.raises(BlockError) as caught:
        await work()
    assert time.monotonic() - began < 5
    assert type(caught.value) is BlockError
    assert [type(error_of(each)) for each in deliveries] == [CLOSED] * 3
    assert len(logged(caplog)) == 1
    assert logged(caplog)[0].startswith("3 events were not sent: the client's block was left by")


@pytest.mark.parametrize("moment", ["sending", "flushing", "closing"])
async def test_a_cancellation_releases_at_once(
    emulator: Emulator, connect: Connect, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    """A block that is cancelled, whatever it is doing, is left at once; every delivery has its
    outcome, and one warning counts what was not sent."""
    emulator.fail(STUCK, route="events")
    deliveries: list[masivo.AsyncDelivery] = []
    left = anyio.Event()
    began = 0.0

    async def work() -> None:
        try:
            async with connect(batch_size=2) as client:
                deliveries.extend(client.send_analytics_event(event(n)) for n in range(5))
                if moment == "flushing":
                    await client.flush()
                elif moment == "sending":
                    while True:
                        await client.drain()
                        await anyio.sleep(0.001)
        finally:
            left.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await until(emulator, lambda emulator: emulator.batches)
        began = time.monotonic()
        tasks.cancel_scope.cancel()
    assert time.monotonic() - began < 3
    assert left.is_set()
    assert [type(error_of(each)) for each in deliveries] == [CLOSED] * 5
    assert [line for line in logged(caplog) if "5 events were not sent" in line] == logged(caplog)
    assert len(logged(caplog)) == 1


async def test_a_request_of_a_closed_client_is_broken_off(
    emulator: Emulator, connect: Connect
) -> None:
    """After aclose nothing is left on its way: no connection either, while the block goes on."""
    async with connect(timeout=60) as client:
        client.send_analytics_event(event(1))
        await client.flush()
        emulator.fail(STUCK, route="events", times=None)
        client.send_analytics_event(event(2))
        await client.aclose(timeout=0)
        batches = len(emulator.batches)
        await anyio.sleep(0.1)  # in which a retry would come
        assert len(emulator.batches) == batches


async def test_a_request_through_the_callers_client_is_broken_off(connect: Connect) -> None:
    """Nor is a request that is out through an HTTP client which the package does not close."""
    out = anyio.Event()
    ended: list[str] = []

    async def hang(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"data": "a-token"})
        out.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(request.method)
        raise AssertionError

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(hang)) as http,
        connect(http_client=http, timeout=60, batch_size=1) as client,
    ):
        client.send_analytics_event(event())
        await out.wait()
        await client.aclose(timeout=0)
        await eventually(lambda: ended)


async def test_aclose_works_more_than_once_and_all_at_once(
    emulator: Emulator, connect: Connect
) -> None:
    """Concurrent aclose calls all return once it is done; what was sent before is delivered."""
    async with connect() as client:
        deliveries = [client.send_analytics_event(event(n)) for n in range(10)]
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(client.aclose)
        assert all(error_of(each) is None for each in deliveries)
        await client.aclose()
    await client.aclose()
    assert len(arrived(emulator)) == 10


async def test_a_cancelled_aclose_goes_on_closing(emulator: Emulator, connect: Connect) -> None:
    """aclose that is cancelled leaves a client that closes by itself; a second one waits for it."""
    emulator.fail(Fault(delay=0.2), route="events")
    async with connect() as client:
        delivery = client.send_analytics_event(event())
        with anyio.move_on_after(0.05):
            await client.aclose()
        with pytest.raises(CLOSED):
            client.send_analytics_event(event())
        await client.aclose()
        assert (await delivery).success


async def test_destroy_ends_everything_now(emulator: Emulator, connect: Connect) -> None:
    """After destroy() every delivery has its outcome at once, and waiting calls end too."""
    emulator.fail(STUCK, route="authorize")
    ended: list[str] = []

    async def flush(client: AnyClient) -> None:
        result = await client.flush()
        ended.append(f"flush: {result.failed} failed")

    async def call(client: AnyClient, name: str) -> None:
        with pytest.raises(CLOSED):
            await getattr(client, name)()
        ended.append(name)

    async def close(client: AnyClient) -> None:
        await until(emulator, lambda emulator: emulator.requests)
        await client.aclose()

    async with connect(max_queue=2) as client, anyio.create_task_group() as tasks:
        deliveries = [client.send_analytics_event(event(n)) for n in range(2)]
        tasks.start_soon(flush, client)
        tasks.start_soon(call, client, "drain")
        tasks.start_soon(call, client, "get_token")
        tasks.start_soon(close, client)
        await until(emulator, lambda emulator: emulator.requests)
        client.destroy()
        assert [type(error_of(each)) for each in deliveries] == [CLOSED] * 2
        client.destroy()
    assert sorted(ended) == ["drain", "flush: 2 failed", "get_token"]


async def test_closing_destroying_and_sending_at_once(emulator: Emulator, connect: Connect) -> None:
    """Tasks that send while others close and destroy: each send is refused or gets an outcome."""
    deliveries: list[masivo.AsyncDelivery] = []

    async def send(client: AnyClient) -> None:
        for n in range(10_000):
            try:
                deliveries.append(client.send_analytics_event(event(n)))
            except CLOSED:
                return
            # A loop that is always busy may leave the emulator's thread no time.
            await anyio.sleep(0.0 if n % 100 else 0.001)
        pytest.fail("the client was never closed")

    async def destroy(client: AnyClient) -> None:
        await until(emulator, lambda emulator: len(emulator.batches) >= 2)
        client.destroy()

    async with connect(batch_size=10) as client, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(send, client)
        tasks.start_soon(destroy, client)
        await until(emulator, lambda emulator: emulator.batches)
        tasks.start_soon(client.aclose)
    assert deliveries
    assert all(delivery.done() for delivery in deliveries)
    assert client.stats().queued == client.stats().in_flight == 0


async def test_a_failure_dropped_with_the_client_is_logged(
    emulator: Emulator, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure that nobody asks about is logged, though its client is closed by then."""
    emulator.fail(Fault(status=404), route="events", times=None)
    async with connect() as client:
        client.send_analytics_event(event())
    await eventually(lambda: logged(caplog))
    kept: list[masivo.AsyncDelivery] = []
    async with connect() as client:
        kept.append(client.send_analytics_event(event()))
    caplog.clear()
    kept.clear()
    await eventually(lambda: logged(caplog))
    assert "1 event was not delivered" in logged(caplog)[0]


async def test_a_failure_that_was_awaited_is_not_logged(
    emulator: Emulator, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever awaited a delivery, or asked for its exception, has been told: of the others only is
    something logged."""
    emulator.fail(Fault(status=404), route="events")
    async with connect(batch_size=3) as client:
        deliveries = [client.send_analytics_event(event(n)) for n in range(3)]
        with pytest.raises(masivo.MasivoError):
            await deliveries[0]
        assert await deliveries[1].exception() is not None
        deliveries.clear()
        gc.collect()  # the traceback of the error refers to its delivery
        await eventually(lambda: logged(caplog))
    assert len(logged(caplog)) == 1
    assert "1 event was not delivered" in logged(caplog)[0]


async def test_an_http_client_is_closed_though_the_block_is_cancelled(connect: Connect) -> None:
    """What a function made is closed to its end, though the block that is left was cancelled."""
    closed: list[bool] = []

    class Slow(httpx.MockTransport):
        async def aclose(self) -> None:
            await anyio.lowlevel.checkpoint()
            closed.append(True)

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": "a-token"})

    with anyio.CancelScope() as scope:
        async with connect(http_client=lambda: httpx.AsyncClient(transport=Slow(answer))) as client:
            await client.get_token()
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    await eventually(lambda: closed)


async def test_connections_that_do_not_close_hold_nobody_up(connect: Connect) -> None:
    """A client is left within seconds, though its HTTP client cannot be closed."""

    class Stubborn(httpx.MockTransport):
        async def aclose(self) -> None:
            await anyio.sleep_forever()

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": "a-token"})

    began = time.monotonic()
    async with connect(http_client=lambda: httpx.AsyncClient(transport=Stubborn(answer))) as client:
        await client.get_token()
    assert time.monotonic() - began < 5


async def test_a_client_shows_whether_it_is_open(emulator: Emulator, connect: Connect) -> None:
    """Before its first event, in use, and after its end."""
    async with connect() as client:
        assert repr(client).endswith(" open>")
        await client.get_token()
        assert repr(client).endswith(" open>")
    assert repr(client).endswith(" closed>")


async def test_a_client_that_was_never_used_closes(emulator: Emulator, connect: Connect) -> None:
    """A client may be closed, destroyed and counted before its first use."""
    client = connect()
    assert client.stats() == masivo.Stats(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, None)
    client.destroy()
    await client.aclose()
    with pytest.raises(CLOSED):
        client.send_analytics_event(event())
    for call in (client.flush, client.drain, client.get_token):
        with pytest.raises(CLOSED):
            await call()
    assert not emulator.requests


async def test_aclose_returns_after_on_error(emulator: Emulator, connect: Connect) -> None:
    """``aclose`` returns when ``on_error`` has been called for all that failed: long before, with
    the close, or by its deadline."""
    emulator.fail(Fault(status=403), route="events", number=[1, 2])
    emulator.fail(STUCK, route="events", times=None)
    failed: list[object] = []

    def on_error(each: masivo.FailedEvent) -> None:
        failed.append(each.event["metadata"])

    async with connect(on_error=on_error, batch_size=2) as client:
        for n in range(5):
            client.send_analytics_event(event(n))
        await client.aclose(0.5)
        assert failed == [{"n": n} for n in range(5)]
