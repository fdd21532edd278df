"""The trio client by trio's rules: cancellation, nurseries, checkpoints, clocks, interrupts."""

from __future__ import annotations

import asyncio
import signal
import warnings
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
import trio.testing
from drivers.events import arrived, event
from drivers.programs import run

import masivo
from masivo import AsyncClient, TrioClient
from masivo.emulator import Emulator, Fault
from masivo.protocol import Account, Secret

from .loops import error_of, logged, session_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from masivo import AsyncDelivery, FailedEvent

STUCK = Fault(delay=60, close=True)
CLOSED = masivo.MasivoClosedError


@pytest.fixture
def connect(emulator: Emulator) -> Callable[..., TrioClient]:
    """Makes clients of the emulator."""

    def connect(**settings: Any) -> TrioClient:
        return TrioClient(emulator.client_key, base_url=emulator.url, **settings)

    return connect


async def until(emulator: Emulator, predicate: Callable[[Emulator], object]) -> None:
    """Wait until something has arrived at the emulator."""
    await trio.to_thread.run_sync(emulator.wait_for, predicate, 15.0)


class BlockError(Exception):
    """Raised in a block."""


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "error", [BlockError(), ExceptionGroup("a group of its own", [BlockError()])], ids=repr
)
def test_the_blocks_exception_comes_out_as_it_is(
    connect: Callable[..., TrioClient], emulator: Emulator, strict: bool, error: Exception
) -> None:
    """An exception leaves the client as it was raised, whatever trio does with nurseries'
    exceptions; while a request is out, too."""
    emulator.fail(STUCK)

    async def main() -> None:
        async with connect() as client:
            client.send_analytics_event(event())
            await until(emulator, lambda emulator: emulator.requests)
            raise error

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", trio.TrioDeprecationWarning)  # of the lenient kind
        with pytest.raises(type(error)) as caught:
            trio.run(main, strict_exception_groups=strict)
    assert caught.value is error


def test_a_closed_clients_nursery_is_cancelled(
    connect: Callable[..., TrioClient], emulator: Emulator
) -> None:
    """A client that was destroyed leaves the nursery of its task to be cancelled, which raises
    nothing."""

    async def task() -> None:
        async with connect(batch_size=1) as client:
            client.destroy()
            await trio.sleep_forever()

    async def main() -> None:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_siblings_error_cancels_the_block(
    connect: Callable[..., TrioClient], emulator: Emulator
) -> None:
    """A task that fails next to a client's block ends it; only its own error comes out."""
    emulator.fail(STUCK)

    async def sends() -> None:
        async with connect() as client:
            client.send_analytics_event(event())
            await client.flush()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sends)
            await until(emulator, lambda emulator: emulator.requests)
            raise BlockError

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main)
    assert [type(error) for error in caught.value.exceptions] == [BlockError]


def test_shielded_work_in_a_cancelled_block(
    connect: Callable[..., TrioClient], emulator: Emulator
) -> None:
    """When the nursery of a client is cancelled its events end at once, though the block goes on
    in a shield: what waits there for them does not hang."""

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with connect() as client, connect() as other:
                before = client.send_analytics_event(event(1))
                scope.cancel()
                with trio.CancelScope(shield=True), trio.fail_after(5):
                    with pytest.raises(CLOSED):
                        await before
                    with pytest.raises(CLOSED):
                        client.send_analytics_event(event(2))
                    await client.aclose()
                    await other.aclose()
                pytest.fail("no checkpoint")  # pragma: no cover

    with pytest.raises(pytest.fail.Exception, match="no checkpoint"):
        trio.run(main)
    assert arrived(emulator) == []


def test_a_cancelled_client_does_not_end_its_neighbours(
    connect: Callable[..., TrioClient], emulator: Emulator
) -> None:
    """A shield in a cancelled block, with another client of the key outside of it: the one ends,
    the other goes on."""

    async def main() -> None:
        async with connect(batch_size=1) as stays:
            with trio.CancelScope() as scope:
                async with connect(batch_size=1) as leaves:
                    assert session_of(leaves) is session_of(stays)
                    scope.cancel()
                    lost = leaves.send_analytics_event(event(1))
                    with trio.CancelScope(shield=True), trio.fail_after(5):
                        with pytest.raises(CLOSED):
                            await lost
                        assert (await stays.send_analytics_event(event(2))).success
                    await trio.lowlevel.checkpoint()
            assert scope.cancelled_caught
            assert (await stays.send_analytics_event(event(3))).success

    trio.run(main)
    assert arrived(emulator) == [2, 3]


