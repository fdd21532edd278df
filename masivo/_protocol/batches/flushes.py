"""Counts of outcomes, and the flushes that wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from masivo._protocol.delivery import Ticket
from masivo._protocol.values import FlushResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from masivo._protocol.delivery import Failed

__all__ = ["FlushTicket", "Flushes"]


class FlushTicket(Ticket):
    """A flush: it waits for every event numbered below ``mark``."""

    __slots__ = ("delivered", "failed", "mark", "pending", "reported")

    def __init__(self) -> None:
        super().__init__()
        self.mark: int = 0
        self.pending: int = 0
        """How many of these have no outcome yet."""
        self.reported: tuple[int, int] = (0, 0)
        """How many delivered and failed events earlier flushes had reported."""
        self.delivered: int = 0
        self.failed: int = 0

    def claim(self) -> FlushResult | Failed | None:
        """The counts, or None while events are without an outcome."""
        return cast("FlushResult | Failed | None", self.outcome)

    def result(self) -> FlushResult:
        """The counts since the flush before."""
        return FlushResult(self.delivered, self.failed)


class Flushes:
    """One client's counts of outcomes, and its flushes."""

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0
        self._flushes: list[FlushTicket] = []
        self._reported: tuple[int, int] = (0, 0)

    def open(self, ticket: FlushTicket, mark: int, pending: int) -> None:
        """Begin a flush of the events numbered below ``mark``, ``pending`` of them without an
        outcome."""
        ticket.mark, ticket.pending, ticket.reported = mark, pending, self._reported
        ticket.delivered = self.delivered - self._reported[0]
        ticket.failed = self.failed - self._reported[1]
        self._flushes.append(ticket)

    def cancel(self, ticket: FlushTicket) -> None:
        """Forget a flush without a waiter: the next one reports its counts."""
        if ticket in self._flushes:
            self._flushes.remove(ticket)

    def count(self, events: int, numbers: Sequence[int], *, delivered: bool) -> None:
        """Count events that ended, with their numbers (none, if they were never queued)."""
        if delivered:
            self.delivered += events
        else:
            self.failed += events
        for ticket in self._flushes:
            ended = len(numbers)
            if numbers and max(numbers) >= ticket.mark:  # else all are counted at once
                ended = sum([number < ticket.mark for number in numbers])
            ticket.pending -= ended
            if delivered:
                ticket.delivered += ended
            else:
                ticket.failed += ended

    def finished(self) -> list[FlushTicket]:
        """Remove and return the flushes that wait for nothing more."""
        if not self._flushes:
            return []
        done = [ticket for ticket in self._flushes if not ticket.pending]
        self._flushes = [ticket for ticket in self._flushes if ticket.pending]
        for ticket in done:
            delivered, failed = ticket.reported
            self._reported = (
                max(self._reported[0], delivered + ticket.delivered),
                max(self._reported[1], failed + ticket.failed),
            )
        return done
