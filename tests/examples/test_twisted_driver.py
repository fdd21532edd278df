"""The Twisted driver: with a real reactor over real sockets, and on ``task.Clock`` without any."""

from __future__ import annotations

import gc
import socket
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted_driver import Client

import masivo
from masivo.emulator import Fault
from masivo.protocol import Failed, Secret, configure

from .events import arrived, event
from .twisted_adapter import RunningReactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted_driver import Delivery

    from masivo.emulator import Emulator

    Connect = Callable[..., Client]

PATIENCE = 10.0
"""How long a test waits for what must come, in seconds."""


class Turning:
    """A reactor in a thread of its own; what it does for a test is done in that thread."""

    def __init__(self) -> None:
        self._running = RunningReactor(cast("Any", SelectReactor)())
        self.reactor = self._running.reactor
        self.call = self._running.call
        self.stop = self._running.stop

    def result(self, make: Callable[[], Deferred[Any]]) -> Any:
        """What a Deferred brings, or raises."""
        return self._running.begin(make).result(PATIENCE)


@pytest.fixture
def turning() -> Iterator[Turning]:
    """A running reactor."""
    turning = Turning()
    yield turning
    turning.stop()
    Client.sessions.clear()


@pytest.fixture
def connect(turning: Turning, emulator: Emulator) -> Iterator[Connect]:
    """Makes clients for the emulator, and lets them go at the end."""
    made: list[Client] = []

    def connect(api_key: str | None = None, base_url: str | None = None, **settings: Any) -> Client:
        key = Secret(emulator.client_key if api_key is None else api_key)
        checked = configure(key, base_url=base_url or emulator.url, **settings)
        client = turning.call(lambda: Client(checked, turning.reactor))
        made.append(client)
        return client

    yield connect
    for client in made:
        turning.result(lambda: client.close(0))  # noqa: B023 (called at once)


def error_of(delivery: Delivery) -> masivo.MasivoError:
    """The error of a delivery that must have failed."""
    outcome = delivery.claim()
    assert isinstance(outcome, Failed), outcome
    return outcome.error


# ── With a real reactor ──────────────────────────────────────────────────────────────────────


def test_events_arrive(connect: Connect, turning: Turning, emulator: Emulator) -> None:
    """Events go out in the background, in order; each delivery gives any number of Deferreds."""
    client = connect(batch_size=3)
    deliveries = turning.call(lambda: [client.send(event(n)) for n in range(7)])
    emulator.wait_for(lambda e: e.event_count == 6)
    assert turning.result(lambda: client.flush(5)) == masivo.FlushResult(7, 0)
    assert arrived(emulator) == list(range(7))
    for delivery in (deliveries[0], deliveries[0], deliveries[6]):
        assert turning.result(delivery.result).success


def test_a_delivery_can_be_awaited(connect: Connect, turning: Turning) -> None:
    """In a coroutine of Twisted's a delivery, and every other wait, is awaited."""
    client = connect(idle_timeout=0.01)

    async def program() -> tuple[masivo.SendEventResult, masivo.FlushResult, str]:
        result = await client.send(event(1))
        return result, await client.flush(), await client.get_token(5)

    result, flushed, token = turning.result(lambda: Deferred.fromCoroutine(program()))
    assert (result.success, flushed, bool(token)) == (True, masivo.FlushResult(1, 0), True)


def test_an_error_fails_the_deferred(
    connect: Connect, turning: Turning, emulator: Emulator
) -> None:
    """A delivery that failed gives each who asks an error of its own."""
    client = connect(api_key=emulator.server_key)
    delivery = turning.call(lambda: client.send(event(1)))
    errors: list[BaseException] = []
    for _ in range(2):
        with pytest.raises(masivo.MasivoServerKeyError) as caught:
            turning.result(delivery.result)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    with pytest.raises(masivo.MasivoServerKeyError):
        turning.result(lambda: client.get_token(5))
    with pytest.raises(masivo.MasivoValidationError):
        turning.call(lambda: client.send({"type": "X"}))


