"""Counts of outcomes, and the flushes that wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from masivo._protocol.delivery import Ticket
from masivo._protocol.values import FlushResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from masivo._protocol.delivery import Failed

__all__ = ["FlushTicket", "Flushes"]


class FlushTicket(Ticket):
    """A flush: it waits for every event numbered below ``mark``."""

    __slots__ = (
        "delivered",
        "done",
        "failed",
        "mark",
        "more",
        "pending",
        "reported",
        "unread",
    )

    def __init__(self) -> None:
        super().__init__()
        self.mark: int
        self.pending: int
        """The number of these events without an outcome."""
        self.done: set[int] = set()
        """The numbers of events that were left in a store meanwhile: they are counted already."""
        self.more: set[int] = set()
        """The numbers of further events that it waits for, which were read from a store."""
        self.unread: int = 0
        """The number of events that were on disk alone when the flush ended."""
        self.reported: tuple[int, int]
        """The numbers of delivered and failed events that earlier flushes had reported."""
        self.delivered: int = 0
        self.failed: int = 0

    def claim(self) -> FlushResult | Failed | None:
        """The counts, or None while events are without an outcome."""
        return cast("FlushResult | Failed | None", self.outcome)

    def result(self) -> FlushResult:
        """The counts since the previous flush."""
        return FlushResult(self.delivered, self.failed, len(self.done) + self.unread)


def _always(_ticket: FlushTicket) -> bool:
    return True


def _waited_for(ticket: FlushTicket, numbers: Sequence[int]) -> set[int]:
    return {n for n in numbers if n < ticket.mark or n in ticket.more} - ticket.done


class Flushes:
    """One client's counts of outcomes, and its flushes."""

    def __init__(self) -> None:
        self.delivered: int = 0
        """The number of events that the API accepted."""
        self.failed: int = 0
        """The number of accepted events that ended with an error."""
        self.may_end: Callable[[FlushTicket], bool] = _always
        """Returns True if a flush whose events were all counted may end."""
        self._flushes: list[FlushTicket] = []
        self._reported: tuple[int, int] = (0, 0)

    @property
    def any_open(self) -> bool:
        """True while a flush waits."""
        return bool(self._flushes)

    def open(self, ticket: FlushTicket, mark: int, pending: int) -> None:
        """Begin a flush of the events numbered below ``mark``, ``pending`` of them without an
        outcome."""
        ticket.mark, ticket.pending, ticket.reported = mark, pending, self._reported
        ticket.delivered = self.delivered - self._reported[0]
        ticket.failed = self.failed - self._reported[1]
        self._flushes.append(ticket)

    def extend(self, numbers: Sequence[int]) -> None:
        """Make the open flushes wait for events that were read from a store."""
        for ticket in self._flushes:
            ticket.more.update(numbers)
            ticket.pending += len(numbers)

    def cancel(self, ticket: object) -> None:
        """Forget a flush without a waiter: the next one reports its counts. Other tickets have no
        effect."""
        self._flushes = [each for each in self._flushes if each is not ticket]

    def count(self, events: int, numbers: Sequence[int], *, delivered: bool) -> None:
        """Count events that ended, with their numbers (none, if they were never queued)."""
        if delivered:
            self.delivered += events
        else:
            self.failed += events
        for ticket in self._flushes:
            ended = len(numbers)
            if numbers and (max(numbers) >= ticket.mark or ticket.done):  # else all are its own
                ended = len(_waited_for(ticket, numbers))
            ticket.pending -= ended
            if delivered:
                ticket.delivered += ended
            else:
                ticket.failed += ended

    def leave(self, numbers: Sequence[int]) -> None:
        """Note events that stay in a store, to be sent later: no flush waits for them."""
        for ticket in self._flushes:
            left = _waited_for(ticket, numbers)
            ticket.pending -= len(left)
            ticket.done |= left

    def put_back(self, numbers: Sequence[int]) -> None:
        """Forget events that left memory; they get new numbers when they are read again."""
        for ticket in self._flushes:
            ticket.pending -= len(_waited_for(ticket, numbers))
            ticket.done.difference_update(numbers)

    def finished(self) -> list[FlushTicket]:
        """Remove and return the flushes whose events all have their outcome."""
        done = [each for each in self._flushes if not each.pending and self.may_end(each)]
        self._flushes = [each for each in self._flushes if each not in done]
        for ticket in done:
            delivered, failed = ticket.reported
            self._reported = (
                max(self._reported[0], delivered + ticket.delivered),
                max(self._reported[1], failed + ticket.failed),
            )
        return done
