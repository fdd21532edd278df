"""One client's waiting events and its batches in flight, where a store keeps them: only the API's
response to an event itself ends it.

The rules: ``docs/reference/guarantees.md#two-ends`` and those that follow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from masivo._protocol.errors import MasivoError, MasivoQueueFullError
from masivo._protocol.sending.timers import Timer
from masivo._protocol.storage.kept import Kept, customer_of, positions_of, source_of
from masivo._protocol.storage.store import Note
from masivo._protocol.storage.work import Queued

from .adoption import Source, is_live
from .aside import Aside
from .backlog import Backlog
from .batch import Batch, Part
from .issued_at import stamps_of, with_stamps
from .leaving import LeavingOutbox
from .queues import Taken, total_size
from .upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from masivo._protocol.delivery import Delivery, Ticket
    from masivo._protocol.sending.context import Context
    from masivo._protocol.storage.store import Noted, Store
    from masivo._protocol.storage.work import StoreDone
    from masivo._protocol.token.authorizer import Authorizer
    from masivo._protocol.values import SendEventResult

    from .flushes import FlushTicket
    from .gate import Gate

__all__ = ["SpooledOutbox"]

BEHIND: Final = "older events wait on disk"
"""The reason for which a delivery ends whose event is on disk behind others."""
ROOM: Final = 1.0
"""Seconds after which a store that could not take an event may be tried again."""


class SpooledOutbox(LeavingOutbox):
    """One client with a store, as the rest of the core sees it."""

    def __init__(
        self, context: Context, authorizer: Authorizer, gate: Gate, owner: object, store: Store
    ) -> None:
        super().__init__(context, authorizer, gate, owner)
        self._outcomes.flushes.may_end = self._may_end
        self._store = store
        self._todo = Queued(self._start, quick=store.quick)
        self.backlog: Backlog = Backlog(
            context,
            gate,
            store,
            self._todo,
            self._reports,
            lambda: self.origin,
            self._lines.busy,
        )
        self._upkeep = Upkeep(
            context, gate.settings, store, self._todo, self.backlog, self._in_memory
        )
        self._let_go = 0  # events that were in memory when the client was released
        self._alone: MasivoError = MasivoQueueFullError(BEHIND, spooled=True)  # for a warning
        self._room_at = -math.inf

    def _start(
        self, steps: Sequence[Callable[[], object]], then: Callable[[StoreDone], None]
    ) -> None:
        def done(result: StoreDone) -> None:
            then(result)
            self._context.touch(self)

        self._context.work(self.owner, steps, done)

    # ── Numbers ──────────────────────────────────────────────────────────────────────────────

    @property
    def unsaved(self) -> int:
        """See Outbox: 0, as the store keeps them."""
        return 0

    @property
    def has_room(self) -> bool:
        """See Outbox: the store has room."""
        return self._store.has_room and not self.gate.unwritable

    def _counts(self) -> tuple[int, int, int]:
        """See Outbox."""
        accepted = self.backlog.accepted  # first, as in `stats`
        spooled = self._kept_queued + self._aside.events + self._let_go + self.backlog.untaken
        return accepted, self.backlog.adopted, spooled

    @property
    def _is_done(self) -> bool:
        return super()._is_done and not self.backlog.unread and self._todo.idle

    def _may_end(self, ticket: FlushTicket) -> bool:
        if self.released:
            return True
        ticket.unread = self.backlog.untaken
        return self._todo.idle and (bool(ticket.done) or not self.backlog.unread)

    # ── Effects of inputs ────────────────────────────────────────────────────────────────────

    def use(self) -> None:
        """See Outbox."""
        self.backlog.use()
        self._context.touch(self)

    def look(self) -> None:
        """See Outbox."""
        self.backlog.look()
        self._context.touch(self)

    def enqueue(self, deliveries: list[Delivery]) -> None:
        """See Outbox."""
        self._queued += len(deliveries)
        if self.released:
            self._drop(deliveries, (), self._closing_error)
            return
        self.use()
        self._triggers.arrived(deliveries[-1].at)
        entries, ended, waiting = self.backlog.own.come(deliveries)
        length = total_size(ended)
        self._queued_bytes += length + total_size(waiting)
        self.gate.end(len(ended), length)
        self._outcomes.leave(ended, (), MasivoQueueFullError(BEHIND))
        self._reports.queued(len(deliveries), self._unended)
        self._queued_bytes += self._take_in(entries)

    def stored_alone(self, position: int) -> None:
        """See Outbox."""
        self.use()
        self.gate.alone = None
        self.backlog.comes_alone(position)
        if not self._outcomes.silent:
            self._context.warn_of_loss(self._alone, 1)

    def flush(self, ticket: FlushTicket) -> None:
        """See Outbox. Events that were left are tried again."""
        self.use()
        self._aside.try_at = self._context.now
        self._push("flush")
        pending = self._unended - self.backlog.waiting
        self._outcomes.open_flush(ticket, self._queue.arrived, pending)

    def drain(self, ticket: Ticket) -> None:
        """See Outbox."""
        self._room_at = self._context.now + ROOM
        super().drain(ticket)

    def want_token(self, ticket: Ticket) -> None:
        """See Outbox."""
        self.use()
        super().want_token(ticket)

    def release(self, error: MasivoError) -> None:
        """See Outbox. Pending events stay in the store."""
        if self.released:
            return
        for batch in (*self._batches, *self._aside.batches):
            self._context.forget(batch)
            self._context.timers.set((Timer.RETRY, (self, batch)), None)
            for part in batch.remaining():
                self._drop(part.deliveries, part.numbers, error)
        self._batches, self._in_flight = [], 0
        self._aside = Aside(self._context)
        taken = self._queue.clear()
        self._drop(taken.deliveries, taken.numbers, error)
        self._drop(self.backlog.release(), (), error)
        self._kept_queued = 0
        self._upkeep.release(self._store_released, silent=self._silent_to_the_end)
        super().release(error)

    def _drop(self, deliveries: list[Delivery], numbers: Sequence[int], error: MasivoError) -> None:
        """Drop events from memory; they stay in the store."""
        self._let_go += len(deliveries)
        self.gate.end(len(deliveries), total_size(deliveries))
        self._leave(deliveries, numbers, error)

    def _detach(self) -> None:
        """See Outbox: deferred until the store is released."""

    def _store_released(self) -> None:
        super()._detach()

    def _in_memory(self) -> list[Delivery]:
        """The events in memory that are in the client's own log."""
        batches = (*self._batches, *self._aside.batches)
        parts = [part for batch in batches for part in batch.parts]
        entries = [each for _, each in self._lines.entries()]
        entries += [each for part in parts for each in part.deliveries]
        return [each for each in entries if source_of(each) is None]

    # ── Steps of a poll ──────────────────────────────────────────────────────────────────────

    def step(self, now: float) -> None:
        """See Outbox."""
        if not self.released:
            if self._drains and now >= self._room_at:
                self.gate.unwritable = False
                self._room_at = now + ROOM
            self._enter_read()
            self._adopt_noted()
            if self._outcomes.flushes.any_open or self._closes:
                error = self._context.backoff.long_hold(now) or self._authorizer.refusal()
                if error is not None:
                    self._stop_queue(error)
                    self._leave_kept(error)
                    self._end_close()
        super().step(now)
        if not self.released:
            self._upkeep.plan(now)
            self._read_on(now)
        self._todo.begin()
        self._outcomes.end_flushes()
        at = None if self.released else self._look_at(now)
        self._context.timers.set((Timer.SPOOL, self), at)

    def _read_on(self, now: float) -> None:
        """Read the next events from a log, if there are any, and room for them. If only batches
        that fail are left, the events that wait behind them make room for other customers'."""
        closing, failing = bool(self._closes), self._failing()
        if failing and self._todo.idle and self.backlog.is_blocked(now, closing=closing):
            self._put_back({name for each in failing for name in each.customers})
        most = self.settings.batch_size
        stuck = sum(max(0, len(each) - most) for each in failing) if failing else None
        self.backlog.plan(now, stuck=stuck, closing=closing)

    def _failing(self) -> list[Batch]:
        """The batches, if all have failed, and nothing else can be sent now; else none."""
        stuck = all(batch.guilty or batch.part.failures > 0 for batch in self._batches)
        return [*self._aside.batches, *self._batches] if stuck and not self._queue.ready else []

    def _put_back(self, customers: set[str]) -> None:
        """Drop the waiting events of customers from memory; they are read again later."""
        entries = self._lines.entries(customers)
        customers -= {each.customer for _, each in entries if each.position is None}
        taken = self._lines.drop(customers)
        events = taken.deliveries
        self._kept_queued -= sum([isinstance(each, Kept) for each in events])
        events += self.backlog.put_back(events)
        self.gate.end(len(events), total_size(events))
        live = [each for each in events if not isinstance(each, Kept)]
        self._triggers.gone(live)
        self._outcomes.flushes.put_back(taken.numbers)
        self._outcomes.leave(live, (), MasivoQueueFullError(BEHIND))

    def _enter_read(self) -> None:
        """Queue the events that were read."""
        entries = self.backlog.fresh()
        if not entries:
            return
        read = [each for each in entries if isinstance(each, Kept)]
        self._queued += len(read)
        self._queued_bytes += total_size(read)  # the others were counted as they arrived
        self._kept_queued += len(read)
        first = self._queue.arrived
        if is_live(entries[-1]):
            self._triggers.arrived(entries[-1].at)
        else:
            self._outcomes.flushes.extend(range(first, first + len(entries)))
            self._triggers.push(first + len(entries), "spool")
        self._take_in(entries)

    def _take_in(self, entries: list[Delivery]) -> int:
        """Queue events; end their deliveries if none can be delivered now. Return their size."""
        length = self._queue.extend(entries)
        if (error := self._authorizer.refusal()) is not None:
            self._stop_queue(error)
        return length

    def _adopt_noted(self) -> None:
        """Adopt batches that the last owner of a log may have sent."""
        for source in self.backlog.sources:
            while source.noted:
                customers = {*map(customer_of, source.noted[0].events)}
                if not self._lines.hold(customers):
                    break
                noted = source.noted[0]
                entries = self.backlog.take_noted(source)
                if entries:
                    self._adopt_batch(noted, entries, customers)
                else:
                    self._queue.release(customers)

    def _adopt_batch(self, noted: Noted, entries: list[Kept], customers: set[str]) -> None:
        deliveries: list[Delivery] = [*entries]
        self._queued += len(deliveries)
        self._queued_bytes += total_size(deliveries)
        numbers = self._numbers(len(deliveries))
        self._outcomes.flushes.extend(numbers)
        events = with_stamps([each.encoded for each in deliveries], noted.note.stamps)
        offset = self._context.server_clock.offset(self._context.now)
        batch = Batch(Taken(deliveries, numbers, customers), events, "spool", offset, self.gate)
        batch.part.key = batch.part.noted = noted.note.key
        batch.part.adopted = True
        self._aside.put(batch)
        self._aside.try_at = self._context.now
        self._reports.adopted(len(entries))

    def _numbers(self, count: int) -> range:
        """New numbers, as the queue gives them."""
        first = self._queue.arrived
        self._lines.arrived += count
        return range(first, first + count)

    def _look_at(self, now: float) -> float | None:
        """The time of the next ``step`` if nothing else happens."""
        times = [*self.backlog.times(), *self._upkeep.times(), self._room_at]
        if self._aside.batches or self._kept_queued:
            context = self._context
            if self._authorizer.refusal() is not None:
                times.append(self._authorizer.refused_until)
            elif context.backoff.long_hold(now) is not None:
                times.append(context.backoff.long_hold_until)
            elif now < context.backoff.hold_until and not self.hurry:
                times.append(context.backoff.hold_until)
            else:
                times.append(self._aside.try_at)
        return min((at for at in times if at > now), default=None)

    def _take(self) -> Taken:
        self._lines.source_of = source_of if self.backlog.is_mixed else None
        return super()._take()

    def _send(self, batch: Batch, token: str) -> None:
        noting = batch.part.noting
        if noting is not None and noting != batch.part.noted:
            return  # it is being noted
        part = self._prepare(batch)
        if part.noted != part.key:
            self._note(part)
            if part.noted != part.key:
                return  # other work on the store comes first
        if self._end_too_old(batch):
            return
        if not batch.retries:
            part.well = self._aside.well
        super()._send(batch, token)

    def _note(self, part: Part) -> None:
        """Note a part before it is first sent. A part of a live log is not noted. It waits for the
        steps before it all the same: after a crash, whoever reads the log next sends again what has
        not been removed."""
        key = part.noting = part.key

        def noted(_: object = None) -> None:  # even after a failure the batch is sent
            part.noted = key

        if is_live(part.deliveries[0]):
            self._todo.after(noted)
        else:
            self._todo.do(self._noting(part), noted)

    def _noting(self, part: Part) -> Callable[[], None]:
        """A step that notes a part."""
        deliveries = part.deliveries
        note = Note(positions_of(deliveries), part.key, stamps_of(deliveries, part.events))
        source = source_of(deliveries[0])

        def step() -> None:
            log = source.log if isinstance(source, Source) else self._store.own
            assert log is not None  # noqa: S101 (its events were appended to it)
            log.note(note)

        return step

    def _end_too_old(self, batch: Batch) -> bool:
        """End events of the current part that the API would reject as too old; return True if there
        were any."""
        age, now, part = self.settings.account.api.max_age, self._context.now, batch.part
        if age is None or self._context.server_clock.is_doubtful(now):
            return False
        old = self._stamper.before(part, now, age)
        if True not in old:
            return False
        error = MasivoError(
            f"the event is older than {age / 3600.0:g} hours by its issued_at, and was not sent: "
            "the API rejects that (Api.max_age)"
        )
        rest = part.without(old)
        batch.parts[0] = part.without([not each for each in old])
        if rest.deliveries:
            batch.parts.insert(1, rest)
        self._part_failed(batch, error, rejected=True)
        return True

    # ── Outcomes ─────────────────────────────────────────────────────────────────────────────

    def _part_delivered(self, batch: Batch, result: SendEventResult) -> None:
        self._remove(batch.part, delivered=True)  # first: a flush ends after the removals
        super()._part_delivered(batch, result)

    def _part_failed(self, batch: Batch, error: MasivoError, *, rejected: bool = False) -> None:
        if rejected:
            self._upkeep.keep_rejected(batch.part.events, error)
        self._remove(batch.part, delivered=False)
        super()._part_failed(batch, error, rejected=rejected)

    def _remove(self, part: Part, *, delivered: bool) -> None:
        """Remove the events of a part from the store, which makes room."""
        self.backlog.gone(part.deliveries, delivered=delivered)
        self.gate.unwritable = False
        self._upkeep.room_was_made()
