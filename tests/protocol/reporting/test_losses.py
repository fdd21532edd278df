"""Unclaimed failures: one warning per cause every 5 s
(``docs/reference/guarantees.md#unclaimed-failures``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo._protocol.errors import (
    MasivoAuthError,
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    MasivoQueueFullError,
    MasivoServerKeyError,
    MasivoValidationError,
)
from masivo._protocol.reporting.losses import Losses
from masivo.protocol import settle
from protocol.simulator import START, Driver, error_of, event, in_batch
from protocol.test_settle import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import FailedEvent, Output

# ── The warnings themselves ─────────────────────────────────────────────────────────────────


def test_the_first_failure_is_logged_at_once() -> None:
    """The first failure of a cause is logged at once, with count, class and status."""
    (line,) = Losses().note(MasivoError("x", status=400), 3, 0.0)
    assert "3 events were" in line
    assert "MasivoError, HTTP 400" in line
    (line,) = Losses().note(MasivoNetworkError("x"), 1, 0.0)
    assert "1 event was" in line
    assert "HTTP" not in line


def test_more_of_the_same_cause_wait_for_the_interval() -> None:
    """Within 5 s of a warning, failures of its cause are suppressed; when the interval ends they
    are logged with their count, and the next interval begins."""
    log = Losses()
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
    """After a quiet interval the next failure is logged at once, with what was suppressed."""
    log = Losses()
    error = MasivoError("x", status=400)
    log.note(error, 1, 10.0)
    assert len(log.note(error, 1, 15.0)) == 1
    log.note(error, 2, 16.0)
    (line,) = log.note(error, 1, 20.0)
    assert "3 events" in line
    assert log.next() is None


def test_causes_do_not_suppress_each_other() -> None:
    """A cause is the class of error and the status: others are logged at once."""
    log = Losses()
    for error in (
        MasivoError("x", status=400),
        MasivoError("x", status=404),
        MasivoAuthError("x", status=400),
        MasivoNetworkError("x"),
    ):
        assert len(log.note(error, 1, 0.0)) == 1
        assert log.note(error, 1, 0.0) == []
    assert len(log.due(5.0)) == 4


def test_everything_suppressed_can_be_written_at_once() -> None:
    """``drain`` gives what is suppressed, whatever the time; ``suppress`` keeps a line for it."""
    log = Losses()
    assert log.note(MasivoError("x"), 1, 0.0, suppress=True) == []
    assert log.note(MasivoClosedError("x"), 2, 0.0, suppress=True) == []
    assert len(log.drain(0.0)) == 2
    assert log.drain(0.0) == []
    assert log.next() is None


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (MasivoServerKeyError, "a SERVER key was used where a CLIENT key belongs"),
        (MasivoAuthError, "authorization failed; check the API key and base_url"),
        (MasivoNetworkError, "no usable response from the API"),
        (MasivoConfigError, "there is no usable HTTP client; see http_client"),
        (MasivoClosedError, "the client was closed, or the program ended, before delivery"),
        (MasivoError, "not accepted by the API"),
        (MasivoValidationError, "not accepted by the API"),
    ],
)
def test_a_loss_is_logged_with_its_cause(kind: type[MasivoError], cause: str) -> None:
    """A warning names how many, the class, the status and the likely cause, and what to do."""
    tail = "Check the Delivery that send_analytics_event returned, or set on_error"
    assert Losses().note(kind("x", status=418), 1, 0.0) == [
        f"1 event was not delivered ({kind.__name__}, HTTP 418: {cause}). {tail}"
    ]
    assert Losses().note(kind("x"), 2, 0.0) == [
        f"2 events were not delivered ({kind.__name__}: {cause}). {tail}"
    ]


def test_the_warning_of_an_event_without_room_says_what_was_full() -> None:
    """The bounds of the buffer, which can be raised; on_error is not called for such an event."""
    driver = Driver(max_queue=1)
    for n in range(3):
        driver.buffer.send(event(n))
    driver.poll()
    (line,) = driver.warnings
    assert line == (
        "2 events were not delivered (MasivoQueueFullError: the buffer is full (max_queue=1 "
        "events, max_queue_bytes=67108864)). Check the Delivery that send_analytics_event "
        "returned, or call drain() before sending"
    )


CHECK = "the API accepts no events now; check base_url and the API key"


@pytest.mark.parametrize(
    ("kind", "status", "cause"),
    [
        (MasivoError, 503, ", HTTP 503: the API accepts no events now"),
        (
            MasivoError,
            404,
            ", HTTP 404: the API accepts no events now; check base_url and the API key",
        ),
        (
            MasivoError,
            302,
            ", HTTP 302: the API accepts no events now; check base_url and the API key",
        ),
        (
            MasivoError,
            200,
            ", HTTP 200: the API accepts no events now; check base_url and the API key",
        ),
        (MasivoNetworkError, 503, ", HTTP 503: no usable response from the API"),
        (MasivoQueueFullError, None, ": the buffer was full, or older events wait on disk"),
    ],
)
def test_events_that_stay_on_disk_are_not_called_lost(
    kind: type[MasivoError], status: int | None, cause: str
) -> None:
    """They are delivered later, and there is nothing to do, unless key or address are wrong."""
    (line,) = Losses().note(kind("x", status=status, spooled=True), 2, 0.0)
    assert line == (
        f"2 events were not delivered yet ({kind.__name__}{cause}); kept in the spool, to be "
        "sent later"
    )


def test_events_of_a_success_that_broke_off_may_have_been_delivered() -> None:
    """The warning does not say that they were not."""
    for status in (200, 299):
        (line,) = Losses().note(MasivoNetworkError("x", status=status), 2, 0.0)
        assert line.startswith(
            f"2 events may not have been delivered (MasivoNetworkError, HTTP {status}: no usable "
            "response after the headers of a success). "
        )
    for status in (199, 300):
        (line,) = Losses().note(MasivoNetworkError("x", status=status), 1, 0.0)
        assert line.startswith(f"1 event was not delivered (MasivoNetworkError, HTTP {status}: no ")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_the_key_is_not_suspected_of_the_apis_trouble(status: int) -> None:
    """An authorization that failed with a retryable status says nothing about the key."""
    (line,) = Losses().note(MasivoAuthError("x", status=status), 1, 0.0)
    assert f"HTTP {status}: authorization failed; the trouble is the API's, not the key's)" in line


# ── In the engine ────────────────────────────────────────────────────────────────────────────


def forget(driver: Driver) -> None:
    """Let go of the deliveries that have their outcome, and poll: they are claimed no more."""
    driver.settled.clear()
    driver.poll()


def fail_one(driver: Driver) -> None:
    """Let a batch of one event fail, unclaimed."""
    driver.send(event())
    driver.flush()
    driver.respond(403)
    forget(driver)


def test_an_unclaimed_failure_is_logged_when_it_is_let_go() -> None:
    """A failure is logged when its deliveries are gone, unclaimed; the driver is woken for it."""
    driver = Driver()
    _, deliveries = in_batch(driver, 1, 2)
    driver.respond(403)
    wakes = driver.wakes
    assert driver.warnings == []
    deliveries.clear()
    driver.settled.clear()
    assert driver.wakes > wakes
    driver.poll()
    (line,) = driver.warnings
    assert "2 events were" in line


def test_a_claimed_failure_is_not_logged() -> None:
    """Of a batch, only the unclaimed failures count."""
    driver = Driver()
    _, deliveries = in_batch(driver, 1, 2, 3)
    driver.respond(403)
    error_of(deliveries[0])
    error_of(deliveries[0])
    repr(deliveries[1])
    assert deliveries[1].done()
    deliveries.clear()
    forget(driver)
    (line,) = driver.warnings
    assert "2 events were" in line
    _, deliveries = in_batch(driver, 4)
    driver.respond(403)
    error_of(deliveries.pop())
    forget(driver)
    driver.advance(100.0)
    assert len(driver.warnings) == 1


def test_warnings_come_every_5_seconds() -> None:
    """What was suppressed is logged exactly when the interval ends, by a wake-up of its own."""
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


def test_an_overflow_is_logged_by_its_count() -> None:
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


def test_what_is_suppressed_is_logged_when_the_last_client_goes() -> None:
    """With the last client, what was suppressed is logged at once: no timer will fire."""
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
    """A success that nobody looks at is no warning."""
    driver = Driver()
    in_batch(driver, 1)
    driver.accept()
    forget(driver)
    assert driver.warnings == []


def test_what_was_never_looked_at_is_logged_at_the_end() -> None:
    """``report_unclaimed`` logs failures whose deliveries are still held, and what was held back;
    what was looked at is not logged, and nothing is logged twice."""
    driver = Driver()
    _, deliveries = in_batch(driver, 1, 2, 3)
    driver.respond(403)
    error_of(deliveries[0])
    ticket = driver.engine.report_unclaimed()
    assert ticket.outcome is None
    driver.poll()
    assert ticket.outcome is True
    (line,) = driver.warnings
    assert "2 events were" in line
    driver.engine.report_unclaimed()
    deliveries.clear()
    forget(driver)
    driver.advance(100.0)
    assert len(driver.warnings) == 1


# ── With on_error ────────────────────────────────────────────────────────────────────────────


class Settling(Driver):
    """A driver that settles, with an ``on_error`` that raises for some numbers; its calls are made
    at once, or kept."""

    def __init__(self, *raises: int, at_once: bool = True) -> None:
        self.jobs: list[Callable[[], None]] = []
        self._raises = raises
        self._at_once = at_once
        super().__init__(on_error=self._on_error)

    def _on_error(self, failure: FailedEvent) -> None:
        if failure.event["n"] in self._raises:
            raise ValueError

    def _poll(self) -> Output:
        output = super()._poll()
        settle(output, Log(), start=self._start)
        return output

    def _start(self, function: Callable[[], None]) -> None:
        if self._at_once:
            function()
        else:
            self.jobs.append(function)


def test_a_failure_that_on_error_took_is_not_logged() -> None:
    """Whether its delivery is dropped before or after, or is held to the end of the process."""
    driver = Settling()
    _, deliveries = in_batch(driver, 1, 2, 3)
    del deliveries[0]
    driver.respond(403)
    error_of(deliveries.pop())
    driver.engine.report_unclaimed()
    driver.poll()
    deliveries.clear()
    forget(driver)
    driver.advance(100.0)
    assert driver.warnings == []


def test_a_failure_for_which_on_error_raised_is_logged() -> None:
    """It counts as unclaimed, unless a caller claims it."""
    driver = Settling(1, 2)
    _, deliveries = in_batch(driver, 1, 2, 3)
    driver.respond(403)
    error_of(deliveries[0])
    deliveries.clear()
    forget(driver)
    (line,) = driver.warnings
    assert "1 event was" in line


def test_failures_that_on_error_has_not_taken_are_logged_at_the_end() -> None:
    """The process ends before it was called: nothing passes in silence."""
    driver = Settling(at_once=False)
    in_batch(driver, 1, 2)
    driver.respond(403)
    driver.engine.report_unclaimed()
    driver.poll()
    (line,) = driver.warnings
    assert "2 events were" in line
    for job in driver.jobs:
        job()
    forget(driver)
    assert len(driver.warnings) == 1
