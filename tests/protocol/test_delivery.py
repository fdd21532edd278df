"""Deliveries, tickets and outcomes (``docs/reference/guarantees.md#deliveries``)."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from masivo._protocol.errors import MasivoError, MasivoQueueFullError
from masivo.protocol import Delivery, Failed, SendEventResult, Ticket, unwrap

from .simulator import Driver, event, in_batch

if TYPE_CHECKING:
    from masivo.protocol import Outcome

RESULT = SendEventResult(True, 200, None)
ERROR = MasivoError("no", status=400)


def delivery(outcome: Outcome | None = None) -> Delivery:
    """A delivery with this outcome."""
    return Delivery(b"{}", 0.0, "", Driver().buffer, outcome)


def test_a_delivery_is_done_when_it_has_its_outcome() -> None:
    """``done`` says whether there is an outcome, good or bad."""
    assert not delivery().done()
    assert delivery(RESULT).done()
    assert delivery(Failed(ERROR, 1, None)).done()
    assert delivery().claim() is None


def test_claiming_any_number_of_times_counts_once() -> None:
    """Each delivery of a batch that failed counts as claimed once, however often it is claimed;
    ``done`` and ``repr`` claim nothing."""
    outcome = Failed(ERROR, 3, None)
    first, second = delivery(outcome), delivery(outcome)
    for _ in range(3):
        assert first.claim() is outcome
    assert second.done()
    repr(second)
    assert second.peek() is outcome
    assert outcome.claimed == 1
    assert outcome.unclaimed() == 2
    assert outcome.unclaimed() == 0


def test_a_failure_that_is_let_go_is_reported_once() -> None:
    """When the last delivery is gone, the number that is unclaimed is reported; nothing if
    all were claimed."""
    reported: list[tuple[MasivoError, int]] = []

    def report(error: MasivoError, count: int) -> None:
        reported.append((error, count))

    outcome = Failed(ERROR, 3, report)
    first = delivery(outcome)
    first.claim()
    del outcome
    assert reported == []
    del first
    assert reported == [(ERROR, 2)]
    outcome = Failed(ERROR, 1, report)
    delivery(outcome).claim()
    del outcome
    assert reported == [(ERROR, 2)]


def test_a_failure_that_ended_no_event_is_not_reported() -> None:
    """A failure is counted for no event at first: without one there was nothing to report."""
    reported: list[int] = []
    outcome = Failed(ERROR, report=lambda _error, count: reported.append(count))
    outcome.report_unclaimed()
    assert reported == []


def test_a_delivery_shows_its_state_and_no_event() -> None:
    """``repr`` tells pending, the result, or the error; no event content."""
    assert repr(delivery()) == "<Delivery pending>"
    assert repr(delivery(RESULT)) == "<Delivery success=True status=200>"
    failed = delivery(Failed(ERROR, 1, None))
    assert repr(failed) == "<Delivery failed: MasivoError('no', status=400)>"


def test_a_settled_delivery_holds_no_event() -> None:
    """A delivery with an outcome keeps nothing of its event, nor does one that overflowed."""
    driver = Driver(max_queue=2)
    _, (accepted,) = in_batch(driver, 1)
    driver.accept()
    _, (failed,) = in_batch(driver, 2)
    driver.respond(403)
    driver.buffer.send(event(3))
    driver.buffer.send(event(4))
    overflowed = driver.buffer.send(event(5))
    assert accepted.encoded == failed.encoded == overflowed.encoded == b""
    disabled = Driver(enabled=False).buffer.send(event(6))
    assert disabled.encoded == b""


def test_deliveries_are_no_work_for_the_garbage_collector() -> None:
    """A delivery is invisible to the garbage collector: a full buffer does not stall a caller."""
    assert not gc.is_tracked(delivery())


def test_events_that_overflow_in_one_go_share_one_outcome() -> None:
    """Deliveries of a full buffer count together, asked and unasked."""
    driver = Driver(max_queue=1)
    driver.buffer.send(event())
    overflowed = [driver.buffer.send(event()) for _ in range(3)]
    overflowed[0].claim()
    outcome = overflowed[0].outcome
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, MasivoQueueFullError)
    assert (outcome.count, outcome.claimed) == (3, 1)


def test_an_overflow_is_claimed_though_an_earlier_one_had_its_id() -> None:
    """An object gets the id of one that is gone: its claim counts all the same."""
    outcome = Failed(ERROR)
    reused = delivery(outcome)
    for _ in range(2):
        outcome.join(reused)
        outcome.claim(reused)
    assert (outcome.count, outcome.claimed) == (2, 2)


def test_many_overflows_take_no_memory() -> None:
    """They are counted in one number, poll after poll."""
    driver = Driver(max_queue=1)
    driver.send(event())
    for _ in range(500):
        driver.send(event(), event())
    assert driver.buffer.stats().overflowed == 1000
    assert len(driver.outbox.gate.overflowed._parts) == 1


def test_unwrap_gives_the_value_or_raises() -> None:
    """``unwrap`` gives a value as it is, and raises the error of a failure."""
    assert unwrap(RESULT) is RESULT
    assert unwrap(None) is None
    with pytest.raises(MasivoError, match="no"):
        unwrap(Failed(ERROR, 1, None))


def test_a_ticket_has_no_outcome_at_first() -> None:
    """A ticket has no outcome until the engine ends it."""
    ticket = Ticket()
    assert ticket.claim() is None
    ticket.outcome = True
    assert ticket.claim() is True
