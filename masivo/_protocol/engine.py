"""The state machine of one API key, as a driver sees it: inputs, and one output.

The calling contract is stated in :mod:`masivo.protocol`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, cast

from .authorizer import Authorizer
from .buffer import Buffer
from .clients import Clients
from .context import Context
from .delivery import Delivery
from .errors import MasivoClosedError
from .gate import Gate
from .journal import INFO, Journal
from .log import not_sent
from .outbox import Outbox
from .output import Output
from .redaction import redacted
from .timers import Slot, Timer
from .token import State
from .values import Failure, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Account, Settings
    from .values import Clock, RandomSource

__all__ = ["Engine"]

_LOG: Final[Slot] = (Timer.LOG, None)

_ROW: Final = 128
"""So many events are taken in together: few enough to be in the processor's cache still when their
sizes are summed up and they are queued. Twenty thousand in one go took half as long again."""


class Engine:
    """One API key's state machine; clients attach to it.

    Every input may be called at any time, from any thread, from a signal handler or a finalizer:
    it only notes what happened. All work is done by ``poll``, which must not run twice at once.

    Args:
        account: the key and where it is used.
        clock: monotonic seconds.
        wall_clock: seconds since the epoch; used only where no server told the time.
        random: for jitter and idempotency keys.
        wake: called when ``poll`` is needed before the time that it last named. Called from
            wherever the input came: it must be safe there, and must not poll.
        log_level: asked at each poll for the least level that is read of ``Output.notes``, such
            as ``logger.getEffectiveLevel``; None: nobody reads them.
    """

    def __init__(
        self,
        account: Account,
        *,
        clock: Clock,
        wall_clock: Clock,
        random: RandomSource,
        wake: Callable[[], None],
        log_level: Callable[[], int] | None = None,
    ) -> None:
        self.clock: Clock = clock
        self._context = Context(account, clock, wall_clock, random, wake)
        self._clients = Clients()
        self._authorizer = Authorizer(self._context, self._clients)
        self._log_level = log_level
        self._polling = False

    def __repr__(self) -> str:
        return f"<Engine {self._context.account.base_url} token={self._authorizer.state.value}>"

    # ── Inputs ───────────────────────────────────────────────────────────────────────────────

    def attach(
        self, settings: Settings, delivery_type: type[Delivery] = Delivery, owner: object = None
    ) -> Buffer:
        """Add a client; its inputs are methods of the buffer that is returned.

        Args:
            settings: the client's settings, of this engine's account.
            delivery_type: what ``Buffer.send`` makes.
            owner: kept as ``Buffer.owner``, for the driver.

        Raises:
            ValueError: the settings are of another account.
        """
        context = self._context
        if settings.account != context.account:
            raise ValueError("these settings are of another account than the engine's")
        outbox = Outbox(context, self._authorizer, Gate(settings), owner)
        buffer = Buffer(context, outbox, delivery_type)
        self._clients.add(buffer)
        context.attached = True
        if self._authorizer.state is not State.ABSENT:
            # It may want the token renewed sooner than the others do.
            context.input(self._authorizer.set_renewal)
            context.wake()
        return buffer

    @property
    def attached(self) -> bool:
        """Whether a client is attached."""
        return bool(self._clients)

    @property
    def buffers(self) -> list[Buffer]:
        """The attached clients' buffers: a copy, as a client may attach while one looks."""
        return self._clients.buffers

    @property
    def pending(self) -> bool:
        """Whether inputs wait for a poll."""
        return bool(self._context.inbox)

    def handle_response(self, request_id: int, response: Response) -> None:
        """Hand back the complete answer to a request. Late and unknown ones are ignored.

        Raises:
            TypeError: ``response`` is no Response.
        """
        if not isinstance(response, Response):
            raise TypeError("handle_response takes a Response")
        self._context.input(partial(self._context.returned, request_id, response))

    def handle_failure(self, request_id: int, failure: Failure) -> None:
        """Report that a request got no complete answer. Late and unknown ones are ignored.

        Raises:
            TypeError: ``failure`` is no Failure.
        """
        if not isinstance(failure, Failure):
            raise TypeError("handle_failure takes a Failure")
        self._context.input(partial(self._context.returned, request_id, failure))

    def hand_back(self, request_id: int, result: Response | Failure) -> None:
        """``handle_response`` or ``handle_failure``, whichever it is.

        Raises:
            TypeError: ``result`` is neither.
        """
        if isinstance(result, Response):
            self.handle_response(request_id, result)
        else:
            self.handle_failure(request_id, result)

    def abort(self, why: str) -> None:
        """Detach every client without sending: the driver cannot go on.

        Undelivered events fail with MasivoClosedError, and one warning says how many.

        Args:
            why: what happened, such as "the event loop was closed".
        """
        self._context.input(lambda: self._abandon(why))

    def _abandon(self, why: str) -> None:
        outboxes = self._clients.outboxes
        lost = sum(outbox.held for outbox in outboxes)
        error = MasivoClosedError(f"{why} before this could be delivered")
        for outbox in outboxes:
            outbox.release(error, quiet=True)
        self._context.out.warnings.extend(not_sent(lost, why))

    # ── Output ───────────────────────────────────────────────────────────────────────────────

    def poll(self) -> Output:
        """Do everything that is to be done now, and say what the driver must do.

        Raises:
            RuntimeError: another poll is running.
        """
        if self._polling:
            raise RuntimeError("poll() called while another poll() is running")
        context = self._context
        self._polling = True
        try:
            context.now = max(context.now, context.clock())
            if self._log_level is not None:
                self._open_journal(self._log_level())
            self._take_in()
            self._run()
        finally:
            self._polling = False
        wake_at = context.timers.next()
        if context.journal is not None:
            context.journal.rests(wake_at, context.timers.first(), context.now)
        out, context.out = context.out, Output([], [], [], [], [], None, closed=False)
        return Output(
            out.requests,
            out.settled,
            out.tickets,
            out.failed_events,
            out.warnings,
            wake_at,
            closed=not self._clients,
            notes=None if context.journal is None else context.journal.notes,
        )

    def _open_journal(self, level: int) -> None:
        context = self._context
        if level > INFO:
            context.journal = None
        elif context.journal is None:
            context.journal = Journal(self._redact, level)
        else:
            context.journal.level = level

    def _redact(self, text: str) -> str:
        return redacted(text, self._context.secrets(None))

    def _take_in(self) -> None:
        # What arrives from now on is for the next poll: a busy sender must not keep this one.
        # Events of one client in a row are taken in together, which is four times cheaper.
        row: list[Delivery] = []
        outbox: Outbox | None = None
        buffer: Buffer | None = None
        inbox = self._context.inbox
        for _ in range(len(inbox)):
            item = inbox.popleft()
            if callable(item):
                if outbox is not None:
                    outbox.take_in(row)
                    row, outbox, buffer = [], None, None
                item()
                continue
            if item.buffer is not buffer or len(row) == _ROW:
                if outbox is not None:
                    outbox.take_in(row)
                buffer = cast("Buffer", item.buffer)
                row, outbox = [], buffer.outbox
            row.append(item)
        if outbox is not None:
            outbox.take_in(row)

    def _run(self) -> None:
        context = self._context
        stepped: dict[Outbox, None] = {}
        while True:
            for timer, owner in context.timers.due(context.now):
                if context.journal is not None:
                    context.journal.fired(timer)
                if timer is Timer.REFRESH:
                    self._authorizer.renew()
                elif timer is Timer.LOG:
                    context.out.warnings.extend(context.log.due(context.now))
                elif isinstance(owner, Outbox):
                    owner.fire(timer)
                elif isinstance(owner, tuple):
                    context.touch(cast("tuple[object, object]", owner)[0])
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
        # Last, as the last client may just have gone: then nobody wants a token.
        self._authorizer.step()
        if any(outbox.wants_poll for outbox in stepped):
            # Events came in during this poll, before their senders could see the new threshold.
            context.wake()
        context.timers.set(_LOG, context.log.next())
        if not self._clients:
            self._authorizer.rest()
            context.rest()

    def _detach(self, outbox: Outbox) -> None:
        self._clients.remove(outbox)
        self._context.attached = bool(self._clients)
        self._authorizer.set_renewal()
