"""The age and the stamps of events on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.requests import numbers, payload
from protocol.simulator import event
from protocol.spooled import SpoolDriver

from .outages import killed, outage, recover, serve

if TYPE_CHECKING:
    from masivo.protocol import Request


def test_a_stamp_is_the_time_of_acceptance() -> None:
    """By the server's clock where it was known; else the wall clock's, corrected by what its sender
    finds."""
    driver = SpoolDriver()
    driver.sign_in(headers={"date": "Thu, 01 Jan 2026 00:10:00 GMT"})  # ours is 10 min behind
    driver.send_numbers(1)
    after = killed(driver)
    after.now += 100.0
    after.sign_in(headers={"date": "Thu, 01 Jan 2026 00:11:40 GMT"})
    after.flush()
    (request,) = recover(after)
    assert payload(request)[0]["issued_at"] == "2026-01-01T00:10:00.000Z"

    driver = SpoolDriver()
    driver.send_numbers(1)  # 2026-01-01T00:00:00 by our clock
    after = killed(driver)
    after.now += 100.0
    after.sign_in(headers={"date": "Thu, 01 Jan 2026 00:11:40 GMT"})
    after.flush()
    (request,) = recover(after)
    assert payload(request)[0]["issued_at"] == "2026-01-01T00:09:58.000Z"  # with the margin


def test_no_stamp_is_in_the_future() -> None:
    """An event was accepted when the server's clock seemed to be later than its sender finds it:
    its stamp is the time at which it is sent."""
    driver = SpoolDriver()
    driver.sign_in(headers={"date": "Thu, 01 Jan 2026 02:00:00 GMT"})
    driver.send_numbers(1)
    after = killed(driver)
    after.now += 100.0
    after.sign_in(headers={"date": "Thu, 01 Jan 2026 00:01:40 GMT"})
    after.flush()
    (request,) = recover(after)
    assert payload(request)[0]["issued_at"] == "2026-01-01T00:01:40.000Z"


def test_an_event_does_not_age_by_a_clock_that_is_set() -> None:
    """Of the client's own log, before the server's time was known: as on a machine that starts with
    a wrong clock. And while the clocks have diverged, no event ends for its age."""
    driver = SpoolDriver(max_queue=1)
    driver.send_numbers(1, 2, 3)
    driver.now += 100.0
    driver.wall += 400_000.0
    driver.sign_in(headers={"date": "Mon, 05 Jan 2026 15:08:20 GMT"})
    driver.flush()
    sent = [each for request in recover(driver) for each in payload(request)]
    assert [each["n"] for each in sent] == [1, 2, 3]
    assert all(each["issued_at"] >= "2026-01-05T15:06:00" for each in sent)

    driver = SpoolDriver(max_queue=1, max_retries=0)
    driver.sign_in(headers={"date": "Thu, 01 Jan 2026 00:00:00 GMT"})
    driver.send_numbers(1, 2)
    driver.flush()
    outage(driver, 20.0)
    driver.wall += 400_000.0
    assert [numbers(each) for each in recover(driver)] == [[1], [2]]


def test_what_a_caller_dated_keeps_its_date() -> None:
    """Also if it is read from disk."""
    driver = SpoolDriver(max_queue=1)
    driver.send(event(1), event(2, issued_at="2025-12-31T00:00:00Z"))
    driver.flush()
    bodies = [request.body for request in recover(driver)]
    assert bodies[1].count(b"issued_at") == 1
    assert b'"issued_at":"2025-12-31T00:00:00Z"' in bodies[1]


def test_an_event_of_just_72_hours_is_sent() -> None:
    """Whether its caller dated it, or the time of its acceptance counts."""
    driver = SpoolDriver()
    driver.sign_in(headers={"date": "Thu, 01 Jan 2026 00:00:00 GMT"})
    driver.send_numbers(1)
    after = killed(driver)
    after.now += 72 * 3600.0
    after.sign_in(headers={"date": "Sun, 04 Jan 2026 00:00:00 GMT"})
    after.send(event(2, issued_at="2026-01-01T00:00:00Z"))
    after.flush()
    assert sorted(n for each in recover(after, 0.0) for n in numbers(each)) == [1, 2]


def test_what_was_left_keeps_the_time_of_its_call() -> None:
    """Also behind another customer's later events."""
    driver = SpoolDriver(max_retries=0, batch_size=1)
    driver.sign_in(headers={"date": "Thu, 01 Jan 2026 00:00:00 GMT"})
    driver.send(event(1, "a"), event(2, "a"))  # at 00:00:00
    stamps: dict[int, str] = {}

    def handle(request: Request) -> None:
        (sent,) = payload(request)
        if sent["n"] == 1 and 3 not in stamps:
            driver.respond(503, to=request)
        else:
            stamps[sent["n"]] = sent["issued_at"]
            driver.accept(request)

    serve(driver, 100.0, handle)
    driver.send(event(3, "b"))
    serve(driver, 100.0, handle)
    assert [*stamps] == [3, 1, 2]
    assert stamps[2] == "2026-01-01T00:00:00.000Z"
    assert stamps[3] > "2026-01-01T00:01:00.000Z"


def test_halves_of_an_adopted_batch_keep_its_stamps() -> None:
    """They were noted with it."""
    driver = SpoolDriver()
    driver.sign_in(headers={"date": "Thu, 01 Jan 2026 00:10:00 GMT"})
    driver.send_numbers(1, 2)
    driver.flush()
    (request,) = driver.out
    stamps = [each["issued_at"] for each in payload(request)]
    after = killed(driver)
    after.now += 100.0
    after.flush()
    after.grant(headers={"date": "Thu, 01 Jan 2026 00:11:40 GMT"})
    after.respond(422)
    halves = recover(after)
    assert [each["issued_at"] for half in halves for each in payload(half)] == stamps
