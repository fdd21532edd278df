"""The age of the oldest event without an outcome (``docs/reference/guarantees.md#counters``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.requests import numbers
from protocol.simulator import Driver, event, in_batch
from protocol.spooled import SpoolDriver

if TYPE_CHECKING:
    from masivo.protocol import Buffer


def oldest(driver: Driver, buffer: Buffer | None = None) -> float | None:
    """The age that the counters tell."""
    return (buffer or driver.buffer).stats().oldest


def test_it_is_none_while_nothing_is_pending() -> None:
    """Before the first event, and when every event has its outcome."""
    driver = Driver()
    assert oldest(driver) is None
    in_batch(driver, 1)
    driver.accept()
    assert oldest(driver) is None
    driver.buffer.destroy()
    driver.poll()
    assert oldest(driver) is None


def test_it_counts_from_the_call() -> None:
    """An event has an age before the first poll, too, and each client its own."""
    driver = Driver()
    other = driver.client()
    driver.buffer.send(event(1))
    driver.now += 2.0
    driver.buffer.send(event(2))
    other.send(event(3))
    assert (oldest(driver), oldest(driver, other)) == (2.0, 0.0)
    driver.poll()
    driver.now += 1.0
    assert (oldest(driver), oldest(driver, other)) == (3.0, 1.0)


def test_it_counts_from_the_call_of_an_earlier_process() -> None:
    """An adopted event is as old as it is."""
    first = SpoolDriver()
    first.send_numbers(1)
    first.process.kill()
    driver = SpoolDriver(first.disk, at=first.now + 10.0)
    driver.buffer.use()
    driver.poll()
    assert oldest(driver) == 12.0  # with the margin of a wall clock


def test_it_counts_what_is_in_flight() -> None:
    """An event waits until it has its outcome, between retries too; then the next one counts."""
    driver = Driver(batch_size=1, refresh_interval=None)
    in_batch(driver, 1)
    driver.advance(1.0)
    driver.send_numbers(2)
    driver.respond(503)
    driver.now += 5.0
    assert oldest(driver) == 6.0
    driver.poll()
    driver.accept()
    assert oldest(driver) == 5.0


def test_of_a_batch_in_parts_the_rest_counts() -> None:
    """What was accepted of a halved batch is over."""
    driver = Driver(max_in_flight=2, refresh_interval=None)
    driver.sign_in()
    for number, customer in enumerate("abcd"):
        driver.send(event(number, customer))
        driver.now += 1.0
    driver.flush()
    driver.respond(422)
    assert numbers(driver.batch()) == [0, 1]
    assert oldest(driver) == 4.0
    driver.accept()
    assert oldest(driver) == 2.0


def test_a_batch_led_by_one_customer_is_as_old_as_its_oldest_event() -> None:
    """A customer with a whole batch goes first, and others' older events with it."""
    driver = Driver(max_in_flight=2, batch_size=3, refresh_interval=None)
    driver.buffer.send(event(0, "old"))
    driver.now += 7.0
    for number in (1, 2):
        driver.buffer.send(event(number, "new"))
    driver.poll()
    driver.grant()
    assert oldest(driver) == 7.0
