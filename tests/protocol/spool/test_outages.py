"""Outages: what waits, steps aside and is left, and what recovers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo.protocol import (
    BatchSent,
    ClientReleased,
    EventsAdopted,
    FlushResult,
    unwrap,
)
from protocol.requests import is_authorization, numbers, payload
from protocol.simulator import error_of, event, result_of
from protocol.spooled import SpoolDriver

from .outages import in_flight, killed, outage, recover, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import Request


def test_deliveries_end_in_an_outage_and_all_events_go_after_it() -> None:
    """Those behind a batch that stepped aside end with it; nothing is lost, doubled or out of a
    customer's order."""
    driver = SpoolDriver(max_retries=1, batch_size=10)
    deliveries = driver.send(*(event(n, f"c{n % 7}") for n in range(100)))
    ticket = driver.flush()
    outage(driver, 600.0)
    assert all(error_of(each).spooled for each in deliveries)
    assert unwrap(ticket.claim()) == FlushResult(0, 0, 100)
    sent = [each for request in recover(driver, 120.0) for each in payload(request)]
    assert sorted(each["n"] for each in sent) == list(range(100))
    for customer in range(7):
        mine = [each["n"] for each in sent if each["customer_id"] == f"c{customer}"]
        assert mine == sorted(mine)


def test_a_flush_in_an_outage_ends_though_its_events_were_left_before() -> None:
    """After one more try."""
    driver = SpoolDriver(max_retries=0)
    driver.send_numbers(1)
    driver.flush()
    outage(driver, 300.0)
    ticket = driver.flush()
    outage(driver, 1.0)
    assert unwrap(ticket.claim()) == FlushResult(0, 0, 1)


def test_a_flush_ends_with_an_authorization_that_fails() -> None:
    """Also one that waits for events which were left before."""
    driver = SpoolDriver(max_retries=0)
    driver.send_numbers(1)
    for _ in range(2):
        ticket = driver.flush()
        while not driver.out:
            driver.sleep()
        driver.break_off(to=driver.authorization())
        assert unwrap(ticket.claim()) == FlushResult(0, 0, 1)


def test_a_flush_in_an_outage_ends_with_the_first_try() -> None:
    """It does not wait until each of the batches that were left before has been tried."""
    driver = SpoolDriver(max_retries=0, batch_size=1)
    driver.send(event(1, "a"), event(2, "b"), event(3, "c"))
    driver.flush()
    outage(driver, 300.0)
    ticket = driver.flush()
    if is_authorization(driver.only()):
        driver.grant()
    driver.respond(503)
    assert unwrap(ticket.claim()) == FlushResult(0, 0, 3)


def test_a_flush_counts_what_is_on_disk_alone() -> None:
    """Together with the events that it left itself."""
    driver = SpoolDriver(max_retries=0, max_queue=2)
    driver.send_numbers(*range(5))
    ticket = driver.flush()
    outage(driver, 20.0)
    assert unwrap(ticket.claim()) == FlushResult(0, 0, 5)


def test_a_flush_counts_once_what_leaves_memory_in_an_outage() -> None:
    """An event that was left, and made room for others' then, is on disk alone: it is one."""
    driver = SpoolDriver(max_queue=2, batch_size=1, max_retries=0)
    driver.sign_in()
    driver.send_numbers(0, 1, 2, 3)
    ticket = driver.flush()
    driver.respond(503)
    assert unwrap(ticket.claim()) == FlushResult(0, 0, 4)
    assert driver.buffer.stats().spooled == 4


def test_a_flush_waits_for_what_was_not_tried_yet() -> None:
    """Though another customer's events were left meanwhile."""
    driver = SpoolDriver(max_retries=0, batch_size=1)
    driver.send(event(1, "a"), event(2, "a"), event(3, "b"))
    ticket = driver.flush()
    driver.grant()
    driver.respond(503)
    while not driver.out:
        assert ticket.claim() is None
        driver.sleep()
    assert numbers(driver.batch()) == [3]
    driver.accept()
    assert unwrap(ticket.claim()) == FlushResult(1, 0, 2)


