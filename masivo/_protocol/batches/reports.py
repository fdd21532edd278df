"""Reports of one client's activity, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo._protocol.reporting.activity import (
    BatchHalved,
    BatchSent,
    BatchSettled,
    CallWaits,
    ClientReleased,
    EventsAdopted,
    EventsFailed,
    EventsQueued,
    EventsSpooled,
    FlushEnded,
)

if TYPE_CHECKING:
    from masivo._protocol.errors import MasivoError
    from masivo._protocol.reporting.activity import Activity
    from masivo._protocol.sending.context import Context
    from masivo._protocol.values import FlushResult, Request

    from .batch import Batch
    from .gate import Gate

__all__ = ["Reports"]


class Reports:
    """Reports one client's activity; makes no values if they are not read."""

    def __init__(self, context: Context, gate: Gate) -> None:
        self._context = context
        self._gate = gate

    def _report(self, activity: Activity) -> None:
        self._context.report(activity, self._gate)

    def queued(self, events: int, pending: int) -> None:
        """Report events that were taken from the inbox."""
        if self._context.listening:
            self._report(EventsQueued(self._context.now, events, pending))

    def adopted(self, events: int) -> None:
        """Report events that were adopted."""
        if events and self._context.listening:
            self._report(EventsAdopted(self._context.now, events))

    def call_waits(self, call: str, pending: int) -> None:
        """Report a caller that waits."""
        if self._context.listening:
            self._report(CallWaits(self._context.now, call, pending))

    def sent(self, request: Request, batch: Batch) -> None:
        """Report a batch that was sent."""
        context = self._context
        if context.listening:
            self._report(
                BatchSent(
                    context.now,
                    request.id,
                    context.address(request),
                    batch.retries,
                    request.timeout,
                    batch.name,
                    len(batch.part.deliveries),
                    len(request.body),
                    batch.trigger,
                )
            )

    def halved(self, name: str, batch: Batch) -> None:
        """Report a batch of this name that was halved."""
        if self._context.listening:
            first, second = (len(part.deliveries) for part in list(batch.parts)[:2])
            self._report(BatchHalved(self._context.now, name, first, second))

    def settled(self, name: str, delivered: int, failed: int) -> None:
        """Report the outcome of a batch's events, or of a part's."""
        if self._context.listening:
            self._report(BatchSettled(self._context.now, name, delivered, failed))

    def failed(self, events: int, error: MasivoError) -> None:
        """Report events that ended with an error."""
        if self._context.listening:
            kind = type(error).__name__
            self._report(EventsFailed(self._context.now, events, kind, error.status))

    def spooled(self, events: int, error: MasivoError) -> None:
        """Report events that stay in the spool after their deliveries ended."""
        if self._context.listening:
            kind = type(error).__name__
            self._report(EventsSpooled(self._context.now, events, kind, error.status))

    def flush_ended(self, result: FlushResult) -> None:
        """Report a flush that ended."""
        if self._context.listening:
            now = self._context.now
            self._report(FlushEnded(now, result.delivered, result.failed, result.spooled))

    def released(self, delivered: int, failed: int) -> None:
        """Report that the client was released."""
        if self._context.listening:
            self._report(ClientReleased(self._context.now, delivered, failed))
