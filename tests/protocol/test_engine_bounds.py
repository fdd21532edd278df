"""The bounds of a client's buffer: an event that does not fit fails at once
(``docs/reference/guarantees.md#bounds-of-the-buffer``)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.errors import MasivoQueueFullError
from masivo._protocol.events.form import size
from masivo.protocol import Api, Delivery, Failed

from .simulator import Driver, error_of, event, in_batch, numbers, payload, result_of


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


def test_an_event_larger_than_the_queue_fails() -> None:
    """An event that can never fit fails like one that does not fit now; nothing hangs."""
    driver = Driver(max_queue_bytes=50)
    driver.sign_in()
    assert type(error_of(driver.buffer.send(event(1)))) is MasivoQueueFullError
    driver.poll()
    assert driver.out == []
    driver.close(1.0)
    assert driver.closed


@given(
    st.lists(st.integers(66, 400), min_size=1, max_size=60),
    st.integers(1, 20),
    st.sampled_from([1, 2, 3]),
    st.booleans(),
    st.integers(400, 2000),
)
def test_no_batch_exceeds_its_bounds_and_all_events_arrive(
    sizes: list[int], batch_size: int, max_in_flight: int, stamped: bool, limit: int
) -> None:
    """Whatever the sizes: no batch exceeds ``batch_size`` or ``max_batch_bytes``, no batch that
    is followed by another could have held its first event, and all events arrive."""
    limit += 60
    driver = Driver(
        api=Api(stamp_issued_at=stamped),
        batch_size=batch_size,
        max_in_flight=max_in_flight,
        max_batch_bytes=limit,
        max_event_bytes=limit,
    )
    driver.sign_in()
    deliveries = driver.send(*(event_of(size, 0) for size in sizes))
    driver.flush()
    bodies: list[bytes] = []
    while driver.out:
        request = driver.batch()
        assert len(request.body) <= limit
        assert len(payload(request)) <= batch_size
        if bodies and len(bodies[-1]) + 1 <= limit:
            first = len(request.body) - len(b'{"events":[]}')
            fits = len(bodies[-1]) + 1 + first <= limit
            one = len(payload(request)) == 1
            last = parsed_count(bodies[-1])
            assert not (fits and one and last < batch_size)
        bodies.append(request.body)
        driver.accept()
    assert all(result_of(each).success for each in deliveries)
    assert driver.buffer.stats().delivered == len(sizes)


def parsed_count(body: bytes) -> int:
    """How many of the small events a body holds."""
    return body.count(b'"type":"VIEW"')


@pytest.mark.parametrize("max_in_flight", [1, 3])
@given(data=st.data())
def test_every_event_has_exactly_one_outcome(max_in_flight: int, data: st.DataObject) -> None:
    """Whatever the API does, whenever: every accepted event ends exactly once, all counters agree,
    and a client that closes leaves nothing behind."""
    driver = Driver(
        batch_size=data.draw(st.integers(1, 4)),
        max_in_flight=max_in_flight,
        max_queue=data.draw(st.integers(1, 12)),
        max_retries=data.draw(st.integers(0, 2)),
    )
    deliveries: list[Delivery] = []
    steps = st.sampled_from(
        ["send", "send", "send", "respond", "respond", "break", "wait", "flush"]
    )
    for step in data.draw(st.lists(steps, max_size=40)):
        if step == "send":
            customer = data.draw(st.sampled_from("abc"))
            deliveries += driver.send(event(len(deliveries), customer))
        elif step == "respond" and driver.out:
            request = data.draw(st.sampled_from(driver.out))
            status = data.draw(st.sampled_from([200, 200, 400, 401, 403, 429, 503, 302]))
            seconds = data.draw(st.sampled_from(["", "1", "200", "400"]))
            driver.respond(
                status,
                {"data": "some-token", "error": "e"},
                to=request,
                headers={"retry-after": seconds},
            )
        elif step == "break" and driver.out:
            request = data.draw(st.sampled_from(driver.out))
            driver.break_off(to=request, status=data.draw(st.sampled_from([None, 200, 500])))
        elif step == "wait":
            driver.advance(data.draw(st.sampled_from([0.1, 5.0, 70.0, 400.0])))
        elif step == "flush":
            driver.flush()
        stats = driver.buffer.stats()
        assert stats.queued >= 0
        assert stats.in_flight >= 0
        assert stats.accepted + stats.overflowed == len(deliveries)
        assert stats.accepted == stats.delivered + stats.failed + stats.queued + stats.in_flight
    ticket = driver.close(data.draw(st.sampled_from([0.0, 3.0, 500.0])))
    for _ in range(400):
        if driver.closed:
            break
        if driver.wake_at is not None:
            driver.sleep()
        if driver.out:
            driver.break_off(to=driver.out[0])
    assert driver.closed
    assert driver.wake_at is None
    assert ticket.claim() is True
    settled = set(map(id, driver.settled))
    assert len(settled) == len(driver.settled)
    for each in deliveries:
        outcome = each.claim()
        assert outcome is not None
        full = isinstance(outcome, Failed) and isinstance(outcome.error, MasivoQueueFullError)
        assert (id(each) in settled) is not full
    stats = driver.buffer.stats()
    assert stats.accepted == stats.delivered + stats.failed == len(driver.settled)


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
