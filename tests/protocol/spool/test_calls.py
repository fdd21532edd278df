"""Calls that overlap with polls, with each other, and with the end of the client."""

from __future__ import annotations

from functools import partial

import pytest

from masivo import MasivoClosedError
from masivo._protocol.json import encode
from masivo.protocol import (
    Failed,
)
from protocol.requests import numbers
from protocol.simulator import error_of, event, result_of
from protocol.spooled import SpoolDriver

from .outages import delivers_the_rest, in_flight, recover

# ── Several callers at once ──────────────────────────────────────────────────────────────────────


def crowded() -> SpoolDriver:
    """A driver with event 0 in memory, and room for a small event, but not for a large one."""
    driver = SpoolDriver(max_queue_bytes=3_000, max_event_bytes=2_000)
    driver.sign_in()
    driver.buffer.send(event(0, text="x" * 1_800))
    return driver


def test_an_event_stays_behind_one_that_was_stored_alone_during_its_call() -> None:
    """It had room in memory, but the log has the other one first."""
    driver = crowded()
    driver.spool.before = lambda: driver.buffer.send(event(1, text="x" * 1_800))
    delivery = driver.buffer.send(event(2))
    delivers_the_rest(driver, [0, 1, 2], of=3)
    assert result_of(delivery).success


def test_an_event_stays_behind_one_without_room_in_memory() -> None:
    """Also one that is sent before the call of that one returns."""
    driver = crowded()
    driver.spool.after = lambda: driver.buffer.send(event(2))
    driver.buffer.send(event(1, text="x" * 1_800))
    delivers_the_rest(driver, [0, 1, 2], of=3)

    driver = SpoolDriver(max_queue=1)
    in_flight(driver, 0)

    def meanwhile() -> None:
        driver.accept()
        driver.buffer.send(event(2))

    driver.spool.after = meanwhile
    driver.buffer.send(event(1))
    delivers_the_rest(driver, [1, 2], of=3)


def test_an_event_whose_room_was_taken_during_its_call_stays_on_disk() -> None:
    """It was stored, and is sent behind the other."""
    driver = SpoolDriver(max_queue=1, batch_size=1)
    driver.sign_in()
    driver.spool.before = lambda: driver.buffer.send(event(1))
    delivery = driver.buffer.send(event(2))
    assert error_of(delivery).spooled
    delivers_the_rest(driver, [1, 2], of=2)


def test_an_event_that_is_read_during_its_call_is_sent_once() -> None:
    """It was stored alone: its call says so after a poll has read it."""
    driver = SpoolDriver(max_queue=2)
    in_flight(driver, 0, 1)
    driver.send_numbers(2)
    accepted: list[int] = []

    def meanwhile() -> None:
        driver.accept()
        accepted.append(driver.buffer.stats().accepted)

    driver.spool.after = meanwhile
    (delivery,) = driver.send_numbers(3)
    assert accepted == [4]
    assert error_of(delivery).spooled
    delivers_the_rest(driver, [2, 3], of=4)


def test_a_delivery_ends_whose_event_is_read_during_its_call() -> None:
    """The event had room in memory; what was read is sent, and the delivery has no part in it."""
    driver = crowded()

    def meanwhile() -> None:
        driver.buffer.send(event(2, text="x" * 1_800))
        driver.flush()
        driver.accept()

    driver.spool.after = meanwhile
    delivery = driver.buffer.send(event(1))
    driver.poll()
    assert error_of(delivery).spooled
    assert error_of(delivery).message == "older events wait on disk"
    delivers_the_rest(driver, [1, 2], of=3)


# ── The end of the client, in the middle of a call ───────────────────────────────────────────────


def destroyed(driver: SpoolDriver) -> None:
    """Destroy the client, and poll."""
    driver.buffer.destroy()
    driver.poll()


def test_an_event_that_was_stored_as_its_client_ended_stays_on_disk() -> None:
    """Its delivery says so, and the next process sends it."""
    driver = SpoolDriver()
    driver.sign_in()
    driver.spool.after = lambda: destroyed(driver)
    (delivery,) = driver.send_numbers(1)
    error = error_of(delivery)
    assert type(error) is MasivoClosedError
    assert error.spooled
    stats = driver.buffer.stats()
    assert (stats.accepted, stats.spooled, stats.queued) == (1, 1, 0)
    after = SpoolDriver(driver.disk, at=driver.now)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1]]


def test_an_event_that_was_not_stored_before_its_client_ended_is_not_accepted() -> None:
    """The call fails as one on a closed client does."""
    driver = SpoolDriver()
    driver.sign_in()
    driver.spool.before = partial(destroyed, driver)
    with pytest.raises(MasivoClosedError, match="the client is closed"):
        driver.buffer.send(event(1))
    driver = SpoolDriver()
    driver.sign_in()
    driver.spool.before = partial(destroyed, driver)
    with pytest.raises(MasivoClosedError, match="the client is closed"):
        driver.buffer.put_all([(encode(event(1)), "c")])


def test_no_event_is_lost_with_a_client_that_is_abandoned() -> None:
    """So no warning says that events were not sent; one says that they stay."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    driver.buffer.abandon("its loop has ended")
    driver.poll()
    assert sum("of this client stays in the spool" in line for line in driver.warnings) == 1
    assert not any("not sent" in line for line in driver.warnings)


def test_a_child_of_a_fork_begins_anew() -> None:
    """What was pending is its parent's, and so is the log."""
    driver = SpoolDriver()
    (delivery,) = driver.send_numbers(1)
    (log,) = driver.files(".log")
    driver.buffer.forked(Failed(MasivoClosedError("this process was forked")))
    assert error_of(delivery).message == "this process was forked"
    size = len(driver.disk.files[log].data)
    driver.buffer.send(event(2))
    assert len(driver.files(".log")) == 2
    assert len(driver.disk.files[log].data) == size
