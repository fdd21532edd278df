"""Unclaimed failures: one warning per cause every 5 s
(``docs/reference/guarantees.md#unclaimed-failures``)."""

from __future__ import annotations

import pytest

from masivo._protocol.errors import (
    MasivoAuthError,
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    MasivoQueueFullError,
    MasivoServerKeyError,
)
from masivo._protocol.reporting.losses import FailureLog

from .simulator import START, Driver, error_of, event, in_batch

# ── The log itself ───────────────────────────────────────────────────────────────────────────


def test_the_first_failure_is_logged_at_once() -> None:
    """The first failure of a cause is logged at once, with count, class and status."""
    (line,) = FailureLog().note(MasivoError("x", status=400), 3, 0.0)
    assert "3 events were" in line
    assert "MasivoError (HTTP 400)" in line
    (line,) = FailureLog().note(MasivoNetworkError("x"), 1, 0.0)
    assert "1 event was" in line
    assert "HTTP" not in line


def test_more_of_the_same_cause_wait_for_the_interval() -> None:
    """Within 5 s of a warning, failures of its cause are held back; when the interval ends they
    are logged with their count, and the next interval begins."""
    log = FailureLog()
    error = MasivoError("x", status=400)
    log.note(error, 1, 10.0)
    assert log.next() is None
    assert log.note(error, 2, 11.0) == []
    assert log.note(error, 5, 14.9) == []
    assert log.next() == 15.0
    assert log.due(14.9) == []
    (line,) = log.due(15.0)
    assert "7 events" in line
    assert log.next() is None
    assert log.note(error, 1, 19.9) == []
    assert log.next() == 20.0


def test_a_failure_after_the_interval_is_logged_at_once() -> None:
    """After a quiet interval the next failure is logged at once, with what was held back."""
    log = FailureLog()
    error = MasivoError("x", status=400)
    log.note(error, 1, 10.0)
    assert len(log.note(error, 1, 15.0)) == 1
    log.note(error, 2, 16.0)
    (line,) = log.note(error, 1, 20.0)
    assert "3 events" in line
    assert log.next() is None


def test_causes_do_not_hold_each_other_back() -> None:
    """A cause is the class of error and the status: others are logged at once."""
    log = FailureLog()
    for error in (
        MasivoError("x", status=400),
        MasivoError("x", status=404),
        MasivoAuthError("x", status=400),
        MasivoNetworkError("x"),
    ):
        assert len(log.note(error, 1, 0.0)) == 1
        assert log.note(error, 1, 0.0) == []
    assert len(log.due(5.0)) == 4


def test_everything_held_back_can_be_written_at_once() -> None:
    """``drain`` gives what is held back, whatever the time; ``hold`` keeps a line for it."""
    log = FailureLog()
    assert log.note(MasivoError("x"), 1, 0.0, hold=True) == []
    assert log.note(MasivoClosedError("x"), 2, 0.0, hold=True) == []
    assert len(log.drain(0.0)) == 2
    assert log.drain(0.0) == []
    assert log.next() is None


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        (MasivoError, "refused"),
        (MasivoAuthError, "API key"),
        (MasivoServerKeyError, "CLIENT key"),
        (MasivoNetworkError, "no usable answer"),
        (MasivoConfigError, "http_client"),
        (MasivoQueueFullError, "drain()"),
        (MasivoClosedError, "closed"),
    ],
)
def test_a_line_names_the_cause_in_words_of_ours(kind: type[MasivoError], hint: str) -> None:
    """A line says what happened, in words of ours: never in the server's."""
    (line,) = FailureLog().note(kind("said the server"), 1, 0.0)
    assert kind.__name__ in line
    assert hint in line
    assert "said the server" not in line


# ── In the engine ────────────────────────────────────────────────────────────────────────────


def forget(driver: Driver) -> None:
    """Let go of the deliveries that have their outcome, and poll: nobody asks any more."""
    driver.settled.clear()
    driver.poll()


def fail_one(driver: Driver) -> None:
    """Let a batch of one event fail, unasked."""
    driver.send(event())
    driver.flush()
    driver.answer(403)
    forget(driver)


def test_a_failure_that_nobody_asks_for_is_logged_when_it_is_let_go() -> None:
    """A failure is logged when its deliveries are gone, unasked; the driver is woken for it."""
    driver = Driver()
    _, deliveries = in_batch(driver, 1, 2)
    driver.answer(403)
    wakes = driver.wakes
    assert driver.warnings == []
    deliveries.clear()
    driver.settled.clear()
    assert driver.wakes > wakes
    driver.poll()
    (line,) = driver.warnings
    assert "2 events were" in line


def test_a_failure_that_somebody_asked_for_is_not_logged() -> None:
    """An asked failure is not logged; of a batch, only the events that nobody asked for count."""
    driver = Driver()
    _, deliveries = in_batch(driver, 1, 2, 3)
    driver.answer(403)
    error_of(deliveries[0])
    error_of(deliveries[0])
    repr(deliveries[1])
    assert deliveries[1].done()
    deliveries.clear()
    forget(driver)
    (line,) = driver.warnings
    assert "2 events were" in line
    _, deliveries = in_batch(driver, 4)
    driver.answer(403)
    error_of(deliveries.pop())
    forget(driver)
    driver.advance(100.0)
    assert len(driver.warnings) == 1


def test_warnings_come_every_5_seconds() -> None:
    """What was held back is logged exactly when the interval ends, by a wake-up of its own."""
    driver = Driver(refresh_interval=None)
    driver.sign_in()
    fail_one(driver)
    assert len(driver.warnings) == 1
    driver.advance(1.0)
    fail_one(driver)
    fail_one(driver)
    assert len(driver.warnings) == 1
    assert driver.wake_at == START + 5.0
    driver.sleep()
    assert len(driver.warnings) == 2
    assert "2 events were" in driver.warnings[1]
    assert driver.wake_at is None


def test_refused_events_are_logged_by_their_count() -> None:
    """Events that the full buffer did not take are logged too."""
    driver = Driver(max_queue=1)
    driver.sign_in()
    for number in range(4):
        driver.buffer.send(event(number))
    driver.poll()
    (line,) = driver.warnings
    assert "3 events were" in line
    assert "MasivoQueueFullError" in line
    driver.accept()


def test_what_is_held_back_is_logged_when_the_last_client_goes() -> None:
    """With the last client, what was held back is logged at once: no timer will fire."""
    driver = Driver()
    driver.sign_in()
    fail_one(driver)
    fail_one(driver)
    driver.close(1.0)
    assert driver.closed
    assert len(driver.warnings) == 2
    assert driver.wake_at is None


def test_what_fails_with_the_last_client_is_logged() -> None:
    """Events that end as the last client goes are logged once they are let go, as one line."""
    driver = Driver(batch_size=1)
    driver.sign_in()
    deliveries = driver.send_numbers(1, 2, 3)
    driver.buffer.destroy()
    driver.poll()
    deliveries.clear()
    forget(driver)
    (line,) = driver.warnings
    assert "3 events were" in line
    assert "MasivoClosedError" in line
    assert driver.wake_at is None


def test_a_delivered_event_is_not_logged() -> None:
    """A success that nobody asks for is no warning."""
    driver = Driver()
    in_batch(driver, 1)
    driver.accept()
    forget(driver)
    assert driver.warnings == []
