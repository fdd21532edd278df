"""Callers that wait for the outcome of an event
(``docs/reference/guarantees.md#awaited-outcomes``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import pytest

from masivo.protocol import BatchSent, Waiters
from protocol.requests import numbers
from protocol.simulator import START, Driver, event, in_batch, result_of

if TYPE_CHECKING:
    from masivo.protocol import ClientOptions, Delivery

LINGER = 0.25
"""A number that is exact in binary."""


def ready(**options: Unpack[ClientOptions]) -> Driver:
    """A driver with a token, and nothing else to do."""
    options.setdefault("await_linger", LINGER)
    options.setdefault("refresh_interval", None)
    driver = Driver(listening=True, **options)
    driver.sign_in()
    return driver


def wait(driver: Driver, delivery: Delivery, waiter: object = None) -> None:
    """Begin to wait, and poll if that was asked for."""
    wakes = driver.wakes
    driver.buffer.begin_wait(delivery, waiter)
    if driver.wakes > wakes:
        driver.poll()


def end_wait(driver: Driver, delivery: Delivery, waiter: object = None) -> None:
    """Give up a wait; that needs no poll."""
    wakes = driver.wakes
    driver.buffer.end_wait(delivery, waiter)
    assert driver.wakes == wakes


def test_all_that_is_buffered_goes_after_the_linger() -> None:
    """``await_linger`` after a caller began to wait for a buffered event, everything in the buffer
    goes, the events before and after it too; the trigger has the name of the setting."""
    driver = ready()
    _, second, _ = driver.send_numbers(1, 2, 3)
    driver.advance(5.0)
    wait(driver, second)
    assert driver.wake_at == START + 5.0 + LINGER
    driver.advance(LINGER / 2)
    driver.send_numbers(4)
    assert driver.out == []
    driver.sleep()
    assert numbers(driver.batch()) == [1, 2, 3, 4]
    sent = [each for each in driver.activity if isinstance(each, BatchSent)]
    assert [each.trigger for each in sent] == ["await_linger"]
    driver.accept()
    assert result_of(second).success


def test_callers_that_wait_at_the_same_time_share_a_batch_and_the_polls() -> None:
    """The first of them says when; a hundred more ask for no poll at all."""
    driver = ready()
    deliveries = driver.send_numbers(*range(50))
    wait(driver, deliveries[7])
    wakes = driver.wakes
    for number, delivery in enumerate(deliveries * 2):
        driver.now += LINGER / 128
        driver.buffer.begin_wait(delivery, number)
    assert driver.wakes == wakes
    assert driver.wake_at == START + LINGER
    driver.sleep()
    assert numbers(driver.batch()) == list(range(50))
    driver.accept()
    assert driver.wake_at is None


def test_a_caller_that_gave_up_changes_nothing() -> None:
    """What waits goes by its other triggers."""
    driver = ready()
    (delivery,) = driver.send_numbers(1)
    wait(driver, delivery)
    driver.now += LINGER / 2
    end_wait(driver, delivery)
    driver.sleep()
    assert driver.out == []
    assert driver.wake_at == START + 30.0


def test_a_later_caller_counts_from_its_own_beginning() -> None:
    """If the first of two that wait for one event gives up, the second has its own time."""
    driver = ready()
    (delivery,) = driver.send_numbers(1)
    wait(driver, delivery, "hasty")
    driver.now += LINGER / 2
    wait(driver, delivery, "patient")
    end_wait(driver, delivery, "hasty")
    driver.sleep()
    assert driver.out == []
    assert driver.wake_at == START + LINGER * 1.5
    driver.sleep()
    assert numbers(driver.batch()) == [1]


def test_a_caller_that_only_looks_changes_nothing() -> None:
    """A wait that is given up at once, as ``result(timeout=0)`` does, leaves the times as they
    were."""
    driver = ready()
    (delivery,) = driver.send_numbers(1)
    driver.buffer.begin_wait(delivery, "look")
    driver.buffer.end_wait(delivery, "look")
    driver.poll()
    assert driver.wake_at == START + 30.0


def test_a_wait_for_an_event_in_flight_changes_nothing() -> None:
    """Neither for what is buffered behind it, nor for the driver, who is not woken while nothing
    is buffered."""
    driver = ready(batch_size=2)
    _, (first, _) = in_batch(driver, 1, 2)
    wakes = driver.wakes
    driver.buffer.begin_wait(first, "one")
    assert driver.wakes == wakes
    driver.send_numbers(3)
    wait(driver, first, "two")
    driver.advance(1.0)
    driver.accept()
    assert driver.out == []
    assert driver.wake_at == START + 30.0


def test_a_wait_for_an_event_that_goes_is_over() -> None:
    """Once the awaited event has gone by another trigger, later events wait for theirs."""
    driver = ready(batch_size=2)
    (first,) = driver.send_numbers(1)
    wait(driver, first)
    driver.send_numbers(2)
    driver.accept()
    driver.send_numbers(3)
    driver.advance(1.0)
    assert driver.out == []


def test_an_event_that_no_poll_has_seen_is_buffered_too() -> None:
    """While a batch is in flight events come in without a poll; to wait for one wakes the
    driver, and what is due goes when the batch has landed."""
    driver = ready(batch_size=2, max_retries=0)
    in_batch(driver, 1, 2)
    delivery = driver.buffer.send(event(3))
    wakes = driver.wakes
    driver.buffer.begin_wait(delivery, None)
    assert driver.wakes > wakes
    driver.poll()
    assert driver.wake_at == START + LINGER
    driver.advance(1.0)
    driver.buffer.end_wait(delivery, None)
    driver.accept()
    assert numbers(driver.batch()) == [3]


def test_a_hold_holds_it_too() -> None:
    """What is due for the sake of a caller waits as every batch does."""
    driver = ready(batch_size=2, max_retries=0)
    driver.dice.always = 0.0
    in_batch(driver, 1, 2)
    driver.respond(503, headers={"retry-after": "10"})
    (delivery,) = driver.send_numbers(3)
    wait(driver, delivery)
    driver.sleep_until(START + 5.0)
    driver.send_numbers(4)
    driver.sleep_until(START + 10.0)
    assert numbers(driver.batch()) == [3, 4]


def test_without_a_token_it_is_due_when_the_token_comes() -> None:
    """The linger runs while the token is fetched."""
    driver = Driver(await_linger=LINGER)
    (delivery,) = driver.send_numbers(1)
    wait(driver, delivery)
    driver.sleep_until(START + 1.0)
    driver.grant()
    assert numbers(driver.batch()) == [1]


def test_each_customer_goes_when_it_is_free() -> None:
    """With several batches in flight, an awaited event waits for its customer's batch alone."""
    driver = ready(batch_size=2, max_in_flight=2)
    for number in (1, 2):
        driver.buffer.send(event(number, "a"))
    driver.poll()
    (request,) = driver.out
    mine, other = driver.buffer.send(event(3, "a")), driver.buffer.send(event(4, "b"))
    wait(driver, mine)
    driver.sleep()
    assert [numbers(each) for each in driver.out] == [[1, 2], [4]]
    driver.accept(request)
    assert [numbers(each) for each in driver.out] == [[4], [3]]
    assert other.outcome is None


