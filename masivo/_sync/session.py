"""The threads of one API key, as its clients see them: what joins them, waits and ends.

How they work is in ``worker``.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from masivo._http import Http, HttpClient
from masivo.protocol import Failure

from . import clock as clocks
from . import process
from .worker import Workers

if TYPE_CHECKING:
    from masivo.protocol import Buffer, Delivery, OnError, Request, Settings, Ticket

__all__ = ["Session", "join", "sessions"]

LAST_WORDS = 0.2
"""How long, past ``EXIT_TIMEOUT`` at worst, a worker has to log what it has found, in seconds."""
HEARING = 10.0
"""How long a close without a deadline waits for ``on_error`` to return, in seconds."""


def join(
    settings: Settings,
    http_client: HttpClient | None,
    delivery_type: type[Delivery],
    *,
    forked: bool = False,
) -> Buffer:
    """Attach a client to the session of its key, or to a new one.

    Args:
        settings: the client's.
        http_client: the client's, checked.
        delivery_type: what its ``send`` makes.
        forked: whether the client was made before a fork, in the parent.
    """
    key = settings.account, id(http_client)
    with process.registry_lock:
        session = process.registry.get(key)
        if session is None or not session.engine.attached:
            # None, or one that is about to retire: its token and its counters are not ours.
            http = Http(http_client, settings.account.base_url)
            session = process.registry[key] = Session(key, http.forked() if forked else http)
            process.every.add(session)
        return session.engine.attach(settings, delivery_type, session)


def sessions() -> list[Session]:
    """The sessions that new clients of their keys would join."""
    return list(process.registry.values())


class Session(Workers):
    """One key's engine and threads, and what callers do with them."""

    def abort(self, why: str) -> None:
        """End everything now; nothing is waited for."""
        self.engine.abort(why)
        self.pump(here=True)

    def check_may_wait(self) -> None:
        """Refuse a wait that would wait for itself.

        Raises:
            RuntimeError: this thread drives the session (it is inside ``on_error``, say).
        """
        me = threading.get_ident()
        if me == self._poller or me in self._barred:
            raise RuntimeError(
                "this would wait for the thread that it runs on: do not call flush, close, drain, "
                "get_token or an unfinished delivery's result from inside on_error"
            )

    def pump(self, deadline: float | None = None, *, here: bool = False) -> None:
        """Have inputs taken in: by a worker that is free, else by this thread.

        Args:
            deadline: when the requests must be over that this thread sends, if no worker can.
            here: take them in on this thread in any case.
        """
        if not here and (self._alert() or self._must_not_connect()):
            return
        todo: list[Request] = []
        while not self.dead and self._step(todo):
            try:
                while todo:
                    if not self._start(todo[0]):
                        limit = None if deadline is None else deadline - self.clock.monotonic()
                        self._send(todo[0], limit)
                        self._wanted = True
                    todo.pop(0)
            except BaseException:
                # This thread was interrupted: nobody else knows of these requests.
                for request in todo:
                    self.engine.hand_back(request.id, Failure("it was interrupted", sent=False))
                self._alert()
                raise
            if not self._wanted:
                # Somebody must be there at the time that this poll has named.
                manned = self._attentive or self._asleep or self._busy
                if self.wake_at is not None and not manned and not self._closed:
                    self._start(None)
                return

    def _must_not_connect(self) -> bool:
        """Whether this thread is the last that could send, and might be held beyond all deadlines.

        Nothing bounds the lookup of a name, and at exit no thread can be started for it. So while
        a worker is at it, the rest is left to that worker.
        """
        return process.exiting and self.http.connecting > 0

    def _leave_to_others(self, buffer: Buffer | None) -> bool:
        """Whether workers see to what a thread waits for; asked before it does so by itself.

        On the main thread a signal's handler may raise at any call, such as the one after an event
        was taken out of the inbox: a poll that is cut off there loses it. So while workers are in
        the middle of requests, one of them polls when it is back, or another is started.

        Args:
            buffer: what is waited for can only come of its batches; None: of anything.
        """
        if threading.main_thread().ident != threading.get_ident():
            return False
        if self._alert():
            return True
        sending = self._busy > self._at_leisure
        return sending and ((buffer is not None and buffer.awaits_answers) or self._start(None))

    def wait(
        self,
        awaited: Delivery | Ticket,
        timeout: float | None,
        what: str,
        *,
        buffer: Buffer | None = None,
        leave: bool = False,
    ) -> None:
        """Wait until ``awaited`` has its outcome.

        Args:
            awaited: what to wait for.
            timeout: seconds; None for as long as it takes.
            what: what it means if it has none in time.
            buffer: whose batches alone can bring it; None: anything.
            leave: whether this thread's own requests must be over by then too.

        Raises:
            TimeoutError: it has none in time.
            RuntimeError: this thread drives the session.
        """
        self.check_may_wait()
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        latch = clocks.Latch()
        with self.waiters.waiting(awaited, latch.set):
            while True:
                if self.dead:
                    raise process.orphaned()
                if not self._leave_to_others(buffer):
                    self.pump(deadline if leave else None)
                if awaited.outcome is not None:
                    return
                if deadline is not None and self.clock.monotonic() >= deadline:
                    raise TimeoutError(what)
                self.clock.wait_for(latch, self._next_pump(deadline))
                if awaited.outcome is not None:
                    return

    def finish(self, ticket: Ticket, deadline: float, buffer: Buffer) -> None:
        """Wait for a close of ``buffer`` until its deadline, when the engine ends it."""
        left = max(0.0, deadline - self.clock.monotonic())
        with suppress(TimeoutError):
            self.wait(ticket, left, "", buffer=buffer, leave=True)
        if ticket.outcome is None:
            self.pump(deadline, here=True)

    def hear_out(self, on_error: OnError | None, deadline: float | None) -> None:
        """Wait until ``on_error`` has been called for all that failed so far.

        Args:
            on_error: the client's.
            deadline: until when at most: ``on_error`` may wait for a lock that the caller holds.
        """
        until = self.clock.monotonic() + HEARING if deadline is None else deadline
        with self._lock:  # a poll that has just ended the close may not have noted yet
            telling = list(self._telling.items())
        for told, called in telling:
            if on_error in called:
                self.clock.wait_for(told, until)

    def settle_down(self, deadline: float) -> None:
        """At exit: let workers finish what they log, and log what is left."""
        deadline = max(deadline, self.clock.monotonic() + LAST_WORDS)
        while (self._attentive or self._at_leisure) and self.clock.monotonic() < deadline:
            time.sleep(0.001)
        self.pump(here=True)

    def _next_pump(self, deadline: float | None) -> float | None:
        """How long a waiting thread may wait: without workers it does their work."""
        if self._attentive or self._asleep or self._busy or self.wake_at is None:
            return deadline
        return self.wake_at if deadline is None else min(deadline, self.wake_at)
