"""``on_error``: called once for each accepted event that failed
(``docs/reference/guarantees.md#on_error``).

What holds in every world comes first; then what only threads can do wrong: waiting inside it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import masivo
from masivo.emulator import Emulator, Fault
from masivo.protocol import BatchSettled

from .conftest import join_workers
from .events import arrived, event, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import Activity

    from .conftest import Connect


def test_it_learns_of_what_destroy_ends(connect: Connect) -> None:
    """Events that end with their client are failures like others."""
    failed: list[masivo.FailedEvent] = []
    client = connect(on_error=failed.append)
    client.get_token(5)
    client.send_analytics_event(event(1))
    client.destroy()
    until(lambda: failed)
    assert isinstance(failed[0].error, masivo.MasivoClosedError)


def test_each_client_has_its_own(connect: Connect) -> None:
    """Clients that share a key do not share ``on_error``."""
    one: list[masivo.FailedEvent] = []
    two: list[masivo.FailedEvent] = []
    key = "nobodys-key-at-all"
    for n, failed in enumerate((one, two)):
        connect(api_key=key, on_error=failed.append).send_analytics_event(event(n))
    until(lambda: one and two)
    assert (one[0].event["metadata"], two[0].event["metadata"]) == ({"n": 0}, {"n": 1})
    assert isinstance(one[0].error, masivo.MasivoAuthError)


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()]
)
def test_what_it_raises_is_logged(
    connect: Connect,
    emulator: Emulator,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    """Whatever it raises harms nothing: it is logged as an error, and events go on."""
    calls: list[masivo.FailedEvent] = []

    def on_error(failed: masivo.FailedEvent) -> None:
        calls.append(failed)
        raise error

    emulator.fail(Fault(status=403), route="events", number=[1, 2])
    client = connect(on_error=on_error, batch_size=2)
    deliveries = [client.send_analytics_event(event(n, private="4711")) for n in range(5)]
    assert client.flush(5).delivered == 1
    until(lambda: len(calls) == 4)
    assert [delivery.exception(0) is None for delivery in deliveries] == [False] * 4 + [True]
    until(lambda: len(caplog.records) >= 4)
    client.close()
    assert {(record.name, record.levelno) for record in caplog.records} == {
        ("masivo", logging.ERROR)
    }
    assert len(caplog.records) == 4
    assert "4711" not in caplog.text


def test_a_coroutine_function_is_refused(connect: Connect) -> None:
    """Nobody would await it: a coroutine function, or an object that is one, is refused."""

    async def on_error(_failed: masivo.FailedEvent) -> None: ...

    class Awaitable:
        async def __call__(self, _failed: masivo.FailedEvent) -> None: ...

    for wrong in (on_error, Awaitable(), asyncio.sleep):
        with pytest.raises(masivo.MasivoConfigError, match="on_error"):
            connect(on_error=wrong)


def test_it_may_send(connect: Connect, emulator: Emulator) -> None:
    """Sending from inside it works, also through another client, even to the same end."""
    emulator.fail(Fault(status=403), route="events")
    other = connect()

    def on_error(failed: masivo.FailedEvent) -> None:
        other.send_analytics_event({**failed.event, "type": "LOST"})
        client.send_analytics_event({**failed.event, "type": "AGAIN"})

    client = connect(on_error=on_error)
    client.send_analytics_event(event(1))
    assert client.flush(5).failed == 1
    until(lambda: client.stats().accepted == 2)
    client.close()
    other.close()
    assert sorted(str(each["type"]) for each in emulator.events) == ["AGAIN", "LOST"]


def test_it_is_not_called_for_what_it_sends_in_vain(connect: Connect) -> None:
    """While the key is refused, an event that it sends fails at once, and it is not called for
    that: it would send for ever. It is called for what another thread sends meanwhile."""
    calls: list[masivo.FailedEvent] = []

    def on_error(failed: masivo.FailedEvent) -> None:
        calls.append(failed)
        client.send_analytics_event(event(len(calls) + 10))
        if len(calls) == 1:
            thread = threading.Thread(target=client.send_analytics_event, args=[event(2)])
            thread.start()
            thread.join()

    client = connect(api_key="nobodys-key-at-all", on_error=on_error)
    client.send_analytics_event(event(1))
    until(lambda: client.stats().failed == 4)
    client.close()
    assert [each.event["metadata"] for each in calls] == [{"n": 1}, {"n": 2}]


def test_it_may_ask_what_is_known(connect: Connect, emulator: Emulator) -> None:
    """Nothing that has its outcome needs a wait: results, counters, closing twice."""
    emulator.fail(Fault(status=403), route="events")
    seen: list[object] = []

    def on_error(_failed: masivo.FailedEvent) -> None:
        seen.append(client.stats().failed)
        seen.append(delivery.exception(0))
        seen.append(client)

    client = connect(on_error=on_error)
    delivery = client.send_analytics_event(event(1))
    client.flush(5)
    until(lambda: len(seen) == 3)
    assert seen[0] == 1
    assert isinstance(seen[1], masivo.MasivoError)


def test_close_returns_after_it(connect: Connect, emulator: Emulator) -> None:
    """``close`` returns when it has been called for all that failed: long before, with the close,
    or by its deadline."""
    emulator.fail(Fault(status=403), route="events", number=[1, 2])
    emulator.fail(Fault(delay=30), route="events", times=None)
    failed: list[object] = []

    def on_error(each: masivo.FailedEvent) -> None:
        time.sleep(0.01)
        failed.append(each.event["metadata"])

    client = connect(on_error=on_error, batch_size=2)
    for n in range(5):
        client.send_analytics_event(event(n))
    client.close(0.5)
    assert failed == [{"n": n} for n in range(5)]


def test_close_keeps_its_deadline_though_it_does_not_return(
    connect: Connect, emulator: Emulator
) -> None:
    """A lock that the closing thread holds, and that it wants, ends the wait with the deadline."""
    emulator.fail(Fault(status=403), route="events")
    lock = threading.Lock()

    def on_error(_failed: masivo.FailedEvent) -> None:
        with lock:
            pass

    client = connect(on_error=on_error, batch_size=1)
    with lock:
        client.send_analytics_event(event(1))
        began = time.monotonic()
        client.close(0.3)
        assert time.monotonic() - began < 1.2


# ── Threads ──────────────────────────────────────────────────────────────────────────────────

WAITS: dict[str, Callable[[masivo.Client, Any], object]] = {
    "flush": lambda client, _: client.flush(5),
    "close": lambda client, _: client.close(),
    "close without limit": lambda client, _: client.close(None),
    "get_token": lambda client, _: client.get_token(5),
    "drain": lambda client, _: client.drain(5),
    "result": lambda _, pending: pending.result(5),
    "exception": lambda _, pending: pending.exception(5),
    "with": lambda client, _: client.__exit__(None, None, None),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_inside_it_is_an_error_at_once(
    connect: Connect, emulator: Emulator, name: str
) -> None:
    """A call that would wait for the driver, from the driver, is a RuntimeError, no deadlock;
    and it has no effect."""
    emulator.fail(Fault(status=403), route="events", number=1)
    raised: list[BaseException] = []
    done = threading.Event()

    def on_error(_failed: masivo.FailedEvent) -> None:
        pending = client.send_analytics_event(event(2))  # fills the buffer again
        try:
            WAITS[name](client, pending)
        except BaseException as error:
            raised.append(error)
        done.set()

    client = connect(on_error=on_error, batch_size=1, max_queue=1)
    client.send_analytics_event(event(1))
    assert done.wait(10)
    assert [type(error) for error in raised] == [RuntimeError]
    assert "on_error" in str(raised[0])
    client.flush(5)  # it may be over already
    client.close()
    assert arrived(emulator) == [2]
    join_workers()


def test_a_wait_inside_on_activity_is_an_error_too(connect: Connect) -> None:
    """And ``on_activity`` is called by none of the caller's threads."""
    raised: list[BaseException] = []

    def on_activity(activity: Activity) -> None:
        assert threading.current_thread() is not threading.main_thread()
        if isinstance(activity, BatchSettled):
            try:
                client.flush(5)
            except BaseException as error:
                raised.append(error)

    client = connect(on_activity=on_activity)
    client.send_analytics_event(event(1))
    assert client.flush(5).delivered == 1
    until(lambda: raised)  # it may come after those who wait have been woken
    client.close()
    assert [type(error) for error in raised] == [RuntimeError]
    assert "on_activity" in str(raised[0])
    join_workers()


