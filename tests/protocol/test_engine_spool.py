"""A client with a store: two ends, notes, outages, adoption, bounds
(``docs/reference/guarantees.md#events-on-disk``)."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from masivo import MasivoClosedError
from masivo._protocol.batches import backlog
from masivo._protocol.batches.adoption import SCAN
from masivo._protocol.events.form import size
from masivo._protocol.json import encode
from masivo.protocol import (
    Api,
    BatchSent,
    ClientReleased,
    EventsAdopted,
    Failed,
    FlushResult,
    Note,
    StoreError,
    StoreWork,
    unwrap,
)

from .requests import header, is_authorization, numbers, payload
from .simulator import Driver, error_of, event, result_of
from .spooled import SpoolDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import Delivery, Request


def outage(driver: Driver, seconds: float, status: int = 503) -> None:
    """Let the API fail for a time: whatever is sent gets this status."""
    until = driver.now + seconds
    while driver.now < until:
        for request in list(driver.out):
            if is_authorization(request):
                driver.grant()
            else:
                driver.respond(status, to=request)
        if driver.out:
            continue
        if driver.wake_at is None or driver.wake_at > until:
            driver.now = until
            driver.poll()
        else:
            driver.sleep()


def serve(driver: Driver, seconds: float, handle: Callable[[Request], None]) -> None:
    """Grant tokens for a time, and have every batch handled."""
    until = driver.now + seconds
    while driver.now < until:
        for request in list(driver.out):
            if is_authorization(request):
                driver.grant()
            else:
                handle(request)
        if not driver.out:
            assert driver.wake_at is not None
            driver.sleep_until(min(driver.wake_at, until))


def recover(driver: Driver, seconds: float = 60.0) -> list[Request]:
    """Let the API accept everything for a time; the batches, in order."""
    accepted: list[Request] = []
    until = driver.now + seconds
    driver.poll()
    while True:
        for request in list(driver.out):
            if is_authorization(request):
                driver.grant()
            else:
                accepted.append(request)
                driver.accept(request)
        if driver.out:
            continue
        if driver.wake_at is None or driver.wake_at >= until:
            driver.now = until
            driver.poll()
            return accepted
        driver.sleep()


def killed(driver: SpoolDriver, **options: object) -> SpoolDriver:
    """Kill a process, and begin another on the same disk."""
    driver.process.kill()
    return SpoolDriver(driver.disk, at=driver.now, **options)  # type: ignore[arg-type]  # of a test


def in_flight(driver: SpoolDriver, *which: int) -> Request:
    """Have one batch of these events on its way."""
    driver.send_numbers(*which)
    driver.flush()
    if is_authorization(driver.only()):
        driver.grant()
    return driver.batch()


# ── On disk, and off it ──────────────────────────────────────────────────────────────────────


def test_an_event_is_on_disk_when_the_call_returns() -> None:
    """Before any poll."""
    driver = SpoolDriver()
    driver.buffer.send(event(1))
    after = killed(driver)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1]]


def test_a_delivered_event_leaves_the_disk() -> None:
    """When the client is released, nothing is left of its log."""
    driver = SpoolDriver()
    in_flight(driver, 1, 2)
    driver.accept()
    driver.close()
    assert driver.closed
    assert driver.files() == []


def test_a_batch_is_noted_before_it_is_sent() -> None:
    """Nothing goes out while the note is not written."""
    driver = SpoolDriver()
    driver.sign_in()
    driver.held = True
    driver.send_numbers(1)
    driver.flush()
    while driver.works and not driver.out:
        driver.work()
    assert driver.files(".notes")
    assert numbers(driver.batch()) == [1]


def test_a_noted_batch_goes_again_as_the_same_bytes_under_the_same_key() -> None:
    """Whatever the limits of the client that adopts it, and with the stamps that it had, or that
    its caller gave it."""
    driver = SpoolDriver()
    driver.sign_in()
    driver.send(event(1), event(2, issued_at="2026-01-01T00:00:00Z"), event(3))
    driver.flush()
    first = driver.batch()
    after = killed(driver, batch_size=1)
    after.now += 3600.0
    after.flush()
    again, *others = recover(after)
    assert again.body == first.body
    assert header(again, "idempotency-key") == header(first, "idempotency-key")
    assert others == []


def test_each_part_of_a_rejected_batch_is_noted() -> None:
    """A crash in the middle of a halved batch sends its second half as that, under its key."""
    driver = SpoolDriver()
    in_flight(driver, 1, 2, 3, 4)
    driver.respond(422)
    half = driver.batch()
    assert numbers(half) == [1, 2]
    driver.accept()
    second = driver.batch()
    after = killed(driver)
    after.flush()
    (again,) = recover(after)
    assert again.body == second.body
    assert header(again, "idempotency-key") == header(second, "idempotency-key")


def test_a_flush_ends_when_the_removals_are_written() -> None:
    """What it reports as delivered is not sent again after a crash. A removal is written at once,
    or after the work that is out."""
    driver = SpoolDriver()
    driver.sign_in()
    driver.send_numbers(1)
    ticket = driver.flush()
    driver.held = True
    driver.advance(SCAN)
    assert len(driver.works) == 1, "upkeep"
    driver.accept()
    assert ticket.claim() is None
    driver.held = False
    driver.work()
    assert unwrap(ticket.claim()) == FlushResult(1, 0, 0)
    driver.send_numbers(2)
    ticket = driver.flush()
    driver.held = True
    driver.accept()
    assert unwrap(ticket.claim()) == FlushResult(1, 0, 0)
    assert driver.works == []
    after = killed(driver)
    after.flush()
    assert recover(after) == []


def test_an_interrupt_of_a_note_keeps_no_batch_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in an event loop's poll; the batch goes with the next one, as after a note that could
    not be written."""
    driver = SpoolDriver()
    driver.sign_in()
    driver.send_numbers(1)
    driver.poll()
    assert driver.spool.own is not None
    with monkeypatch.context() as patch:
        patch.setattr(driver.spool.own, "note", interrupt)
        with pytest.raises(KeyboardInterrupt):
            driver.flush()
    driver.flush()
    assert numbers(driver.batch()) == [1]