def test_a_cancelled_block_takes_its_requests_along() -> None:
    """The requests for a client's events are in its own nursery: none of them is left when its
    cancelled block has ended, though another client of the key goes on."""
    steps: list[str] = []

    async def hang(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"data": "a-token"})
        out.set()
        try:
            await trio.sleep_forever()
        finally:
            steps.append("broken off")
        raise AssertionError

    async def main() -> None:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(hang)) as http,
            TrioClient("a-key", http_client=http),
        ):
            with trio.CancelScope() as scope:
                async with TrioClient("a-key", http_client=http, batch_size=1) as leaves:
                    leaves.send_analytics_event(event())
                    await out.wait()
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
            steps.append("left")

    out = trio.Event()
    trio.run(main)
    assert steps == ["broken off", "left"]


def test_waiting_is_a_checkpoint_always(
    connect: Callable[..., TrioClient], emulator: Emulator
) -> None:
    """Every call that can wait is a checkpoint, also where there is nothing to wait for."""

    async def main() -> None:
        async with connect(batch_size=1) as client:
            delivery = client.send_analytics_event(event())
            for _ in range(2):
                with trio.testing.assert_checkpoints():
                    await delivery
                with trio.testing.assert_checkpoints():
                    await delivery.exception()
            for call in (client.flush, client.drain, client.get_token, client.aclose):
                with trio.testing.assert_checkpoints():
                    await call()

    trio.run(main)


def test_a_client_is_entered_first_and_once(connect: Callable[..., TrioClient]) -> None:
    """A client that owns a nursery must be entered; only once."""

    async def main() -> None:
        client = connect()
        with pytest.raises(RuntimeError, match="async with TrioClient"):
            client.send_analytics_event(event())
        for call in (client.flush, client.drain, client.get_token):
            with pytest.raises(RuntimeError, match="async with TrioClient"):
                await call()
        async with client:
            with pytest.raises(RuntimeError, match="once"):
                await client.__aenter__()
        with pytest.raises(RuntimeError, match="once"):
            await client.__aenter__()

    trio.run(main)


def test_a_client_that_was_entered_keeps_its_session(connect: Callable[..., TrioClient]) -> None:
    """The test kit resets clients; one that was entered belongs to its block, in a fixture too."""

    async def main() -> None:
        async with connect(batch_size=1) as client:
            client._begin_anew(client._settings.account)
            assert (await client.send_analytics_event(event())).success

    trio.run(main)


def test_a_client_that_was_not_yet_entered_follows_the_test_kit(
    connect: Callable[..., TrioClient],
) -> None:
    """One that an application made while it was imported uses the emulator of each test."""
    client = connect(batch_size=1)

    async def main() -> None:
        async with client:
            assert (await client.send_analytics_event(event())).success

    with Emulator() as other:
        account = Account(Secret(other.client_key), other.url, client._settings.account.api)
        client._begin_anew(account)
        trio.run(main)
        assert other.event_count == 1


def test_a_client_in_the_loop_of_the_other_is_told_which_to_use(emulator: Emulator) -> None:
    """A TrioClient in asyncio, and an AsyncClient in trio, name the class that is meant."""

    async def enter(kind: type[TrioClient | AsyncClient]) -> None:
        client = kind(emulator.client_key, base_url=emulator.url)
        async with client:
            raise AssertionError("it was entered")

    with pytest.raises(RuntimeError, match=r"in asyncio use masivo\.AsyncClient"):
        asyncio.run(enter(TrioClient))
    with pytest.raises(RuntimeError, match=r"in trio use masivo\.TrioClient"):
        trio.run(enter, AsyncClient)


def test_use_from_another_run_or_thread_is_a_clear_error(
    connect: Callable[..., TrioClient], emulator: Emulator
) -> None:
    """A client, and a delivery without an outcome, belong to the run that entered the client."""
    emulator.fail(STUCK)

    async def main() -> None:
        async with connect() as client:
            delivery = client.send_analytics_event(event())

            async def elsewhere() -> None:
                with trio.fail_after(5):
                    for call in (client.flush, client.drain, client.get_token, client.aclose):
                        with pytest.raises(RuntimeError, match="this is another one"):
                            await call()
                    with pytest.raises(RuntimeError, match="this is another one"):
                        await delivery

            def in_thread() -> None:
                with pytest.raises(RuntimeError, match="no trio run is active here"):
                    client.send_analytics_event(event())
                trio.run(elsewhere)

            await trio.to_thread.run_sync(in_thread)
            await until(emulator, lambda emulator: emulator.requests)
            await trio.to_thread.run_sync(client.destroy)
            with pytest.raises(CLOSED):
                await delivery

    trio.run(main)


