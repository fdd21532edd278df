"""A day in virtual time: a driver wakes up when a timer says so, and sends what is due, no more."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

import pytest

from masivo.testing.conformance import perform, scenario

from .worlds import WORLDS

if TYPE_CHECKING:
    from masivo.testing.conformance import Report, Run

DAY = 86_400
EVENTS = 72
"""One every twenty minutes."""
REFRESH = 900
REFRESHES = DAY // REFRESH
"""The first comes within one ``refresh_interval``, then one in each."""

AT_THE_START = {"threads": 0, "asyncio": 1, "trio": 1}
"""A loop's task polls once when the client is entered; a thread is not started before the first
event."""


@scenario("3")
def light_traffic(run: Run) -> None:
    """An event every twenty minutes, for a day: each goes out alone, 30 s after it came."""
    client = run.client(refresh_interval=REFRESH)
    for number in range(EVENTS):
        client.send_numbers(number)
        run.advance(DAY / EVENTS)
    run.sent(*([number] for number in range(EVENTS)))
    run.equal(
        [each.at for each in run.server.batches], [1200 * n + 30 for n in range(EVENTS)], "times"
    )
    run.authorizations(1 + REFRESHES)
    run.equal(len(run.server.requests), EVENTS + 1 + REFRESHES, "requests")
    run.check(run.now == DAY, "the day is not over")


@cache
def a_day(world: str) -> Report:
    """What came of the day with one of our drivers."""
    return perform(light_traffic, WORLDS[world])


@scenario("3")
def silence(run: Run) -> None:
    """A day without an event: nothing is sent."""
    run.client()
    run.advance(DAY)
    run.equal(len(run.server.requests), 0, "requests")


@pytest.mark.parametrize("world", WORLDS)
def test_a_day_of_light_traffic(world: str) -> None:
    """An event wakes the driver three times (it comes, it is due, it is answered), a renewal of
    the token twice (it is due, it is answered), and nothing else does."""
    report = a_day(world)
    by_the_timers = 3 * EVENTS + 2 * REFRESHES + 1  # the answer to the first authorization
    polls = [at for at in report.polls if at < DAY]
    assert len(polls) == by_the_timers + AT_THE_START[world]
    assert len(set(polls)) == 1 + (2 * EVENTS - 1) + REFRESHES


@pytest.mark.parametrize("world", WORLDS)
def test_a_day_of_silence(world: str) -> None:
    """A client that has nothing to send does not wake up."""
    report = perform(silence, WORLDS[world])
    assert len([at for at in report.polls if at < DAY]) == AT_THE_START[world]


def test_a_day_that_is_told_line_by_line(caplog: pytest.LogCaptureFixture) -> None:
    """Lines of the log at DEBUG cost no poll and start no thread: the day is as it was."""
    quiet = a_day("threads")
    with caplog.at_level(logging.DEBUG, "masivo"):
        told = perform(light_traffic, WORLDS["threads"])
    assert len(caplog.records) > 10 * EVENTS
    assert len([at for at in told.polls if at < DAY]) == len([at for at in quiet.polls if at < DAY])
    assert told.transcript == quiet.transcript


def test_a_day_is_the_same_in_three_worlds() -> None:
    """The transcripts of the day are identical, byte for byte."""
    threads, asyncio, trio = (a_day(world).transcript for world in WORLDS)
    assert threads == asyncio == trio