def interrupt(*_: object) -> None:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


def test_a_poll_does_not_wait_for_a_store_that_is_not_quick() -> None:
    """Such as one on another host: its notes and removals are steps of work."""
    driver = SpoolDriver(quick=False)
    driver.sign_in()
    driver.send_numbers(1)
    driver.flush()
    driver.accept()
    driver.held = True
    driver.send_numbers(2)
    ticket = driver.flush()
    assert driver.out == []
    assert len(driver.works) == 1, "a note"
    driver.work()
    driver.accept()
    assert len(driver.works) == 1, "a removal"
    assert ticket.claim() is None
    driver.work()
    assert unwrap(ticket.claim()) == FlushResult(1, 0, 0)


# ── Two ends ─────────────────────────────────────────────────────────────────────────────────


def test_a_delivery_ends_before_its_event() -> None:
    """When the retries have run out the error says that the event is kept; it is sent later, once,
    and on_error hears nothing of it."""
    driver = SpoolDriver(max_retries=1, on_error=lambda failed: None)
    (delivery,) = driver.send_numbers(1)
    ticket = driver.flush()
    outage(driver, 20.0)
    error = error_of(delivery)
    assert (error.status, error.spooled, error.retryable) == (503, True, False)
    assert driver.settled == [delivery]
    assert delivery.encoded == b""
    assert "kept on disk" in str(error)
    assert unwrap(ticket.claim()) == FlushResult(0, 0, 1)
    stats = driver.buffer.stats()
    assert (stats.accepted, stats.delivered, stats.failed) == (1, 0, 0)
    assert stats.spooled + stats.in_flight == 1
    assert sum("kept in the spool" in line for line in driver.warnings) == 1
    assert [numbers(each) for each in recover(driver)] == [[1]]
    assert driver.failed == []
    stats = driver.buffer.stats()
    assert (stats.delivered, stats.spooled) == (1, 0)


def test_the_deliveries_behind_a_part_that_steps_aside_end_with_it() -> None:
    """The parts of a halved batch that stay behind one of their customer wait as long as that does,
    and no caller waits for them. A part of other customers is sent, and its callers wait on."""
    driver = SpoolDriver(max_retries=0, batch_size=4, idle_timeout=1e6, max_wait=1e6)
    driver.sign_in()
    sent = driver.send(*(event(n, "d" if n == 2 else "c") for n in range(4)))
    behind = driver.send(event(4, "c"), event(5, "d"))
    driver.respond(422)
    assert numbers(driver.batch()) == [0, 1]
    driver.respond(403)
    assert [each.done() for each in sent] == [True, True, False, True]
    assert error_of(sent[3]).spooled
    assert [each.done() for each in behind] == [True, False]


@pytest.mark.parametrize(("most", "batches"), [(1, [[0, 1, 2], [3, 4]]), (2, [[1, 3, 4], [0, 2]])])
def test_the_order_of_customers(most: int, batches: list[list[int]]) -> None:
    """One batch in flight takes events as they came; with several, a customer who has a whole batch
    goes first (``docs/reference/guarantees.md#order``)."""
    driver = SpoolDriver(max_in_flight=most, batch_size=3, refresh_interval=None)
    driver.send(*(event(n, customer) for n, customer in enumerate("ababb")))
    driver.flush()
    assert [numbers(each) for each in recover(driver)] == batches


@pytest.mark.parametrize("status", [403, 404, 302, 401])
def test_what_speaks_of_key_or_address_ends_no_event(status: int) -> None:
    """401 (twice), 403, 404, a redirect: the delivery ends, the event waits."""
    driver = SpoolDriver(max_retries=0)
    (delivery,) = driver.send_numbers(1)
    driver.flush()
    outage(driver, 5.0, status)
    assert error_of(delivery).spooled
    assert [numbers(each) for each in recover(driver, 120.0)] == [[1]]


def test_what_speaks_of_key_or_address_is_tried_ever_more_rarely() -> None:
    """After up to 0.5 s, doubling to 30 s. Once the API has accepted a batch, it begins anew."""
    driver = SpoolDriver(refresh_interval=None)
    driver.dice.always = 1.0
    waits: list[float] = []

    def try_again() -> None:
        began = driver.now
        driver.respond(404)
        while not driver.out:
            driver.sleep()
        waits.append(driver.now - began)

    in_flight(driver, 1)
    for _ in range(9):
        try_again()
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    driver.accept()
    in_flight(driver, 2)
    try_again()
    assert waits[-1] == 0.5


def test_a_2xx_that_broke_off_ends_the_event() -> None:
    """It may have been accepted, and is not sent again."""
    driver = SpoolDriver()
    (delivery,) = driver.send_numbers(1)
    driver.flush()
    driver.grant()
    driver.break_off(status=200)
    assert not error_of(delivery).spooled
    assert recover(driver) == []
    driver.close()
    assert driver.files() == []


def test_a_rejected_event_is_kept_with_its_error() -> None:
    """In a file of its own; it is not sent again, and on_error hears of it."""
    driver = SpoolDriver(on_error=lambda failed: None)
    in_flight(driver, 1)
    driver.respond(422, {"error": "no such brand"})
    assert [failed.event["n"] for failed in driver.failed] == [1]
    (name,) = driver.files(".rejected.jsonl")
    assert b"no such brand" in driver.disk.files[name].data
    driver.close()
    assert driver.files() == [name]


def test_a_warning_tells_of_rejected_events_that_cannot_be_kept() -> None:
    """On a full disk: they are gone, and that is said."""
    driver = SpoolDriver(on_error=lambda failed: None)
    in_flight(driver, 1)
    driver.disk.full = True
    driver.respond(422)
    assert sum("rejected events could not be kept" in line for line in driver.warnings) == 1
    assert driver.buffer.stats().failed == 1


