"""Waits before a retry, and holds (``docs/reference/guarantees.md#retries``)."""

from __future__ import annotations

import pytest

from masivo._protocol.errors import MasivoError
from masivo._protocol.sending.attempt import Attempt
from masivo._protocol.sending.backoff import Backoff, full_jitter
from protocol.simulator import Dice

ERROR = MasivoError("slow down", status=429)


def dice(*draws: float) -> Dice:
    """A random source of these draws."""
    source = Dice(1)
    source.fix(*draws)
    return source


def attempt(failures: int) -> Attempt:
    """An attempt that was sent after this many failures in a row."""
    made = Attempt()
    made.failures = failures
    return made


@pytest.mark.parametrize(
    ("failures", "bound"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (8, 30.0), (10_000, 30.0)],
)
def test_full_jitter_is_a_random_part_of_a_bound_that_doubles(failures: int, bound: float) -> None:
    """The wait is a random part of 0.5 s, doubling with every failure in a row, up to 30 s."""
    for draw in (0.0, 0.25, 0.999):
        assert full_jitter(failures, dice(draw)) == pytest.approx(draw * bound)
    assert full_jitter(failures, dice(1.0), longest=3.0) == min(bound, 3.0)


def test_a_good_response_ends_the_waits() -> None:
    """After a good response there is no wait, and no draw."""
    backoff = Backoff(dice(0.5, 0.5))
    assert backoff.wait() == 0.0
    backoff.failed(attempt(0), None, ERROR, 0.0)
    assert backoff.wait() == 0.25
    backoff.failed(attempt(1), None, ERROR, 0.0)
    assert backoff.wait() == 0.5
    backoff.succeeded()
    assert backoff.wait() == 0.0


def test_requests_that_were_out_together_count_once() -> None:
    """A failure counts on from what was known when its request was sent."""
    backoff = Backoff(dice())
    backoff.failed(attempt(0), None, ERROR, 0.0)
    backoff.failed(attempt(0), None, ERROR, 0.0)
    assert backoff.failures == 1
    backoff.failed(attempt(1), None, ERROR, 0.0)
    backoff.failed(attempt(0), None, ERROR, 0.0)
    assert backoff.failures == 2


def test_a_hold_lasts_to_the_latest_retry_after() -> None:
    """Up to 300 s are waited for; a shorter one does not cut a longer one."""
    backoff = Backoff(dice())
    backoff.hold(None, ERROR, 10.0)
    assert backoff.hold_until <= 10.0
    backoff.hold(300.0, ERROR, 10.0)
    backoff.hold(5.0, ERROR, 10.0)
    assert backoff.hold_until == 310.0
    assert backoff.long_hold(10.0) is None


def test_a_longer_retry_after_fails_batches_until_it_is_over() -> None:
    """Beyond 300 s, batches fail with the error, until it has passed."""
    backoff = Backoff(dice())
    backoff.hold(300.5, ERROR, 10.0)
    assert backoff.long_hold(310.0) is ERROR
    assert backoff.long_hold(310.5) is None
    later = MasivoError("later")
    backoff.hold(400.0, later, 100.0)
    backoff.hold(301.0, ERROR, 110.0)
    assert backoff.long_hold(450.0) is later
