"""Work that is not done: what is known is neither counted nor looked for again, which would cost
every event something. Counted, not timed."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import pytest

from masivo._protocol.batches import backlog, flushes, issued_at, leaving, queues
from masivo._protocol.batches.adoption import SCAN
from masivo._protocol.batches.batch import Batch
from masivo._protocol.batches.gate import Gate
from masivo._protocol.batches.in_order import InOrder
from masivo._protocol.batches.issued_at import Stamper
from masivo._protocol.batches.queues import Fifo, PerCustomer, Taken
from masivo._protocol.batches.triggers import Triggers
from masivo._protocol.events.form import opening
from masivo._protocol.sending.server_clock import ServerClock
from masivo._protocol.storage.kept import left_over
from masivo._protocol.storage.store import Stored
from masivo._protocol.wire.dates import format_stamp
from masivo.protocol import Delivery
from protocol.requests import numbers
from protocol.simulator import WALL, Driver, event, result_of
from protocol.spooled import SpoolDriver

if TYPE_CHECKING:
    from collections.abc import Iterator


def never(*_: object, **__: object) -> None:
    """Stand in for work that must not be done."""
    raise AssertionError("this work was not necessary")


class Unasked(type):
    """A type for which no object may be checked."""

    def __instancecheck__(cls, _: object) -> bool:
        raise AssertionError("this event need not be looked at")


def waiting(count: int, customer: str = "") -> list[Delivery]:
    """Events without a stamp, accepted one after another."""
    return [Delivery(b'"n":%d}' % n, float(n), customer, None) for n in range(count)]


@pytest.mark.parametrize("make", [Driver, SpoolDriver])
def test_a_call_that_nobody_interrupts_adds_up_nothing(
    make: type[Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows the sums of the calls before it, however many events came since the last poll."""
    driver = make()
    driver.sign_in()
    driver.send_numbers(1)
    monkeypatch.setattr(Gate, "count", never)
    sent = [driver.buffer.send(event(n)) for n in (2, 3, 4)]
    monkeypatch.undo()
    driver.flush()
    assert numbers(driver.batch()) == [1, 2, 3, 4]
    driver.accept()
    assert [result_of(each).success for each in sent] == [True] * 3


@pytest.mark.parametrize("make", [Driver, SpoolDriver])
def test_a_call_in_the_middle_of_another_is_counted(make: type[Driver]) -> None:
    """Each of the two counts itself and the other, and wakes the driver for a whole batch, and not
    before."""
    driver = make(batch_size=6, idle_timeout=1e3, max_wait=1e3)
    driver.sign_in()
    driver.send_numbers(1, 2)
    plain: Any = driver.buffer._input

    def interrupted(item: object) -> None:
        driver.buffer._input = plain
        driver.buffer.send(event(4))
        plain(item)

    for wakes in (0, 1):
        driver.buffer._input = interrupted
        before = driver.wakes
        driver.buffer.send(event(3))
        assert driver.wakes == before + wakes
    driver.poll()
    assert len(numbers(driver.batch())) == 6


def test_what_was_counted_is_not_counted_again() -> None:
    """Only the sizes that came since are added, and a fold without any changes nothing."""
    gate = Driver().buffer.outbox.gate
    gate.arrivals.append(5)
    assert gate.count()[1:] == (2, 5)
    gate.arrivals[1] = 1_000  # nobody looks at it again
    gate.arrivals.append(7)
    known = gate.count()
    assert known[1:] == (3, 12)
    assert gate.count() is known
    gate.fold()
    known = gate.known
    gate.fold()
    assert gate.known is known
    gate.arrivals.append(9)
    gate.known = Driver().buffer.outbox.gate.known  # of an earlier time
    assert gate.count()[1:] == (2, 21)


def test_a_stamp_is_made_once_for_the_events_of_a_millisecond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the next batch, too. Events that were stored together share theirs."""
    made: list[float] = []

    def counted(at: float) -> bytes:
        made.append(at)
        return format_stamp(at)

    monkeypatch.setattr(issued_at, "format_stamp", counted)
    clock = ServerClock(lambda: WALL)
    clock.observe("Thu, 01 Jan 2026 00:00:00 GMT", 0.0)
    stamper = Stamper(clock)
    offset = clock.offset(0.0)
    moments = [3.25 + n / 8192 for n in range(41)]  # five milliseconds
    deliveries = [Delivery(b"}", at, "", None) for at in moments]
    right = [opening(format_stamp(offset + at)) + b"}" for at in moments]
    assert stamper.stamped(deliveries[:20], 4.0) + stamper.stamped(deliveries[20:], 4.0) == right
    assert len(made) == len(set(right))
    made.clear()
    kept: list[Delivery] = [left_over(Delivery(b"}", 5.0, "", None)) for _ in range(9)]
    assert set(stamper.stamped(kept, 6.0)) == {opening(format_stamp(offset + 5.0)) + b"}"}
    assert len(made) == 1


@pytest.mark.parametrize(
    ("make", "most", "kind"),
    [
        (Driver, 1, Fifo),
        (Driver, 2, PerCustomer),
        (SpoolDriver, 1, InOrder),
        (SpoolDriver, 2, PerCustomer),
    ],
)
def test_a_client_has_the_simplest_queue_that_keeps_its_order(
    make: type[Driver], most: int, kind: type
) -> None:
    """Order per customer costs time for each event."""
    assert type(make(max_in_flight=most).outbox._queue) is kind


def test_the_size_of_all_that_waits_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a batch takes everything, its sizes are not added up."""
    queue = Fifo()
    queue.extend(waiting(5))
    monkeypatch.setattr(queues, "total_size", never)
    assert len(queue.take(5, 1 << 20).deliveries) == 5
    assert queue.ready_bytes == 0