def test_rejected_events_make_way_for_newer_ones() -> None:
    """Their files are bounded, too; a warning says how many are gone."""
    driver = SpoolDriver(on_error=lambda failed: None, most=40_000, batch_size=1)
    for n in range(40):
        driver.send_numbers(n)
        driver.flush()
        serve(driver, 120.0, lambda each: driver.respond(422, {"error": "x" * 100}, to=each))
    told = [line for line in driver.warnings if "were deleted to make room" in line]
    kept = sum(driver.disk.files[name].data.count(b"\n") for name in driver.files(".jsonl"))
    assert sum(int(line.split()[1]) for line in told) + kept == 40
    assert kept < 40


# ── Outages ──────────────────────────────────────────────────────────────────────────────────


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


# ── The key ──────────────────────────────────────────────────────────────────────────────────


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


# ── Adoption ─────────────────────────────────────────────────────────────────────────────────


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


# ── Bounds ───────────────────────────────────────────────────────────────────────────────────


def test_an_event_for_which_memory_has_no_room_is_on_disk_alone() -> None:
    """Its delivery has ended; it is sent in its place when there is room again."""
    driver = SpoolDriver(max_queue=10, batch_size=5)
    deliveries = [driver.buffer.send(event(n)) for n in range(30)]
    driver.poll()
    assert [each.done() for each in deliveries] == [False] * 10 + [True] * 20
    error = error_of(deliveries[10])
    assert type(error).__name__ == "MasivoQueueFullError"
    assert error.message == (
        "the buffer is full (max_queue=10 events, max_queue_bytes=67108864), or older events wait "
        "on disk"
    )
    assert error.spooled
    assert driver.buffer.stats().accepted == 30
    driver.flush()
    sent = [n for each in recover(driver) for n in numbers(each)]
    assert sent == list(range(30))
    assert [bool(result_of(each).success) for each in deliveries[:10]] == [True] * 10
    stats = driver.buffer.stats()
    assert (stats.accepted, stats.delivered, stats.queued, stats.spooled) == (30, 30, 0, 0)
    (later,) = driver.send_numbers(31)  # memory has room again
    assert not later.done()


def test_an_event_that_ends_while_the_log_is_read_is_not_sent_again() -> None:
    """The read may have found it before its removal was written."""
    driver = SpoolDriver(max_queue=4, max_in_flight=2, batch_size=2)
    driver.sign_in()
    driver.send(event(0, "a"), event(1, "a"), event(2, "b"), event(3, "b"))
    first, second = driver.out
    driver.held = True
    driver.send(event(4, "c"))  # on disk alone
    driver.accept(first)  # now there is room, and the log is read
    (reading,) = driver.works
    found = reading.run()
    driver.accept(second)
    driver.works, driver.held = [], False
    driver.engine.hand_back(reading.id, found)
    driver.flush()
    assert [numbers(each) for each in recover(driver)] == [[4]]


def test_an_event_behind_others_on_disk_keeps_its_place() -> None:
    """Also one whose call ended after memory had got room again."""
    driver = SpoolDriver(max_queue=4, batch_size=2)
    for n in range(8):
        driver.buffer.send(event(n))
    driver.poll()
    driver.grant()
    driver.accept()
    driver.buffer.send(event(8))
    driver.flush()
    rest = [n for each in recover(driver) for n in numbers(each)]
    assert rest == list(range(2, 9))


def test_events_on_disk_alone_wake_the_driver_once() -> None:
    """Those between two polls share their error; one warning counts them."""
    driver = SpoolDriver(max_queue=1)
    driver.sign_in()
    driver.send_numbers(1)
    wakes = driver.wakes
    second, third = driver.buffer.send(event(2)), driver.buffer.send(event(3))
    assert driver.wakes == wakes + 1
    assert second.outcome is third.outcome
    driver.poll()
    (line,) = [each for each in driver.warnings if "the buffer was full" in each]
    assert line.startswith("1 event was not delivered yet")
    fourth = driver.buffer.send(event(4))
    assert driver.wakes > wakes + 1
    assert fourth.outcome is not second.outcome


def test_memory_is_full_to_the_byte() -> None:
    """And no event stays on disk alone before."""
    length = size(SpoolDriver().buffer.send(event(1)).encoded)
    driver = SpoolDriver(max_queue_bytes=2 * length)
    assert [driver.buffer.send(event(n)).done() for n in range(3)] == [False, False, True]


