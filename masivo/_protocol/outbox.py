"""What becomes of a client's events: when batches go out, their outcomes, and who waits."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from .delivery import Awaited, Delivery, Failed, Ticket
from .errors import (
    MasivoClosedError,
    MasivoError,
    MasivoNetworkError,
    api_error,
    closed_error,
    not_json_error,
    second_401,
)
from .events import envelope, envelope_size
from .flight import Flight
from .issued_at import Stamper
from .json import NOT_JSON, parse
from .log import not_sent
from .queues import Fifo, PerCustomer, Queue, Taken, total_size
from .redaction import redacted_body
from .retry import ISOLATED, REPEATED, retry_after
from .tally import FlushTicket, Tally
from .timers import Timer
from .token import State
from .triggers import Triggers
from .values import Response, SendEventResult, Stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .authorizer import Authorizer
    from .context import Context
    from .gate import Gate
    from .settings import Settings
    from .values import Failure

__all__ = ["Outbox"]


class Outbox:
    """One client, as the rest of the core sees it: its waiting events, its batches in flight.

    All of it runs in ``Engine.poll``.
    """

    def __init__(
        self, context: Context, authorizer: Authorizer, gate: Gate, owner: object = None
    ) -> None:
        settings = gate.settings
        self.settings: Settings = settings
        self.owner: object = owner
        self.gate: Gate = gate
        self.detached: bool = False
        """Whether the engine is done with it."""
        self.hurry: bool = False
        """Whether it closes with a deadline: waits for repeats are cut short."""

        self._context = context
        self._authorizer = authorizer
        self._requests = 0
        self._retries = 0
        self._in_flight = 0
        self._tally = Tally()
        self._taken_in = 0
        self._taken_in_bytes = 0
        self._opening, self._closing = envelope(settings.account.api.events_key)
        # A batch's events may have so many bytes, a comma after each included.
        self._budget = settings.max_batch_bytes - envelope_size(settings.account.api.events_key) + 1
        several = settings.max_in_flight > 1
        self._queue: Queue = PerCustomer(settings.batch_size) if several else Fifo()
        self._flights: list[Flight] = []
        self._triggers = Triggers(settings, self._budget)
        self._stamper = Stamper(context.server_clock)
        self._quiet = False  # no warning for what nobody asks about
        self._drains: list[Ticket] = []
        self._closes: list[Ticket] = []
        self._closing_error: MasivoError | None = None

    # ── What others ask ──────────────────────────────────────────────────────────────────────

    @property
    def held(self) -> int:
        """How many events it holds: those that wait and those in flight."""
        return self.gate.held

    @property
    def awaits_answers(self) -> bool:
        """See ``Buffer``."""
        if self._authorizer.awaited:
            return self.held > 0
        out = [flight.request_id is not None for flight in self._flights]
        return len(out) >= self.settings.max_in_flight and all(out)

    @property
    def wants_poll(self) -> bool:
        """Whether enough events came in since the last poll to make another worthwhile."""
        return (
            self.gate.accepted >= self.gate.wake_count
            or self.gate.accepted_bytes + self.gate.accepted > self.gate.wake_bytes
        ) and self.gate.accepted > self._taken_in

    @property
    def _unended(self) -> int:
        """How many events have been taken in that have no outcome yet."""
        return self._taken_in - self.gate.ended

    def stats(self) -> Stats:
        """A snapshot of the counters."""
        delivered, failed, in_flight = self._tally.delivered, self._tally.failed, self._in_flight
        return Stats(
            accepted=self.gate.accepted,
            delivered=delivered,
            failed=failed,
            rejected=self.gate.rejected,
            retries=self._retries,
            requests=self._requests,
            authorizations=self._authorizer.count,
            queued=self.gate.accepted - delivered - failed - in_flight,
            in_flight=in_flight,
        )

    # ── What inputs do, in the next poll ─────────────────────────────────────────────────────

    def take_in(self, deliveries: list[Delivery]) -> None:
        """Put events into the queue."""
        self._triggers.arrived(deliveries[-1].at)
        refusal = self._authorizer.refusal()
        if self.detached:
            refusal = self._closing_error or closed_error()
        length = self._queue.extend(deliveries) if refusal is None else total_size(deliveries)
        self._taken_in += len(deliveries)
        self._taken_in_bytes += length
        if self._context.journal is not None:
            self._context.journal.took_in(len(deliveries), self._unended)
        if refusal is not None:
            self._end(deliveries, (), refusal)
        self._context.touch(self)

    def overflowed(self) -> None:
        """There was no room for an event: what waits goes out; later ones get their own error."""
        self.gate.overflow = None
        self._triggers.push(self._queue.arrived, "a full buffer")
        self._context.touch(self)

    def flush(self, ticket: FlushTicket) -> None:
        self._triggers.push(self._queue.arrived, "flush")
        if self._context.journal is not None:
            self._context.journal.asked("flush", self._unended)
        self._tally.open(ticket, self._queue.arrived, self._unended)
        self._answer_flushes()
        self._context.touch(self)

    def drain(self, ticket: Ticket) -> None:
        if self.detached:  # since the caller looked
            error = self._closing_error or closed_error()
            self._context.answer(ticket, Failed(error))
            return
        self._drains.append(ticket)
        if self._context.journal is not None:
            self._context.journal.asked("drain", self._unended)
        self._context.touch(self)

    def cancel(self, ticket: Awaited[object]) -> None:
        if isinstance(ticket, Ticket) and ticket in self._drains:
            self._drains.remove(ticket)
        elif isinstance(ticket, FlushTicket):
            self._tally.cancel(ticket)

    def close(self, ticket: Ticket, deadline: float | None, error: MasivoError) -> None:
        if self.detached:
            self._context.answer(ticket, True)
            return
        self._closes.append(ticket)
        self._triggers.push(self._queue.arrived, "close")
        if self._context.journal is not None:
            self._context.journal.asked("close", self._unended)
        if deadline is not None:
            slot = (Timer.CLOSE, self)
            earlier = self._context.timers.get(slot)
            if earlier is None or deadline < earlier:
                self._context.timers.set(slot, deadline)
                self._closing_error = error
            self.hurry = True
        self._context.touch(self)

    def want_token(self, ticket: Ticket) -> None:
        """A caller wishes for the token."""
        if self.detached:
            self._context.answer(ticket, Failed(MasivoClosedError("the client was closed")))
        else:
            self._authorizer.want(self, ticket)

    def abandon(self, why: str) -> None:
        """Detach without sending, with one warning for all that is lost."""
        lost = self.held
        self.release(MasivoClosedError(f"{why} before this could be delivered"), quiet=True)
        self._context.out.warnings.extend(not_sent(lost, why))

    def release(self, error: MasivoError, *, quiet: bool = False) -> None:
        """Fail everything that is left, and detach."""
        if self.detached:
            return
        self._quiet = quiet
        self.gate.closed = True
        self._closing_error = error
        flights, self._flights = self._flights, []
        for flight in flights:
            self._fail_flight(flight, error)
        self._end_taken(self._queue.clear(), error)
        self.detached = True
        # An event whose sender saw the client open may still come: it wakes the driver, whatever
        # was to be waited for, and one that has come during this poll has it look once more.
        self.gate.wake_count = 0
        self._context.touch(self)
        for timer in (Timer.LINGER, Timer.CLOSE):
            self._context.timers.set((timer, self), None)
        for ticket in self._drains:
            self._context.answer(ticket, Failed(error))
        for ticket in self._closes:
            self._context.answer(ticket, True)
        self._drains, self._closes = [], []
        if self._context.journal is not None:
            self._context.journal.released(self.stats())
        self._authorizer.detach(self)
        self._quiet = False

    # ── Steps ────────────────────────────────────────────────────────────────────────────────

    def fire(self, timer: Timer) -> None:
        """One of its timers is due."""
        if timer is Timer.CLOSE and self._closing_error is not None:
            self.release(self._closing_error)
        else:
            self._context.touch(self)

    def step(self, now: float) -> None:
        """Do what is possible now: send, form batches, answer callers, set timers."""
        if self.detached:
            return
        for flight in list(self._flights):
            self._advance(flight, now)
        while self._form(now):
            pass
        if self._drains and self.gate.has_room:
            for ticket in self._drains:
                self._context.answer(ticket, True)
            self._drains = []
        if self._closes and not self._unended:
            self.release(closed_error())
            return
        self._set_linger(now)

    def _advance(self, flight: Flight, now: float) -> None:
        """Send a flight's current part, if it is time and there is a token."""
        if flight.request_id is not None:
            return
        context = self._context
        refusal = context.backoff.refuses(now) or self._authorizer.refusal()
        if refusal is not None:
            self._flights.remove(flight)
            self._fail_flight(flight, refusal)
            return
        at = context.waits_until(flight, hurry=self.hurry)
        context.timers.set((Timer.REPEAT, (self, flight)), at)
        if at is None and (token := self._authorizer.token()) is not None:
            self._requests += 1
            self._send_part(flight, token)

    def _send_part(self, flight: Flight, token: str) -> None:
        """Send a flight's current part."""
        part = flight.part
        part.key = part.key or f"{self._context.random.getrandbits(128):032x}"
        flight.token = token
        self._context.send(
            flight,
            partial(self._returned, flight),
            "POST",
            self._context.account.api.events_path,
            (
                ("authorization", f"Bearer {token}"),
                ("content-type", "application/json"),
                ("idempotency-key", part.key),
            ),
            b"".join((self._opening, b",".join(part.events), self._closing)),
            self.settings.timeout,
            self.owner,
        )

    def _form(self, now: float) -> bool:
        """Form the next batch, if one is due and can go; whether to look for another."""
        context = self._context
        if len(self._flights) >= self.settings.max_in_flight or not self._queue.ready:
            return False
        refusal = context.backoff.refuses(now)
        if refusal is None and self._authorizer.token() is None:
            return False
        why = self._due(now)
        if why is None:
            return False
        if refusal is not None:
            taken = self._queue.take(self.settings.batch_size, self._budget)
            self._queue.release(taken.customers)
            self._end_taken(taken, refusal)
            return True
        if now < context.backoff.hold_until and not self.hurry:
            return False
        taken = self._queue.take(self.settings.batch_size, self._budget)
        flight = Flight(taken, self._stamper.stamped(taken.deliveries, now))
        flight.why = why
        flight.not_before = now + context.backoff.wait()
        self._flights.append(flight)
        self._in_flight += len(taken.deliveries)
        self._advance(flight, now)
        return True

    def _due(self, now: float) -> str | None:
        """What makes a batch due; None if nothing does."""
        wanted = "drain" if self._drains else "close" if self._closes else None
        return self._triggers.due(self._queue, now, self.gate.held, wanted)

    def _set_linger(self, now: float) -> None:
        """Set the timer of the waiting events, and the count at which a sender must wake us."""
        context = self._context
        at: float | None = None
        more: float = math.inf
        more_bytes: float = math.inf
        oldest = self._queue.oldest()
        if self._authorizer.refusal() is not None:
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
            at = self._triggers.due_at(oldest[0])
            more, more_bytes = self._triggers.missing(self._queue, self._unended)
        elif now < context.backoff.hold_until:
            at = context.backoff.hold_until
        fetching = self._authorizer.state is State.FETCHING
        if fetching and context.backoff.refuses(now) is None:
            # Nothing can go before the token comes, and then every buffer is looked at.
            more = more_bytes = math.inf
        context.timers.set((Timer.LINGER, self), at)
        # Have a sender wake the driver when so many more events, or bytes, have come.
        self.gate.wake_count = self._taken_in + more
        self.gate.wake_bytes = self._taken_in_bytes + self._taken_in + more_bytes

    # ── Answers ──────────────────────────────────────────────────────────────────────────────

    def _returned(self, flight: Flight, result: Response | Failure) -> None:
        """What became of a flight's request."""
        if isinstance(result, Response):
            self._answered(flight, result)
            return
        error = self._context.error_of(result, flight.token)
        accepted = result.status is not None and 200 <= result.status < 300
        if accepted:
            cause, reason = error.__cause__, error.message
            error = MasivoNetworkError(
                f"{reason}; the API had begun to answer with success, so the events may have "
                "been accepted, and are not sent again",
                status=result.status,
            )
            error.__cause__ = cause
        repeatable = not accepted and result.fatal is None
        self._failed(flight, error, repeatable=repeatable, wait=None)

    def _answered(self, flight: Flight, response: Response) -> None:
        context, status = self._context, response.status
        body = redacted_body(response.body, context.secrets(flight.token))
        if status == 401:
            self._authorizer.reject(flight.token)
            if flight.unauthorized:
                self._failed(flight, second_401(body), repeatable=False, wait=None)
            else:
                context.backoff.succeeded()
                flight.unauthorized = True
                context.touch(self)
            return
        if 200 <= status < 300:
            context.backoff.succeeded()
            data = parse(body)
            if data is NOT_JSON:
                error = not_json_error(status, body)
                self._failed(flight, error, repeatable=False, wait=None)
            else:
                self._part_delivered(flight, SendEventResult(True, status, data))
        elif status in REPEATED:
            wait = retry_after(response.headers, context.server_clock)
            self._failed(flight, api_error(status, body), repeatable=True, wait=wait)
        elif status in ISOLATED and self.settings.isolate_rejected and flight.halve():
            context.backoff.succeeded()
            context.touch(self)
            if context.journal is not None:
                context.journal.halved(flight)
        else:
            self._failed(flight, api_error(status, body), repeatable=False, wait=None)

    def _failed(
        self, flight: Flight, error: MasivoError, *, repeatable: bool, wait: float | None
    ) -> None:
        context = self._context
        if repeatable:
            flight.unauthorized = False
            context.backoff.failed(flight.known, wait, error, context.now)
            if context.backoff.refuses(context.now) is not None:
                context.all_touched = True  # other batches that wait for a repeat fail at once
                if context.journal is not None:
                    context.journal.refuses(context.backoff.refused_until - context.now)
            elif context.repeat(flight, retries=self.settings.max_retries, hurry=self.hurry):
                self._retries += 1
                context.touch(self)
                return
        elif not isinstance(error, MasivoNetworkError):
            context.backoff.succeeded()
        self._part_failed(flight, error)

    # ── Outcomes ─────────────────────────────────────────────────────────────────────────────

    def _part_delivered(self, flight: Flight, result: SendEventResult) -> None:
        """The API took a flight's current part."""
        part = flight.next_part(accepted=True, refused=False)
        self._in_flight -= len(part.deliveries)
        length = sum(map(len, part.events))
        self._context.succeed(part.deliveries, result)
        self._count_end(part.deliveries, part.numbers, length, delivered=True)
        self._land(flight)

    def _part_failed(self, flight: Flight, error: MasivoError) -> None:
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
            flight.not_before = self._context.now + self._context.backoff.wait()
        self._context.touch(self)

    def _fail_flight(self, flight: Flight, error: MasivoError) -> None:
        """End every part of a flight that is out of the list already."""
        for part in flight.remaining():
            self._in_flight -= len(part.deliveries)
            self._end(part.deliveries, part.numbers, error)
        self._context.forget(flight)
        self._context.timers.set((Timer.REPEAT, (self, flight)), None)
        self._queue.release(flight.customers)

    def fail_waiting(self, error: MasivoError) -> None:
        """End everything that waits, for a batch, a repeat or a token; not what is out."""
        for flight in [flight for flight in self._flights if flight.request_id is None]:
            self._flights.remove(flight)
            self._fail_flight(flight, error)
        self._end_taken(self._queue.clear(), error)
        self._context.touch(self)

    def _end_taken(self, taken: Taken, error: MasivoError) -> None:
        self._end(taken.deliveries, taken.numbers, error)

    def _end(self, deliveries: list[Delivery], numbers: Sequence[int], error: MasivoError) -> None:
        """End events with an error."""
        if deliveries:
            if self._context.journal is not None:
                self._context.journal.failed(len(deliveries), error)
            length = total_size(deliveries)
            report = None if self._quiet else self._context.unasked
            failed = Failed(error, len(deliveries), report)
            self._context.fail(deliveries, failed, self.settings.on_error)
            self._count_end(deliveries, numbers, length, delivered=False)

    def _count_end(
        self, deliveries: list[Delivery], numbers: Sequence[int], length: int, *, delivered: bool
    ) -> None:
        """Count events that have their outcome: whoever waits for a flush may see this at once."""
        self.gate.ended += len(deliveries)
        self.gate.ended_bytes += length
        self._tally.count(len(deliveries), numbers, delivered=delivered)
        self._answer_flushes()

    def _answer_flushes(self) -> None:
        for ticket in self._tally.finished():
            ticket.outcome = ticket.result()
            self._context.out.tickets.append(ticket)
            if self._context.journal is not None:
                self._context.journal.flushed(ticket.outcome)