def test_a_flush_ends_with_its_client() -> None:
    """It waits neither for the store nor for events on disk."""
    driver = SpoolDriver(max_queue=1, batch_size=1, listening=True)
    driver.sign_in()
    driver.send_numbers(1, 2)
    ticket = driver.flush()
    driver.held = True
    driver.accept()
    assert ticket.claim() is None
    for _ in range(2):  # the second finds nothing to do
        driver.buffer.destroy()
    driver.poll()
    assert unwrap(ticket.claim()) == FlushResult(1, 0, 1)
    driver.held = False
    driver.work()
    assert sum("of this client stays in the spool" in line for line in driver.warnings) == 1
    assert sum(isinstance(each, ClientReleased) for each in driver.activity) == 1
    assert driver.buffer.stats().spooled == 1


def test_a_store_is_left_alone_once_it_was_released() -> None:
    """Though it would be time to tend it."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    tended = driver.spool.tended
    driver.now += 100.0
    driver.buffer.destroy()
    driver.poll()
    assert driver.spool.tended == tended


def test_a_response_to_a_client_that_ended_is_ignored() -> None:
    """Its event stays on disk, for another to send."""
    driver = SpoolDriver()
    driver.client()
    request = in_flight(driver, 1)
    driver.buffer.destroy()
    driver.poll()
    driver.accept(request)
    stats = driver.buffer.stats()
    assert (stats.delivered, stats.spooled) == (0, 1)


def test_the_triggers_of_what_was_on_disk() -> None:
    """``spool``, but for a batch that was formed before: it keeps its own."""
    driver = SpoolDriver(listening=True, max_retries=0)
    in_flight(driver, 1)
    driver.send_numbers(2)
    driver.respond(403)
    recover(driver)
    in_flight(driver, 3)
    driver.send_numbers(4)
    after = killed(driver, listening=True)
    after.flush()
    recover(after)
    sent = [each for each in driver.activity + after.activity if isinstance(each, BatchSent)]
    triggers = ["flush", "flush", "spool", "flush", "spool", "spool"]
    assert [each.trigger for each in sent] == triggers
    assert sum(each.events for each in after.activity if isinstance(each, EventsAdopted)) == 2


@pytest.mark.parametrize("works", [0, 1])
def test_what_is_read_as_a_client_ends_stays_on_disk(works: int) -> None:
    """It is no event of the client's any more, nor is a batch that another may have sent."""
    first = SpoolDriver()
    if works == 0:
        in_flight(first, 1)
    else:
        first.send_numbers(1)
    driver = killed(first)
    driver.held = True
    driver.buffer.use()
    driver.poll()
    for _ in range(works):
        driver.work()  # the log is adopted, and its events are not read
    driver.buffer.destroy()
    driver.work()
    stats = driver.buffer.stats()
    assert (stats.adopted, stats.spooled) == (0, 0)


def test_a_released_client_counts_what_it_left() -> None:
    """As spooled: nothing waits in its buffer any more."""
    driver = SpoolDriver(max_queue=3)
    driver.send_numbers(1, 2, 3, 4)
    driver.buffer.destroy()
    driver.poll()
    stats = driver.buffer.stats()
    assert (stats.accepted, stats.queued, stats.in_flight, stats.spooled) == (4, 0, 0, 4)
    driver = SpoolDriver()
    driver.send_numbers(1)
    driver.buffer.destroy()
    driver.poll()
    assert any("1 event of this client stays in the spool" in line for line in driver.warnings)


def test_the_first_last_try_that_fails_ends_a_close() -> None:
    """The others would fail as well; they stay, and one line says how many."""
    driver = SpoolDriver(batch_size=1, max_retries=4)
    *_, last = driver.send(event(1, "a"), event(2, "b"), event(3, "c"))
    driver.close(10.0)
    driver.grant()
    driver.respond(503)  # a wait before a retry is cut short
    driver.respond(503)
    assert driver.closed
    assert error_of(last).message == "the client was closed before this could be delivered"
    assert any("3 events of this client stay in the spool" in line for line in driver.warnings)
    assert driver.buffer.stats().oldest is None  # another's to send
    after = SpoolDriver(driver.disk, at=driver.now)
    after.flush()
    assert sorted(n for each in recover(after) for n in numbers(each)) == [1, 2, 3]