def test_a_full_disk_refuses_the_event() -> None:
    """It was not accepted; what was there is whole, and when space returns so does the spool."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    driver.disk.full = True
    (second,) = driver.send_numbers(2)
    error = error_of(second)
    assert type(error).__name__ == "MasivoQueueFullError"
    assert error.message.endswith(": the event was not accepted")
    assert not error.spooled
    assert error.retryable
    assert driver.buffer.stats().overflowed == 1
    driver.disk.full = False
    driver.send_numbers(3)
    driver.flush()
    assert sorted(n for each in recover(driver) for n in numbers(each)) == [1, 3]


def test_drain_need_not_wait_for_a_store_from_which_events_were_removed() -> None:
    """That makes room, and no write has failed since."""
    driver = SpoolDriver()
    in_flight(driver, 1)
    driver.accept()
    assert driver.buffer.drain().outcome is True


def test_drain_waits_for_room_on_the_disk() -> None:
    """It returns when something has left the spool."""
    driver = SpoolDriver(most=20_000, segment=2_000)
    n = 0
    while not driver.buffer.send(event(n, text="x" * 300)).done():
        n += 1
    driver.poll()
    ticket = driver.buffer.drain()
    driver.poll()
    for _ in range(2):  # the store is looked at every second
        assert ticket.claim() is None
        assert driver.wake_at == driver.now + 1.0
        driver.sleep()
    recover(driver, 5.0)
    assert ticket.claim() is True


def test_drain_waits_a_second_after_a_write_that_failed() -> None:
    """Then the store may be tried again."""
    driver = SpoolDriver()
    driver.disk.full = True
    driver.send_numbers(1)
    ticket = driver.buffer.drain()
    driver.poll()
    assert ticket.claim() is None
    driver.sleep_until(driver.now + 0.9)
    assert ticket.claim() is None
    driver.sleep_until(driver.now + 0.1)
    assert ticket.claim() is True


def test_an_event_past_72_hours_is_not_sent() -> None:
    """It counts as rejected, with that reason."""
    driver = SpoolDriver(max_retries=0)
    driver.send_numbers(1)
    driver.flush()
    outage(driver, 60.0)
    driver.now += 73 * 3600.0
    driver.send_numbers(2)
    driver.flush()
    assert [numbers(each) for each in recover(driver)] == [[2]]
    assert driver.buffer.stats().failed == 1
    driver.close()
    (name,) = driver.files()
    assert b"older than 72 hours" in driver.disk.files[name].data


def test_an_event_that_its_caller_dated_is_not_sent_past_72_hours() -> None:
    """Though it was never out of memory."""
    driver = SpoolDriver()
    driver.send(event(1, issued_at="2025-12-20T00:00:00Z"), event(2, "d"))
    driver.flush()
    assert [numbers(each) for each in recover(driver)] == [[2]]
    assert driver.buffer.stats().failed == 1


def test_an_event_whose_own_date_cannot_be_read_ages_from_its_call() -> None:
    """What the API makes of the date is its own affair."""
    api = Api(max_age=3600.0)
    driver = SpoolDriver(max_retries=0, on_error=lambda failed: None, api=api)
    driver.send(event(1, issued_at="soon"))
    driver.flush()
    outage(driver, 3000.0)
    assert driver.failed == []
    outage(driver, 1200.0)
    assert [failed.event["n"] for failed in driver.failed] == [1]


def test_an_adopted_event_past_72_hours_is_not_sent() -> None:
    """By its own ``issued_at``, too; without ``Api.max_age`` it is."""
    driver = SpoolDriver()
    driver.send(event(1), event(2, "d", issued_at="2025-12-20T00:00:00Z"))
    after = killed(driver)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1]]
    driver = SpoolDriver()
    driver.send(event(1))
    after = killed(driver, api=Api(max_age=None))
    after.now += 100 * 3600.0
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1]]


# ── Logs and memory ──────────────────────────────────────────────────────────────────────────


def test_an_adopted_batch_leaves_no_trace_in_the_counts() -> None:
    """After it, a call wakes the driver no more often than before."""
    driver = SpoolDriver()
    driver.send(*(event(n, text="x" * 1_000) for n in range(5)))
    driver.flush()
    driver.grant()
    after = killed(driver, max_batch_bytes=6_000, max_event_bytes=2_000)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[*range(5)]]
    for _ in range(2):  # nor does one of its own
        after.send_numbers(5)
        wakes = after.wakes
        for n in range(6, 20):
            after.buffer.send(event(n))
        assert after.wakes == wakes
        after.send(*(event(n, text="x" * 1_000) for n in range(20, 24)))
        after.flush()
        recover(after)


def test_an_adopted_log_is_let_go_when_its_events_have_ended() -> None:
    """Not only at the end of the client: nothing is left of it."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    after = killed(driver)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1]]
    assert after.files() == []


def test_a_release_ends_the_deliveries_of_events_that_are_not_queued_yet() -> None:
    """They wait behind one that is on disk alone, and stay there themselves."""
    driver = SpoolDriver(max_queue=2)
    in_flight(driver, 1, 2, 3)
    driver.held = True
    driver.accept()
    (fourth,) = driver.send_numbers(4)
    driver.buffer.destroy()
    driver.poll()
    assert error_of(fourth).spooled
    stats = driver.buffer.stats()
    assert (stats.queued, stats.in_flight, stats.delivered, stats.spooled) == (0, 0, 2, 2)


def test_damage_to_a_log_is_counted() -> None:
    """The client's own, or one that it adopts; the events around it are delivered."""
    for adopted in (False, True):
        driver = SpoolDriver(max_queue=1)
        driver.send_numbers(*range(8))
        (name,) = driver.files(".log")
        data = driver.disk.files[name].data
        for n in (2, 5):
            data[data.index(b'"n":%d' % n)] ^= 255
        after = killed(driver) if adopted else driver
        after.flush()
        sent = [n for each in recover(after) for n in numbers(each)]
        assert sent == [0, 1, 3, 4, 6, 7]
        assert after.buffer.stats().spooled == 0
        said = [line.split()[1] for line in after.warnings if "could not be read" in line]
        assert said == (["2"] if adopted else ["1", "1"])


def test_a_batch_that_may_have_been_sent_goes_first() -> None:
    """Before the log's other events, which are read while the token is fetched."""
    driver = SpoolDriver(batch_size=1)
    driver.send(event(1, "a"), event(2, "b"))
    driver.flush()
    driver.grant()
    assert numbers(driver.batch()) == [1]
    after = killed(driver, batch_size=1)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1], [2]]


def test_a_batch_that_may_have_been_sent_waits_for_its_customers() -> None:
    """Of two that held events of one customer, the second goes when the first has its outcome."""
    first = SpoolDriver()
    second = SpoolDriver(first.disk)
    for number, driver in enumerate((first, second)):
        in_flight(driver, number)
    first.process.kill()
    after = killed(second, max_in_flight=2)
    after.buffer.use()
    after.sign_in()
    sent = numbers(after.batch())
    after.accept()
    assert sorted(sent + numbers(after.batch())) == [0, 1]