def test_a_dropped_failure_is_logged_once(
    connect: Connect, turning: Turning, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Failures that nobody asks for are one line of masivo's, and no traceback of Twisted's."""
    emulator.fail(Fault(status=403), route="events", times=None)
    client = connect()
    turning.call(lambda: [client.send(event(n)) for n in range(50)].clear())
    assert turning.result(lambda: client.flush(5)) == masivo.FlushResult(0, 50)
    gc.collect()
    turning.result(lambda: client.close(5))
    assert [record.name for record in caplog.records] == ["masivo"]


def test_close_cuts_a_stuck_request_short(
    connect: Connect, turning: Turning, emulator: Emulator
) -> None:
    """The deadline of ``close`` counts everything; then no connection and no timer is left."""
    emulator.fail(Fault(delay=5), route="events")
    client = connect()
    delivery = turning.call(lambda: client.send(event(1)))
    began = time.monotonic()
    turning.result(lambda: client.close(0.3))
    assert 0.3 <= time.monotonic() - began < 2
    assert isinstance(error_of(delivery), masivo.MasivoClosedError)
    assert turning.call(turning.reactor.getDelayedCalls) == []
    with pytest.raises(masivo.MasivoClosedError):
        turning.call(lambda: client.send(event(2)))


def test_what_is_left_goes_out_when_the_reactor_stops(emulator: Emulator) -> None:
    """With ``close`` as a trigger of the shutdown nothing is lost."""
    turning = Turning()
    settings = configure(Secret(emulator.client_key), base_url=emulator.url)

    def begin() -> None:
        client = Client(settings, turning.reactor)
        turning.reactor.addSystemEventTrigger("before", "shutdown", client.close)
        client.send(event(1))

    turning.call(begin)
    turning.stop()
    assert arrived(emulator) == [1]
    Client.sessions.clear()


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(delay=5), None),
        (Fault(drip=0.05), None),
        (Fault(delay_body=5), 200),
        (Fault(reset="before_reading"), None),
        (Fault.garbage(), None),
        (Fault(truncate=5), 200),
        (Fault(size=(1 << 20) + 1), 200),
        (Fault(headers={"Content-Encoding": "gzip"}), 200),
    ],
    ids=repr,
)
def test_whatever_breaks_is_a_failure(
    connect: Connect, turning: Turning, emulator: Emulator, fault: Fault, status: int | None
) -> None:
    """Within its timeout every request has its end; a status that had arrived is kept."""
    client = connect(timeout=0.5, max_retries=0)
    turning.result(lambda: client.get_token(5))
    emulator.fail(fault, route="events")
    delivery = turning.call(lambda: client.send(event(1)))
    began = time.monotonic()
    assert turning.result(lambda: client.flush(5)) == masivo.FlushResult(0, 1)
    assert time.monotonic() - began < 2
    error = error_of(delivery)
    assert (type(error), error.status) == (masivo.MasivoNetworkError, status)


@pytest.mark.parametrize("status", [302, 404])
def test_every_status_is_an_answer(
    connect: Connect, turning: Turning, emulator: Emulator, status: int
) -> None:
    """No redirect is followed."""
    client = connect(max_retries=0)
    turning.result(lambda: client.get_token(5))
    emulator.fail(Fault(status=status, headers={"Location": emulator.url}), route="events")
    delivery = turning.call(lambda: client.send(event(1)))
    turning.result(lambda: client.flush(5))
    assert error_of(delivery).status == status
    assert len(emulator.requests) == 2


def test_a_refused_connection_was_not_sent(connect: Connect, turning: Turning) -> None:
    """``sent`` is False where there was no connection, and the error says so."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    client = connect(base_url=f"http://127.0.0.1:{port}", max_retries=0)
    delivery = turning.call(lambda: client.send(event(1)))
    assert turning.result(lambda: client.flush(5)).failed == 1
    assert "nothing was sent" in error_of(delivery).message


# ── On task.Clock ────────────────────────────────────────────────────────────────────────────


class TestClock(Clock):
    """Twisted's clock for tests, with what the driver needs of a reactor besides."""

    __test__ = False

    def callFromThread(self, call: Callable[[], object]) -> None:  # noqa: N802
        """See IReactorFromThreads."""
        self.callLater(0, call)


class Silence:
    """An agent whose requests get no answer; it keeps them, and notes cancellations."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self.cancelled = 0

    def request(self, method: bytes, url: bytes, *_: object) -> Deferred[Any]:
        """See IAgent."""
        self.asked.append((method, url))
        return Deferred(self._note)

    def _note(self, _: object) -> None:
        self.cancelled += 1


def noting(found: list[type]) -> Callable[[Any], None]:
    """An errback that notes the class of the error."""
    return lambda failure: found.append(failure.type)


@pytest.fixture
def clock() -> Iterator[TestClock]:
    """A clock that stands still until the test moves it."""
    yield TestClock()
    Client.sessions.clear()


def on_clock(clock: TestClock, agent: Silence, **settings: Any) -> Client:
    """A client without a network."""
    checked = configure(Secret("client-key"), base_url="https://api.example.test", **settings)
    return Client(checked, clock, agent)


def test_a_request_is_cancelled_at_its_timeout(clock: TestClock) -> None:
    """After exactly ``timeout`` seconds of the reactor's clock."""
    agent = Silence()
    client = on_clock(clock, agent, timeout=7, max_retries=0)
    delivery = client.send(event(1))
    clock.advance(0)
    assert agent.asked == [(b"GET", b"https://api.example.test/auth/authorize")]
    clock.advance(6.9)
    assert (agent.cancelled, delivery.done()) == (0, False)
    clock.advance(0.1)
    clock.advance(0)
    assert agent.cancelled == 1
    assert isinstance(error_of(delivery), masivo.MasivoNetworkError)


def test_a_flush_has_a_timeout(clock: TestClock) -> None:
    """Its Deferred fails with TimeoutError; the event stays pending."""
    client = on_clock(clock, Silence())
    delivery = client.send(event(1))
    failures: list[type] = []
    client.flush(3).addErrback(noting(failures))
    clock.advance(2.9)
    assert failures == []
    clock.advance(0.1)
    assert failures == [TimeoutError]
    assert not delivery.done()


def test_who_cancels_cancels_nothing_else(clock: TestClock) -> None:
    """A waiter that gives up leaves the event, and the other waiters, alone."""
    client = on_clock(clock, Silence())
    delivery = client.send(event(1))
    one, two = delivery.result(), delivery.result()
    found: list[type] = []
    one.addErrback(noting(found))
    two.addErrback(noting(found))
    one.cancel()
    assert found == [CancelledError]
    client.close(1)
    clock.pump([0, 1, 0])
    assert found == [CancelledError, masivo.MasivoClosedError]


def test_a_closed_client_leaves_no_timer(clock: TestClock) -> None:
    """Nothing keeps the reactor busy once the last client is gone."""
    agent = Silence()
    client = on_clock(clock, agent)
    client.send(event(1))
    clock.advance(0)
    closed: list[object] = []
    client.close(5).addCallback(closed.append)
    clock.pump([0, 5, 0])
    assert closed == [True]
    assert agent.cancelled == 1
    assert clock.getDelayedCalls() == []