def test_an_authorization_that_fails_ends_a_close() -> None:
    """Its events stay, also those that were left before."""
    driver = SpoolDriver(max_retries=0)
    driver.send_numbers(1)
    driver.flush()
    driver.respond(503, to=driver.authorization())
    ticket = driver.close()
    while not driver.out:
        driver.sleep()
    driver.respond(503, to=driver.authorization())
    assert ticket.claim() is True
    assert driver.closed


def test_one_batch_stops_nobody_for_ever() -> None:
    """An event that the API cannot take is found among others, and rejected with its last error."""
    driver = SpoolDriver(max_retries=1, on_error=lambda failed: None)

    def handle(request: Request) -> None:
        if 13 in numbers(request):
            driver.respond(500, to=request)
        else:
            driver.accept(request)

    driver.send(*(event(n, f"c{n}") for n in range(20)))
    driver.flush()
    serve(driver, 30.0, handle)
    assert driver.buffer.stats().delivered == 0  # nothing else was there to be tried
    driver.send(event(100, "other"))
    ticket = driver.flush()
    serve(driver, 300.0, handle)
    assert unwrap(ticket.claim()) == FlushResult(1, 0, 20)  # the others failed once more
    stats = driver.buffer.stats()
    assert (stats.delivered, stats.failed, stats.spooled) == (20, 1, 0)
    assert [failed.event["n"] for failed in driver.failed] == [13]
    (name,) = driver.files(".rejected.jsonl")
    assert b'"n":13' in driver.disk.files[name].data
    assert driver.failed[0].error.status == 500


def test_a_half_that_holds_a_fault_goes_once() -> None:
    """Its events are under suspicion already: it is halved again, without a retry."""
    driver = SpoolDriver(max_retries=2)
    sizes: list[int] = []

    def handle(request: Request) -> None:
        which = numbers(request)
        if 3 in which:
            sizes.append(len(which))
            driver.respond(500, to=request)
        else:
            driver.accept(request)

    driver.send(*(event(n, f"c{n}") for n in range(8)))
    driver.flush()
    for n in range(10):
        serve(driver, 60.0, handle)
        driver.send(event(100 + n, "other"))
        driver.flush()
    serve(driver, 60.0, handle)
    assert sizes[-12:] == [4, 2, *[1] * 10]
    assert driver.buffer.stats().failed == 1


@pytest.mark.parametrize("retries", [0, 1, 4])
@pytest.mark.parametrize("halves", [[[0, 1]], [[0, 1, 2, 3, 4], [0, 1]]])
def test_an_event_at_fault_fails_ten_times_alone(retries: int, halves: list[list[int]]) -> None:
    """Once others were accepted, what holds it is halved, without a retry. Alone it has the retries
    of any batch; then, with others accepted in between, the rest of the ten in one row. It is known
    of each request if another may follow."""
    driver = SpoolDriver(max_retries=retries, refresh_interval=None)
    driver.sign_in()
    tries: list[tuple[list[int], bool]] = []

    def handle(request: Request) -> None:
        if 0 in numbers(request):
            tries.append((numbers(request), request.last_try))
            driver.respond(500, to=request)
        else:
            driver.accept(request)

    driver.send(*(event(n, f"c{n}") for n in halves[0]))
    driver.flush()
    serve(driver, 60.0, handle)
    tries.clear()
    driver.send(event(9, "other"))
    driver.flush()
    serve(driver, 200.0, handle)
    first = [([0], False)] * retries + [([0], True)]
    rest = [([0], False)] * (8 - retries) + [([0], True)]
    assert tries == [*[(which, True) for which in halves], *first, *rest]
    assert driver.buffer.stats().failed == 1