def test_a_run_that_is_over(connect: Callable[..., TrioClient], emulator: Emulator) -> None:
    """A client and its deliveries may outlive their run: closing does nothing, awaiting an
    outcome gives it."""
    kept: list[Any] = []

    async def main() -> None:
        async with connect() as client:
            kept.extend((client, client.send_analytics_event(event())))

    async def afterwards() -> None:
        client, delivery = kept
        client.destroy()
        await client.aclose()
        assert (await delivery).success
        with pytest.raises((CLOSED, RuntimeError)):
            client.send_analytics_event(event())

    trio.run(main)
    trio.run(afterwards)


def test_a_failure_dropped_after_its_run_is_logged(
    connect: Callable[..., TrioClient], emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure that nobody asks about is logged, though its run is over by then."""
    emulator.fail(Fault(status=404), route="events", times=None)
    kept: list[AsyncDelivery] = []

    async def main() -> None:
        async with connect() as client:
            kept.append(client.send_analytics_event(event()))

    trio.run(main)
    assert not logged(caplog)
    kept.clear()
    assert "1 event was not delivered" in logged(caplog)[0]


def test_timers_run_on_trios_clock() -> None:
    """With a MockClock, await_linger, idle_timeout, max_wait and retries pass in no time."""
    batches: list[float] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        if request.method == "GET":
            return httpx.Response(200, json={"data": "a-token"})
        batches.append(trio.current_time())
        return httpx.Response(503 if len(batches) == 3 else 200, json={})

    async def main() -> None:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
            TrioClient("a-key", http_client=http, refresh_interval=None, await_linger=7) as client,
        ):
            start = trio.current_time()
            await client.send_analytics_event(event())
            assert trio.current_time() - start == pytest.approx(7.0, abs=0.1)
            start = trio.current_time()
            for n in range(4):
                client.send_analytics_event(event(n))
                await trio.sleep(20)
            assert batches[1] - start == pytest.approx(60.0, abs=0.1)
            last = client.send_analytics_event(event())
            await trio.sleep(29.9)
            assert len(batches) == 2
            await trio.sleep(1.0)
            assert len(batches) == 4
            assert last.done()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_clock_that_does_not_wait_for_sockets_is_named(
    connect: Callable[..., TrioClient],
) -> None:
    """A MockClock that jumps at once ends every request in the instant in which it begins: the
    event fails without a retry, and the error says what to use."""
    said: list[str] = []

    async def main() -> None:
        async with connect() as client:
            with pytest.raises(masivo.MasivoConfigError) as caught:
                await client.send_analytics_event(event())
            said.append(str(caught.value))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert "autojump_threshold=0" in said[0]
    assert "masivo_clock" in said[0]


def test_an_interrupt_during_a_step_loses_nothing(
    connect: Callable[..., TrioClient], emulator: Emulator
) -> None:
    """Ctrl-C in the middle of the driver's work is delivered to the main task, and comes out as
    KeyboardInterrupt; every delivery has its outcome."""
    emulator.fail(Fault(status=404), route="events")
    deliveries: list[AsyncDelivery] = []

    def on_error(_: FailedEvent) -> None:
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with connect(on_error=on_error, batch_size=1, isolate_rejected=False) as client:
            deliveries.extend(client.send_analytics_event(event(n)) for n in range(3))
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert all(delivery.done() for delivery in deliveries)


def test_what_fails_in_the_clients_nursery_comes_out_of_its_block(
    connect: Callable[..., TrioClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the package or of trio in a task of the client is not swallowed at its end."""

    async def fail(*_: object) -> None:
        raise BlockError

    monkeypatch.setattr("masivo._async.on_trio.TrioSession.watch", fail)

    async def main() -> None:
        async with connect():
            pass

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main)
    assert caught.group_contains(BlockError)


def test_an_interrupt_during_a_request_comes_out_plain(
    connect: Callable[..., TrioClient],
) -> None:
    """So is Ctrl-C in the middle of a request: KeyboardInterrupt comes out as itself, in no
    group."""
    deliveries: list[AsyncDelivery] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            signal.raise_signal(signal.SIGINT)
        return httpx.Response(200, json={"data": "a-token"})

    async def main() -> None:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
            connect(http_client=http, batch_size=1) as client,
        ):
            deliveries.append(client.send_analytics_event(event()))
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert all(delivery.done() for delivery in deliveries)


