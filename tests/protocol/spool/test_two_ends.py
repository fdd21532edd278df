"""What is on disk when, and the two ends of an event: its delivery's and its own."""

from __future__ import annotations

import pytest

from masivo._protocol.batches.adoption import SCAN
from masivo.protocol import (
    FlushResult,
    unwrap,
)
from protocol.requests import header, numbers
from protocol.simulator import error_of, event
from protocol.spooled import SpoolDriver

from .outages import in_flight, killed, outage, recover, serve

# ── On disk, and off it ──────────────────────────────────────────────────────────────────────────


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


# ── Two ends ─────────────────────────────────────────────────────────────────────────────────────


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