def test_an_event_behind_one_at_fault_is_sent_when_that_has_ended() -> None:
    """Its delivery has its own outcome, as without a spool."""
    driver = SpoolDriver(max_retries=9, refresh_interval=None)
    in_flight(driver, 1)
    driver.accept()
    driver.send_numbers(2)
    driver.flush()
    for _ in range(9):
        driver.respond(500)
        while not driver.out:
            driver.sleep()
    (behind,) = driver.send_numbers(3)
    driver.respond(500)
    assert driver.buffer.stats().failed == 1
    driver.flush()
    assert [numbers(each) for each in recover(driver)] == [[3]]
    assert result_of(behind).success


def test_what_stepped_aside_goes_behind_what_comes_during_a_hold() -> None:
    """The next batch is tried first: it shows which of them is at fault."""
    driver = SpoolDriver(max_retries=0, refresh_interval=None)
    driver.dice.always = 0.0  # the batch may go at once, but for the hold
    in_flight(driver, 1)
    driver.respond(429, headers={"retry-after": "17"})
    driver.advance(1.0)
    driver.send(event(2, "other"))
    driver.flush()
    driver.sleep()
    assert numbers(driver.batch()) == [2]


def test_a_hold_does_not_keep_what_stepped_aside_back_from_a_close() -> None:
    """As it keeps no other batch back: the time until the deadline is used."""
    driver = SpoolDriver(max_retries=0, batch_size=1, max_in_flight=2)
    driver.sign_in()
    driver.send(event(1, "a"), event(2, "b"))
    slow, fails = driver.out
    driver.close(60.0)
    driver.respond(429, headers={"retry-after": "17"}, to=fails)
    assert driver.out == [slow]
    driver.advance(0.9)
    assert [numbers(each) for each in driver.out] == [[1], [2]]


def test_batches_that_were_put_aside_go_side_by_side() -> None:
    """As many as ``max_in_flight``, and no more."""
    driver = SpoolDriver(max_retries=0, batch_size=2, max_in_flight=3)
    driver.send(*(event(n, f"c{n}") for n in range(12)))
    driver.flush()
    outage(driver, 300.0)
    while not driver.out:
        driver.sleep()
    assert len(driver.out) == 3
    assert sorted(n for each in recover(driver) for n in numbers(each)) == [*range(12)]


@pytest.mark.parametrize("which", [[1], [1, 2]])
def test_an_event_is_not_at_fault_for_a_request_that_was_not_sent(which: list[int]) -> None:
    """The API has not seen it, however often that was, and whatever it has just accepted. A batch
    is not halved for it."""
    driver = SpoolDriver(max_retries=1)

    def handle(request: Request) -> None:
        if 1 in numbers(request):
            assert numbers(request) == which
            driver.break_off(to=request, sent=False)
        else:
            driver.accept(request)

    driver.send(*(event(n, "a") for n in which))
    driver.flush()
    for n in range(12):
        serve(driver, 60.0, handle)
        driver.send(event(100 + n, "other"))
        driver.flush()
    serve(driver, 60.0, handle)
    stats = driver.buffer.stats()
    assert (stats.delivered, stats.failed) == (12, 0)


def test_who_is_stuck_reads_other_customers_events() -> None:
    """A customer whose events fill the memory, and whose batches always fail, stops nobody."""
    driver = SpoolDriver(max_retries=0, max_queue=4, batch_size=2)
    delivered: list[int] = []

    def handle(request: Request) -> None:
        if any(n < 10 for n in numbers(request)):
            driver.respond(500, to=request)
        else:
            delivered.extend(numbers(request))
            driver.accept(request)

    driver.send(*(event(n, "bad") for n in range(4)), event(10, "good"))
    driver.flush()
    serve(driver, 60.0, handle)
    assert delivered == [10]