@pytest.mark.parametrize("raised", [SystemExit, asyncio.CancelledError], ids=repr)
def test_what_an_authorization_raises_does_not_end_the_run(
    raised: type[BaseException], connect: Callable[..., TrioClient]
) -> None:
    """A caller's transport may raise anything (``pytest.fail`` does). In an authorization, which is
    all clients', it fails their events, not the whole run by a TrioInternalError."""

    async def answer(_: httpx.Request) -> httpx.Response:
        raise raised

    async def main() -> None:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
            connect(http_client=http) as client,
        ):
            error = await client.send_analytics_event(event()).exception()
            assert isinstance(error, CLOSED)
            assert f"interrupted by {raised.__name__}" in str(error)

    trio.run(main)


def test_a_signal_handler_wakes_the_driver(
    connect: Callable[..., TrioClient], emulator: Emulator
) -> None:
    """A handler in the main thread sends while trio waits for its sockets: the driver is woken."""

    async def main() -> None:
        async with connect(batch_size=1) as client:

            def on_signal(_number: int, _frame: object) -> None:
                client.send_analytics_event(event())

            before = signal.signal(signal.SIGALRM, on_signal)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            await until(emulator, lambda emulator: emulator.event_count)
            signal.signal(signal.SIGALRM, before)

    trio.run(main)
    assert arrived(emulator) == [0]


def test_tasks_of_other_nurseries_use_the_client(
    connect: Callable[..., TrioClient], emulator: Emulator
) -> None:
    """A client is used by tasks anywhere in the run, and outlives their nurseries."""

    async def main() -> None:
        async with connect(batch_size=10) as client:

            async def send(n: int) -> None:
                await client.send_analytics_event(event(n))

            for cancelled in (False, True):
                async with trio.open_nursery() as nursery:
                    for n in range(10):
                        nursery.start_soon(send, n)
                    if cancelled:
                        await trio.testing.wait_all_tasks_blocked()
                        nursery.cancel_scope.cancel()
            await client.flush()
            assert client.stats().delivered == 20

    trio.run(main)


@pytest.mark.parametrize("times", [1, 3])
def test_an_interrupted_main_task_leaves_the_block(
    connect: Callable[..., TrioClient], emulator: Emulator, times: int
) -> None:
    """Ctrl-C while the block waits, and again while it is being left."""
    emulator.fail(STUCK)
    deliveries: list[AsyncDelivery] = []

    async def main() -> None:
        async with connect() as client:
            deliveries.append(client.send_analytics_event(event()))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.flush)
                await until(emulator, lambda emulator: emulator.requests)
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        trio.run(main)
    error = caught.value  # in a group of the nursery in the block, perhaps
    if isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, KeyboardInterrupt)
    assert isinstance(error_of(deliveries[0]), CLOSED)


def test_an_interrupt_while_the_block_is_entered_comes_out_plain(
    connect: Callable[..., TrioClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of that waits for the block: the client's nursery is left in order."""
    attach = TrioClient._attach
    entered: list[TrioClient] = []

    def interrupted(client: TrioClient, *given: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return attach(client, *given)

    monkeypatch.setattr(TrioClient, "_attach", interrupted)

    async def main() -> None:
        async with connect() as client:
            entered.append(client)
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert len(entered) == 1


def test_dev_mode_finds_nothing_to_complain_about(tmp_path: Path, emulator: Emulator) -> None:
    """-X dev with warnings as errors: not a word on the standard error."""
    ended = run(
        tmp_path,
        emulator,
        """
        import gc, trio

        async def main():
            async with masivo.TrioClient(batch_size=10) as client:
                deliveries = [client.send_analytics_event(event(n)) for n in range(100)]
                await client.flush()
                for delivery in deliveries:
                    await delivery
                with trio.move_on_after(0.001):
                    await client.send_analytics_event(event())
            with trio.move_on_after(0.1):
                async with masivo.TrioClient(batch_size=1) as client:
                    while True:
                        client.send_analytics_event(event())
                        await trio.sleep(0)

        trio.run(main)
        gc.collect()
        """,
        options=("-X", "dev", "-W", "error"),
    )
    assert ended.code == 0
    assert [line for line in ended.err.splitlines() if "were not sent" not in line] == []
