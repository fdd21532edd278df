"""The server's time, as a lower bound."""

from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.sending.server_clock import ServerClock

NOON = 1_767_268_800.0
"""2026-01-01T12:00:00Z."""


def clock(wall: float = 0.0) -> ServerClock:
    """A server's clock that knows nothing yet."""
    return ServerClock(lambda: wall)


def test_without_a_date_the_local_clock_serves_with_a_margin() -> None:
    """Nothing known: the local clock less 2 s, less the age."""
    known = clock(NOON)
    assert known.time(100.0, 100.0) == NOON - 2.0
    assert known.time(90.0, 100.0) == NOON - 12.0
    known.observe(None, 99.0, 100.0)
    known.observe("no date", 99.0, 100.0)
    assert known.time(100.0, 100.0) == NOON - 2.0


def test_a_date_is_a_lower_bound_of_the_servers_time() -> None:
    """A response's ``Date`` counts from its arrival."""
    known = clock()
    known.observe("Thu, 01 Jan 2026 12:00:00 GMT", 99.0, 100.0)
    assert known.time(100.0, 200.0) == NOON
    assert known.time(107.5, 200.0) == NOON + 7.5
    assert known.time(90.0, 200.0) == NOON - 10.0


def test_an_earlier_bound_does_not_replace_a_later_one() -> None:
    """A bound that the request's duration explains leaves the later one."""
    known = clock()
    known.observe("Thu, 01 Jan 2026 12:00:00 GMT", 100.0, 100.0)
    known.observe("Thu, 01 Jan 2026 12:00:10 GMT", 110.0, 115.0)
    assert known.time(115.0, 115.0) == NOON + 15.0
    known.observe("Thu, 01 Jan 2026 12:00:20 GMT", 119.0, 119.5)
    assert known.time(119.5, 119.5) == NOON + 20.0


def test_a_contradiction_starts_anew() -> None:
    """A ``Date`` that cannot be true beside the bound kept so far shows a clock set back."""
    known = clock()
    known.observe("Thu, 01 Jan 2026 12:00:00 GMT", 100.0, 100.0)
    known.observe("Thu, 01 Jan 2026 12:00:00 GMT", 110.0, 111.0)
    assert known.time(111.0, 111.0) == NOON


@given(
    st.floats(-1e9, 1e9),
    st.lists(
        st.tuples(st.floats(0, 50), st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=20
    ),
)
def test_the_bound_is_never_later_than_the_truth(
    offset: float, responses: list[tuple[float, float, float]]
) -> None:
    """Whatever the delays: the time is never later than the server's true one, never more than the
    delays and a second behind it, and never runs backwards."""
    known = clock()
    now, last, slack = 1000.0, -math.inf, math.inf
    for pause, there, back in responses:
        now += pause
        sent_at = now
        now += there
        date = formatdate(math.floor(now + 1e9 + offset), usegmt=True)
        now += back
        known.observe(date, sent_at, now)
        slack = min(slack, back + 1.0)
        time = known.time(now, now)
        truth = now + 1e9 + offset
        assert truth - slack - 1e-5 <= time <= truth + 1e-5
        assert time >= last - 1e-5
        last = time


@pytest.mark.parametrize(("date", "offset"), [(29.0, 10.0), (28.0, 8.0)])
def test_a_response_contradicts_the_bound_by_more_than_a_second(date: float, offset: float) -> None:
    """A ``Date`` is cut to the second: one that is just a second behind may be right."""
    clock = ServerClock(lambda: 0.0)
    clock.observe(formatdate(20.0, usegmt=True), 10.0, 10.0)
    assert clock.time(0.0, 10.0) == 10.0
    clock.observe(formatdate(date, usegmt=True), 20.0, 20.0)
    assert clock.time(0.0, 20.0) == offset