def test_a_queue_looks_at_its_events_only_when_a_customer_s_state_has_changed() -> None:
    """Not each time that it is asked what is ready."""
    queue = InOrder()
    queue.extend(waiting(3, "a"))
    queue.busy.add("a")
    assert queue.ready == 0
    settled = queue._settled
    assert (queue.ready, queue.ready_bytes) == (0, 0)
    assert queue._settled is settled


def test_a_queue_keeps_no_place_for_what_has_left_it() -> None:
    """A free customer has one place; one with a batch has none, until it is released."""
    queue = PerCustomer(2)
    queue.extend(waiting(3, "a"))
    queue.take(2, 1 << 20)
    queue.take(9, 1 << 20)
    queue.release(["a"])
    queue.take(9, 1 << 20)
    assert (queue._free, queue._long) == ([], [])
    queue.extend(waiting(2, "a"))
    assert (queue._free, queue._long) == ([], [])
    queue.release(["a"])
    assert len(queue._free) == len(queue._long) == 1
    queue.clear()
    assert (queue._free, queue._long) == ([], [])


def test_a_flush_of_all_that_waits_compares_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch that ends is its own, from the first event to the last."""
    driver = Driver(batch_size=2)
    driver.sign_in()
    driver.send_numbers(1, 2, 3, 4)
    ticket = driver.flush()
    monkeypatch.setattr(flushes, "_waited_for", never)
    while driver.out:
        driver.accept()
    assert ticket.claim() is not None


def test_a_client_that_has_read_nothing_looks_for_nothing_that_was_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its batches pass without a look at each event."""
    driver = SpoolDriver()
    driver.sign_in()
    monkeypatch.setattr(leaving, "Kept", Unasked("Kept", (), {}))
    monkeypatch.setattr(backlog, "Kept", Unasked("Kept", (), {}))
    sent = driver.send_numbers(1, 2)
    driver.flush()
    driver.accept()
    assert [result_of(each).success for each in sent] == [True, True]
    assert driver.outbox._lines.source_of is None, "all are in one log"


def test_a_client_with_nothing_on_disk_alone_passes_its_events_on() -> None:
    """As they came, in one piece."""
    own = SpoolDriver().outbox.backlog.own
    deliveries = waiting(3)
    assert own.come(deliveries)[0] is deliveries


def test_a_batch_without_customers_knows_its_oldest_event() -> None:
    """It is the first: the others came behind it."""
    late, early = reversed(waiting(2))
    for customers, oldest in (((), late.at), (("c",), early.at)):
        batch = Batch(Taken([late, early], range(2), customers), [], "flush", 0.0, None)
        assert batch.oldest == oldest


def test_callers_that_wait_at_once_are_looked_for_in_one_list() -> None:
    """The events in flight are listed once for all waits of a poll."""
    driver = Driver(batch_size=2)
    driver.sign_in()
    first, _, third = driver.send_numbers(1, 2, 3)
    driver.outbox.begin_wait(first, None, driver.now)
    listed = driver.outbox._in_batches
    driver.outbox.begin_wait(third, None, driver.now)
    assert driver.outbox._in_batches is listed
    assert [*driver.outbox._triggers._waits] == [third]


def test_one_scan_asks_the_store_for_logs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many it finds."""
    disk = SpoolDriver().disk
    for number in range(3):
        other = SpoolDriver(disk)
        other.send_numbers(number)
        other.process.kill()
    driver = SpoolDriver(disk)
    adopt = driver.spool.adopt
    scans: list[float] = []

    def counted(**options: Any) -> Iterator[Any]:
        scans.append(driver.now)
        return adopt(**options)

    monkeypatch.setattr(driver.spool, "adopt", counted)
    driver.buffer.use()
    driver.sign_in()
    assert driver.buffer.stats().adopted == 3
    assert len(scans) == 1
    driver.advance(SCAN)
    assert len(scans) == 2


def test_a_log_is_read_on_where_the_last_window_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its events is read once."""
    driver = SpoolDriver(max_queue=2, batch_size=2)
    driver.sign_in()
    driver.send_numbers(*range(12))
    log: Any = driver.spool.own
    read, seen = log.read, 0

    def counted(*args: Any) -> Any:
        nonlocal seen
        window = read(*args)
        seen += len(window.events)
        return window

    monkeypatch.setattr(log, "read", counted)
    while driver.out:
        driver.accept()
    assert driver.buffer.stats().delivered == 12
    assert seen <= 12


@pytest.mark.parametrize(("make", "asked"), [(Driver, False), (SpoolDriver, True)])
def test_a_drain_with_room_asks_for_a_poll_only_where_logs_may_lie(
    make: type[Driver], asked: bool
) -> None:
    """Without a store there is nothing to be done."""
    driver = make()
    assert driver.buffer.drain().claim() is True
    assert driver.engine.pending is asked


def test_the_garbage_collector_does_not_see_stored_events() -> None:
    """There may be many thousands, which would make each collection take long."""
    assert not Stored.__struct_config__.gc
    one, other = [left_over(Delivery(b"{}", 0.0, "", None)) for _ in "ab"]
    assert not one.__struct_config__.gc
    assert one != other, "two events with the same bytes"
    with pytest.raises(TypeError, match="weak reference"):  # which would take room in each
        weakref.ref(one)


def test_nobody_is_looked_for_where_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches go without a look at who may wait for their events."""
    driver = Driver()
    driver.sign_in()
    driver.send_numbers(1, 2)
    monkeypatch.setattr(Triggers, "_forget_waits", never)
    driver.flush()
    driver.accept()
    assert len(driver.settled) == 2
