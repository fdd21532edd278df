"""The state machine of one API key, as a driver sees it: inputs, and one output.

The calling contract is stated in :mod:`masivo.protocol`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, cast

from .core import Core, empty_output
from .delivery import Delivery
from .flight import Flight
from .journal import INFO, Journal
from .outbox import Outbox
from .timers import Slot, Timer
from .token import State
from .values import Failure, Output, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from .buffer import Buffer
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
        self._core = Core(account, clock, wall_clock, random, wake)
        self._log_level = log_level
        self._polling = False

    def __repr__(self) -> str:
        return f"<Engine {self._core.account.base_url} token={self._core.authorizer.state.value}>"

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
        core = self._core
        if settings.account != core.account:
            raise ValueError("these settings are of another account than the engine's")
        outbox = Outbox(core, settings, delivery_type, owner)
        core.clients[outbox] = None
        if core.authorizer.state is not State.ABSENT:
            # It may want the token renewed sooner than the others do.
            core.input(core.authorizer.set_renewal)
            core.wake()
        return outbox

    @property
    def attached(self) -> bool:
        """Whether a client is attached."""
        return bool(self._core.clients)

    @property
    def buffers(self) -> list[Buffer]:
        """The attached clients' buffers: a copy, as a client may attach while one looks."""
        return [*self._core.outboxes]

    @property
    def pending(self) -> bool:
        """Whether inputs wait for a poll."""
        return bool(self._core.inbox)

    def handle_response(self, request_id: int, response: Response) -> None:
        """Hand back the complete answer to a request. Late and unknown ones are ignored.

        Raises:
            TypeError: ``response`` is no Response.
        """
        if not isinstance(response, Response):
            raise TypeError("handle_response takes a Response")
        self._core.input(partial(self._core.answered, request_id, response))

    def handle_failure(self, request_id: int, failure: Failure) -> None:
        """Report that a request got no complete answer. Late and unknown ones are ignored.

        Raises:
            TypeError: ``failure`` is no Failure.
        """
        if not isinstance(failure, Failure):
            raise TypeError("handle_failure takes a Failure")
        self._core.input(partial(self._core.broken, request_id, failure))

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
        core = self._core
        core.input(lambda: core.abandon(core.outboxes, why))

    # ── Output ───────────────────────────────────────────────────────────────────────────────

    def poll(self) -> Output:
        """Do everything that is to be done now, and say what the driver must do.

        Raises:
            RuntimeError: another poll is running.
        """
        if self._polling:
            raise RuntimeError("poll() called while another poll() is running")
        core = self._core
        self._polling = True
        try:
            core.now = max(core.now, core.clock())
            if self._log_level is not None:
                self._open_journal(self._log_level())
            self._take_in()
            self._run()
        finally:
            self._polling = False
        wake_at = core.timers.next()
        if core.journal is not None:
            core.journal.rests(wake_at)
        out, core.out = core.out, empty_output()
        return Output(
            out.requests,
            out.settled,
            out.tickets,
            out.failed_events,
            out.warnings,
            wake_at,
            closed=not core.clients,
            notes=None if core.journal is None else core.journal.notes,
        )

    def _open_journal(self, level: int) -> None:
        core = self._core
        if level > INFO:
            core.journal = None
        elif core.journal is None:
            core.journal = Journal(core, level)
        else:
            core.journal.level = level

    def _take_in(self) -> None:
        # What arrives from now on is for the next poll: a busy sender must not keep this one.
        # Events of one client in a row are taken in together, which is four times cheaper.
        row: list[Delivery] = []
        outbox: Outbox | None = None
        inbox = self._core.inbox
        for _ in range(len(inbox)):
            item = inbox.popleft()
            if callable(item):
                if outbox is not None:
                    outbox.take_in(row)
                    row, outbox = [], None
                item()
                continue
            if item.buffer is not outbox or len(row) == _ROW:
                if outbox is not None:
                    outbox.take_in(row)
                row, outbox = [], cast("Outbox", item.buffer)
            row.append(item)
        if outbox is not None:
            outbox.take_in(row)

    def _run(self) -> None:
        core = self._core
        stepped: dict[Outbox, None] = {}
        while True:
            for timer, owner in core.timers.due(core.now):
                if core.journal is not None:
                    core.journal.fired(timer)
                if timer is Timer.REFRESH:
                    core.authorizer.renew()
                elif timer is Timer.LOG:
                    core.out.warnings.extend(core.log.due(core.now))
                elif isinstance(owner, Outbox):
                    owner.fire(timer)
                elif isinstance(owner, Flight):
                    core.touch(owner.outbox)
            if not core.touched:
                break
            touched, core.touched = core.touched, {}
            for outbox in touched:
                outbox.step(core.now)
            stepped.update(touched)
        # Last, as the last client may just have gone: then nobody wants a token.
        core.authorizer.step()
        if any(outbox.wants_poll for outbox in stepped):
            # Events came in during this poll, before their senders could see the new threshold.
            core.wake()
        core.timers.set(_LOG, core.log.next())
        if not core.clients:
            core.rest()