def test_a_batch_that_failed_stops_nobody_while_its_request_is_out() -> None:
    """Though its events fill the memory: when it is sent again after it stepped aside, and when it
    was halved as it is at fault."""
    driver = SpoolDriver(max_retries=0, max_queue=2, batch_size=2, max_in_flight=2)
    driver.dice.always = 0.0
    in_flight(driver, 0, 1)
    driver.respond(503)
    again = driver.batch()
    driver.send(event(10, "good"))
    (good,) = [each for each in driver.out if each is not again]
    assert numbers(good) == [10]
    driver.dice.always = 0.5
    driver.respond(503, to=again)
    driver.accept(good)
    driver.respond(503)  # directly after the API has accepted others
    half = driver.batch()
    assert numbers(half) == [0]
    driver.send(event(11, "good"))
    driver.sleep()
    assert [numbers(each) for each in driver.out if each is not half] == [[11]]


def poisoned(driver: SpoolDriver, delivered: list[int]) -> Callable[[Request], None]:
    """Handle requests as an API that fails with the events below 10,000 and accepts others."""

    def handle(request: Request) -> None:
        if any(n < 10_000 for n in numbers(request)):
            driver.respond(500, to=request)
        else:
            delivered.extend(numbers(request))
            driver.accept(request)

    return handle


def test_a_customer_that_fails_stays_on_disk_and_stops_nobody() -> None:
    """However many events it has there: others' events behind them are read, and later ones are
    sent from memory. When the API takes the customer's events, all go, in order."""
    driver = SpoolDriver(max_retries=0, max_queue=1_000)
    delivered: list[int] = []
    handle = poisoned(driver, delivered)
    driver.send(*(event(n, "bad") for n in range(3_000)), event(10_000, "good"))
    driver.flush()
    serve(driver, 60.0, handle)
    assert delivered == [10_000]
    later = driver.send(event(10_001, "good"), event(3_000, "bad"))
    driver.flush()
    serve(driver, 60.0, handle)
    assert delivered == [10_000, 10_001]
    assert result_of(later[0]).success
    assert error_of(later[1]).spooled
    stats = driver.buffer.stats()
    assert stats.accepted == 3_003
    assert (stats.spooled + stats.failed, stats.queued) == (3_001, 0)
    assert driver.buffer.outbox.pending <= 1_000
    assert [n for each in recover(driver, 600.0) for n in numbers(each)] == [
        *range(stats.failed, 3_001)
    ]
    assert driver.buffer.stats().spooled == 0


def test_an_adopted_customer_that_fails_stays_on_disk_and_stops_nobody() -> None:
    """As one of the client's own log, and it counts as adopted once. Its log is let go when the
    last of its events has ended."""
    first = SpoolDriver(max_queue=1_000)
    first.send(*(event(n, "bad") for n in range(2_500)), event(10_000, "good"))
    driver = killed(first, max_retries=0, max_queue=1_000)
    delivered: list[int] = []
    driver.buffer.use()
    driver.poll()
    serve(driver, 60.0, poisoned(driver, delivered))
    assert delivered == [10_000]
    assert driver.buffer.outbox.pending <= 1_000
    assert [n for each in recover(driver, 600.0) for n in numbers(each)] == [*range(2_500)]
    stats = driver.buffer.stats()
    assert (stats.adopted, stats.delivered, stats.spooled) == (2_501, 2_501, 0)
    assert driver.files(".log") == []


def test_a_batch_that_is_larger_than_memory_stops_nobody() -> None:
    """Another client had noted it, whose batches were larger, and it always fails."""
    first = SpoolDriver(batch_size=2_000)
    first.send(*(event(n, "bad") for n in range(2_000)))
    first.grant()
    assert len(numbers(first.batch())) == 2_000
    first.send(event(10_000, "good"))
    driver = killed(first, max_retries=0, max_queue=50, batch_size=1_000)
    delivered: list[int] = []
    driver.buffer.use()
    driver.poll()
    serve(driver, 60.0, poisoned(driver, delivered))
    assert delivered == [10_000]


