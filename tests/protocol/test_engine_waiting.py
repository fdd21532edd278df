"""Waiting callers: flush, drain, and the room that a drain waits for
(``docs/reference/guarantees.md#flush``; ``docs/reference/guarantees.md#drain``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo._protocol.batches.flushes import Flushes
from masivo.protocol import FlushResult

from .requests import is_authorization, numbers
from .simulator import START, Driver, event, in_batch, result_of

if TYPE_CHECKING:
    from masivo._protocol.batches.flushes import FlushTicket

# ── flush ────────────────────────────────────────────────────────────────────────────────────


def test_a_flush_sends_at_once_and_ends_with_the_outcomes() -> None:
    """``flush`` sends what is buffered now and ends when all of it has its outcome."""
    driver = Driver(batch_size=2)
    driver.sign_in()
    driver.send_numbers(1, 2, 3)
    ticket = driver.flush()
    driver.accept()
    assert ticket.claim() is None
    assert numbers(driver.batch()) == [3]
    driver.respond(403)
    assert ticket.claim() == FlushResult(delivered=2, failed=1)
    assert ticket in driver.tickets


def test_a_flush_of_nothing_ends_at_once() -> None:
    """With nothing accepted before it, ``flush`` ends in the next poll, and authorizes nothing."""
    driver = Driver()
    assert driver.flush().claim() == FlushResult(0, 0)
    assert driver.sent == []


def test_a_flush_waits_for_what_is_in_flight() -> None:
    """Events on their way when ``flush`` is called are waited for, those between retries too."""
    driver = Driver(refresh_interval=None)
    driver.dice.always = 0.5
    in_batch(driver, 1)
    driver.respond(503)
    ticket = driver.flush()
    assert ticket.claim() is None
    assert driver.wake_at == START + 0.25
    driver.sleep()
    driver.accept()
    assert ticket.claim() == FlushResult(1, 0)


def test_a_flush_does_not_wait_for_later_events() -> None:
    """Events accepted after the call are not waited for, nor sent for its sake."""
    driver = Driver(batch_size=2)
    driver.sign_in()
    driver.send_numbers(1)
    ticket = driver.flush()
    driver.send_numbers(2)
    driver.accept()
    assert ticket.claim() == FlushResult(1, 0)
    assert driver.out == []


def test_events_sent_before_a_flush_without_a_poll_belong_to_it() -> None:
    """The order of the calls counts, whenever the next poll is."""
    driver = Driver()
    driver.sign_in()
    driver.buffer.send(event(1))
    ticket = driver.buffer.flush()
    driver.buffer.send(event(2))
    driver.poll()
    assert numbers(driver.batch())[0] == 1
    driver.accept()
    assert ticket.claim() is not None


def test_a_flush_counts_the_outcomes_since_the_last_one() -> None:
    """``FlushResult`` counts the outcomes since the previous completed flush, those that came
    before the call included; each is reported once."""
    driver = Driver(batch_size=1)
    driver.sign_in()
    driver.send_numbers(1, 2)
    driver.accept()
    driver.respond(403)
    assert driver.flush().claim() == FlushResult(1, 1)
    assert driver.flush().claim() == FlushResult(0, 0)
    driver.send_numbers(3)
    ticket = driver.flush()
    driver.accept()
    assert ticket.claim() == FlushResult(1, 0)


def test_flushes_may_overlap() -> None:
    """Several flushes may wait at once; each ends when the events before it have ended."""
    driver = Driver(batch_size=1)
    driver.sign_in()
    driver.send_numbers(1)
    first = driver.flush()
    driver.send_numbers(2)
    second = driver.flush()
    driver.accept()
    assert first.claim() == FlushResult(1, 0)
    assert second.claim() is None
    driver.accept()
    assert second.claim() is not None


def test_flushes_at_the_same_time_tell_of_the_same_events() -> None:
    """Each of two flushes at once, from two threads say, counts everything that it waited for and
    what had ended since the flush before; the next one counts nothing of it again."""
    driver = Driver(batch_size=1)
    driver.sign_in()
    driver.send_numbers(0)
    driver.accept()
    driver.send_numbers(1, 2)
    first = driver.flush()
    second = driver.flush()
    driver.send_numbers(3)
    third = driver.flush()
    driver.accept()
    driver.respond(403)
    assert first.claim() == second.claim() == FlushResult(2, 1)
    driver.accept()
    assert third.claim() == FlushResult(3, 1)
    assert driver.flush().claim() == FlushResult(0, 0)


def test_a_flush_during_a_hold_waits_for_its_end() -> None:
    """A ``Retry-After`` holds a flush back; it wakes when that is over."""
    driver = Driver(max_retries=0, refresh_interval=None)
    driver.dice.always = 0.0
    in_batch(driver, 1)
    driver.respond(429, headers={"retry-after": "12"})
    driver.send_numbers(2)
    driver.flush()
    assert driver.out == []
    assert driver.wake_at == START + 12.0
    driver.sleep()
    assert numbers(driver.batch()) == [2]


def test_a_flush_ends_when_the_key_is_refused() -> None:
    """Events that fail as the key is refused end a flush, too."""
    driver = Driver()
    driver.send_numbers(1, 2)
    ticket = driver.flush()
    driver.respond(401)
    assert ticket.claim() == FlushResult(0, 2)
    driver.send_numbers(3)
    assert driver.flush().claim() == FlushResult(0, 1)


@pytest.mark.parametrize("status", [200, 403])
def test_a_flush_ends_when_its_events_have_their_outcome(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a moment before: another thread may see its end in the middle of a poll."""
    done: list[bool] = []
    finished = Flushes.finished

    def watched(flushes: Flushes) -> list[FlushTicket]:
        ended = finished(flushes)
        if ended:
            done.extend(delivery.done() for delivery in deliveries)
        return ended

    monkeypatch.setattr(Flushes, "finished", watched)
    driver = Driver()
    driver.sign_in()
    deliveries = driver.send_numbers(1, 2, 3)
    driver.flush()
    driver.respond(status, {} if status == 200 else None)
    assert done == [True] * 3


