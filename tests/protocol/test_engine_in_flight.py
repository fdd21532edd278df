"""Several batches in flight: order is kept per customer
(``docs/reference/guarantees.md#order-of-a-customer``)."""

from __future__ import annotations

import pytest

from masivo.protocol import Api, Request

from .requests import numbers, payload
from .simulator import START, Driver, event, result_of


def send(driver: Driver, *customers: str) -> None:
    """Send one event for each customer, numbered from 0 on, then poll."""
    driver.send(*(event(number, customer) for number, customer in enumerate(customers)))


def whose(request: Request) -> list[str]:
    """The customers of a batch's events, in order."""
    return [each["customer_id"] for each in payload(request)]


def test_up_to_max_in_flight_batches_are_on_their_way() -> None:
    """Up to ``max_in_flight`` batches are out at once, and no more."""
    driver = Driver(batch_size=1, max_in_flight=3)
    driver.sign_in()
    send(driver, "a", "b", "c", "d")
    assert [whose(each) for each in driver.out] == [["a"], ["b"], ["c"]]
    driver.accept(driver.out[1])
    assert [whose(each) for each in driver.out] == [["a"], ["c"], ["d"]]


def test_no_two_batches_in_flight_hold_events_of_one_customer() -> None:
    """A customer's later events wait for its batch; others go past them."""
    driver = Driver(batch_size=2, max_in_flight=3)
    driver.sign_in()
    send(driver, "a", "a", "a", "b", "a", "c")
    assert [numbers(each) for each in driver.out] == [[0, 1], [3, 5]]
    driver.accept(driver.out[0])
    assert [numbers(each) for each in driver.out] == [[3, 5], [2, 4]]


def test_later_events_of_a_customer_wait_behind_its_repeats() -> None:
    """While a batch is being retried, the later events of its customers wait behind it, and only
    those."""
    driver = Driver(batch_size=1, max_in_flight=2, refresh_interval=None)
    driver.dice.always = 0.5
    driver.sign_in()
    send(driver, "a", "b", "a", "c")
    driver.respond(503, to=driver.out[0])
    driver.accept(driver.out[0])
    assert [numbers(each) for each in driver.out] == [[3]]
    driver.accept()
    assert driver.out == []
    driver.sleep()
    assert numbers(driver.batch()) == [0]
    driver.accept()
    assert numbers(driver.batch()) == [2]


def test_later_events_of_a_customer_wait_behind_its_halves() -> None:
    """A customer of a halved batch waits until the last part has its outcome."""
    driver = Driver(batch_size=2, max_in_flight=2)
    driver.sign_in()
    send(driver, "a", "b")
    driver.send(event(2, "a"), event(3, "b"))
    driver.respond(400)
    driver.accept()
    assert numbers(driver.batch()) == [1]
    driver.accept()
    assert numbers(driver.batch()) == [2, 3]


def test_held_back_events_go_when_their_time_has_come_and_the_way_is_free() -> None:
    """Events held back behind their customer go at once when it is free, if their ``max_wait``
    has passed meanwhile; else at their time, exactly."""
    driver = Driver(
        batch_size=2, max_in_flight=2, idle_timeout=5.0, max_wait=5.0, refresh_interval=None
    )
    driver.sign_in()
    send(driver, "a", "a")
    driver.now += 1.0
    send(driver, "a")
    driver.sleep_until(START + 4.0)
    driver.accept()
    assert driver.out == []
    assert driver.wake_at == START + 6.0
    driver.sleep()
    assert numbers(driver.batch()) == [0]


def test_others_events_have_exact_timers_while_some_are_held_back() -> None:
    """While all waiting events are held back, the first event of another customer still goes
    exactly when it is due, though its sender wakes nobody."""
    driver = Driver(
        batch_size=2, max_in_flight=2, idle_timeout=5.0, max_wait=60.0, refresh_interval=None
    )
    driver.sign_in()
    send(driver, "a", "a", "a")
    driver.now += 3.0
    driver.buffer.send(event(7, "b"))
    driver.sleep_until(START + 7.75)
    assert [numbers(each) for each in driver.out] == [[0, 1]]
    driver.sleep_until(START + 8.0)
    assert [numbers(each) for each in driver.out] == [[0, 1], [7]]