@pytest.mark.usefixtures("no_threads")
def test_a_wait_inside_it_on_the_callers_thread(connect: Connect, emulator: Emulator) -> None:
    """Where the caller's own thread does the work, as no other can be had, the same holds; also
    after work inside that work, such as the end of a client that is forgotten unused."""
    raised: list[BaseException] = []

    def on_error(_failed: masivo.FailedEvent) -> None:
        assert threading.current_thread() is threading.main_thread()
        masivo.Client(emulator.client_key, base_url=emulator.url)
        try:
            other.flush(5)
        except BaseException as error:
            raised.append(error)

    other = connect()
    client = connect(on_error=on_error)
    client.get_token(5)
    client.send_analytics_event(event(1))
    client.destroy()
    assert [type(error) for error in raised] == [RuntimeError]
    assert other.flush(5).failed == 0
    other.close()
    join_workers()


def test_destroy_inside_it_works(connect: Connect, emulator: Emulator) -> None:
    """``destroy`` does not wait, so it may be called; what it ends is told in turn."""
    emulator.fail(Fault(status=403), route="events", number=1)
    emulator.fail(Fault(delay=30), route="events", times=None)
    failed: list[masivo.FailedEvent] = []
    sent = threading.Event()

    def on_error(each: masivo.FailedEvent) -> None:
        failed.append(each)
        sent.wait(10)  # or a slow machine would send the others too late
        client.destroy()

    client = connect(on_error=on_error, batch_size=1)
    deliveries = [client.send_analytics_event(event(n)) for n in range(3)]
    sent.set()
    assert [type(each.exception(5)) for each in deliveries] == [
        masivo.MasivoError,
        masivo.MasivoClosedError,
        masivo.MasivoClosedError,
    ]
    until(lambda: len(failed) == 3)
    emulator.stop()  # ends the request that hangs
    join_workers()