# ── drain ────────────────────────────────────────────────────────────────────────────────────


def test_a_drain_with_room_ends_at_once() -> None:
    """With room for a batch, ``drain`` ends in the call, and pushes nothing out."""
    driver = Driver(batch_size=10, max_queue=20)
    driver.sign_in()
    driver.send_numbers(*range(9))
    assert driver.buffer.drain().claim() is True
    driver.poll()
    assert driver.out == []


def test_a_drain_pushes_batches_out_until_there_is_room() -> None:
    """Somebody who waits in ``drain`` sends batches out, full or not, and goes on when there is
    room for a batch again."""
    driver = Driver(batch_size=4, max_queue=8)
    driver.sign_in()
    driver.send_numbers(1, 2, 3, 4, 5, 6)
    ticket = driver.buffer.drain()
    driver.poll()
    assert ticket.claim() is None
    assert numbers(driver.batch()) == [1, 2, 3, 4]
    driver.accept()
    assert ticket.claim() is True
    assert ticket in driver.tickets


def test_a_drain_waits_for_half_the_queue_where_a_batch_is_more() -> None:
    """Where ``batch_size`` is above half of ``max_queue``, room for half of it is enough."""
    driver = Driver(batch_size=100, max_queue=4)
    driver.sign_in()
    driver.send_numbers(1, 2)
    assert driver.buffer.drain().claim() is True
    driver.send_numbers(3)
    ticket = driver.buffer.drain()
    driver.poll()
    assert ticket.claim() is None
    assert numbers(driver.batch()) == [1, 2, 3]
    driver.accept()
    assert ticket.claim() is True


def test_a_drain_waits_for_bytes_too() -> None:
    """Room is counted in bytes as well: for a batch, or half of ``max_queue_bytes``."""
    driver = Driver(max_queue_bytes=2000)
    driver.sign_in()
    driver.send(event(1, note="x" * 1200))
    ticket = driver.buffer.drain()
    driver.poll()
    assert ticket.claim() is None
    assert numbers(driver.batch()) == [1]
    driver.accept()
    assert ticket.claim() is True


def test_room_for_one_is_enough_for_the_smallest_queue() -> None:
    """With ``max_queue=1``, ``drain`` waits until nothing is held."""
    driver = Driver(max_queue=1)
    driver.sign_in()
    assert driver.buffer.drain().claim() is True
    driver.send_numbers(1)
    ticket = driver.buffer.drain()
    driver.poll()
    driver.accept()
    assert ticket.claim() is True


def test_a_drain_counts_what_is_in_flight() -> None:
    """What is in flight or between retries takes room; failing makes room, too."""
    driver = Driver(batch_size=2, max_queue=2, max_retries=1)
    driver.dice.always = 0.0
    driver.sign_in()
    driver.send_numbers(1, 2)
    ticket = driver.buffer.drain()
    driver.poll()
    driver.respond(503)
    assert ticket.claim() is None
    driver.respond(503)
    assert ticket.claim() is True


def test_a_drain_that_gave_up_pushes_no_longer() -> None:
    """After ``cancel`` the buffer waits for its triggers again."""
    driver = Driver(batch_size=4, max_queue=8, refresh_interval=None)
    driver.sign_in()
    driver.send_numbers(1, 2, 3, 4, 5, 6)
    ticket = driver.buffer.drain()
    driver.poll()
    driver.buffer.cancel(ticket)
    driver.poll()
    driver.accept()
    assert driver.out == []
    assert driver.wake_at == START + 30.0


def test_a_drain_before_the_first_token_authorizes_and_waits() -> None:
    """``drain`` works before there is a token."""
    driver = Driver(batch_size=2, max_queue=2)
    deliveries = driver.send_numbers(1, 2)
    ticket = driver.buffer.drain()
    driver.poll()
    assert is_authorization(driver.only())
    driver.grant()
    driver.accept()
    assert ticket.claim() is True
    assert all(result_of(each).success for each in deliveries)


def test_a_producer_that_drains_never_overflows() -> None:
    """Who calls ``drain`` before each send meets no full buffer, whatever the bounds."""
    driver = Driver(batch_size=3, max_queue=5)
    driver.sign_in()
    for number in range(30):
        ticket = driver.buffer.drain()
        driver.poll()
        while ticket.claim() is None:
            driver.accept()
        driver.send_numbers(number)
    assert driver.buffer.stats().overflowed == 0


def test_a_flush_that_gave_up_leaves_its_counts_to_the_next() -> None:
    """What a flush that was cancelled would have reported is reported by the next one; cancelling a
    wait that is over does nothing."""
    driver = Driver(batch_size=1)
    driver.sign_in()
    driver.send_numbers(1)
    ticket = driver.flush()
    driver.buffer.cancel(ticket)
    driver.poll()
    driver.accept()
    assert ticket not in driver.tickets
    assert driver.flush().claim() == FlushResult(1, 0)
    driver.buffer.cancel(ticket)
    driver.poll()