def test_events_held_back_do_not_wake_the_driver_one_by_one() -> None:
    """Events of a customer in flight wake nobody, but for one in ``batch_size``."""
    driver = Driver(batch_size=10, max_in_flight=2)
    driver.sign_in()
    send(driver, *"a" * 10)
    before = driver.wakes
    for _ in range(9):
        driver.buffer.send(event(0, "a"))
    assert driver.wakes == before


def test_a_full_buffer_of_events_held_back_asks_for_no_poll() -> None:
    """Where nothing more fits and nothing can go, only a response is worth a poll."""
    driver = Driver(batch_size=2, max_queue=4, max_in_flight=2, refresh_interval=None)
    driver.sign_in()
    send(driver, "a", "a", "a", "a")
    assert numbers(driver.batch()) == [0, 1]
    assert not driver.outbox.wants_poll


def test_who_sent_an_event_is_kept_only_where_order_is_kept_by_it() -> None:
    """With one batch in flight at a time, a delivery holds no customer: that would cost memory."""
    for max_in_flight, kept in ((1, ""), (2, "c")):
        driver = Driver(max_in_flight=max_in_flight)
        (delivery,) = driver.send(event(1, "c"))
        assert delivery.customer == kept


def test_a_full_batch_of_others_wakes_the_driver() -> None:
    """While events are held back, ``batch_size`` events of others wake the driver, and go."""
    driver = Driver(batch_size=3, max_in_flight=2)
    driver.sign_in()
    send(driver, "a", "a", "a")
    before = driver.wakes
    for number in range(3):
        driver.buffer.send(event(number, "b"))
    assert driver.wakes > before
    driver.poll()
    assert whose(driver.out[1]) == ["b", "b", "b"]


@pytest.mark.parametrize("full", ["bytes", "count"])
def test_a_full_buffer_of_others_wakes_the_driver(full: str) -> None:
    """While events are held back, more than ``max_batch_bytes`` of others, or a full buffer, wake
    the driver, and go."""
    driver = Driver(
        api=Api(stamp_issued_at=False),
        batch_size=5,
        max_in_flight=2,
        max_queue=1000 if full == "bytes" else 7,
        max_batch_bytes=4000,
        max_event_bytes=3000,
    )
    driver.sign_in()
    send(driver, *"a" * 5)
    before = driver.wakes
    for number in range(2):
        driver.buffer.send(event(number, "b", note="x" * (2500 if full == "bytes" else 1)))
    assert driver.wakes > before
    driver.poll()
    assert len(driver.out) == 2


def test_batches_in_flight_are_due_by_count_of_what_may_go() -> None:
    """Events that are held back do not fill a batch of others."""
    driver = Driver(batch_size=3, max_in_flight=2)
    driver.sign_in()
    send(driver, "a", "a", "a", "a", "a", "b")
    assert [numbers(each) for each in driver.out] == [[0, 1, 2]]


def test_one_result_for_each_batch() -> None:
    """Each batch in flight takes its own response."""
    driver = Driver(batch_size=1, max_in_flight=2)
    driver.sign_in()
    first, second = driver.send(event(1, "a"), event(2, "b"))
    driver.respond(201, {"n": 2}, to=driver.out[1])
    assert not first.done()
    assert result_of(second).data == {"n": 2}
    driver.respond(202, {"n": 1})
    assert result_of(first).status == 202


def test_who_drains_has_a_new_event_of_a_free_customer_sent_at_once() -> None:
    """While somebody waits in ``drain``, one event of a customer that is free wakes the driver."""
    driver = Driver(max_in_flight=2, batch_size=3, max_queue=6)
    driver.sign_in()
    driver.send(*(event(n, "a") for n in (1, 2, 3, 4)))
    ticket = driver.buffer.drain()
    driver.poll()
    assert ticket.claim() is None
    wakes = driver.wakes
    driver.buffer.send(event(5, "b"))
    assert driver.wakes > wakes
    driver.poll()
    assert len(driver.out) == 2
