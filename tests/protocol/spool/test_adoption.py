"""A refused key, and logs that others left."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from masivo.protocol import (
    FlushResult,
    Response,
    unwrap,
)
from protocol.requests import numbers, payload
from protocol.simulator import error_of, event
from protocol.spooled import SpoolDriver

from .outages import killed, recover

# ── The key ──────────────────────────────────────────────────────────────────────────────────────


def test_events_are_accepted_while_the_key_is_refused() -> None:
    """Their deliveries end; the key is tried again after 30 s, then 60, … up to 10 min. Once the
    API has accepted a batch, it is 30 s again."""
    driver = SpoolDriver()
    driver.buffer.use()
    driver.advance(7.0)  # the key has its own time, whenever logs are looked for
    tries: list[float] = []
    (first,) = driver.send_numbers(1)
    for _ in range(8):
        driver.poll()
        (request,) = driver.out
        tries.append(driver.now)
        driver.respond(403, {"error": "no"}, to=request)
        while not driver.out:
            driver.sleep()
    assert error_of(first).spooled
    waits = [round(after - before) for before, after in pairwise(tries)]
    assert waits == [30, 60, 120, 240, 480, 600, 600]
    (second,) = driver.send_numbers(2)
    driver.grant()
    assert sorted(n for each in recover(driver) for n in numbers(each)) == [1, 2]
    assert first.claim() is not None
    assert second.claim() is not None
    driver.send_numbers(3)
    driver.flush()
    driver.respond(401, to=driver.batch())
    until = driver.now + 30.0
    driver.respond(403, {"error": "no"}, to=driver.authorization())
    while not driver.out:
        driver.sleep()
    assert driver.now == pytest.approx(until)


def test_a_batch_that_stepped_aside_goes_when_the_key_has_rested() -> None:
    """At that moment, whenever logs are looked for."""
    driver = SpoolDriver(max_retries=0)
    driver.sign_in()
    driver.send_numbers(1)
    driver.advance(7.0)
    driver.flush()
    driver.dice.always = 0.0
    driver.respond(503)
    driver.respond(401)
    until = driver.now + 30.0
    driver.respond(403)
    while not driver.out:
        driver.sleep()
    assert driver.now == pytest.approx(until)


def test_a_delivery_ends_at_once_while_the_key_is_refused() -> None:
    """Also that of an event which waits for a retry; nothing is in flight then."""
    driver = SpoolDriver(batch_size=1, max_retries=4)
    driver.dice.always = 0.5
    driver.sign_in()
    (first,) = driver.send(event(1, "a"))
    driver.respond(401)
    driver.respond(403, to=driver.authorization())
    (second,) = driver.send(event(2, "b"))
    assert [error_of(each).spooled for each in (first, second)] == [True, True]
    stats = driver.buffer.stats()
    assert (stats.in_flight, stats.queued, stats.spooled) == (0, 0, 2)
    until = driver.now + 30.0
    while not driver.out:
        driver.sleep()
    assert driver.now == pytest.approx(until)


def test_a_flush_ends_at_once_while_the_key_is_refused() -> None:
    """As without a spool."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    driver.respond(403)
    ticket = driver.flush()
    assert unwrap(ticket.claim()) == FlushResult(0, 0, 1)
    driver.close(5.0)
    assert driver.closed


# ── Adoption ─────────────────────────────────────────────────────────────────────────────────────


def test_events_of_a_killed_process_are_adopted_in_order() -> None:
    """From the first use on; they count as adopted."""
    driver = SpoolDriver()
    driver.send(*(event(n, f"c{n % 3}") for n in range(50)))
    after = killed(driver)
    assert after.wake_at is None  # not before its first use
    ticket = after.flush()
    sent = [each for request in recover(after) for each in payload(request)]
    for customer in range(3):
        mine = [each["n"] for each in sent if each["customer_id"] == f"c{customer}"]
        assert mine == list(range(customer, 50, 3))
    assert unwrap(ticket.claim()) == FlushResult(50, 0, 0)
    assert after.buffer.stats().adopted == 50
    after.close()
    assert after.files() == []