def test_an_event_that_comes_while_its_customer_is_read_again_keeps_its_place() -> None:
    """Whether the read that is out has found it or not."""
    driver = SpoolDriver(max_retries=0, max_queue=1_600)
    driver.send(*(event(n, "bad") for n in range(2_000)), event(10_000, "good"))
    serve(driver, 60.0, poisoned(driver, []))
    driver.held = True
    accepted: list[int] = []
    number = 2_000
    while number < 2_200:
        for request in list(driver.out):
            accepted += [] if is_authorization(request) else numbers(request)
            driver.accept(request)
        works, driver.works = driver.works, []
        done = [(work.id, work.run()) for work in works]
        if done:
            driver.send(event(number, "bad"))
            number += 1
        for each in done:
            driver.engine.hand_back(*each)
        driver.poll()
        if not (driver.out or driver.works):
            driver.sleep()
    driver.held = False
    driver.work()
    accepted += [n for each in recover(driver, 600.0) for n in numbers(each)]
    assert accepted == [*range(2_200)]


def test_an_event_behind_others_stays_there_while_another_customer_is_read_again() -> None:
    """The read passes the event, and earlier ones of its customer that are not in memory."""
    driver = SpoolDriver(max_queue_bytes=4_000, max_event_bytes=3_900, batch_size=1, max_retries=0)
    driver.dice.always = 0.0
    driver.sign_in()
    driver.send(*(event(n, "bad", text="x" * 1_000) for n in range(3)))
    driver.respond(503)
    driver.send(event(10, "good", text="x" * 1_500))  # the others of "bad" make room
    assert sorted(numbers(each)[0] for each in driver.out) == [0]
    assert driver.outbox.backlog.own.skipped == {"bad"}
    driver.spool.before = lambda: driver.buffer.send(event(11, "good", text="x" * 3_500))
    driver.buffer.send(event(12, "good"))
    driver.accept()
    accepted = [n for each in recover(driver, 120.0) for n in numbers(each)]
    assert [n for n in accepted if n < 10] == [1, 2]
    assert [n for n in accepted if n >= 10] == [10, 11, 12]


@pytest.mark.parametrize("adopted", [False, True])
def test_a_flush_counts_events_that_went_back_to_disk_once(adopted: bool) -> None:
    """It waits for them if the API takes them before any is given up."""
    driver = SpoolDriver(max_retries=0, max_queue=1_000)
    delivered: list[int] = []
    driver.send(*(event(n, "bad") for n in range(1_500)), event(10_000, "good"))
    if adopted:
        driver = killed(driver, max_retries=0, max_queue=1_000)
        driver.buffer.use()
        driver.poll()
    serve(driver, 60.0, poisoned(driver, delivered))
    ticket = driver.flush()
    recover(driver, 600.0)
    result = unwrap(ticket.claim())
    assert result == FlushResult(1_501, 0, 0)


@pytest.mark.parametrize("seconds", [17, 317])
def test_what_stepped_aside_goes_when_a_hold_is_over(seconds: int) -> None:
    """To the second: nothing else has to happen."""
    driver = SpoolDriver(max_retries=0, refresh_interval=None)
    in_flight(driver, 1)
    driver.respond(429, headers={"retry-after": str(seconds)})
    until = driver.now + seconds
    while not driver.out:
        driver.sleep()
    assert driver.now == pytest.approx(until)


def test_memory_keeps_its_bound_while_a_batch_is_aside() -> None:
    """As long as another is in flight, no more is read."""
    driver = SpoolDriver(max_retries=0, max_queue=4, batch_size=2)
    driver.send(event(0, "bad"), event(1, "bad"))
    driver.flush()
    driver.grant()
    driver.respond(500)
    driver.send(*(event(n, "good") for n in range(2, 12)))
    driver.flush()
    while not driver.out:
        driver.sleep()
    assert driver.buffer.outbox.pending <= 4


def test_a_store_is_tended_at_once_where_it_is_due_and_then_left_alone() -> None:
    """No poll is made for it in between."""
    driver = SpoolDriver(segment=200, refresh_interval=None)
    in_flight(driver, 1, 2, 3)
    driver.accept()
    for _ in range(2):
        assert driver.wake_at is not None
        assert driver.wake_at > driver.now + 20.0
        driver.sleep()
