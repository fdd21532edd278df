"""The outcomes of one client's events: each is set once, counted, and handed out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo._protocol.delivery import Claim, Failed
from masivo._protocol.events.form import decode
from masivo._protocol.output import ErrorCall, Settled
from masivo._protocol.storage.kept import Kept
from masivo._protocol.values import FailedEvent, SendEventResult

from .flushes import Flushes
from .queues import total_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from masivo._protocol.delivery import Delivery
    from masivo._protocol.errors import MasivoError
    from masivo._protocol.sending.context import Context

    from .batch import Part
    from .flushes import FlushTicket
    from .gate import Gate
    from .issued_at import Stamper
    from .reports import Reports

__all__ = ["Outcomes"]


class Outcomes:
    """Ends events, and the flushes that wait for them."""

    def __init__(self, context: Context, gate: Gate, stamper: Stamper, reports: Reports) -> None:
        self.quiet = False
        """True while the caller reports unclaimed failures itself."""
        self.silent: bool = False
        """True if the driver reports failures, and events that stay in the store, itself."""
        self._context = context
        self._gate = gate
        self._stamper = stamper
        self._reports = reports
        self.flushes: Flushes = Flushes()
        """The counts, and the flushes that wait for them."""

    def deliver(self, part: Part, result: SendEventResult) -> None:
        """End the events of a part that the API accepted."""
        length = sum(map(len, part.events))
        self._count(part.deliveries, part.numbers, length, delivered=True)
        for delivery in part.deliveries:
            delivery.outcome = result
            delivery.encoded = b""
        if sent_inside := self._context.sent_inside:
            for delivery in part.deliveries:
                sent_inside.pop(delivery, None)
        self._context.out.settled.append(Settled(part.deliveries, result))
        self.end_flushes()

    def fail(
        self,
        deliveries: list[Delivery],
        numbers: Sequence[int],
        error: MasivoError,
        events: list[bytes] | None = None,
    ) -> None:
        """End events with an error.

        Args:
            deliveries: of the events.
            numbers: the queue's numbers of the events; empty if they were never queued.
            error: their error.
            events: the events as they were sent; None if they were never in a batch: then they are
                stamped now, so that ``on_error`` can send them again later as they are.
        """
        if not deliveries:
            return
        context, count = self._context, len(deliveries)
        self._reports.failed(count, error)
        self._count(deliveries, numbers, total_size(deliveries), delivered=False)
        quiet = self.quiet or self.silent
        outcome = Failed(error, count) if quiet else context.failed(error, count)
        if events is None and self._gate.settings.on_error is not None:
            events = self._stamper.stamped(deliveries, context.now)
        for place, delivery in enumerate(deliveries):
            origin = delivery.buffer
            why, inside = context.sent_inside.pop(delivery, (None, ()))
            if why is not error:
                inside = ()
            if (
                events
                and origin is not None
                and (on_error := origin.on_error) is not None
                and on_error not in inside
            ):
                event = FailedEvent(decode(events[place]), error.copy())
                origin.calls.announced += 1
                # An adopted event has no delivery here: its failure is logged in any case.
                claim = None if isinstance(delivery, Kept) else Claim(outcome, delivery)
                context.out.failed_events.append(ErrorCall(origin, event, claim, inside))
            delivery.outcome = outcome
            delivery.encoded = b""
        context.out.settled.append(Settled(deliveries, outcome))
        self.end_flushes()

    def leave(self, deliveries: list[Delivery], numbers: Sequence[int], error: MasivoError) -> None:
        """End deliveries whose events stay in the store, and are sent later.

        Args:
            deliveries: those that have no outcome yet.
            numbers: the queue's numbers of these events, and of events without a delivery that
                stay, too.
            error: why they cannot be delivered now.
        """
        context, count = self._context, len(deliveries)
        self.flushes.leave(numbers)
        if deliveries:
            error = error.as_spooled()
            self._reports.spooled(count, error)
            outcome = Failed(error, count)
            for delivery in deliveries:
                context.sent_inside.pop(delivery, None)
                delivery.outcome = outcome
                delivery.encoded = b""
            context.out.settled.append(Settled(deliveries, outcome))
            if not self.silent:
                context.warn_of_loss(error, count)

    def open_flush(self, ticket: FlushTicket, mark: int, pending: int) -> None:
        """Begin a flush, see ``Flushes.open``; it ends at once where nothing is pending."""
        self.flushes.open(ticket, mark, pending)
        self.end_flushes()

    def _count(
        self, deliveries: list[Delivery], numbers: Sequence[int], length: int, *, delivered: bool
    ) -> None:
        """Count events before they get their outcome, so that a caller who sees it finds them
        counted."""
        self._gate.end(len(deliveries), length)
        self.flushes.count(len(deliveries), numbers, delivered=delivered)

    def end_flushes(self) -> None:
        """End the flushes whose events all have their outcome."""
        context = self._context
        for ticket in self.flushes.finished():
            result = ticket.result()
            ticket.outcome = result
            context.out.tickets.append(ticket)
            self._reports.flush_ended(result)
