"""One API key in threads: one polls its engine, helpers send requests, callers wait.

Callers, signal handlers and finalizers only put something into the engine's inbox and ring a bell.
The polling thread, started when it is first needed, then polls, wakes waiters, and gives requests
and calls of the application's code to helpers. It sleeps until ``wake_at`` or the next ring, and
ends with the last client. A helper that has a response polls, too, and sends the next request
itself.

If no thread can be started, as at the interpreter's exit, the polling thread carries out requests
itself, and waiting threads do what it does not get to (``work``). One thread polls at a time:
another leaves it to the first, which polls once more when it is done.

A signal handler may raise in the main thread at any point. So callers take no lock, and nothing
relies on a caller completing what it began.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from threading import get_ident
from time import sleep  # here, as a test may replace it in its module
from typing import TYPE_CHECKING, Final, Protocol, cast

from msgspec import structs

from masivo import _process
from masivo._helpers import Helpers, start_thread
from masivo._log import logger
from masivo._overdue import Outstanding
from masivo._session import GRACE, Key, SessionBase, orphaned, registry
from masivo.protocol import Delivery, Failure, settle

from . import clock as clocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import CloseTicket, Request, Response, Ticket

__all__ = ["Sender", "Session", "join", "sessions"]

GLANCES: Final = 500
"""The number of checks, one each millisecond, if the polling thread has polled, by a call whose
timeout is over."""

HEARD_WITHIN: Final = 0.1
"""Seconds in which the polling thread hears its bell, unless it is busy with a request or a call:
as the interpreter exits, no helper can be started for it."""


class Sender(Protocol):
    """Sends one session's requests."""

    def send(self, request: Request) -> Response | Failure:
        """Carry out a request. Never raises an Exception; called by several threads at once."""
        ...

    def given_up(self, request: Request) -> Failure:
        """Return the failure of a request that is given up, as it did not end in time."""
        ...

    def close(self) -> None:
        """Close the connections. Another request may still follow."""
        ...


def join(key: Key, sender: Sender) -> Session:
    """The session for a new client.

    Takes no lock. Clients that are made at the moment in which the last one before them is released
    may end up in two sessions; the only effect is that the key has two tokens for a while.

    Args:
        key: clients with the same key share a session.
        sender: the sender of the session, if a new one is made.
    """
    session = registry.get(key)
    if isinstance(session, Session) and session.is_over:
        session.leave()  # a new client must not get its token and counters
    return cast("Session", registry.get(key) or registry.setdefault(key, Session(key, sender)))


def sessions() -> list[Session]:
    """The sessions that new clients of their keys would join."""
    return [session for session in list(registry.values()) if isinstance(session, Session)]


