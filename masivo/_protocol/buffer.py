"""One client's buffer, as its callers and its driver see it: inputs, and counters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from .batches.flushes import FlushTicket
from .calls import running
from .delivery import (
    Awaited,
    CloseTicket,
    Delivery,
    DeliveryType,
    Failed,
    Origin,
    Ticket,
    TokenTicket,
)
from .errors import MasivoClosedError, MasivoConfigError, MasivoQueueFullError, closed_error
from .events.before_send import replaced
from .events.encoding import encoder
from .events.form import size
from .reporting.losses import NOT_ACCEPTED
from .storage.store import StoreError
from .values import SendEventResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .batches.outbox import Outbox
    from .reporting.activity import OnActivity
    from .sending.context import Context
    from .settings import Settings
    from .storage.store import Store
    from .values import Stats

__all__ = ["Buffer"]

_NOT_SENT: Final = SendEventResult(success=False, status=0)


class Buffer(Origin):
    """One client, as the engine's driver sees it; ``Engine.attach`` makes it.

    Every method may be called at any time, from any thread, from a signal handler or a finalizer.
    Most are inputs, which have their effect at the next ``Engine.poll``. ``stats`` and
    ``server_time`` only read, and ``closed`` changes at the call.
    """

    def __init__(
        self,
        context: Context,
        outbox: Outbox,
        delivery_type: DeliveryType,
        store: Store | None = None,
    ) -> None:
        settings = outbox.settings
        own = settings.on_activity
        super().__init__(outbox.owner, settings.on_error, () if own is None else (own,))
        self.settings: Settings = settings
        self.outbox: Outbox = outbox
        self._context = context
        self._gate = outbox.gate
        self._clock = context.clock
        self._wall_clock = context.wall_clock
        self._server_clock = context.server_clock
        self._confirmed_clock = context.confirmed_clock
        self._input = context.input
        self._wake = context.wake
        self._plain = settings.enabled and store is None
        self._encode = encoder(settings)
        self._make = delivery_type
        self._store = store
        self._per_customer = settings.max_in_flight > 1 or store is not None
        self._before_send = settings.before_send
        self._awaits = settings.await_linger is not None

    @property
    def closed(self) -> bool:
        """True once it accepts no more events: ``close`` and ``destroy`` set it at the call."""
        return self._gate.closed

    @property
    def detached(self) -> bool:
        """True once the engine has detached it."""
        return self.outbox.detached

    # ── Inputs: from anywhere, at any time ───────────────────────────────────────────────────

    def send(self, event: Mapping[str, object]) -> Delivery:
        """Accept an event; the delivery may have failed already (the buffer was full).

        Raises:
            MasivoValidationError: the event is invalid.
            MasivoClosedError: the client is closed.
        """
        if self._gate.closed:
            raise closed_error()
        if self._before_send is not None:
            scrubbed = replaced(event, self._before_send)
            if scrubbed is None:
                return self._dropped()
            event = scrubbed
        return self._accept(*self._encode(event))

    def put_all(self, events: Sequence[tuple[bytes, str]]) -> list[Delivery]:
        """Accept events that were checked and encoded elsewhere: all of them, or none.

        Args:
            events: each in the form that ``masivo/_protocol/events/form.py`` describes, and its
                customer.

        Raises:
            MasivoClosedError: the client is closed.
            StoreError: the store has no room for them; never raised without a store.
        """
        store, gate, clock = self._store, self._gate, self._server_clock
        if gate.closed:
            raise closed_error()
        if store is None:
            raise StoreError("this client has no store")
        folded, items, total = gate.count()
        lengths = [size(encoded) for encoded, _ in events]
        has_room = (
            folded[0] + items + len(events) <= gate.full_count
            and total + sum(lengths) <= gate.full_bytes
        )
        behind = gate.behind or not has_room
        if behind:
            gate.behind = True  # before they are in the log: who comes later stays behind them
        try:
            positions = store.append_all(
                [encoded for encoded, _ in events],
                self._wall_clock() + clock.ahead,
                clock.is_known,
            )
        except StoreError:
            self._not_stored()
            self._input(self.outbox.overflow)
            self._wake()
            raise
        at = self._clock()
        deliveries: list[Delivery] = []
        for (encoded, customer), position in zip(events, positions, strict=True):
            delivery = self._make(encoded, at, customer, self)
            delivery.position = position
            deliveries.append(delivery)
            if behind:
                self._stays_on_disk(delivery, position)
            else:
                self._input(delivery)
        if not behind:
            gate.arrivals.extend(lengths)
            if gate.due:
                self._wake()
        return deliveries

    def _accept(self, encoded: bytes, customer: str, length: int) -> Delivery:
        gate = self._gate
        delivery = self._make(encoded, self._clock(), customer if self._per_customer else "", self)
        arrivals = gate.arrivals
        folded, items, total = gate.known
        if len(arrivals) != items or arrivals[0] is not folded:
            folded, items, total = gate.count()
        if not self._plain:
            if not self._store_event(
                delivery, folded[0] + items < gate.full_count and total + length <= gate.full_bytes
            ):
                return delivery
            if len(arrivals) != items or arrivals[0] is not folded:  # others came first
                folded, items, total = gate.count()
        total += length
        accepted = folded[0] + items + 1
        if accepted > gate.full_count or total > gate.full_bytes:
            return self._overflow(delivery)
        # In this order: the last of concurrent callers counts only events that a poll can find.
        if self.on_error is not None and (inside := running()):
            self._input(partial(self.outbox.enqueue_inside, delivery, inside))
        else:
            self._input(delivery)
        arrivals.append(length)
        items += 1
        if len(arrivals) == items and arrivals[0] is folded:
            gate.known = folded, items, total
        else:
            folded, items, total = gate.count()
            accepted = folded[0] + items
        if accepted >= gate.wake_count or total + accepted > gate.wake_bytes:
            self._wake()
        return delivery

    def flush(self) -> FlushTicket:
        """Send what is buffered now; the ticket ends when every event so far has its outcome.

        Raises:
            MasivoClosedError: the client is closed.
        """
        self._check_open()
        ticket = FlushTicket()
        if not self.settings.enabled:
            ticket.outcome = ticket.result()
        else:
            self._input(lambda: self.outbox.flush(ticket))
        return ticket

    def use(self) -> None:
        """Tell the engine that the client is in use although it has sent nothing yet, so that the
        engine adopts logs from the client's store."""
        self._input(self.outbox.use)

    def look(self) -> None:
        """Tell the engine that a live log of its store has new events. A log is live if others
        append to it while it is read (``Window.live``)."""
        self._input(self.outbox.look)

    def listen(self, on_activity: OnActivity) -> None:
        """See Origin. The function is called until the client is released."""
        super().listen(on_activity)
        listeners = self._context.listeners
        listeners[self._gate] = self
        if self.detached:  # it may have detached meanwhile, and would stay in the dict
            listeners.pop(self._gate, None)

    def silence(self, *, to_the_end: bool = False) -> None:
        """Log no warnings of events that failed or are kept for later: the caller reports them, by
        ``on_error`` and ``on_activity``.

        Args:
            to_the_end: True: at the release, do not log the number of events that stay in a store,
                either.
        """
        self.outbox.silence(to_the_end=to_the_end)

    def drain(self) -> Ticket:
        """Wait for room for a batch; with a store, for room in it. The ticket ends when there is.

        Raises:
            MasivoClosedError: the client is closed.
        """
        self._check_open()
        ticket = Ticket()
        if self._store is not None:
            self._input(self.outbox.use)
        if self.outbox.has_room:
            ticket.outcome = True
        else:
            self._input(lambda: self.outbox.drain(ticket))
        return ticket

    def begin_wait(self, delivery: Delivery, waiter: object) -> None:
        """See Origin. ``await_linger`` seconds later everything in the buffer is sent, as by a
        flush."""
        if self._awaits:
            at = max(self._clock(), self._context.now)  # never before an earlier wait
            self._input(partial(self.outbox.begin_wait, delivery, waiter, at))
            if self._gate.accepted >= self._gate.wake_wait:
                self._wake()

    def end_wait(self, delivery: Delivery, waiter: object) -> None:
        """See Origin."""
        if self._awaits:
            self._input(partial(self.outbox.end_wait, delivery, waiter))

    def cancel(self, ticket: Awaited[object]) -> None:
        """Stop waiting: a cancelled drain triggers no more batches; the counts of a cancelled flush
        go to the next one. Has no effect on the ticket of a close or of a token, nor once the
        ticket has its outcome."""
        self._input(lambda: self.outbox.cancel(ticket))

    def token(self) -> TokenTicket:
        """The current token, fetched if need be.

        Raises:
            MasivoClosedError: the client is closed.
            MasivoConfigError: the client is disabled.
        """
        self._check_open()
        if not self.settings.enabled:
            raise MasivoConfigError("the client is disabled: it has no token")
        ticket = TokenTicket()
        self._input(lambda: self.outbox.want_token(ticket))
        return ticket

    def close(self, timeout: float | None) -> CloseTicket:
        """Flush, then detach. The ticket ends when that is done and ``on_error`` was called for
        each failed event. May be called more than once.

        Args:
            timeout: seconds after which everything undelivered fails; None for no limit.
        """
        self._gate.closed = True
        ticket = CloseTicket(self.calls)
        if self._ended(ticket):
            return ticket
        deadline, error = None, closed_error()
        if timeout is not None:
            deadline = self._clock() + timeout
            error = MasivoClosedError(
                "the client was closed before this could be delivered: "
                f"close(timeout={timeout:g}) ran out"
            )
        self._input(lambda: self.outbox.close(ticket, deadline, error))
        return ticket

    def destroy(self) -> CloseTicket:
        """Detach without sending; undelivered events fail. The ticket ends as that of ``close``
        does."""
        self._gate.closed = True
        ticket = CloseTicket(self.calls)
        if not self._ended(ticket):
            error = MasivoClosedError("the client was destroyed before this could be delivered")
            self._input(lambda: self.outbox.destroy(ticket, error))
        return ticket

    def abandon(self, why: str) -> None:
        """Detach as ``destroy`` does; one warning counts the lost events and gives the reason."""
        self._gate.closed = True
        self._input(lambda: self.outbox.abandon(why))

    def forked(self, outcome: Failed) -> None:
        """See Origin."""
        super().forked(outcome)
        if self._store is not None:
            self._store.forked()

    def server_time(self) -> tuple[float, bool]:
        """The server's time in seconds since the epoch, for a driver that passes it on, as a relay
        does; and whether it was learned from the ``Date`` of a 2xx (True) or is the wall clock's
        (False). Other responses do not count here: they may be of something before the API."""
        now, clock = self._clock(), self._confirmed_clock
        return now + clock.offset(now), clock.is_known

    def stats(self) -> Stats:
        """A snapshot of the counters."""
        return self.outbox.stats(self)

    # ── Shared steps ─────────────────────────────────────────────────────────────────────────

    def _check_open(self) -> None:
        if self.closed:
            raise closed_error()

    def _ended(self, ticket: CloseTicket) -> bool:
        """Return True if the client has ended without further polls; the ticket has ended then."""
        if self.detached and self.calls.idle:
            ticket.outcome = True
        return ticket.outcome is not None

    def _dropped(self) -> Delivery:
        """The delivery of an event that ``before_send`` dropped."""
        dropped = self._gate.dropped
        dropped.add()
        if dropped.is_long:
            self._input(dropped.fold)
            self._wake()
        delivery = self._make(b"", self._clock(), "", self)
        delivery.outcome = _NOT_SENT
        return delivery

    def _store_event(self, delivery: Delivery, has_room: bool) -> bool:
        """Store an event; return True if it is to be kept in memory, too. Otherwise its delivery
        has ended: the client is disabled, or the store or the memory has no room."""
        store, gate, clock = self._store, self._gate, self._server_clock
        if store is None:
            delivery.outcome, delivery.encoded = _NOT_SENT, b""
            return False
        behind = gate.behind or not has_room
        if behind:
            gate.behind = True  # before it is in the log: later events stay behind it
        try:
            position = store.append(
                delivery.encoded, self._wall_clock() + clock.ahead, clock.is_known
            )
        except StoreError as error:
            self._not_stored()
            self._overflow(delivery, f"{error}{NOT_ACCEPTED}")
            return False
        delivery.position = position
        if behind:
            self._stays_on_disk(delivery, position)
        return not behind

    def _not_stored(self) -> None:
        """Note that the store could not take an event.

        Raises:
            MasivoClosedError: it could not, as the client is closed.
        """
        if self._gate.closed:
            raise closed_error() from None
        self._gate.unwritable = True

    def _stays_on_disk(self, delivery: Delivery, position: int) -> None:
        """End the delivery of an event that is in the store alone. Those between two polls share an
        error."""
        gate = self._gate
        outcome, fresh = gate.alone, gate.alone is None
        if outcome is None:
            why = f"{self._full()}, or older events wait on disk"
            outcome = gate.alone = Failed(MasivoQueueFullError(why, spooled=True))
        delivery.outcome, delivery.encoded = outcome, b""
        self._input(partial(self.outbox.stored_alone, position))
        if fresh:
            self._wake()

    def _overflow(self, delivery: Delivery, why: str | None = None) -> Delivery:
        """Fail an event for which there is no room. Those between two polls share an error."""
        if delivery.position is not None:  # others took the room meanwhile, but the event is stored
            self._gate.behind = True
            self._stays_on_disk(delivery, delivery.position)
            return delivery
        self._gate.overflowed.add()
        overflow = self._gate.overflow
        if overflow is None:  # concurrent callers may make one each
            why = why or (
                f"{self._full()}{NOT_ACCEPTED}. Call drain() before sending, to wait for room, or "
                "raise the bound"
            )
            overflow = self._gate.overflow = self._context.failed(MasivoQueueFullError(why), 0)
            self._input(self.outbox.overflow)
            self._wake()
        overflow.join(delivery)
        delivery.outcome, delivery.encoded = overflow, b""
        return delivery

    def _full(self) -> str:
        """The beginning of an error's text."""
        settings = self.settings
        return (
            f"the buffer is full (max_queue={settings.max_queue} events, "
            f"max_queue_bytes={settings.max_queue_bytes})"
        )