def test_a_noted_batch_that_cannot_be_read_stops_nothing() -> None:
    """What of it is an event is sent in another batch."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    position = driver.spool.append(b"no event", 1000.0, True)
    assert driver.spool.own is not None
    driver.spool.own.note(Note([0, position], "the key", b""))
    driver.send_numbers(2)
    after = killed(driver)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1, 2]]
    assert after.files(".log") == []


def test_requests_that_were_not_sent_do_not_count_against_a_batch() -> None:
    """After them, a batch has all its retries."""
    driver = SpoolDriver(max_retries=2)
    driver.send_numbers(1)
    driver.flush()
    driver.grant()
    for _ in range(3):
        driver.break_off(sent=False)
        while not driver.out:
            driver.sleep()
    began = driver.now
    for _ in range(3):
        driver.respond(500)
        while not driver.out:
            driver.sleep()
    assert driver.now - began < 10.0


def test_what_is_read_keeps_to_the_bytes_of_memory() -> None:
    """``max_queue_bytes``, whatever their number; the rest is read as there is room."""
    driver = SpoolDriver()
    driver.send(*(event(n, text="x" * 300) for n in range(40)))
    after = killed(driver, max_queue_bytes=4_000, max_event_bytes=1_000)
    after.flush()
    after.grant()
    assert 5 <= after.buffer.outbox.pending <= 11
    assert sorted(n for each in recover(after) for n in numbers(each)) == [*range(40)]


# ── Several callers at once ──────────────────────────────────────────────────────────────────


def crowded() -> SpoolDriver:
    """A driver with event 0 in memory, and room for a small event, but not for a large one."""
    driver = SpoolDriver(max_queue_bytes=3_000, max_event_bytes=2_000)
    driver.sign_in()
    driver.buffer.send(event(0, text="x" * 1_800))
    return driver


def delivers_the_rest(driver: SpoolDriver, which: list[int], *, of: int) -> None:
    """Check that these events are delivered in this order, each once, of so many in all."""
    driver.flush()
    assert [n for each in recover(driver) for n in numbers(each)] == which
    stats = driver.buffer.stats()
    assert (stats.accepted, stats.delivered, stats.spooled, stats.queued) == (of, of, 0, 0)
    gate = driver.outbox.gate
    assert (gate.pending, gate.ended_bytes) == (0, gate.count()[2])


def test_an_event_stays_behind_one_that_was_stored_alone_during_its_call() -> None:
    """It had room in memory, but the log has the other one first."""
    driver = crowded()
    driver.spool.before = lambda: driver.buffer.send(event(1, text="x" * 1_800))
    delivery = driver.buffer.send(event(2))
    delivers_the_rest(driver, [0, 1, 2], of=3)
    assert result_of(delivery).success


def test_an_event_stays_behind_one_without_room_in_memory() -> None:
    """Also one that is sent before the call of that one returns."""
    driver = crowded()
    driver.spool.after = lambda: driver.buffer.send(event(2))
    driver.buffer.send(event(1, text="x" * 1_800))
    delivers_the_rest(driver, [0, 1, 2], of=3)

    driver = SpoolDriver(max_queue=1)
    in_flight(driver, 0)

    def meanwhile() -> None:
        driver.accept()
        driver.buffer.send(event(2))

    driver.spool.after = meanwhile
    driver.buffer.send(event(1))
    delivers_the_rest(driver, [1, 2], of=3)


def test_an_event_whose_room_was_taken_during_its_call_stays_on_disk() -> None:
    """It was stored, and is sent behind the other."""
    driver = SpoolDriver(max_queue=1, batch_size=1)
    driver.sign_in()
    driver.spool.before = lambda: driver.buffer.send(event(1))
    delivery = driver.buffer.send(event(2))
    assert error_of(delivery).spooled
    delivers_the_rest(driver, [1, 2], of=2)


def test_an_event_that_is_read_during_its_call_is_sent_once() -> None:
    """It was stored alone: its call says so after a poll has read it."""
    driver = SpoolDriver(max_queue=2)
    in_flight(driver, 0, 1)
    driver.send_numbers(2)
    accepted: list[int] = []

    def meanwhile() -> None:
        driver.accept()
        accepted.append(driver.buffer.stats().accepted)

    driver.spool.after = meanwhile
    (delivery,) = driver.send_numbers(3)
    assert accepted == [4]
    assert error_of(delivery).spooled
    delivers_the_rest(driver, [2, 3], of=4)


def test_a_delivery_ends_whose_event_is_read_during_its_call() -> None:
    """The event had room in memory; what was read is sent, and the delivery has no part in it."""
    driver = crowded()

    def meanwhile() -> None:
        driver.buffer.send(event(2, text="x" * 1_800))
        driver.flush()
        driver.accept()

    driver.spool.after = meanwhile
    delivery = driver.buffer.send(event(1))
    driver.poll()
    assert error_of(delivery).spooled
    assert error_of(delivery).message == "older events wait on disk"
    delivers_the_rest(driver, [1, 2], of=3)


# ── Time ─────────────────────────────────────────────────────────────────────────────────────


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


# ── The rest ─────────────────────────────────────────────────────────────────────────────────


def test_a_disabled_client_stores_nothing() -> None:
    """Nor does it look for what others have left."""
    driver = SpoolDriver(enabled=False)
    driver.send_numbers(1)
    driver.flush()
    assert driver.files() == []


def test_a_client_whose_files_were_deleted_stores_its_events_once_more() -> None:
    """One warning says so; nothing is lost or doubled."""
    driver = SpoolDriver()
    driver.send_numbers(1, 2)
    driver.disk.files.clear()
    driver.advance(31.0)
    said = "were deleted, or closed by other code; its events in memory (2) are stored again"
    assert [line for line in driver.warnings if said in line] != []
    after = killed(driver)
    after.flush()
    assert sorted(n for each in recover(after) for n in numbers(each)) == [1, 2]


def test_an_event_that_is_stored_again_keeps_the_time_of_its_call() -> None:
    """The next process dates it by that."""
    driver = SpoolDriver()
    driver.sign_in(headers={"date": "Thu, 01 Jan 2026 00:00:00 GMT"})
    driver.send_numbers(1)
    driver.disk.files.clear()
    driver.advance(31.0)
    after = killed(driver)
    after.wall += 31.0
    after.sign_in(headers={"date": "Thu, 01 Jan 2026 00:00:31 GMT"})
    after.flush()
    (request,) = recover(after)
    assert payload(request)[0]["issued_at"] == "2026-01-01T00:00:00.000Z"


def test_an_event_that_was_stored_again_leaves_the_disk_when_it_is_delivered() -> None:
    """The log that took the place of the lost one; and nothing of it stays in memory."""
    driver = SpoolDriver()
    request = in_flight(driver, 1)
    driver.disk.files.clear()
    driver.advance(31.0)
    driver.accept(request)
    assert driver.outbox.backlog.own.held == set()
    after = killed(driver)
    after.flush()
    assert recover(after) == []


def test_an_event_that_was_stored_again_is_not_read_from_there() -> None:
    """It is still in memory, and in flight."""
    driver = SpoolDriver(max_queue=2, batch_size=1, max_in_flight=2)
    driver.sign_in()
    driver.send(event(1, "a"), event(2, "b"))
    first, second = driver.out
    driver.disk.files.clear()
    driver.advance(31.0)
    driver.send(event(3, "c"))
    driver.accept(first)
    driver.accept(second)
    assert [numbers(each) for each in recover(driver)] == [[3]]


def test_an_event_that_is_delivered_while_it_is_stored_again_leaves_the_disk() -> None:
    """From the place where it was stored again, which nobody knew yet."""
    driver = SpoolDriver()
    request = in_flight(driver, 1)
    driver.disk.files.clear()
    driver.held = True
    driver.advance(31.0)
    while not any("are stored again" in line for line in driver.warnings):
        driver.work()
    driver.accept(request)
    driver.work()
    (work,) = driver.works
    assert len(work.steps) == 2, "a removal of each place"
    while driver.works:
        driver.work()
    after = killed(driver)
    after.flush()
    assert recover(after) == []


def test_a_flush_waits_for_others_when_one_is_at_fault() -> None:
    """Only in an outage is there no use in waiting for what was left before."""
    driver = SpoolDriver(max_retries=0, batch_size=2)
    driver.send(*(event(number, "abc"[number // 2]) for number in range(6)))
    outage(driver, 20.0)
    flush = driver.flush()
    driver.poll()
    driver.accept()
    driver.respond(503, to=driver.batch())
    assert flush.claim() is None
    recover(driver)
    assert flush.claim() == FlushResult(4, 0, 2)


def test_what_is_due_in_a_long_hold_is_left_at_once() -> None:
    """A batch that could go, and not a single event that would wait anyway."""
    driver = SpoolDriver(batch_size=2)
    driver.respond(429, headers={"retry-after": "4000"}, to=in_flight(driver, 1))
    (one,) = driver.send(event(2, "other"))
    driver.poll()
    assert one.claim() is None
    (two,) = driver.send(event(3, "other"))
    driver.poll()
    assert [error_of(each).status for each in (one, two)] == [429, 429]


def test_an_event_that_is_left_while_it_is_stored_again_stays_on_disk() -> None:
    """Its delivery has ended, but not the event: the next process delivers it."""
    driver = SpoolDriver(max_retries=0)
    request = in_flight(driver, 1)
    driver.disk.files.clear()
    driver.held = True
    driver.advance(31.0)
    while not any("are stored again" in line for line in driver.warnings):
        driver.work()
    driver.respond(503, to=request)
    while driver.works:
        driver.work()
    after = killed(driver)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1]]


def test_an_event_that_cannot_be_stored_again_is_sent_all_the_same() -> None:
    """From memory alone, as when the disk is full by then."""
    driver = SpoolDriver()
    request = in_flight(driver, 1)
    (waiting,) = driver.send_numbers(2)
    driver.disk.files.clear()
    driver.held = True
    driver.advance(31.0)
    while not any("are stored again" in line for line in driver.warnings):
        driver.work()
    driver.disk.full = True
    driver.held = False
    driver.work()
    assert driver.outbox.backlog.own.held == set()
    driver.accept(request)
    driver.flush()
    assert [numbers(each) for each in recover(driver)] == [[2]]
    assert result_of(waiting).success
    assert driver.buffer.stats().delivered == 2


# ── The end of the client, in the middle of a call ───────────────────────────────────────────


def destroyed(driver: SpoolDriver) -> None:
    """Destroy the client, and poll."""
    driver.buffer.destroy()
    driver.poll()


def test_an_event_that_was_stored_as_its_client_ended_stays_on_disk() -> None:
    """Its delivery says so, and the next process sends it."""
    driver = SpoolDriver()
    driver.sign_in()
    driver.spool.after = lambda: destroyed(driver)
    (delivery,) = driver.send_numbers(1)
    error = error_of(delivery)
    assert type(error) is MasivoClosedError
    assert error.spooled
    stats = driver.buffer.stats()
    assert (stats.accepted, stats.spooled, stats.queued) == (1, 1, 0)
    after = SpoolDriver(driver.disk, at=driver.now)
    after.flush()
    assert [numbers(each) for each in recover(after)] == [[1]]


def test_an_event_that_was_not_stored_before_its_client_ended_is_not_accepted() -> None:
    """The call fails as one on a closed client does."""
    driver = SpoolDriver()
    driver.sign_in()
    driver.spool.before = partial(destroyed, driver)
    with pytest.raises(MasivoClosedError, match="the client is closed"):
        driver.buffer.send(event(1))
    driver = SpoolDriver()
    driver.sign_in()
    driver.spool.before = partial(destroyed, driver)
    with pytest.raises(MasivoClosedError, match="the client is closed"):
        driver.buffer.put_all([(encode(event(1)), "c")])


def test_no_event_is_lost_with_a_client_that_is_abandoned() -> None:
    """So no warning says that events were not sent; one says that they stay."""
    driver = SpoolDriver()
    driver.send_numbers(1)
    driver.buffer.abandon("its loop has ended")
    driver.poll()
    assert sum("of this client stays in the spool" in line for line in driver.warnings) == 1
    assert not any("not sent" in line for line in driver.warnings)


def test_a_child_of_a_fork_begins_anew() -> None:
    """What was pending is its parent's, and so is the log."""
    driver = SpoolDriver()
    (delivery,) = driver.send_numbers(1)
    (log,) = driver.files(".log")
    driver.buffer.forked(Failed(MasivoClosedError("this process was forked")))
    assert error_of(delivery).message == "this process was forked"
    size = len(driver.disk.files[log].data)
    driver.buffer.send(event(2))
    assert len(driver.files(".log")) == 2
    assert len(driver.disk.files[log].data) == size


