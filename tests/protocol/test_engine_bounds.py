"""The bounds of a client's buffer: an event that does not fit fails at once
(``docs/reference/guarantees.md#bounds-of-the-buffer``)."""

from __future__ import annotations

from masivo._protocol.errors import MasivoQueueFullError
from masivo._protocol.events.form import size
from masivo.protocol import Api

from .requests import numbers
from .simulator import Driver, error_of, event, in_batch


def event_of(size: int, number: int = 0) -> dict[str, object]:
    """An event that is encoded in this many bytes (without a stamp)."""
    rest = len(b'{"type":"VIEW","customer_id":"c","brand_id":null,"n":0,"note":""}')
    return event(number, note="x" * (size - rest))


def test_an_event_past_max_queue_fails_at_once() -> None:
    """Past ``max_queue`` the returned delivery has failed already, with MasivoQueueFullError; it
    is never sent, and the driver is woken."""
    driver = Driver(max_queue=3)
    driver.sign_in()
    wakes = driver.wakes
    deliveries = [driver.buffer.send(event(number)) for number in range(5)]
    assert [each.done() for each in deliveries] == [False, False, False, True, True]
    assert driver.wakes > wakes
    assert type(error_of(deliveries[3])) is MasivoQueueFullError
    assert "max_queue=3" in error_of(deliveries[3]).message
    driver.poll()
    assert numbers(driver.batch()) == [0, 1, 2]
    driver.accept()
    assert driver.buffer.stats().overflowed == 2


def test_what_is_in_flight_and_between_retries_counts() -> None:
    """The bound counts events in flight, and between retries; an outcome makes room."""
    driver = Driver(max_queue=2, refresh_interval=None)
    driver.dice.always = 0.5
    in_batch(driver, 1, 2)
    assert driver.buffer.send(event(3)).done()
    driver.respond(503)
    assert driver.buffer.send(event(4)).done()
    driver.sleep()
    driver.accept()
    assert not driver.buffer.send(event(5)).done()


def test_what_no_poll_has_seen_yet_counts() -> None:
    """The bound holds between polls, however long the driver does not come to poll."""
    driver = Driver(max_queue=10)
    deliveries = [driver.buffer.send(event(number)) for number in range(25)]
    assert [each.done() for each in deliveries].count(True) == 15


def test_max_queue_bytes_bounds_to_the_byte() -> None:
    """``max_queue_bytes`` bounds the encoded size of what is held, exactly."""
    driver = Driver(api=Api(stamp_issued_at=False), max_queue_bytes=3000, max_event_bytes=2000)
    driver.sign_in()
    assert not driver.buffer.send(event_of(1000)).done()
    assert not driver.buffer.send(event_of(1900)).done()
    assert driver.buffer.send(event_of(101)).done()
    assert not driver.buffer.send(event_of(100)).done()
    driver.poll()
    driver.accept()
    assert not driver.buffer.send(event_of(2000)).done()


def test_the_stamp_counts_in_the_bounds() -> None:
    """An event that is to be stamped counts with its stamp, in the queue and in the batch."""
    stamp = len(b'"issued_at":"2026-01-01T00:00:00.000Z",')
    driver = Driver(max_queue_bytes=2 * (1000 + stamp))
    driver.sign_in()
    assert not driver.buffer.send(event_of(1000)).done()
    assert driver.buffer.send(event_of(1001)).done()
    assert not driver.buffer.send(event_of(1000)).done()
    limit = len(b'{"events":[]}') + 2 * (1000 + stamp) + 1
    driver = Driver(max_batch_bytes=limit, max_event_bytes=limit)
    driver.sign_in()
    driver.send(event_of(1000, 1), event_of(1000, 2), event_of(1000, 3))
    assert numbers(driver.batch()) == [1, 2]
    assert len(driver.batch().body) == limit


def test_events_that_overflow_in_one_poll_share_their_error() -> None:
    """Overflowing costs next to nothing: those of one poll share one error; a later one has its
    own."""
    driver = Driver(max_queue=1)
    driver.sign_in()
    driver.buffer.send(event(0))
    first, second = (driver.buffer.send(event(number)) for number in (1, 2))
    driver.poll()
    third = driver.buffer.send(event(3))
    driver.poll()
    assert first.outcome is second.outcome
    assert third.outcome is not first.outcome
    driver.accept()


def test_the_counts_of_a_long_life_take_no_memory() -> None:
    """A poll leaves one item for all events that came before it."""
    driver = Driver(batch_size=2, before_send=lambda event: None if event["n"] == 0 else event)
    driver.sign_in()
    for _ in range(20):
        driver.send_numbers(0, 1, 2)
        driver.accept()
    gate = driver.outbox.gate
    assert len(gate.arrivals) == 1
    assert gate.dropped.value == 20
    assert len(gate.dropped._parts) == 1


def test_events_that_are_dropped_wake_the_driver_before_their_count_grows_long() -> None:
    """Not each of them: it has nothing to do."""
    driver = Driver(before_send=lambda _: None)
    assert driver.buffer.send(event(1)).encoded == b""
    assert driver.wakes == 0
    for _ in range(1_000):
        driver.buffer.send(event(1))
    assert driver.wakes > 0
    driver.poll()
    assert driver.buffer.stats().dropped == 1_001
    assert len(driver.outbox.gate.dropped._parts) == 1


def test_an_event_larger_than_the_queue_fails() -> None:
    """An event that can never fit fails like one that does not fit now; nothing hangs."""
    driver = Driver(max_queue_bytes=50)
    driver.sign_in()
    assert type(error_of(driver.buffer.send(event(1)))) is MasivoQueueFullError
    driver.poll()
    assert driver.out == []
    driver.close(1.0)
    assert driver.closed


def test_a_drain_has_room_to_the_byte() -> None:
    """Room for a batch counts every byte: it may be full to the last one."""
    length = size(Driver().buffer.send(event(1)).encoded)
    driver = Driver(max_queue_bytes=3 * length, max_batch_bytes=2 * length, max_event_bytes=length)
    driver.sign_in()
    driver.buffer.send(event(1))
    bound = min(2 * length, 3 * length // 2)
    assert (driver.buffer.drain().outcome is True) is (length + bound <= 3 * length)
    driver = Driver(max_queue_bytes=2 * length, max_batch_bytes=2 * length, max_event_bytes=length)
    driver.buffer.send(event(1))
    assert driver.buffer.drain().outcome is True


def test_an_event_that_has_ended_gives_back_its_bytes_and_no_more() -> None:
    """The bound is the same after it, to the byte."""
    length = size(Driver().buffer.send(event(1)).encoded)
    driver = Driver(max_queue_bytes=2 * length, max_event_bytes=2 * length)
    in_batch(driver, 1)
    driver.accept()
    fits, too_long = driver.buffer.send(event(2)), driver.buffer.send(event(33))
    assert (fits.done(), too_long.done()) == (False, True)