def test_it_is_called_outside_the_locks(connect: Connect, emulator: Emulator) -> None:
    """While it runs, other threads send, ask, flush, make clients and close them as ever."""
    emulator.fail(Fault(status=403), route="events", number=1)
    entered, leave = threading.Event(), threading.Event()

    def on_error(_failed: masivo.FailedEvent) -> None:
        entered.set()
        assert leave.wait(20)

    client = connect(on_error=on_error, batch_size=1)
    client.send_analytics_event(event(1))
    try:
        assert entered.wait(10)
        client.stats()
        assert client.get_token(5)
        assert client.send_analytics_event(event(2)).result(5).success
        client.send_analytics_event(event(4))
        assert client.flush(5).delivered == 2
        with connect() as another:
            another.send_analytics_event(event(3))
            assert another.flush(5).delivered == 1
            closing = time.monotonic()
        assert time.monotonic() - closing < 5, "it waited for another client's on_error"
    finally:
        leave.set()
    client.close()
    join_workers()


def test_it_may_wait_for_a_lock_of_the_callers(connect: Connect, emulator: Emulator) -> None:
    """A lock that the flushing thread holds, and that ``on_error`` wants, is no deadlock: what
    the flush waits for goes out although ``on_error`` has not returned."""
    emulator.fail(Fault(status=403), route="events", number=1)
    lock = threading.Lock()
    called = threading.Event()

    def on_error(_failed: masivo.FailedEvent) -> None:
        with lock:
            called.set()

    client = connect(on_error=on_error, batch_size=1)
    with lock:
        for n in range(3):
            client.send_analytics_event(event(n))
        told = client.flush(10)
        assert (told.delivered, told.failed) == (2, 1)
        assert not called.is_set()
    assert called.wait(10)
    client.close()
    join_workers()


@pytest.mark.parametrize("level", [logging.WARNING, logging.DEBUG])
def test_a_log_handler_may_wait_for_a_lock_of_the_callers(
    connect: Connect, emulator: Emulator, level: int
) -> None:
    """The same holds for a handler of the log, of warnings and of every step, and one that raises
    stops nothing."""
    emulator.fail(Fault(status=403), route="events", number=1)
    lock = threading.Lock()
    called = threading.Event()

    class Handler(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            with lock:
                called.set()
            raise ZeroDivisionError(record.getMessage())

    logger = logging.getLogger("masivo")
    handler = Handler()
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(level)
    try:
        client = connect(batch_size=1)
        with lock:
            for n in range(3):
                client.send_analytics_event(event(n))
            assert client.flush(10).delivered == 2
        assert called.wait(10)
        client.send_analytics_event(event(3))
        assert client.flush(10).delivered == 1
        client.close()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    join_workers()