@pytest.mark.parametrize("call", ["send", "flush", "drain", "token", "use"])
def test_logs_are_adopted_from_the_first_use_on(call: str) -> None:
    """Whichever it is."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    after = killed(driver)
    after.poll()
    assert after.buffer.stats().adopted == 0
    if call == "send":
        after.buffer.send(event(2, "other"))
    else:
        getattr(after.buffer, call)()
    after.poll()
    assert after.buffer.stats().adopted == 1


def test_an_event_that_is_stored_alone_is_a_use() -> None:
    """Also if it is the first."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    after = killed(driver, max_queue_bytes=10)
    assert after.send_numbers(2)[0].done()
    assert sorted(n for each in recover(after) for n in numbers(each)) == [1, 2]


def test_a_close_delivers_a_log_that_it_adopts() -> None:
    """Though it began before the log was read."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    after = killed(driver)
    after.buffer.use()
    after.close()
    assert [numbers(each) for each in recover(after)] == [[1]]
    assert after.closed
    assert after.files() == []


def test_an_adopter_may_be_killed_too() -> None:
    """What it had delivered is not sent again, and the rest is."""
    driver = SpoolDriver(batch_size=10)
    driver.send(*(event(n) for n in range(30)))
    second = killed(driver, batch_size=10)
    second.flush()
    second.grant()
    assert numbers(second.batch()) == list(range(10))
    second.accept()
    assert numbers(second.batch()) == list(range(10, 20))
    third = killed(second, batch_size=10)
    third.flush()
    assert [numbers(each) for each in recover(third)] == [
        list(range(10, 20)),
        list(range(20, 30)),
    ]


def test_a_log_that_is_held_is_left_alone() -> None:
    """Two live clients of one account on one disk each send their own, once."""
    first = SpoolDriver()
    second = SpoolDriver(first.disk)
    first.send_numbers(1)
    second.send_numbers(2)
    second.flush()
    assert [numbers(each) for each in recover(second)] == [[2]]
    first.flush()
    assert [numbers(each) for each in recover(first)] == [[1]]


def test_logs_are_looked_for_every_30_seconds() -> None:
    """A process that is killed later is found."""
    first = SpoolDriver()
    first.send_numbers(1)
    second = SpoolDriver(first.disk)
    second.send_numbers(2)
    second.flush()
    recover(second, 10.0)
    first.process.kill()
    assert [numbers(each) for each in recover(second, 31.0)] == [[1]]


def test_a_log_of_another_key_is_named_in_one_warning() -> None:
    """With the command that shows it; it is left alone."""
    first = SpoolDriver(key="another-key-0123456789")
    first.send_numbers(1)
    second = killed(first)
    second.send_numbers(2)
    second.flush()
    assert [numbers(each) for each in recover(second, 100.0)] == [[2]]
    (warning,) = [line for line in second.warnings if "1 log is of another key" in line]
    assert "masivo spool " in warning


def test_an_interrupted_call_mixes_no_logs() -> None:
    """The first event of an adopter, passed on and not counted when its call was interrupted, is in
    another log than those that were adopted: each is removed from its own."""
    former = SpoolDriver(batch_size=10, max_in_flight=2)
    for n in range(25):
        former.send(event(n, f"c{n}"))
    driver = killed(former, batch_size=10, max_in_flight=2)
    driver.sign_in()
    first, *_ = driver.out
    pass_on = driver.buffer._input

    def interrupted(effect: Any) -> None:
        pass_on(effect)
        driver.buffer._input = pass_on
        raise KeyboardInterrupt

    driver.buffer._input = interrupted
    with pytest.raises(KeyboardInterrupt):
        driver.send(event(100, "a"))
    for _ in range(6):
        driver._poll()
        for request in [each for each in driver.out if each is not first]:
            driver.out.remove(request)
            driver.engine.hand_back(request.id, Response(200, {}, b'{"data":{}}'))
    last = killed(driver)
    last.buffer.use()
    sent_again = {number for request in recover(last) for number in numbers(request)}
    assert {*numbers(first)} <= sent_again
