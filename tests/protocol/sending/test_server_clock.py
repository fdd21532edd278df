"""The server's time, as a lower bound (``docs/reference/guarantees.md#clock-of-the-server``)."""

from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masivo._protocol.sending.server_clock import ServerClock

NOON = 1_767_268_800.0
"""2026-01-01T12:00:00Z."""


class Clocks:
    """A server's clock that knows nothing yet, and a wall clock to be set."""

    def __init__(self, wall: float = NOON) -> None:
        self.wall = wall
        self.server = ServerClock(lambda: self.wall)

    def see(self, date: float, now: float, *, success: bool = True) -> None:
        """Have a response come at ``now`` with a ``Date``."""
        self.server.observe(formatdate(date, usegmt=True), now, success=success)

    def time(self, now: float) -> float:
        """The server's time at ``now``."""
        return self.server.offset(now) + now


def test_without_a_date_the_local_clock_serves_with_a_margin() -> None:
    """Nothing known: the local clock less 2 s."""
    clocks = Clocks()
    assert clocks.time(100.0) == NOON - 2.0
    clocks.server.observe(None, 100.0)
    clocks.server.observe("no date", 100.0)
    clocks.wall += 5.0
    assert clocks.time(105.0) == NOON + 3.0


def test_a_date_is_a_lower_bound_of_the_servers_time() -> None:
    """A response's ``Date`` counts from its arrival, whatever the wall clock reads."""
    clocks = Clocks(0.0)
    clocks.see(NOON, 100.0)
    clocks.wall = 100.0
    assert clocks.time(200.0) == NOON + 100.0


def test_the_highest_bound_counts() -> None:
    """A bound up to a minute below leaves the higher one; a higher one replaces it."""
    clocks = Clocks()
    clocks.see(NOON, 100.0)
    clocks.see(NOON + 10.0, 115.0)
    assert clocks.time(115.0) == NOON + 15.0
    clocks.see(NOON - 30.0, 130.0)
    assert clocks.time(130.0) == NOON + 30.0
    clocks.see(NOON + 31.0, 130.5)
    assert clocks.time(130.5) == NOON + 31.0
    assert clocks.server.set_back == 0


@pytest.mark.parametrize(("below", "counts"), [(60.0, False), (61.0, True)])
def test_a_date_more_than_a_minute_below_counts(below: float, counts: bool) -> None:
    """The server's clock was set back, or an earlier ``Date`` was wrong: the newer one counts."""
    clocks = Clocks()
    clocks.see(NOON, 100.0)
    clocks.see(NOON - below, 100.0)
    assert clocks.time(100.0) == (NOON - below if counts else NOON)
    assert clocks.server.set_back == counts


@pytest.mark.parametrize("drift", [-3600.0, -61.0, -60.0, 60.0, 61.0, 288_000.0])
def test_the_wall_clock_counts_where_it_has_advanced_alone(drift: float) -> None:
    """If it has advanced by more than a minute more than the monotonic clock since the last
    ``Date``, its progress counts, until the next ``Date``. If it was set back, it does not."""
    clocks = Clocks()
    clocks.see(NOON, 100.0)
    clocks.wall += 20.0 + drift
    assert clocks.time(120.0) == NOON + 20.0 + (drift if drift > 60.0 else 0.0)
    assert clocks.server.is_doubtful(120.0) == (drift > 60.0)
    if drift > 0.0:  # the server's clock went on, too
        clocks.see(NOON + 20.0 + drift, 120.0)
        clocks.wall += 10.0
        assert clocks.time(130.0) == NOON + 30.0 + drift
        assert clocks.server.set_back == 0


@pytest.mark.parametrize(("ahead", "doubtful"), [(60.0, False), (61.0, True)])
def test_a_date_far_ahead_is_doubtful_until_a_success_confirms_it(
    ahead: float, doubtful: bool
) -> None:
    """It counts at once for stamps; but it may be wrong, as is one that the next takes back."""
    clocks = Clocks()
    clocks.see(NOON, 100.0)
    assert not clocks.server.is_doubtful(100.0)
    clocks.see(NOON + ahead, 100.0, success=False)
    assert clocks.time(100.0) == NOON + ahead
    clocks.see(NOON + ahead, 100.0, success=False)
    assert clocks.server.is_doubtful(100.0) == doubtful
    clocks.see(NOON, 100.0)
    assert not clocks.server.is_doubtful(100.0)


def test_a_wall_clock_that_was_set_counts_until_the_next_date() -> None:
    """A wall clock that was set forward, while nothing slept, is found out by the next ``Date``."""
    clocks = Clocks()
    clocks.see(NOON, 100.0)
    clocks.wall += 5000.0
    assert clocks.time(100.0) == NOON + 5000.0
    clocks.see(NOON, 100.5)
    assert clocks.time(101.0) == NOON + 1.0
    assert clocks.server.set_back == 1


def test_a_local_clock_that_was_ahead_is_found_out() -> None:
    """The first ``Date`` counts, however far below the local clock it is."""
    clocks = Clocks()
    clocks.see(NOON - 3600.0, 100.0)
    assert clocks.time(100.0) == NOON - 3600.0
    assert clocks.server.set_back == 1


@given(
    st.floats(-1e9, 1e9),
    st.lists(
        st.tuples(
            st.floats(0, 50),  # seconds until the request
            st.floats(0, 9),  # of its way to the server
            st.floats(0, 9),  # of the response's way back
            st.just(0.0) | st.floats(70, 1e6),  # of sleep before
        ),
        min_size=1,
        max_size=20,
    ),
)
def test_the_bound_is_never_later_than_the_truth(
    offset: float, responses: list[tuple[float, float, float, float]]
) -> None:
    """Whatever the delays, and however long the machine slept: the time is never later than the
    server's true one; after a response it is behind by no more than that response's way and a
    second. Without sleep it never runs backwards."""
    clocks = Clocks()
    now, slept, last = 1000.0, 0.0, -math.inf

    def truth() -> float:
        return now + slept + 1e9 + offset

    for number, (pause, there, back, sleep) in enumerate(responses):
        slept += sleep
        now += pause
        clocks.wall = NOON + now + slept
        if number:
            before = clocks.time(now)
            assert last - 1e-5 <= before <= truth() + 1e-5
            last = before
        now += there
        date = math.floor(truth())
        now += back
        clocks.wall = NOON + now + slept
        clocks.see(date, now)
        time = clocks.time(now)
        assert truth() - back - 1.0 - 1e-5 <= time <= truth() + 1e-5
        assert sleep or time >= last - 1e-5
        last = time
