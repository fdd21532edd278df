"""The journal's records, and their order."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from masivo.emulator import RecordedRequest
from masivo.emulator.records import Journal, Ticket


def record(ticket: Ticket, route: str = "events") -> RecordedRequest:
    """Return the record of a request that holds a secret in every place."""
    return RecordedRequest(
        number=ticket.number,
        route=route,
        method="POST",
        path="/bulk?secret",
        headers={"authorization": "Bearer secret", "x-api-key": "secret"},
        body=b"secret",
        events=[{"secret": 1}],
        received_at=1.0,
    )


def test_requests_are_in_order_of_arrival() -> None:
    """The order is that in which headers arrived, whichever body was complete first."""
    journal = Journal()
    first, second = journal.reserve("events"), journal.reserve("events")
    journal.enter(second, record(second))
    assert [each.number for each in journal.requests()] == [2]
    journal.enter(first, record(first))
    assert [each.number for each in journal.requests()] == [1, 2]


def test_requests_are_numbered_over_all_and_by_route() -> None:
    """Each request has a number over all routes and one on its own."""
    journal = Journal()
    tickets = [journal.reserve(route) for route in ("authorize", "events", "events")]
    assert [(ticket.number, ticket.nth) for ticket in tickets] == [(1, 1), (2, 1), (3, 2)]


def test_clear_begins_anew() -> None:
    """After `clear` the count begins at 1, and what was under way is not entered any more."""
    journal = Journal()
    old = journal.reserve("events")
    journal.accept(old, record(old), [{}])
    journal.clear()
    new = journal.reserve("events")
    journal.enter(old, record(old))
    assert (new.number, journal.requests(), journal.events()) == (1, [], [])


def test_events_and_the_count_of_a_request_come_together() -> None:
    """When a request shows as accepted, its events are there."""
    journal = Journal()
    ticket = journal.reserve("events")
    accepted = journal.accept(ticket, record(ticket), [{"n": 1}, {"n": 2}])
    assert accepted.accepted == journal.event_count == 2
    assert journal.requests("events") == [accepted]
    assert journal.requests("authorize") == []
    assert journal.events() == [{"n": 1}, {"n": 2}]


def test_changes() -> None:
    """Each request is listed once, after its last change, in the order of the changes."""
    journal = Journal()
    first, second, unread = (journal.reserve("events") for _ in range(3))
    journal.enter(first, record(first))
    journal.enter(second, record(second))
    settled = replace(record(first), settled=True)
    journal.enter(first, settled)
    changes = journal.changes(0)
    assert [(each.serial, each.record.settled) for each in changes] == [(2, False), (1, True)]
    assert journal.changes(changes[0].version) == changes[1:]
    assert journal.changes(changes[1].version) == []
    assert journal.request(first.serial) == settled
    assert journal.request(unread.serial) is None
    journal.clear()
    assert journal.changes(0) == []
    assert journal.clearings == 1
    third = journal.reserve("events")
    journal.enter(third, record(third))
    assert journal.changes(0)[0].version > changes[1].version


CALLS: list[Callable[[Journal], object]] = [
    lambda journal: journal.reserve("events"),
    lambda journal: journal.enter(Ticket(1, 1, 1), record(Ticket(1, 1, 1))),
    lambda journal: journal.accept(Ticket(1, 1, 1), record(Ticket(1, 1, 1)), [{}]),
    lambda journal: journal.requests(),
    lambda journal: journal.changes(0),
    lambda journal: journal.events(),
    lambda journal: journal.request_count(),
    lambda journal: journal.clear(),
]


@pytest.mark.parametrize("call", CALLS)
def test_nothing_comes_between_two_steps_of_a_holder(call: Callable[[Journal], object]) -> None:
    """Who holds `changed` sees no change that is half done, and nobody sees half of theirs."""
    journal = Journal()
    ended = threading.Event()

    def run() -> None:
        call(journal)
        ended.set()

    thread = threading.Thread(target=run)
    with journal.changed:
        thread.start()
        assert not ended.wait(0.02)
    assert ended.wait(20)
    thread.join()


def test_request_count() -> None:
    """Requests count from their headers on, read or not."""
    journal = Journal()
    for route in ("events", "authorize", "events"):
        journal.reserve(route)
    assert (journal.request_count(), journal.request_count("events")) == (3, 2)


def test_wait_for_wakes_on_a_change() -> None:
    """A waiter sees a change made by another thread."""
    journal = Journal()
    ticket = journal.reserve("events")
    thread = threading.Thread(target=lambda: journal.enter(ticket, record(ticket)))
    with journal.changed:
        thread.start()
        assert journal.wait_for(journal.requests, timeout=5)
    thread.join()


def test_wait_for_gives_up() -> None:
    """A predicate that stays false is False when time is up."""
    assert not Journal().wait_for(lambda: False, timeout=0)


def test_repr_shows_no_secret() -> None:
    """The repr of a request shows neither headers nor body nor query."""
    journal = Journal()
    shown = record(journal.reserve("events"))
    assert repr(shown) == "<RecordedRequest 1: POST events, 1 events, 0 accepted, status None>"
    assert ", no events, " in repr(replace(shown, events=None))