class Session(SessionBase):
    """One key's engine, and the threads that drive it."""

    def __init__(self, key: Key, sender: Sender) -> None:
        self.clock = clocks.current
        super().__init__(key, self.clock.monotonic, self.clock.time)
        self._sender = sender
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None  # the one that polls, or is about to
        self._poller: dict[None, object] = {}  # has an entry while a thread polls
        self._over = False  # the last poll found no client
        self._wanted: dict[None, bool] = {}  # has an entry while a poll is requested
        self._wake_at = inf
        self._asleep_until = inf  # the polling thread; infinity while it is awake
        self._out = Outstanding()
        self._calls: deque[Callable[[], object]] = deque()  # without a helper, as the next ones
        self._unsent: deque[Request] = deque()
        self._own: set[int] = set()  # the threads that must not wait for this session
        self._helpers = Helpers(self._own, lambda: not (_process.exiting or self.dead))

    # ── Waking: from anywhere, at any time ───────────────────────────────────────────────────

    def wake(self) -> None:
        """See SessionBase. The polling thread polls."""
        _process.notice_fork(resent=1)  # by the client that calls this for its event
        self._ring()

    def _ring(self) -> bool:
        """Make the polling thread poll soon; return False if there is none and none can be
        started."""
        self._wanted[None] = True
        if self._bell.empty():
            self._bell.put(None)
        return self._has_thread()

    def _has_thread(self) -> bool:
        return self._thread is not None or self._start()

    def _start(self) -> bool:
        if _process.exiting or self.dead:
            return False
        _process.register_child_exit()
        thread = threading.Thread(target=self._run, name="masivo", daemon=True)
        started = False
        try:
            self._thread = thread
            started = start_thread(thread)
        finally:
            if not started:  # if it runs nevertheless, it sets itself here again, or ends
                self._thread = None
        return started

    @property
    def is_busy(self) -> bool:
        """True while any thread works for the session."""
        return bool(self._poller or self._has_jobs or self._helpers.busy)

    @property
    def _has_jobs(self) -> bool:
        return bool(self._calls or self._unsent)

    # ── Polling ──────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        """Poll while there are clients, or requests are out."""
        me = threading.current_thread()
        self._own.add(get_ident())
        try:
            while self._thread in (me, None):
                self._thread = me
                self._hush()
                now = self.clock.monotonic()
                for request in self._out.overdue(now):
                    self.engine.hand_back(request.id, self._sender.given_up(request))
                    self._wanted[None] = True
                if self._wanted or self._has_jobs or self._wake_at <= now:
                    self.work()
                if self.dead:
                    return  # this is the child of a fork
                if not (self.engine.attached or self._out):
                    self._thread = None
                    if self._bell.empty():  # a later ring starts another
                        return
                else:
                    # A thread that is polling knows the next time, and will ring.
                    self._asleep_until = inf if self._poller else self._out.next(self._wake_at)
                    self.clock.sleep(self._bell, self._asleep_until)
                    self._asleep_until = inf
        finally:
            if self._thread is me:
                self._thread = None
            self._own.discard(get_ident())
            self._bell.put(None)  # another thread that replaced it may sleep, and must end, too

    def _hush(self) -> None:
        """Empty the bell: the check that follows sees everything."""
        with suppress(Empty):
            while True:
                self._bell.get_nowait()

    def work(self, cut_at: float | None = None) -> None:
        """Poll, and do jobs for which no helper could be started, until nothing is left.

        Args:
            cut_at: when requests that this thread sends must end.
        """
        me = get_ident()
        barred = me in self._own
        try:
            self._own.add(me)
            self._poll()
            while not self.dead and self._do_job(cut_at):
                self._poll()
        except BaseException:  # whatever ends this call, another thread continues
            self._ring()
            raise
        finally:
            if not barred:
                self._own.discard(me)

    def _do_job(self, cut_at: float | None) -> bool:
        """Do one job for which no helper could be started; return False if there is none to do."""
        job: Callable[[], object] | None = None
        with suppress(IndexError):
            job = self._calls.popleft()
        # As the interpreter exits, there may be more time for a request in another turn.
        no_time = _process.exiting and cut_at is not None and self.clock.monotonic() >= cut_at
        if job is None and not no_time:
            with suppress(IndexError):
                job = partial(self._send, self._unsent.popleft(), cut_at)
        if job is not None:
            job()
        return job is not None

    def _poll(self, *, keep: bool = False) -> Request | None:
        """Poll and settle; if another thread is polling, make it poll once more.

        Args:
            keep: return one request, if there is one, for this thread to carry out.
        """
        kept: Request | None = None
        wanted = True
        while kept is None and not self.dead and (wanted or self._wanted.pop(None, False)):
            mine = object()
            try:
                if self._poller.setdefault(None, mine) is not mine:
                    wanted, self._wanted[None] = False, True
                    if self._poller:
                        return None
                    continue  # the other is done: whoever removes the entry polls
                wanted = False
                self._wanted.clear()
                output = self.engine.poll()
                self._wake_at = inf if output.wake_at is None else output.wake_at
                self._over = output.closed
                settle(output, logger, self.waiters, self._call)
                for work in output.storage:
                    self._wanted[None] = True
                    self.engine.do_work(work)
                for request in output.requests:
                    self._out.add(request, self.clock.over_by(request.timeout))
                    if keep and kept is None:
                        kept = request
                    elif not self._helpers.take(partial(self._send_and_poll, request)):
                        self._unsent.append(request)
                if self.is_over:
                    self.leave()
                    self._helpers.dismiss()
                    if not self._out:
                        self._sender.close()
            finally:
                if self._poller.get(None) is mine:
                    del self._poller[None]
        thread = self._thread
        if thread is not None and thread.ident != get_ident():
            late = self._out.next(self._wake_at) < self._asleep_until
            if late or self._wanted or self._has_jobs or self.is_over:
                self._bell.put(None)
        return kept

    def _call(self, function: Callable[[], None]) -> None:
        """Run a function that calls the application's code, in a helper if there is one."""
        if not self._helpers.take(function):
            self._calls.append(function)

    def _send(self, request: Request, cut_at: float | None = None) -> None:
        """Carry out a request, and hand a result back whatever happens."""
        result: Response | Failure = Failure("the request was interrupted", sent=True)
        try:
            if cut_at is not None:
                timeout = min(request.timeout, cut_at - self.clock.monotonic())
                request = structs.replace(request, timeout=timeout)
            if request.timeout > 0:
                result = self._sender.send(request)
            else:
                result = Failure("there was no time left for the request", sent=False)
        finally:
            self.engine.hand_back(request.id, result)
            self._out.discard(request)

    def _send_and_poll(self, request: Request) -> None:
        """Carry out a request in a helper, and those that follow it, one after another: to hand
        each to another thread would take longer."""
        following: Request | None = request
        try:
            while following is not None:
                with suppress(BaseException):  # the engine knows of its failure
                    self._send(following)
                following = self._poll(keep=True)
        except BaseException:  # whatever ends this thread, the polling thread continues
            self._ring()
            raise
        if (self._has_jobs or not self.is_over) and not self._has_thread():
            self.work()

    @property
    def is_over(self) -> bool:
        """True once the last client has detached."""
        return self._over and not self.engine.attached

    # ── Waiting ──────────────────────────────────────────────────────────────────────────────

    @property
    def may_wait(self) -> bool:
        """See SessionBase: this thread is none of the session's."""
        return get_ident() not in self._own

    def attend(self) -> None:
        """See SessionBase: polls here before the first event, so that no thread is started."""
        unused = self._thread is None and not any(
            buffer.stats().accepted for buffer in self.engine.buffers
        )
        if unused:
            self.work()
        else:
            self.wake()

    def wait(
        self,
        awaited: Delivery | Ticket,
        timeout: float | None,
        what: str,
        *,
        cut_at: float | None = None,
    ) -> None:
        """Wait until ``awaited`` has its outcome.

        Args:
            awaited: the delivery or ticket.
            timeout: seconds; None for as long as it takes.
            what: the message of the TimeoutError.
            cut_at: see ``work``.

        Raises:
            TimeoutError: it has no outcome in time.
            RuntimeError: this thread is one of the session's.
        """
        _process.notice_fork()
        if self.dead:
            raise orphaned()
        self.check_may_wait()
        if timeout == 0 and isinstance(awaited, Delivery):
            raise TimeoutError(what)  # the caller does not wait
        deadline = inf if timeout is None else self.clock.monotonic() + timeout
        bell: SimpleQueue[None] = SimpleQueue()
        at_exit = _process.exiting and cut_at is not None
        unheard = False  # the last ring of a thread that waits at the exit
        with self.waiters.waiting(awaited, partial(bell.put, None)):
            if isinstance(awaited, Delivery):
                polls = self._has_thread  # the core calls ``wake`` if a poll is needed
            else:
                polls = self._ring
                self.attend()
            while awaited.outcome is None:
                until = deadline
                if not polls() or (unheard and self._has_jobs):
                    self.work(cut_at)
                    until = min(deadline, self._wake_at)
                if awaited.outcome is None:
                    if at_exit:
                        until = min(until, self.clock.monotonic() + HEARD_WITHIN)
                    self.clock.wait_for(bell, until)
                    unheard = at_exit and not self._bell.empty()
                _process.notice_fork()
                if self.dead:
                    raise orphaned()
                if self.clock.monotonic() >= deadline and not self._is_done(awaited, deadline):
                    raise TimeoutError(what)

    def _is_done(self, awaited: Delivery | Ticket, deadline: float) -> bool:
        """Return True if ``awaited`` has its outcome after a poll that begins now, at the
        deadline."""
        if _process.exiting:
            self.work(deadline)  # the polling thread may be busy with a request
            return awaited.outcome is not None
        for _ in range(GLANCES if self._ring() else 0):
            if awaited.outcome is not None or not (self._wanted or self._poller):
                break
            sleep(0.001)
        return awaited.outcome is not None

    @property
    def is_driven(self) -> bool:
        """See SessionBase: waiting threads poll."""
        return not self.dead

    def finish(self, ticket: CloseTicket, seconds: float | None) -> None:
        """See SessionBase."""
        cut_at = timeout = None
        if seconds is not None:
            cut_at = self.clock.monotonic() + seconds
            timeout = seconds + (0.0 if _process.exiting else GRACE)
        with suppress(TimeoutError):
            self.wait(ticket, timeout, "", cut_at=cut_at)

    def log_unclaimed(self) -> None:
        """See SessionBase. Drops the requests that were not begun: their events have failed."""
        self._unsent.clear()
        super().log_unclaimed()
