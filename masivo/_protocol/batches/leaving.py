"""One client's waiting events and its batches in flight, where a delivery may end before its event:
what cannot be delivered now is left, and sent later.

The rules: ``docs/reference/guarantees.md#step-aside`` and
``docs/reference/guarantees.md#two-ends``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from masivo._protocol.errors import MasivoClosedError, MasivoConfigError
from masivo._protocol.sending.timers import Timer
from masivo._protocol.storage.kept import Kept, left_over
from masivo._protocol.values import Failure

from .aside import Aside
from .in_order import InOrder
from .outbox import Outbox
from .queues import PerCustomer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from masivo._protocol.delivery import CloseTicket, Delivery
    from masivo._protocol.errors import MasivoError
    from masivo._protocol.sending.context import Context
    from masivo._protocol.token.authorizer import Authorizer
    from masivo._protocol.values import Response, SendEventResult

    from .batch import Batch
    from .gate import Gate
    from .queues import Taken

__all__ = ["LeavingOutbox"]

ALONE: Final = 10
"""An event is at fault when it has failed alone this many times in a row, the last time directly
after the API had accepted another batch."""
LONGEST_REST: Final = 600.0
"""The longest rest of a refused key, in seconds."""


class LeavingOutbox(Outbox):
    """One client whose events may stay when their deliveries end."""

    def __init__(self, context: Context, authorizer: Authorizer, gate: Gate, owner: object) -> None:
        settings = gate.settings
        self._lines: PerCustomer | InOrder = (  # the queue
            PerCustomer(settings.batch_size) if settings.max_in_flight > 1 else InOrder()
        )
        super().__init__(context, authorizer, gate, owner, self._lines)
        self._aside = Aside(context)
        self._kept_queued = 0  # events in the queue whose deliveries have ended

    @property
    def longest_rest(self) -> float:
        """See Outbox."""
        return LONGEST_REST

    def _oldest_of(self) -> list[float]:
        """See Outbox."""
        return [batch.oldest for batch in (*self._batches, *self._aside.batches)]

    def close(self, ticket: CloseTicket, deadline: float | None, error: MasivoError) -> None:
        """See Outbox. Events that were left are tried again."""
        self._aside.try_at = self._context.now
        super().close(ticket, deadline, error)

    # ── What is sent ──────────────────────────────────────────────────────────────────────────

    def _form(self, now: float) -> bool:
        error = self._context.backoff.long_hold(now)
        if error is not None:
            if self._queue.ready and self._due(now) is not None:
                self._stop_queue(error)
            return False
        if self._aside.goes_first and self._resume(now):
            return True
        return super()._form(now) or self._resume(now)

    def _resume(self, now: float) -> bool:
        """Send a batch again that stepped aside, if it is due: at once if the API has just accepted
        another."""
        context = self._context
        if len(self._batches) >= self.settings.max_in_flight:
            return False
        if not self._aside.is_due(now):
            return False
        if self._authorizer.token() is None:
            return False
        if now < context.backoff.hold_until and not self.hurry:
            return False
        batch = self._aside.take()
        self._batches.append(batch)
        self._in_flight += len(batch)
        batch.not_before = now
        self._advance(batch, now)
        return True

    def _take(self) -> Taken:
        taken = super()._take()
        if self._kept_queued:
            self._kept_queued -= sum([isinstance(each, Kept) for each in taken.deliveries])
        return taken

    # ── What cannot be delivered now ─────────────────────────────────────────────────────────

    def _leave(
        self, deliveries: list[Delivery], numbers: Sequence[int], error: MasivoError
    ) -> None:
        """End deliveries; put their events, which are sent later, in their places in the list."""
        live = [each for each in deliveries if not isinstance(each, Kept)]
        for n, each in enumerate(deliveries):
            if not isinstance(each, Kept):
                deliveries[n] = left_over(each)
        self._outcomes.leave(live, numbers, error)

    def fail_waiting(self, error: MasivoError) -> None:
        """See Outbox. Flushes no longer wait for events that were left before, either."""
        super().fail_waiting(error)
        self._leave_kept(error)
        self._end_close()

    def _end_close(self) -> None:
        """End a close that cannot deliver the remaining events, unless a request is out."""
        if self._closes and not any(batch.request_id for batch in self._batches):
            why = "the client was closed before this could be delivered"
            self.release(MasivoClosedError(why))

    def _leave_parts(self, batch: Batch, error: MasivoError) -> None:
        for part in batch.parts:
            self._leave(part.deliveries, part.numbers, error)

    def _leave_kept(self, error: MasivoError) -> None:
        """Make flushes no longer wait for events that were left before."""
        for batch in self._aside.batches:
            self._leave_parts(batch, error)
        numbers = [n for n, each in self._lines.entries() if isinstance(each, Kept)]
        self._outcomes.leave([], numbers, error)

    def _stop(self, batches: list[Batch], error: MasivoError) -> None:
        for batch in batches:
            self._leave_parts(batch, error)
            self._batches.remove(batch)
            self._in_flight -= len(batch)
            self._context.timers.set((Timer.RETRY, (self, batch)), None)
            self._aside.put(batch)

    def _stop_queue(self, error: MasivoError, customers: Collection[str] | None = None) -> None:
        entries = self._lines.entries(customers)
        live = {n: each for n, each in entries if not isinstance(each, Kept)}
        if not live:
            return
        self._lines.substitute({n: left_over(each) for n, each in live.items()})
        self._kept_queued += len(live)
        self._triggers.gone(live.values())
        self._triggers.push(self._queue.arrived, "spool")
        self._outcomes.leave([*live.values()], [*live], error)

    def _returned(self, batch: Batch, result: Response | Failure) -> None:
        if isinstance(result, Failure) and not result.sent:
            # The API has not seen the batch: it is not at fault, and earlier failures do not count.
            batch.part.well, batch.part.failures = False, -1 - batch.retries
        super()._returned(batch, result)

    def _retries_for(self, batch: Batch) -> int:
        part, most = batch.part, self.settings.max_retries
        if part.failures <= 0:
            return 0 if batch.guilty and len(part.deliveries) > 1 else most
        if len(part.deliveries) > 1 or not part.well:
            return 0  # it is halved, or tried again later
        return max(most, ALONE - part.failures - 1)

    def _retry(self, batch: Batch, error: MasivoError, wait: float | None) -> None:
        self._aside.well = False
        super()._retry(batch, error, wait)

    def _give_up(self, batch: Batch, error: MasivoError) -> None:
        """Make a part step aside that cannot be delivered now, unless it is at fault."""
        part = batch.part
        part.failures += batch.retries + 1
        self._aside.failed()
        alone = len(part.deliveries) == 1
        at_fault = part.well and not isinstance(error, MasivoConfigError)
        self._leave(part.deliveries, part.numbers, error)
        if at_fault and alone and part.failures >= ALONE:
            self._part_failed(batch, error, rejected=True)
        elif (at_fault or batch.guilty) and not alone:
            batch.guilty = True
            batch.halve()
            batch.not_before = self._context.now
        else:
            rest = batch.without_part()
            self._leave_parts(batch, error)
            self._batches.remove(batch)
            self._in_flight -= len(batch)
            if rest is not None:
                self._batches.append(rest)
            self._aside.put(batch)
        if batch.parts:
            self._stop_queue(error, batch.customers)  # these wait behind it
        self._context.touch(self)
        if self._closes:
            self._end_close()
        elif self._outcomes.flushes.any_open and not at_fault:
            self._leave_kept(error)

    # ── Outcomes ─────────────────────────────────────────────────────────────────────────────

    def _part_delivered(self, batch: Batch, result: SendEventResult) -> None:
        self._aside.accepted()
        self._authorizer.trust()
        super()._part_delivered(batch, result)
