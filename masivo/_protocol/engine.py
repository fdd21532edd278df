"""The state machine of one account, as a driver sees it: inputs, and one output.

The calling contract is stated in :mod:`masivo.protocol`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, cast

from .batches.gate import Gate
from .batches.outbox import Outbox
from .buffer import Buffer
from .calls import Calls
from .clients import Clients
from .delivery import CloseTicket, Delivery, DeliveryType
from .errors import MasivoClosedError, MasivoConfigError
from .output import Output
from .reporting.activity import Idle, TimerFired
from .reporting.losses import not_sent
from .sending.context import Context
from .sending.timers import Slot, Timer
from .storage.work import StoreDone
from .token.authorizer import Authorizer
from .token.life import State
from .values import Failure, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Account, Settings
    from .storage.store import Store
    from .storage.work import StoreWork
    from .values import Clock, RandomSource

__all__ = ["Engine"]

_LOG: Final[Slot] = (Timer.LOG, None)

_ROW: Final = 128
"""The most events that are queued together: few enough to still be in the processor's cache when
their sizes are summed up."""


class Engine:
    """One account's state machine; clients attach to it.

    Every input may be called at any time, from any thread, from a signal handler or a finalizer: it
    only makes a note (``send`` also checks the event, and appends it to the store if there is one).
    All other work is done by ``poll``, which must not run twice at once, and by ``do_work``.

    Args:
        account: the key and where it is used.
        clock: monotonic seconds.
        wall_clock: seconds since the epoch. The server's time is taken from it in two cases: before
            the first response, of any status, that has a ``Date``; and after it has gained more
            than a minute on ``clock`` (the machine slept, or the wall clock was set), until the
            next ``Date``. For ``Buffer.server_time``, only the ``Date`` of a 2xx counts.
        random: for jitter and idempotency keys.
        wake: called when ``poll`` is needed before the ``wake_at`` of the last output. Called from
            wherever the input came: it must be safe there, and must not poll.
        listening: asked at each poll whether to fill ``Output.activity``, which ``settle`` writes
            to the log. None: never. A client's ``on_activity`` works without it.
    """

    def __init__(
        self,
        account: Account,
        *,
        clock: Clock,
        wall_clock: Clock,
        random: RandomSource,
        wake: Callable[[], None],
        listening: Callable[[], bool] | None = None,
    ) -> None:
        self.clock: Clock = clock
        self._clients = Clients()
        self._context = Context(account, clock, wall_clock, random, wake, self._clients.__bool__)
        self._authorizer = Authorizer(self._context, self._clients)
        self._listening = listening
        self._idle: tuple[float | None] | None = None  # the wake-up that was reported last
        self._polling = False

    def __repr__(self) -> str:
        return f"<Engine {self._context.account.base_url} token={self._authorizer.state.value}>"

    # ── Inputs ───────────────────────────────────────────────────────────────────────────────

    def attach(
        self,
        settings: Settings,
        delivery_type: DeliveryType = Delivery,
        owner: object = None,
        store: Store | None = None,
    ) -> Buffer:
        """Add a client; its inputs are methods of the buffer that is returned.

        Args:
            settings: the client's settings, of this engine's account.
            delivery_type: makes what ``Buffer.send`` returns; a subclass of Delivery, usually.
            owner: kept as ``Buffer.owner``, for the driver.
            store: where the client's events are kept until they have their outcome; None: nowhere.
                It is the client's alone, and released with it.

        Raises:
            ValueError: the settings are of another account.
            MasivoConfigError: the settings have a ``spool``, and there is no store.
        """
        context = self._context
        if settings.account != context.account:
            raise ValueError("these settings are of another account than the engine's")
        if settings.spool is not None and settings.enabled and store is None:
            raise MasivoConfigError(
                "spool (or MASIVO_SPOOL) is set, but this driver keeps no events on disk: it gave "
                "Engine.attach no store. Leave the setting out, or use a driver that makes a "
                "masivo.spool.Spool"
            )
        gate = Gate(settings)
        outbox: Outbox
        if store is None or not settings.enabled:
            outbox, store = Outbox(context, self._authorizer, gate, owner), None
        else:
            from .batches.spooled import SpooledOutbox  # only those with a store pay for it

            outbox = SpooledOutbox(context, self._authorizer, gate, owner, store)
        buffer = Buffer(context, outbox, delivery_type, store)
        if store is not None:
            outbox.origin = buffer
        self._clients.add(buffer)
        if buffer.listeners:
            context.listeners[outbox.gate] = buffer
        if self._authorizer.state is not State.ABSENT:
            # Its ``refresh_interval`` may be shorter than the others'.
            context.input(self._authorizer.set_renewal)
            context.wake()
        return buffer

    @property
    def attached(self) -> bool:
        """True while a client is attached."""
        return bool(self._clients)

    @property
    def buffers(self) -> list[Buffer]:
        """The attached clients' buffers: a copy, as a client may attach meanwhile."""
        return self._clients.buffers

    @property
    def pending(self) -> bool:
        """True while inputs wait for a poll."""
        return bool(self._context.inbox)

    def hand_back(self, request_id: int, result: Response | Failure | StoreDone) -> None:
        """Hand back the result of a request, or of work on a store. Late and unknown ones are
        ignored.

        Args:
            request_id: the request's, or the work's.
            result: the complete response, or the failure; for work on a store, what
                ``StoreWork.run`` returned (``do_work`` hands it back for you).

        Raises:
            TypeError: ``result`` is something else.
        """
        if not isinstance(result, Response | Failure | StoreDone):
            raise TypeError("hand_back takes a Response, a Failure or a StoreDone")
        self._context.input(partial(self._context.returned, request_id, result))

    def do_work(self, work: StoreWork) -> None:
        """Do work on a store, on this thread, which may block on a disk. The result is handed back
        even if an exception, such as KeyboardInterrupt, interrupts the work.

        Args:
            work: of a poll's output.
        """
        done = work.interrupted
        try:
            done = work.run()
        finally:
            self.hand_back(work.id, done)

    def report_unclaimed(self) -> CloseTicket:
        """Log every failure that was neither claimed nor logged so far, even if its delivery still
        exists. To be called as the process ends. The ticket ends once they are logged."""
        ticket = CloseTicket(Calls())
        self._context.input(lambda: self._context.report_unclaimed(ticket))
        return ticket

    def abort(self, why: str) -> None:
        """Detach every client without sending: the driver cannot continue.

        Undelivered events fail with MasivoClosedError, and one warning says how many.

        Args:
            why: what happened, such as "the event loop was closed".
        """
        self._context.input(lambda: self._abandon(why))

    def _abandon(self, why: str) -> None:
        error = MasivoClosedError(f"{why} before this could be delivered")
        lost = sum([outbox.lose(error) for outbox in self._clients.outboxes])
        self._context.out.warnings.extend(not_sent(lost, why))

    # ── Output ───────────────────────────────────────────────────────────────────────────────

    def poll(self) -> Output:
        """Do everything that is due, and return what the driver must do.

        Raises:
            RuntimeError: another poll is running.
        """
        if self._polling:
            raise RuntimeError("poll() called while another poll() is running")
        context = self._context
        self._polling = True
        try:
            context.now = max(context.now, context.clock())
            context.logged = self._listening is not None and self._listening()
            context.listening = context.logged or bool(context.listeners)
            self._take_inbox()
            self._run()
        except BaseException:  # such as a MemoryError: the next poll does the rest
            context.all_touched = True
            raise
        finally:
            self._polling = False
        output, context.out = context.out, Output(dropped=context.dropped)
        output.wake_at = context.timers.next()
        output.closed = not self._clients
        return output

    def _take_inbox(self) -> None:
        # Later inputs are for the next poll: a busy sender must not keep this one.
        # Events of one client in a row are queued together.
        row: list[Delivery] = []
        inbox = self._context.inbox
        for _ in range(len(inbox)):
            item = inbox.popleft()
            if callable(item):
                if row:
                    self._enqueue(row)
                    row = []
                item()
                continue
            if row and (item.buffer is not row[0].buffer or len(row) == _ROW):
                self._enqueue(row)
                row = []
            row.append(item)
        if row:
            self._enqueue(row)

    def _enqueue(self, row: list[Delivery]) -> None:
        cast("Buffer", row[0].buffer).outbox.enqueue(row)

    def _run(self) -> None:
        context = self._context
        stepped: dict[Outbox, None] = {}
        while True:
            for timer, owner in context.timers.due(context.now):
                if isinstance(owner, tuple):  # a batch is to be sent again
                    owner = cast("tuple[object, object]", owner)[0]
                outbox = owner if isinstance(owner, Outbox) else None
                if context.listening:
                    gate = None if outbox is None else outbox.gate
                    context.report(TimerFired(context.now, timer.name), gate)
                if timer is Timer.REFRESH:
                    self._authorizer.renew()
                elif timer is Timer.LOG:
                    context.out.warnings.extend(context.losses.due(context.now))
                elif outbox is not None:
                    outbox.fire(timer)
            touched = cast("dict[Outbox, None]", context.touched)
            if context.all_touched:
                touched.update(dict.fromkeys(self._clients.outboxes))
            context.touched, context.all_touched = {}, False
            if not touched:
                break
            for outbox in touched:
                outbox.step(context.now)
                if outbox.detached:
                    self._detach(outbox)
            stepped.update(touched)
        # Last, as the last client may just have gone: then no token is needed.
        self._authorizer.step()
        if any(outbox.wants_poll for outbox in stepped):
            # Events came in during this poll, before their senders could see the new threshold.
            context.wake()
        context.timers.set(_LOG, context.losses.next())
        if not self._clients:
            self._authorizer.reset()
            context.reset()
        if context.listening:
            self._report_idle()

    def _report_idle(self) -> None:
        context = self._context
        wake_at, timer = context.timers.next(), context.timers.first()
        if self._idle != (wake_at,):
            self._idle = (wake_at,)
            context.report(Idle(context.now, wake_at, None if timer is None else timer.name))

    def _detach(self, outbox: Outbox) -> None:
        self._clients.remove(outbox)
        self._authorizer.set_renewal()