# ── Work on a store ──────────────────────────────────────────────────────────────────────────


def test_whatever_a_store_raises_is_the_result_of_its_step() -> None:
    """The other steps are done."""
    broken, done = StoreWork(1, [lambda: 1 // 0, lambda: 5]).run().results
    assert isinstance(broken, StoreError)
    assert str(broken).startswith("the store raised ZeroDivisionError: ")
    assert done == 5


def test_work_that_is_interrupted_is_handed_back() -> None:
    """Else its client would wait for it for ever: each step counts as failed."""
    driver = SpoolDriver()
    driver.held = True
    driver.send_numbers(1)
    driver.flush()
    work = driver.works.pop(0)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        driver.engine.do_work(StoreWork(work.id, [interrupt] * len(work.steps)))
    assert len(work.interrupted.results) == len(work.steps)
    driver.held = False
    driver.poll()
    assert [numbers(each) for each in recover(driver)] == [[1]]


def test_no_secret_is_on_disk() -> None:
    """Neither the key nor a token."""
    driver = SpoolDriver()
    token = driver.sign_in()
    in_flight(driver, 1, 2)
    for file in driver.disk.files.values():
        assert driver.settings.account.api_key.reveal().encode() not in file.data
        assert token.encode() not in file.data
    assert driver.files()


def test_a_batch_that_was_never_given_up_goes_when_the_key_has_rested() -> None:
    """It stepped aside because of the key, and waits for nothing else."""
    driver = SpoolDriver(max_in_flight=2, batch_size=1, refresh_interval=None)
    driver.dice.always = 1.0
    driver.sign_in()
    driver.send(event(1, "a"), event(2, "b"))
    first, second = driver.out
    driver.respond(503, to=first)
    driver.respond(401, to=second)
    driver.grant()
    (again,) = [each for each in driver.out if numbers(each) == [2]]
    driver.respond(401, to=again)
    assert [numbers(each) for each in driver.out] == []
    began = driver.now
    sent = recover(driver, 31.0)
    assert sorted(numbers(each) for each in sent) == [[1], [2]]
    assert driver.now == began + 31.0


def test_what_stepped_aside_is_tried_on_time_though_a_hold_ends_before() -> None:
    """At the end of the hold it is not due yet, and nothing else has to wake the driver then."""
    driver = SpoolDriver(max_retries=0, refresh_interval=None)
    driver.dice.always = 1.0
    in_flight(driver, 1)
    for _ in range(4):
        driver.respond(503)
        driver.sleep()
    driver.respond(429, headers={"retry-after": "1"})
    failed = driver.now
    driver.sleep()
    assert driver.now == failed + 1.0
    assert driver.out == []
    driver.sleep()
    assert driver.now == failed + 8.0
    assert numbers(driver.batch()) == [1]


def test_deliveries_of_a_batch_that_waits_for_a_retry_end_in_a_long_hold() -> None:
    """Another batch's response began it; nothing of the key is sent before it is over."""
    driver = SpoolDriver(max_in_flight=2, batch_size=1, refresh_interval=None)
    driver.sign_in()
    waits, held = driver.send(event(1, "a"), event(2, "b"))
    first, second = driver.out
    driver.respond(503, to=first)
    assert not waits.done()
    driver.respond(429, to=second, headers={"retry-after": "4000"})
    assert [error_of(each).status for each in (waits, held)] == [429, 429]
    assert [error_of(each).spooled for each in (waits, held)] == [True, True]
    assert driver.wake_at == driver.now + 5.0, "more warnings, and no retry"


def test_deliveries_end_whose_events_make_room_for_others() -> None:
    """They waited in memory behind a batch of their customer that failed; they stay on disk."""
    driver = SpoolDriver(max_retries=0, max_queue=4, batch_size=2)
    in_flight(driver, 0, 1)
    driver.respond(503)
    behind = driver.send_numbers(2, 3)
    assert not any(each.done() for each in behind)
    driver.send(event(10, "other"))
    assert [error_of(each).message for each in behind] == ["older events wait on disk"] * 2
    assert all(error_of(each).spooled for each in behind)


def test_events_stay_in_memory_while_there_is_room_to_read_others() -> None:
    """They would have to be read once more."""
    driver = SpoolDriver(max_retries=0, max_queue=4, batch_size=2)
    driver.dice.always = 1.0
    in_flight(driver, 0, 1)
    driver.send(event(2), event(10, "other"), event(11, "other"))
    driver.respond(503)
    driver.sleep()
    assert numbers(driver.batch()) == [10]
    driver.accept()
    assert driver.outbox.pending == 4


def test_an_event_that_was_not_sent_fails_ten_times_after_that() -> None:
    """Each failure counts once it has been sent, and none before."""
    driver = SpoolDriver(max_retries=0, refresh_interval=None)
    driver.dice.always = 1.0
    driver.break_off(to=in_flight(driver, 0), sent=False)
    for number, tries in ((10, 1), (11, 9)):
        driver.send(event(number, "other"))
        driver.flush()
        driver.sleep()
        assert numbers(driver.batch()) == [number]
        driver.accept()
        for _ in range(tries):
            assert driver.buffer.stats().failed == 0
            while not driver.out:
                driver.sleep()
            assert numbers(driver.batch()) == [0]
            driver.respond(500)
    assert driver.buffer.stats().failed == 1


@pytest.mark.parametrize("make", [Driver, SpoolDriver])
def test_a_client_that_ended_wakes_nobody(make: type[Driver]) -> None:
    """It waits for no trigger, no retry and no deadline any more; another client of the key goes
    on."""
    driver = make(refresh_interval=None)
    driver.client()
    driver.buffer.silence()  # no warning is to be written later
    driver.sign_in()
    driver.send_numbers(1)
    driver.flush()
    driver.respond(503)
    driver.send_numbers(2)
    driver.close(100.0)
    assert driver.wake_at is not None
    driver.buffer.destroy()
    driver.poll()
    assert driver.wake_at is None


def test_a_flush_in_a_long_hold_ends_for_what_waits_behind_a_batch() -> None:
    """It could not be sent, even if it were due."""
    driver = SpoolDriver(max_retries=0)
    driver.respond(429, headers={"retry-after": "4000"}, to=in_flight(driver, 1))
    (behind,) = driver.send_numbers(2)
    ticket = driver.flush()
    assert unwrap(ticket.claim()) == FlushResult(0, 0, 2)
    assert error_of(behind).spooled


def test_what_is_left_of_a_part_stays_before_the_next_one() -> None:
    """An event of the first half became too old while it waited; the others keep their order."""
    driver = SpoolDriver(api=Api(max_age=100.0), batch_size=4)
    driver.sign_in(headers={"date": "Thu, 01 Jan 2026 00:01:35 GMT"})
    driver.send(event(0, issued_at="2026-01-01T00:00:00Z"), *(event(n) for n in (1, 2, 3)))
    driver.respond(422)
    assert numbers(driver.batch()) == [0, 1]
    driver.respond(503, headers={"retry-after": "10"})
    driver.sleep()
    assert [numbers(each) for each in recover(driver)] == [[1], [2, 3]]


def test_a_failure_sends_nothing_that_stepped_aside() -> None:
    """Only what the API accepts shows that it is well, and not a retry of what it does not."""
    driver = SpoolDriver(max_retries=0, max_in_flight=2, batch_size=1, refresh_interval=None)
    driver.dice.always = 1.0
    driver.sign_in()
    driver.send(event(0, "a"), event(1, "b"))
    for request in list(driver.out):
        driver.respond(500, to=request)
    driver.send(event(2, "c"))
    driver.sleep()
    (accepted,) = [each for each in driver.out if numbers(each) == [2]]
    for other in [each for each in driver.out if each is not accepted]:
        driver.respond(403, to=other)
    driver.accept(accepted)
    again = {numbers(each)[0]: each for each in driver.out}
    assert sorted(again) == [0, 1]
    driver.respond(403, to=again[1])
    driver.respond(500, to=again[0])
    assert driver.out == []


def test_a_flush_waits_for_a_batch_that_another_process_may_have_sent() -> None:
    """It is adopted after the call; the rest of its log is empty."""
    first = SpoolDriver()
    in_flight(first, 1)
    driver = killed(first)
    ticket = driver.flush()
    driver.grant()
    assert numbers(driver.batch()) == [1]
    assert ticket.claim() is None
    driver.accept()
    assert unwrap(ticket.claim()) == FlushResult(1, 0, 0)


def test_nothing_that_stepped_aside_wakes_nobody() -> None:
    """It was accepted before its time, directly after another batch."""
    driver = SpoolDriver(max_retries=0, refresh_interval=None, batch_size=1)
    driver.dice.always = 1.0
    began = driver.now
    in_flight(driver, 1)
    for _ in range(4):
        driver.respond(403)
        driver.sleep()
    driver.respond(403)
    driver.send(event(2, "other"))
    for which in ([2], [1]):
        assert numbers(driver.batch()) == which
        driver.accept()
    assert driver.now < began + 10.0
    assert driver.wake_at == began + SCAN


def test_memory_is_bounded_where_everybody_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a window is read beyond ``max_queue`` to find out who does not."""
    monkeypatch.setattr(backlog, "WINDOW", 8)
    driver = SpoolDriver(max_retries=0, max_queue=4, batch_size=2)
    driver.sign_in()
    driver.send(*(event(n, f"c{n}") for n in range(40)))
    pending = [driver.outbox.pending]
    while driver.out:
        driver.respond(403)
        pending.append(driver.outbox.pending)
    assert pending == [4, 4, 6, 8, 10, 12, 12]


def test_every_event_counts_while_another_s_call_is_not_over() -> None:
    """It was stored alone, and read before its call says so; a later one waits in the buffer."""
    driver = SpoolDriver(max_queue=3)
    in_flight(driver, 0, 1, 2)
    accepted: list[int] = []

    def meanwhile() -> None:
        driver.accept()
        driver.buffer.send(event(5))
        driver.poll()
        accepted.append(driver.buffer.stats().accepted)

    driver.send_numbers(3)
    driver.spool.after = meanwhile
    driver.send_numbers(4)
    assert accepted == [6]
    delivers_the_rest(driver, [3, 4, 5], of=6)


def test_who_comes_after_an_event_without_room_is_behind_it_at_once() -> None:
    """Before the driver knows of it: a poll may make room meanwhile."""
    driver = SpoolDriver(max_queue=1)
    gate, plain = driver.outbox.gate, driver.buffer._input
    behind: list[bool] = []

    def noted(item: Delivery | Callable[[], None]) -> None:
        behind.append(gate.behind)
        plain(item)

    driver.buffer._input = noted
    driver.spool.after = lambda: driver.buffer.send(event(1))  # takes the room
    assert error_of(driver.buffer.send(event(2))).spooled
    assert behind == [False, True]


def test_a_batch_that_was_noted_is_as_old_as_its_stamps() -> None:
    """They are what the API sees, whatever the clock said when its events were stored."""
    date = {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    first = SpoolDriver()
    first.wall -= 360_000.0
    first.send_numbers(1)
    first.flush()
    first.grant(headers=date)
    body = first.batch().body
    driver = killed(first)
    driver.buffer.use()
    driver.sign_in(headers=date)
    assert driver.batch().body == body
