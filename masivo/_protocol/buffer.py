"""One client's buffer: what it takes, when batches go out, and what callers wait for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .delivery import Awaited, Delivery, Failed, Ticket, TokenTicket
from .errors import (
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
)
from .events import BRACE, envelope_size, opening, total_size
from .flight import Flight
from .intake import Intake
from .queues import Fifo, PerCustomer, Queue, Taken
from .retry import ISOLATED
from .stamps import format_stamp
from .tally import FlushTicket, Tally
from .timers import Timer
from .token import State
from .values import SendEventResult, Stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .engine import Engine
    from .settings import Settings

__all__ = ["Buffer"]


class Buffer(Intake):
    """One client, as the core sees it: its settings, its waiting events, its batches in flight.

    The first group of methods are inputs: they may be called from anywhere, at any time. The
    others belong to the engine.
    """

    closed: bool

    def __init__(
        self, engine: Engine, settings: Settings, delivery_type: type[Delivery], owner: object
    ) -> None:
        super().__init__(engine, settings, delivery_type)
        self.owner = owner
        """Whatever the driver attached; the core does not look at it."""
        self.detached: bool = False
        """Whether the engine is done with it."""
        self.hurry: bool = False
        """Whether it closes with a deadline: waits for repeats are cut short."""
        self.retries = 0

        self._requests = 0
        self._in_flight = 0

        # A batch's events may have so many bytes, a comma after each included.
        self._budget = settings.max_batch_bytes - envelope_size(settings.account.api.events_key) + 1
        self._queue: Queue = PerCustomer() if settings.max_in_flight > 1 else Fifo()
        self._flights: list[Flight] = []
        self._due_below = 0  # events numbered below this are due ...
        self._due_by = ""  # ... by this
        self._last_at = -math.inf
        self._last_stamp = -math.inf
        self._tally = Tally()
        self._drains: list[Ticket] = []
        self._closes: list[Ticket] = []
        self._closing_error: MasivoError | None = None

    # ── Inputs ───────────────────────────────────────────────────────────────────────────────

    def flush(self) -> FlushTicket:
        """Send what is buffered now; the ticket ends when every event so far has its outcome.

        Raises:
            MasivoClosedError: the client is closed.
        """
        self.check_open()
        ticket = FlushTicket()
        if not self.settings.enabled:
            ticket.outcome = ticket.result()
        else:
            self._engine.input(lambda: self._flush(ticket))
        return ticket

    def drain(self) -> Ticket:
        """Wait for room for a batch; the ticket ends when there is.

        Raises:
            MasivoClosedError: the client is closed.
        """
        self.check_open()
        ticket = Ticket()
        if self.has_room():
            ticket.outcome = True
        else:
            self._engine.input(lambda: self._drain(ticket))
        return ticket

    def cancel(self, ticket: Awaited[object]) -> None:
        """Stop waiting: a drain pushes no more batches out, and what a flush would have told of
        is told by the next one. For anything else, and once there is an outcome, nothing."""
        self._engine.input(lambda: self._cancel(ticket))

    def token(self) -> TokenTicket:
        """The current token, fetched if need be.

        Raises:
            MasivoClosedError: the client is closed.
            MasivoConfigError: the client is disabled.
        """
        self.check_open()
        if not self.settings.enabled:
            raise MasivoConfigError("the client is disabled: it has no token")
        ticket = TokenTicket()
        self._engine.input(lambda: self._engine.authorizer.want(self, ticket))
        return ticket

    def close(self, timeout: float | None) -> Ticket:
        """Flush, then detach; the ticket ends when that is done. Works more than once.

        Args:
            timeout: seconds after which everything undelivered fails; None for no limit.
        """
        self.closed = True
        ticket = Ticket()
        if self.detached:
            ticket.outcome = True
            return ticket
        deadline = None if timeout is None else self._clock() + timeout
        error = MasivoClosedError(
            "the client was closed before this could be delivered"
            + ("" if timeout is None else f": close(timeout={timeout:g}) ran out")
        )
        self._engine.input(lambda: self._close(ticket, deadline, error))
        return ticket

    def destroy(self) -> None:
        """Detach without sending; undelivered events fail."""
        self.closed = True
        error = MasivoClosedError("the client was destroyed before this could be delivered")
        self._engine.input(lambda: self.release(error))

    def abandon(self, why: str) -> None:
        """As ``destroy``, with one warning that says how many events were lost, and why."""
        self.closed = True
        self._engine.input(lambda: self._engine.abandon([self], why))

    def stats(self) -> Stats:
        """A snapshot of the counters."""
        delivered, failed, in_flight = self._tally.delivered, self._tally.failed, self._in_flight
        return Stats(
            accepted=self.accepted,
            delivered=delivered,
            failed=failed,
            rejected=self.rejected,
            retries=self.retries,
            requests=self._requests,
            authorizations=self._engine.authorizer.count,
            queued=self.accepted - delivered - failed - in_flight,
            in_flight=in_flight,
        )

    # ── What inputs do, in the next poll ─────────────────────────────────────────────────────

    def take_in(self, deliveries: list[Delivery]) -> None:
        """Put events into the queue."""
        self._last_at = max(self._last_at, deliveries[-1].at)
        refusal = self._engine.authorizer.refusal()
        if self.detached:
            refusal = self._closing_error or self.closed_error()
        length = self._queue.extend(deliveries) if refusal is None else total_size(deliveries)
        self.count_taken_in(len(deliveries), length)
        if self._engine.journal is not None:
            self._engine.journal.took_in(len(deliveries), self.unended)
        if refusal is not None:
            self._end(deliveries, (), refusal)
        self._engine.touch(self)

    def overflowed(self) -> None:
        """There was no room for an event: what waits goes out."""
        super().overflowed()
        self._due_below, self._due_by = self._queue.arrived, "a full buffer"
        self._engine.touch(self)

    def _flush(self, ticket: FlushTicket) -> None:
        self._due_below, self._due_by = self._queue.arrived, "flush"
        if self._engine.journal is not None:
            self._engine.journal.asked("flush", self.unended)
        self._tally.open(ticket, self._due_below, self.unended)
        self._answer_flushes()
        self._engine.touch(self)

    def _drain(self, ticket: Ticket) -> None:
        if self.detached:  # since the caller looked
            error = self._closing_error or self.closed_error()
            self._engine.answer(ticket, Failed(error))
            return
        self._drains.append(ticket)
        if self._engine.journal is not None:
            self._engine.journal.asked("drain", self.unended)
        self._engine.touch(self)

    def _cancel(self, ticket: Awaited[object]) -> None:
        if isinstance(ticket, Ticket) and ticket in self._drains:
            self._drains.remove(ticket)
        elif isinstance(ticket, FlushTicket):
            self._tally.cancel(ticket)

    def _close(self, ticket: Ticket, deadline: float | None, error: MasivoError) -> None:
        if self.detached:
            self._engine.answer(ticket, True)
            return
        self._closes.append(ticket)
        self._due_below, self._due_by = self._queue.arrived, "close"
        if self._engine.journal is not None:
            self._engine.journal.asked("close", self.unended)
        if deadline is not None:
            slot = (Timer.CLOSE, self)
            earlier = self._engine.timers.get(slot)
            if earlier is None or deadline < earlier:
                self._engine.timers.set(slot, deadline)
                self._closing_error = error
            self.hurry = True
        self._engine.touch(self)

    def release(self, error: MasivoError) -> None:
        """Fail everything that is left, and detach."""
        if self.detached:
            return
        self.closed = True
        self._closing_error = error
        flights, self._flights = self._flights, []
        for flight in flights:
            self._fail_flight(flight, error)
        self._end_taken(self._queue.clear(), error)
        self.detached = True
        for timer in (Timer.LINGER, Timer.CLOSE):
            self._engine.timers.set((timer, self), None)
        for ticket in self._drains:
            self._engine.answer(ticket, Failed(error))
        for ticket in self._closes:
            self._engine.answer(ticket, True)
        self._drains, self._closes = [], []
        if self._engine.journal is not None:
            self._engine.journal.released(self.stats())
        self._engine.detach(self)

    # ── Steps ────────────────────────────────────────────────────────────────────────────────

    def fire(self, timer: Timer) -> None:
        """One of the buffer's timers is due."""
        if timer is Timer.CLOSE and self._closing_error is not None:
            self.release(self._closing_error)
        else:
            self._engine.touch(self)

    def step(self, now: float) -> None:
        """Do what is possible now: send, form batches, answer callers, set timers."""
        if self.detached:
            return
        for flight in list(self._flights):
            self._advance(flight, now)
        while self._form(now):
            pass
        if self._drains and self.has_room():
            for ticket in self._drains:
                self._engine.answer(ticket, True)
            self._drains = []
        if self._closes and not self.unended:
            self.release(self._closing_error or self.closed_error())
            return
        self._set_linger(now)

    def _advance(self, flight: Flight, now: float) -> None:
        """Send a flight's current part, if it is time and there is a token."""
        if flight.request_id is not None:
            return
        engine = self._engine
        refusal = engine.backoff.refuses(now) or engine.authorizer.refusal()
        if refusal is not None:
            self._flights.remove(flight)
            self._fail_flight(flight, refusal)
            return
        at = engine.waits_until(flight, hurry=self.hurry)
        engine.timers.set((Timer.REPEAT, flight), at)
        if at is None and (token := engine.authorizer.token()) is not None:
            self._requests += 1
            engine.send_part(flight, token, self.settings.timeout)

    def _form(self, now: float) -> bool:
        """Form the next batch, if one is due and can go; whether to look for another."""
        engine = self._engine
        if len(self._flights) >= self.settings.max_in_flight or not self._queue.ready:
            return False
        refusal = engine.backoff.refuses(now)
        if refusal is None and engine.authorizer.token() is None:
            return False
        why = self._due(now)
        if why is None:
            return False
        if refusal is not None:
            taken = self._queue.take(self.settings.batch_size, self._budget)
            self._queue.release(taken.customers)
            self._end_taken(taken, refusal)
            return True
        if now < engine.backoff.hold_until and not self.hurry:
            return False
        taken = self._queue.take(self.settings.batch_size, self._budget)
        flight = Flight(self, taken, self._stamped(taken.deliveries, now))
        flight.why = why
        flight.not_before = now + engine.backoff.wait()
        self._flights.append(flight)
        self._in_flight += len(taken.deliveries)
        self._advance(flight, now)
        return True

    def _due(self, now: float) -> str | None:
        """What makes a batch due; None if nothing does."""
        oldest = self._queue.oldest()
        if oldest is None:
            return None
        at, number = oldest
        if self._queue.ready >= self.settings.batch_size:
            return "batch_size"
        if self._queue.ready_bytes > self._budget:
            return "max_batch_bytes"
        if number < self._due_below:
            return self._due_by
        if now >= self._linger_at(at):
            return "max_wait" if now >= at + self.settings.max_wait else "idle_timeout"
        if self._drains:
            return "drain"
        if self._closes:
            return "close"
        return "max_queue" if self.held >= self.settings.max_queue else None

    def _linger_at(self, oldest_at: float) -> float:
        """When the waiting events are due by their age."""
        return min(self._last_at + self.settings.idle_timeout, oldest_at + self.settings.max_wait)

    def _stamped(self, deliveries: list[Delivery], now: float) -> list[bytes]:
        """The events as they are sent, with ``issued_at`` (``wire.md``, "issued_at")."""
        events: list[bytes] = []
        offset = self._engine.server_clock.time(0.0, now)  # asked once, as it is the same for all
        moment = self._last_stamp
        start, until = b"", -math.inf  # the events of one millisecond share their stamp
        for delivery in deliveries:
            at = offset + delivery.at
            if at > moment:
                moment = at
            if moment >= until:
                start = opening(format_stamp(moment))
                whole = moment // 1.0  # as ``format_stamp`` cuts it
                until = whole + ((moment - whole) * 1000.0 // 1.0 + 1.0) / 1000.0
            encoded = delivery.encoded  # ``complete`` without its calls
            events.append(encoded if encoded[0] == BRACE else start + encoded)
        self._last_stamp = moment
        return events

    def _set_linger(self, now: float) -> None:
        """Set the timer of the waiting events, and the count at which a sender must wake us."""
        engine = self._engine
        at: float | None = None
        more: float = math.inf
        more_bytes: float = math.inf
        oldest = self._queue.oldest()
        if engine.authorizer.refusal() is not None:
            more = 1  # new events fail at once, whatever is on its way
        elif len(self._flights) >= self.settings.max_in_flight:
            pass  # nothing can go before an answer comes
        elif oldest is None and self._flights:
            # Customers in flight hold their events back. One poll per `idle_timeout` finds what
            # others sent soon enough; a wake-up for each held-back event would not.
            at = now + min(self.settings.idle_timeout, self.settings.max_wait)
            room = self.settings.max_queue - self.unended
            more = 1 if self._drains else min(self.settings.batch_size, room)
            more_bytes = self._budget
        elif oldest is None:
            more = 1
        elif self._due(now) is None:
            at = self._linger_at(oldest[0])
            more = min(
                self.settings.batch_size - self._queue.ready,
                self.settings.max_queue - self.unended,
            )
            more_bytes = self._budget - self._queue.ready_bytes
        elif now < engine.backoff.hold_until:
            at = engine.backoff.hold_until
        fetching = engine.authorizer.state is State.FETCHING
        if fetching and engine.backoff.refuses(now) is None:
            # Nothing can go before the token comes, and then every buffer is looked at.
            more = more_bytes = math.inf
        engine.timers.set((Timer.LINGER, self), at)
        self.wake_after(more, more_bytes)

    # ── Outcomes ─────────────────────────────────────────────────────────────────────────────

    def part_delivered(self, flight: Flight, result: SendEventResult) -> None:
        """The API took a flight's current part."""
        part = flight.next_part(accepted=True, refused=False)
        self._in_flight -= len(part.deliveries)
        length = sum(map(len, part.events))
        self._count_end(part.deliveries, part.numbers, length, delivered=True)
        self._engine.succeed(part.deliveries, result)
        self._land(flight)

    def part_failed(self, flight: Flight, error: MasivoError) -> None:
        """A flight's current part ends with an error."""
        refused = error.status in ISOLATED and not isinstance(error, MasivoNetworkError)
        part = flight.next_part(accepted=False, refused=refused)
        self._in_flight -= len(part.deliveries)
        self._end(part.deliveries, part.numbers, error)
        self._land(flight)

    def _land(self, flight: Flight) -> None:
        """Make way, if nothing of a flight is left; else the next part is a batch like any."""
        if not flight.parts:
            self._flights.remove(flight)
            self._queue.release(flight.customers)
        else:
            flight.not_before = self._engine.now + self._engine.backoff.wait()
        self._engine.touch(self)

    def _fail_flight(self, flight: Flight, error: MasivoError) -> None:
        """End every part of a flight that is out of the list already."""
        for part in flight.remaining():
            self._in_flight -= len(part.deliveries)
            self._end(part.deliveries, part.numbers, error)
        self._engine.forget(flight)
        self._queue.release(flight.customers)

    def fail_waiting(self, error: MasivoError) -> None:
        """End everything that waits, for a batch, a repeat or a token; not what is out."""
        for flight in [flight for flight in self._flights if flight.request_id is None]:
            self._flights.remove(flight)
            self._fail_flight(flight, error)
        self._end_taken(self._queue.clear(), error)
        self._engine.touch(self)

    def _end_taken(self, taken: Taken, error: MasivoError) -> None:
        self._end(taken.deliveries, taken.numbers, error)

    def _end(self, deliveries: list[Delivery], numbers: Sequence[int], error: MasivoError) -> None:
        """End events with an error."""
        if deliveries:
            if self._engine.journal is not None:
                self._engine.journal.failed(len(deliveries), error)
            self._count_end(deliveries, numbers, total_size(deliveries), delivered=False)
            self._engine.fail(self, deliveries, error)

    def _count_end(
        self, deliveries: list[Delivery], numbers: Sequence[int], length: int, *, delivered: bool
    ) -> None:
        self.count_ended(len(deliveries), length)
        self._tally.count(len(deliveries), numbers, delivered=delivered)
        self._answer_flushes()

    def _answer_flushes(self) -> None:
        for ticket in self._tally.finished():
            self._engine.answer_flush(ticket)