def test_none_turns_it_off() -> None:
    """With ``await_linger=None`` a wait is not even noted."""
    driver = ready(await_linger=None)
    (delivery,) = driver.send_numbers(1)
    driver.buffer.begin_wait(delivery, None)
    driver.buffer.end_wait(delivery, None)
    assert not driver.engine.pending
    driver.advance(29.0)
    assert driver.out == []


@pytest.mark.parametrize("ended", [False, True])
def test_the_waiters_tell_the_client(ended: bool) -> None:
    """``Waiters`` reports a wait for a pending event, and that it was given up; nothing for an
    event that has its outcome, nor for a ticket."""
    driver = ready()
    (delivery,) = driver.send_numbers(1)
    waiters = Waiters()
    with waiters.waiting(driver.flush(), list):
        assert not driver.engine.pending
    if ended:
        driver.accept()
    with waiters.waiting(delivery, list):
        assert driver.engine.pending is not ended
        driver.poll()
    assert driver.engine.pending is not ended


def test_a_released_client_forgets_its_waits() -> None:
    """Nothing is left to wake for, once the client is gone."""
    driver = ready()
    (delivery,) = driver.send_numbers(1)
    wait(driver, delivery)
    driver.buffer.destroy()
    driver.poll()
    end_wait(driver, delivery)
    driver.poll()
    assert driver.closed
    assert driver.wake_at is None


def test_a_wait_that_begins_during_a_poll_is_not_forgotten() -> None:
    """It did not wake the driver, as a poll was to come anyway; so the poll asks for the next."""
    driver = ready(max_in_flight=2)
    (first,) = driver.send(event(1, "a"))
    wait(driver, first)

    def meanwhile(k: int, /) -> int:
        del vars(driver.dice)["getrandbits"]
        wakes = driver.wakes
        driver.buffer.begin_wait(driver.buffer.send(event(2, "b")), "another")
        assert driver.wakes == wakes
        return driver.dice.getrandbits(k)

    vars(driver.dice)["getrandbits"] = meanwhile
    driver.sleep()
    assert numbers(driver.batch()) == [1]
    driver.sleep()
    assert [numbers(each) for each in driver.out] == [[1], [2]]
    assert driver.now == START + 2 * LINGER


def test_a_wait_that_made_its_batch_due_is_over() -> None:
    """While that batch waits for its turn, a later caller that gives up makes nothing due."""
    driver = ready(batch_size=2)
    driver.send_numbers(1, 2)
    first, _ = driver.send_numbers(3, 4)
    wait(driver, first)
    driver.advance(LINGER)
    (later,) = driver.send_numbers(5)
    wait(driver, later)
    end_wait(driver, later)
    driver.advance(LINGER)
    driver.accept()
    assert numbers(driver.batch()) == [3, 4]
    driver.accept()
    assert driver.out == []
