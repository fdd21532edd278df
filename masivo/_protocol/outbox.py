"""What becomes of a client's events: when batches go out, their outcomes, and who waits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .buffer import Buffer, closed_error
from .delivery import Awaited, Delivery, Failed, Ticket, TokenTicket
from .errors import MasivoError, MasivoNetworkError
from .events import BRACE, envelope_size, opening, total_size
from .flight import Flight
from .queues import Fifo, PerCustomer, Queue, Taken
from .retry import ISOLATED
from .stamps import format_stamp
from .tally import FlushTicket
from .timers import Timer
from .token import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .core import Core
    from .settings import Settings
    from .values import SendEventResult

__all__ = ["Outbox"]


class Outbox(Buffer):
    """One client, as the rest of the core sees it: its waiting events, its batches in flight.

    All of it runs in ``Engine.poll``.
    """

    def __init__(
        self, core: Core, settings: Settings, delivery_type: type[Delivery], owner: object
    ) -> None:
        super().__init__(core, settings, delivery_type, owner)
        self.hurry: bool = False
        """Whether it closes with a deadline: waits for repeats are cut short."""

        # A batch's events may have so many bytes, a comma after each included.
        self._budget = settings.max_batch_bytes - envelope_size(settings.account.api.events_key) + 1
        several = settings.max_in_flight > 1
        self._queue: Queue = PerCustomer(settings.batch_size) if several else Fifo()
        self._flights: list[Flight] = []
        self._due_below = 0  # events numbered below this are due ...
        self._due_by = ""  # ... by this
        self._last_at = -math.inf
        self._last_stamp = -math.inf
        self._drains: list[Ticket] = []
        self._closes: list[Ticket] = []
        self._closing_error: MasivoError | None = None

    # ── What others ask ──────────────────────────────────────────────────────────────────────

    @property
    def held(self) -> int:
        """How many events it holds: those that wait and those in flight."""
        return self._held()

    @property
    def awaits_answers(self) -> bool:
        """See ``Buffer``."""
        if self._core.authorizer.awaited:
            return self.held > 0
        out = [flight.request_id is not None for flight in self._flights]
        return len(out) >= self.settings.max_in_flight and all(out)

    @property
    def wants_poll(self) -> bool:
        """Whether enough events came in since the last poll to make another worthwhile."""
        return (
            self._accepted >= self._wake_count
            or self._accepted_bytes + self._accepted > self._wake_bytes
        ) and self._accepted > self._taken_in

    @property
    def _unended(self) -> int:
        """How many events have been taken in that have no outcome yet."""
        return self._taken_in - self._ended

    def count_retry(self) -> None:
        """One of its requests is to be repeated."""
        self._retries += 1

    # ── What inputs do, in the next poll ─────────────────────────────────────────────────────

    def take_in(self, deliveries: list[Delivery]) -> None:
        """Put events into the queue."""
        self._last_at = max(self._last_at, deliveries[-1].at)
        refusal = self._core.authorizer.refusal()
        if self.detached:
            refusal = self._closing_error or closed_error()
        length = self._queue.extend(deliveries) if refusal is None else total_size(deliveries)
        self._taken_in += len(deliveries)
        self._taken_in_bytes += length
        if self._core.journal is not None:
            self._core.journal.took_in(len(deliveries), self._unended)
        if refusal is not None:
            self._end(deliveries, (), refusal)
        self._core.touch(self)

    def _overflowed(self) -> None:
        """There was no room for an event: what waits goes out; later ones get their own error."""
        self._overflow = None
        self._due_below, self._due_by = self._queue.arrived, "a full buffer"
        self._core.touch(self)

    def _flush(self, ticket: FlushTicket) -> None:
        self._due_below, self._due_by = self._queue.arrived, "flush"
        if self._core.journal is not None:
            self._core.journal.asked("flush", self._unended)
        self._tally.open(ticket, self._due_below, self._unended)
        self._answer_flushes()
        self._core.touch(self)

    def _drain(self, ticket: Ticket) -> None:
        if self.detached:  # since the caller looked
            error = self._closing_error or closed_error()
            self._core.answer(ticket, Failed(error))
            return
        self._drains.append(ticket)
        if self._core.journal is not None:
            self._core.journal.asked("drain", self._unended)
        self._core.touch(self)

    def _cancel(self, ticket: Awaited[object]) -> None:
        if isinstance(ticket, Ticket) and ticket in self._drains:
            self._drains.remove(ticket)
        elif isinstance(ticket, FlushTicket):
            self._tally.cancel(ticket)

    def _close(self, ticket: Ticket, deadline: float | None, error: MasivoError) -> None:
        if self.detached:
            self._core.answer(ticket, True)
            return
        self._closes.append(ticket)
        self._due_below, self._due_by = self._queue.arrived, "close"
        if self._core.journal is not None:
            self._core.journal.asked("close", self._unended)
        if deadline is not None:
            slot = (Timer.CLOSE, self)
            earlier = self._core.timers.get(slot)
            if earlier is None or deadline < earlier:
                self._core.timers.set(slot, deadline)
                self._closing_error = error
            self.hurry = True
        self._core.touch(self)

    def _want_token(self, ticket: TokenTicket) -> None:
        self._core.authorizer.want(self, ticket)

    def _abandon(self, why: str) -> None:
        self._core.abandon([self], why)

    def _release(self, error: MasivoError) -> None:
        self.release(error)

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
        # An event whose sender saw the client open may still come: it wakes the driver, whatever
        # was to be waited for, and one that has come during this poll has it look once more.
        self._wake_count = 0
        self._core.touch(self)
        for timer in (Timer.LINGER, Timer.CLOSE):
            self._core.timers.set((timer, self), None)
        for ticket in self._drains:
            self._core.answer(ticket, Failed(error))
        for ticket in self._closes:
            self._core.answer(ticket, True)
        self._drains, self._closes = [], []
        if self._core.journal is not None:
            self._core.journal.released(self.stats())
        self._core.detach(self)

    # ── Steps ────────────────────────────────────────────────────────────────────────────────

    def fire(self, timer: Timer) -> None:
        """One of its timers is due."""
        if timer is Timer.CLOSE and self._closing_error is not None:
            self.release(self._closing_error)
        else:
            self._core.touch(self)

    def step(self, now: float) -> None:
        """Do what is possible now: send, form batches, answer callers, set timers."""
        if self.detached:
            return
        for flight in list(self._flights):
            self._advance(flight, now)
        while self._form(now):
            pass
        if self._drains and self._has_room():
            for ticket in self._drains:
                self._core.answer(ticket, True)
            self._drains = []
        if self._closes and not self._unended:
            self.release(closed_error())
            return
        self._set_linger(now)

    def _advance(self, flight: Flight, now: float) -> None:
        """Send a flight's current part, if it is time and there is a token."""
        if flight.request_id is not None:
            return
        core = self._core
        refusal = core.backoff.refuses(now) or core.authorizer.refusal()
        if refusal is not None:
            self._flights.remove(flight)
            self._fail_flight(flight, refusal)
            return
        at = core.waits_until(flight, hurry=self.hurry)
        core.timers.set((Timer.REPEAT, flight), at)
        if at is None and (token := core.authorizer.token()) is not None:
            self._requests += 1
            core.send_part(flight, token, self.settings.timeout)

    def _form(self, now: float) -> bool:
        """Form the next batch, if one is due and can go; whether to look for another."""
        core = self._core
        if len(self._flights) >= self.settings.max_in_flight or not self._queue.ready:
            return False
        refusal = core.backoff.refuses(now)
        if refusal is None and core.authorizer.token() is None:
            return False
        why = self._due(now)
        if why is None:
            return False
        if refusal is not None:
            taken = self._queue.take(self.settings.batch_size, self._budget)
            self._queue.release(taken.customers)
            self._end_taken(taken, refusal)
            return True
        if now < core.backoff.hold_until and not self.hurry:
            return False
        taken = self._queue.take(self.settings.batch_size, self._budget)
        flight = Flight(self, taken, self._stamped(taken.deliveries, now))
        flight.why = why
        flight.not_before = now + core.backoff.wait()
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
        return "max_queue" if self._held() >= self.settings.max_queue else None

    def _linger_at(self, oldest_at: float) -> float:
        """When the waiting events are due by their age."""
        return min(self._last_at + self.settings.idle_timeout, oldest_at + self.settings.max_wait)

    def _stamped(self, deliveries: list[Delivery], now: float) -> list[bytes]:
        """The events as they are sent, with ``issued_at`` (``wire.md``, "issued_at")."""
        events: list[bytes] = []
        offset = self._core.server_clock.time(0.0, now)  # asked once, as it is the same for all
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
        core = self._core
        at: float | None = None
        more: float = math.inf
        more_bytes: float = math.inf
        oldest = self._queue.oldest()
        if core.authorizer.refusal() is not None:
            more = 1  # new events fail at once, whatever is on its way
        elif len(self._flights) >= self.settings.max_in_flight:
            pass  # nothing can go before an answer comes
        elif oldest is None and self._flights:
            # Customers in flight hold their events back. One poll per `idle_timeout` finds what
            # others sent soon enough; a wake-up for each held-back event would not.
            at = now + min(self.settings.idle_timeout, self.settings.max_wait)
            room = self.settings.max_queue - self._unended
            more = 1 if self._drains else min(self.settings.batch_size, room)
            more_bytes = self._budget
        elif oldest is None:
            more = 1
        elif self._due(now) is None:
            at = self._linger_at(oldest[0])
            more = min(
                self.settings.batch_size - self._queue.ready,
                self.settings.max_queue - self._unended,
            )
            more_bytes = self._budget - self._queue.ready_bytes
        elif now < core.backoff.hold_until:
            at = core.backoff.hold_until
        fetching = core.authorizer.state is State.FETCHING
        if fetching and core.backoff.refuses(now) is None:
            # Nothing can go before the token comes, and then every buffer is looked at.
            more = more_bytes = math.inf
        core.timers.set((Timer.LINGER, self), at)
        # Have a sender wake the driver when so many more events, or bytes, have come.
        self._wake_count = self._taken_in + more
        self._wake_bytes = self._taken_in_bytes + self._taken_in + more_bytes

    # ── Outcomes ─────────────────────────────────────────────────────────────────────────────

    def part_delivered(self, flight: Flight, result: SendEventResult) -> None:
        """The API took a flight's current part."""
        part = flight.next_part(accepted=True, refused=False)
        self._in_flight -= len(part.deliveries)
        length = sum(map(len, part.events))
        self._core.succeed(part.deliveries, result)
        self._count_end(part.deliveries, part.numbers, length, delivered=True)
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
            flight.not_before = self._core.now + self._core.backoff.wait()
        self._core.touch(self)

    def _fail_flight(self, flight: Flight, error: MasivoError) -> None:
        """End every part of a flight that is out of the list already."""
        for part in flight.remaining():
            self._in_flight -= len(part.deliveries)
            self._end(part.deliveries, part.numbers, error)
        self._core.forget(flight)
        self._queue.release(flight.customers)

    def fail_waiting(self, error: MasivoError) -> None:
        """End everything that waits, for a batch, a repeat or a token; not what is out."""
        for flight in [flight for flight in self._flights if flight.request_id is None]:
            self._flights.remove(flight)
            self._fail_flight(flight, error)
        self._end_taken(self._queue.clear(), error)
        self._core.touch(self)

    def _end_taken(self, taken: Taken, error: MasivoError) -> None:
        self._end(taken.deliveries, taken.numbers, error)

    def _end(self, deliveries: list[Delivery], numbers: Sequence[int], error: MasivoError) -> None:
        """End events with an error."""
        if deliveries:
            if self._core.journal is not None:
                self._core.journal.failed(len(deliveries), error)
            length = total_size(deliveries)
            self._core.fail(self, deliveries, error)
            self._count_end(deliveries, numbers, length, delivered=False)

    def _count_end(
        self, deliveries: list[Delivery], numbers: Sequence[int], length: int, *, delivered: bool
    ) -> None:
        """Count events that have their outcome: whoever waits for a flush may see this at once."""
        self._ended += len(deliveries)
        self._ended_bytes += length
        self._tally.count(len(deliveries), numbers, delivered=delivered)
        self._answer_flushes()

    def _answer_flushes(self) -> None:
        for ticket in self._tally.finished():
            self._core.answer_flush(ticket)
