"""One client: its waiting events, and when they are sent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from masivo._protocol.delivery import Awaited, CloseTicket, Delivery, Failed, Ticket
from masivo._protocol.errors import (
    MasivoClosedError,
    MasivoError,
    closed_error,
)
from masivo._protocol.reporting.losses import not_sent
from masivo._protocol.sending.timers import Timer
from masivo._protocol.token.life import REFUSAL_LASTS, State
from masivo._protocol.values import Stats
from masivo._protocol.wire import requests

from .batch import Batch
from .in_flight import InFlight
from .queues import Fifo, PerCustomer, Queue, Taken, total_size
from .triggers import Missing, Triggers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from masivo._protocol.delivery import Origin
    from masivo._protocol.sending.context import Context
    from masivo._protocol.token.authorizer import Authorizer
    from masivo._protocol.values import OnError

    from .flushes import FlushTicket
    from .gate import Gate

__all__ = ["Outbox"]

_NEVER = Missing(None, math.inf, math.inf)
_ANY_EVENT = Missing(None, 1, math.inf)


class Outbox(InFlight):
    """One client, as the rest of the core sees it: its waiting events, its batches in flight.

    All of it runs in ``Engine.poll``. The methods of the first group are the effects of inputs.
    """

    def __init__(
        self,
        context: Context,
        authorizer: Authorizer,
        gate: Gate,
        owner: object,
        queue: Queue | None = None,
    ) -> None:
        settings = gate.settings
        if queue is None:
            queue = PerCustomer(settings.batch_size) if settings.max_in_flight > 1 else Fifo()
        super().__init__(context, authorizer, gate, owner, queue)
        self.origin: Origin
        """The client, as its deliveries know it, where there is a store."""
        self.released: bool = False
        """True once it accepts and sends no more events."""
        self.detached: bool = False
        """True once the engine has detached it."""
        self._silent_to_the_end = False

        self._queued = 0
        self._queued_bytes = 0
        # The bytes that a batch's events may have, a comma after each included.
        self._budget = settings.max_batch_bytes - requests.envelope_size(settings.account.api) + 1
        self._triggers = Triggers(settings, self._budget)
        self._in_batches: set[int] | None = None  # the deliveries in flight, while they are asked
        self._drains: list[Ticket] = []
        self._closes: list[CloseTicket] = []
        self._closing_error: MasivoError = closed_error()

    @property
    def pending(self) -> int:
        """The number of events without an outcome: those that wait and those in flight."""
        return self.gate.pending

    @property
    def unsaved(self) -> int:
        """The number of events that are lost if they are not sent."""
        return self.pending

    @property
    def longest_rest(self) -> float:
        """The longest rest of a refused key that this client needs, in seconds."""
        return REFUSAL_LASTS

    @property
    def has_room(self) -> bool:
        """True if ``drain`` need not wait."""
        return self.gate.has_room

    @property
    def unread(self) -> int:
        """The number of events that no poll has seen yet."""
        return self.gate.accepted - self._queued

    @property
    def wants_poll(self) -> bool:
        """True if enough events came in since the last poll to make another worthwhile."""
        return self.gate.due and self.gate.accepted > self._queued

    @property
    def _unended(self) -> int:
        """The number of events that were taken from the inbox and have no outcome."""
        return self._queued - self.gate.ended

    def stats(self, origin: Origin) -> Stats:
        """A snapshot of the counters.

        Args:
            origin: the client, as its deliveries know it.
        """
        # First, as its events may end meanwhile: what comes after it does not count as queued.
        arrived = self.gate.arrived
        counts = self._outcomes.flushes
        delivered, failed = counts.delivered, counts.failed
        in_flight = self._in_flight
        stored, adopted, spooled = self._counts()
        # A caller that was interrupted may have passed its event on without counting it.
        ended = delivered + failed + in_flight + spooled - adopted
        accepted = max(arrived + stored, ended)
        waiting = accepted + adopted > delivered + failed and not self.released
        return Stats(
            accepted=accepted,
            delivered=delivered,
            failed=failed,
            overflowed=self.gate.overflowed.value,
            dropped=self.gate.dropped.value,
            retries=self._retries,
            requests=self._requests,
            authorizations=self._authorizer.count,
            queued=accepted - ended,
            in_flight=in_flight,
            adopted=adopted,
            spooled=spooled,
            oldest=self._oldest(origin) if waiting else None,
        )

    def _counts(self) -> tuple[int, int, int]:
        """The number of stored events that the gate has not counted, of adopted events, and of
        stored events without a delivery."""
        return 0, 0, 0

    def _oldest(self, origin: Origin) -> float:
        """The age of the oldest pending event, in seconds."""
        context, at = self._context, self.gate.oldest
        if at is None:  # none that a poll has seen
            inbox = context.inbox.copy()
            mine = (each for each in inbox if not callable(each) and each.buffer is origin)
            at = min((each.at for each in mine), default=math.inf)
        return max(0.0, context.clock() - at)

    @property
    def _is_done(self) -> bool:
        """True if nothing is left to be delivered."""
        return not self._unended

    # ── Effects of inputs ────────────────────────────────────────────────────────────────────

    def enqueue(self, deliveries: list[Delivery]) -> None:
        """Put events into the queue, or end them if the client was released or its key is
        refused."""
        self._triggers.arrived(deliveries[-1].at)
        refusal = self._authorizer.refusal()
        if self.released:
            refusal = self._closing_error
        length = self._queue.extend(deliveries) if refusal is None else total_size(deliveries)
        self._queued += len(deliveries)
        self._queued_bytes += length
        self._reports.queued(len(deliveries), self._unended)
        if refusal is not None:
            self._outcomes.fail(deliveries, (), refusal)
        self._context.touch(self)

    def enqueue_inside(self, delivery: Delivery, inside: Sequence[OnError]) -> None:
        """As ``enqueue``, for an event that was sent inside these functions. If nothing can go, and
        that ends the event, none of them is called: they would send what failed for ever."""
        context = self._context
        error = self._authorizer.refusal() or context.backoff.long_hold(context.now)
        context.sent_inside[delivery] = error, inside
        self.enqueue([delivery])

    def use(self) -> None:
        """Note that the client is in use, before its first event."""

    def look(self) -> None:
        """Read the store's live logs: events were appended to them."""

    def stored_alone(self, position: int) -> None:
        """Note an event that was accepted into the store alone."""

    def overflow(self) -> None:
        """Push the waiting events, as one found no room. Events that overflow after this poll share
        a new error."""
        self.gate.overflow = None
        self.gate.overflowed.fold()
        self._triggers.push(self._queue.arrived, "a full buffer")
        self._context.touch(self)

    def silence(self, *, to_the_end: bool) -> None:
        """See ``Buffer``."""
        self._outcomes.silent, self._silent_to_the_end = True, to_the_end

    def flush(self, ticket: FlushTicket) -> None:
        """Push the waiting events; end the ticket when all pending ones have their outcome."""
        self._push("flush")
        self._outcomes.open_flush(ticket, self._queue.arrived, self._unended)

    def drain(self, ticket: Ticket) -> None:
        """Push until there is room for a batch; then end the ticket."""
        if self.released:  # after the caller's check
            self._context.end(ticket, Failed(self._closing_error))
            return
        self._drains.append(ticket)
        self._reports.call_waits("drain", self._unended)
        self._context.touch(self)

    def begin_wait(self, delivery: Delivery, waiter: object, at: float) -> None:
        """Note a caller's wait for the outcome of an event, if the event is still buffered."""
        if delivery.outcome is None and not self._is_in_flight(delivery):
            self._triggers.begin_wait(delivery, waiter, at)
        self._context.touch(self)

    def _is_in_flight(self, delivery: Delivery) -> bool:
        if self._in_batches is None:  # once for all waits of a poll
            parts = (part for batch in self._batches for part in batch.parts)
            self._in_batches = {id(each) for part in parts for each in part.deliveries}
        return id(delivery) in self._in_batches

    def end_wait(self, delivery: Delivery, waiter: object) -> None:
        """Forget a wait that was given up."""
        self._triggers.end_wait(delivery, waiter)

    def cancel(self, ticket: Awaited[object]) -> None:
        """Forget a ticket without a waiter."""
        self._drains = [each for each in self._drains if each is not ticket]
        self._outcomes.flushes.cancel(ticket)

    def close(self, ticket: CloseTicket, deadline: float | None, error: MasivoError) -> None:
        """Push the waiting events, then release; end the ticket then.

        Args:
            ticket: the caller's.
            deadline: when to release at the latest, on the engine's clock; None: never.
            error: the error of events that are undelivered at the deadline.
        """
        self._add_close(ticket)
        if self.released:
            return
        self._push("close")
        if deadline is not None:
            slot = (Timer.CLOSE, self)
            earlier = self._context.timers.get(slot)
            if earlier is None or deadline < earlier:
                self._context.timers.set(slot, deadline)
                self._closing_error = error
            self.hurry = True

    def _add_close(self, ticket: CloseTicket) -> None:
        (self._context.out.closes if self.detached else self._closes).append(ticket)

    def _push(self, call: str) -> None:
        self._triggers.push(self._queue.arrived, call)
        self._reports.call_waits(call, self._unended)
        self._context.touch(self)

    def want_token(self, ticket: Ticket) -> None:
        """End the ticket with the token, once there is one."""
        if self.released:
            self._context.end(ticket, Failed(MasivoClosedError("the client was closed")))
        else:
            self._authorizer.want(self, ticket)

    def destroy(self, ticket: CloseTicket, error: MasivoError) -> None:
        """Release, and end the ticket."""
        self._add_close(ticket)
        self.release(error)

    def abandon(self, why: str) -> None:
        """Release, with one warning that counts the lost events."""
        lost = self.lose(MasivoClosedError(f"{why} before this could be delivered"))
        self._context.out.warnings.extend(not_sent(lost, why))

    def lose(self, error: MasivoError) -> int:
        """Release; return the number of events that are lost, which the caller reports."""
        lost = self.unsaved
        self._outcomes.quiet = True
        self.release(error)
        self._outcomes.quiet = False
        return lost

    def release(self, error: MasivoError) -> None:
        """Fail everything that is pending with an error, and detach."""
        if self.released:
            return
        self.gate.closed = True
        self._closing_error = error
        self._fail_batches(list(self._batches), error)
        self._fail_queue(error)
        self.released = True
        # An event whose sender saw the client open may still come. It wakes the driver at once; one
        # that came during this poll causes another poll.
        self.gate.wake_bytes = -math.inf
        self._context.touch(self)
        for timer in (Timer.LINGER, Timer.CLOSE):
            self._context.timers.set((timer, self), None)
        for ticket in self._drains:
            self._context.end(ticket, Failed(error))
        self._drains = []
        self._authorizer.detach(self)
        self._detach()

    def _detach(self) -> None:
        """Leave the engine."""
        self.detached = True
        self._context.out.closes.extend(self._closes)
        self._closes = []
        counts = self._outcomes.flushes
        self._reports.released(counts.delivered, counts.failed)
        self._context.listeners.pop(self.gate, None)

    # ── Steps of a poll ──────────────────────────────────────────────────────────────────────

    def fire(self, timer: Timer) -> None:
        """Act on one of its timers that is due."""
        if timer is Timer.CLOSE:
            self.release(self._closing_error)
        else:
            self._context.touch(self)

    def step(self, now: float) -> None:
        """Do what is due now: send, form batches, end calls, set timers."""
        self._in_batches = None
        if self.released:
            return
        self._triggers.push_awaited(self._queue.arrived, now)
        for batch in list(self._batches):
            self._advance(batch, now)
        while self._form(now):
            pass
        if self._drains and self.has_room:
            for ticket in self._drains:
                self._context.end(ticket, True)
            self._drains = []
        if self._closes and self._is_done:
            self.release(closed_error())
            return
        self._wait(now)

    def _form(self, now: float) -> bool:
        """Form the next batch, if one is due and may be sent; return True to try for another."""
        context = self._context
        if len(self._batches) >= self.settings.max_in_flight or not self._queue.ready:
            return False
        error = context.backoff.long_hold(now)
        if error is None and self._authorizer.token() is None:
            return False
        trigger = self._due(now)
        if trigger is None:
            return False
        if error is None and now < context.backoff.hold_until and not self.hurry:
            return False
        taken = self._take()
        self._triggers.gone(taken.deliveries)
        if error is not None:
            self._queue.release(taken.customers)
            self._outcomes.fail(taken.deliveries, taken.numbers, error)
            return True
        events = self._stamper.stamped(taken.deliveries, now)
        batch = Batch(taken, events, trigger, self._stamper.offset, self.gate)
        batch.not_before = now + context.backoff.wait()
        self._batches.append(batch)
        self._in_flight += len(taken.deliveries)
        self._advance(batch, now)
        return True

    def _take(self) -> Taken:
        """Take the next batch's events out of the queue."""
        return self._queue.take(self.settings.batch_size, self._budget)

    def _due(self, now: float) -> str | None:
        """The trigger of a batch that is due now, if one is."""
        call = "drain" if self._drains else "close" if self._closes else None
        return self._triggers.due(self._queue, now, self.pending, call)

    def _wait(self, now: float) -> None:
        """Set the timer of the next batch, and the numbers at which a sender wakes the driver."""
        self.gate.fold()
        self.gate.dropped.fold()
        waiting = self._queue.oldest()
        times = self._oldest_of()
        self.gate.oldest = min(times if waiting is None else [*times, waiting[0]], default=None)
        missing, until, gate = self._missing(now), self._triggers.await_until(), self.gate
        at = until if missing.at is None else min(missing.at, until)
        self._context.timers.set((Timer.LINGER, self), None if at == math.inf else at)
        gate.wake_count = self._queued + missing.events
        gate.wake_bytes = self._queued_bytes + self._queued + missing.bytes
        # A wait for an event that is in flight changes nothing.
        before, buffered = gate.wake_wait, self._unended > self._in_flight
        anyone = -math.inf if buffered else self._queued + 1
        gate.wake_wait = math.inf if until < math.inf else anyone
        if before == math.inf > gate.wake_wait and self._context.inbox:
            self._context.wake()  # a wait may be in the inbox that did not wake the driver

    def _oldest_of(self) -> list[float]:
        """The time at which the oldest event of each batch was accepted."""
        return [batch.oldest for batch in self._batches]

    def _missing(self, now: float) -> Missing:
        """Return the time, the events or the bytes after which a poll is worthwhile."""
        backoff = self._context.backoff
        if self._authorizer.refusal() is not None:
            missing = _ANY_EVENT  # new events fail at once, whatever is in flight
        elif len(self._batches) >= self.settings.max_in_flight:
            missing = _NEVER  # nothing can be sent before a response comes
        elif self._due(now) is None:
            missing = self._triggers.missing(
                self._queue,
                now,
                self.settings.max_queue - self._unended,
                in_flight=bool(self._batches),
                draining=bool(self._drains),
            )
            over = backoff.long_hold_until
            if now < over and missing.at is not None and self._queue.ready:
                # After the hold, waiting events need a token, as the first event does.
                missing = Missing(min(missing.at, over), missing.events, missing.bytes)
        else:  # it waits for a hold to end, or for the token
            at = backoff.hold_until if now < backoff.hold_until else None
            missing = Missing(at, math.inf, math.inf)
        if self._authorizer.state is State.FETCHING and backoff.long_hold(now) is None:
            # Nothing can be sent before the token arrives, which touches every client.
            return Missing(missing.at, math.inf, math.inf)
        return missing

    def fail_waiting(self, error: MasivoError) -> None:
        """Fail all events that wait in the queue, for a retry or for a token; not those whose
        request is out."""
        self._stop([each for each in self._batches if each.request_id is None], error)
        self._stop_queue(error)
        self._context.touch(self)

    def _stop_queue(self, error: MasivoError) -> None:
        """End the events in the queue: they cannot be sent now."""
        self._fail_queue(error)

    def _fail_queue(self, error: MasivoError) -> None:
        taken = self._queue.clear()
        self._triggers.gone(taken.deliveries)
        self._outcomes.fail(taken.deliveries, taken.numbers, error)
