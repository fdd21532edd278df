"""Backoff and ``Retry-After`` (``docs/reference/guarantees.md#retries``)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.errors import MasivoError
from masivo._protocol.sending.backoff import Backoff, full_jitter
from masivo._protocol.sending.server_clock import ServerClock
from masivo._protocol.wire.responses import ISOLATED, REPEATED, retry_after

from .simulator import WALL, Dice

ERROR = MasivoError("slow down", status=429)


def dice(*draws: float) -> Dice:
    """A random source of these draws."""
    source = Dice(1)
    source.fix(*draws)
    return source


def test_the_retryable_statuses() -> None:
    """Repeated: 408, 429, 500, 502, 503, 504. Isolated: 400, 413, 422."""
    assert {408, 429, 500, 502, 503, 504} == REPEATED
    assert {400, 413, 422} == ISOLATED


@pytest.mark.parametrize(
    ("failures", "bound"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (8, 30.0), (10_000, 30.0)],
)
def test_full_jitter_is_a_random_part_of_a_bound_that_doubles(failures: int, bound: float) -> None:
    """The wait is a random part of 0.5 s, doubling with every failure in a row, up to 30 s."""
    for draw in (0.0, 0.25, 0.999):
        assert full_jitter(failures, dice(draw)) == pytest.approx(draw * bound)
    assert full_jitter(failures, dice(1.0), longest=3.0) == min(bound, 3.0)


def test_a_good_answer_ends_the_waits() -> None:
    """After a good answer there is no wait, and no draw."""
    backoff = Backoff(dice(0.5, 0.5))
    assert backoff.wait() == 0.0
    backoff.failed(0, None, ERROR, 0.0)
    assert backoff.wait() == 0.25
    backoff.failed(1, None, ERROR, 0.0)
    assert backoff.wait() == 0.5
    backoff.succeeded()
    assert backoff.wait() == 0.0


def test_requests_that_were_out_together_count_once() -> None:
    """A failure counts on from what was known when its request was sent."""
    backoff = Backoff(dice())
    backoff.failed(0, None, ERROR, 0.0)
    backoff.failed(0, None, ERROR, 0.0)
    assert backoff.failures == 1
    backoff.failed(1, None, ERROR, 0.0)
    backoff.failed(0, None, ERROR, 0.0)
    assert backoff.failures == 2


def test_a_hold_lasts_to_the_latest_retry_after() -> None:
    """Up to 300 s are waited for; a shorter one does not cut a longer one."""
    backoff = Backoff(dice())
    backoff.hold(None, ERROR, 10.0)
    assert backoff.hold_until <= 10.0
    backoff.hold(300.0, ERROR, 10.0)
    backoff.hold(5.0, ERROR, 10.0)
    assert backoff.hold_until == 310.0
    assert backoff.refuses(10.0) is None


def test_a_longer_retry_after_refuses_until_it_is_over() -> None:
    """Beyond 300 s, requests are refused with the error, until it has passed."""
    backoff = Backoff(dice())
    backoff.hold(300.5, ERROR, 10.0)
    assert backoff.refuses(310.0) is ERROR
    assert backoff.refuses(310.5) is None
    later = MasivoError("later")
    backoff.hold(400.0, later, 100.0)
    backoff.hold(301.0, ERROR, 110.0)
    assert backoff.refuses(450.0) is later


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "x"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "5.5"}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "  7 "}, 7.0),
        ({"retry-after": "007"}, 7.0),
        ({"retry-after": "7".zfill(20)}, 7.0),
        ({"retry-after": "9" * 40}, 1e9),
        ({"retry-after": "Fri, 31 Dec 9999 00:00:00 GMT"}, 1e9),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 31 Dec 2025 00:00:00 GMT"}, 0.0),
        (
            {
                "retry-after": "Fri, 02 Jan 2026 00:00:30 GMT",
                "date": "Fri, 02 Jan 2026 00:00:00 GMT",
            },
            30.0,
        ),
    ],
)
def test_retry_after_is_read_in_both_forms(headers: dict[str, str], wait: float | None) -> None:
    """Seconds, or a date by the answer's own ``Date`` or the local clock; anything else is None,
    a date that is over is 0, and what no driver could sleep for is cut to some 31 years."""
    assert retry_after(headers, ServerClock(lambda: WALL)) == wait


@given(st.text(max_size=30) | st.integers().map(str), st.text(max_size=30))
def test_whatever_the_header_the_wait_is_none_or_a_number(text: str, date: str) -> None:
    """Whatever the header: None, or a number of seconds from 0 on that a driver can sleep for."""
    wait = retry_after({"retry-after": text, "date": date}, ServerClock(lambda: WALL))
    assert wait is None or 0.0 <= wait <= 1e9
