"""The threads of one API key, and what they share with the process: fork, exit.

A session has one worker thread, started at the first need. It polls the engine, settles, sends
the request that comes of it, and so on; with nothing to do it sleeps until ``wake_at``. Workers
are all alike: one that is about to send starts another if there is more to be done meanwhile,
and one that finds another asleep ends.
"""

from __future__ import annotations

import atexit
import os
import random
import sys
import threading
import weakref
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from masivo import MasivoClosedError
from masivo._http import Http, HttpClient, build_lock
from masivo._settle import Waiters, settle
from masivo.protocol import Account, Engine, Failed, Failure, Response

from . import clock as clocks

if TYPE_CHECKING:
    from masivo.protocol import Buffer, Delivery, Output, Request, Settings, Ticket

    from .client import Client

__all__ = ["EXIT_TIMEOUT", "Session", "clients", "join"]

EXIT_TIMEOUT = 5.0
"""How long open clients are flushed at interpreter exit, all together, in seconds."""

_Key: TypeAlias = tuple[Account, int]

clients: weakref.WeakSet[Client] = weakref.WeakSet()
_sessions: dict[_Key, Session] = {}
_registry_lock = threading.RLock()
_exiting = False


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
    with _registry_lock:
        session = _sessions.get(key)
        if session is None:
            http = Http(http_client, settings.account.base_url)
            session = _sessions[key] = Session(key, http.forked() if forked else http)
        return session.engine.attach(settings, delivery_type, session)


class Session:
    """One key's engine, with the threads that drive it."""

    def __init__(self, key: _Key, http: Http) -> None:
        self._key = key
        self.http = http
        self.clock = clocks.current
        self.engine = Engine(
            key[0],
            clock=self.clock.monotonic,
            wall_clock=self.clock.time,
            random=random.Random(),
            wake=self.wake,
        )
        self.waiters = Waiters()
        self.wake_at: float | None = None
        """When the last poll wanted the next one."""
        self.dead = False
        """Whether it belongs to the parent of this process."""
        # Guards `poll` and the counts below. Reentrant: a signal handler or a finalizer may run
        # while its thread holds it.
        self._lock = threading.RLock()
        self._poller: int | None = None  # the thread that is in `poll`
        self._wanted = False  # somebody asked for a poll since the last one began
        self._attentive = 0  # workers that will poll before they next wait
        self._asleep = False  # a worker waits in `_bell`
        self._sleeps_until: float | None = None  # ... at most until then
        self._sending = 0  # workers in the middle of a request
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._barred: set[int] = set()  # threads that must not wait for this session

    # ── Waking ───────────────────────────────────────────────────────────────────────────────

    def wake(self) -> None:
        """See to it that somebody polls soon. Takes no lock but to start a thread."""
        if self.dead or self._alert():
            return
        if self.engine.attached:
            self._start(None)
        else:
            self._step()  # all that can be left is something to log: no need of a thread

    def _alert(self) -> bool:
        """Tell a worker that a poll is wanted; False if none would notice."""
        already = self._wanted
        self._wanted = True
        if self._asleep:
            if not already:
                self._bell.put(None)
            return True
        # A worker goes to sleep in this order: asleep, no longer attentive, then a last look at
        # `_wanted`. So one that was not seen in either state is seen now, or sees for itself.
        if self._attentive:
            return True
        if self._asleep:
            self._bell.put(None)
            return True
        return False

    def _start(self, request: Request | None) -> bool:
        """Start a worker; False if no thread can be had."""
        with self._lock:
            if _exiting:
                return False
            if request is None:
                if self._attentive or self._asleep:
                    self._rouse()
                    return True
                self._attentive += 1
            else:
                self._sending += 1
        _register_child_exit()
        try:
            threading.Thread(target=self._work, args=(request,), name="masivo", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter is shutting down
            with self._lock:
                if request is None:
                    self._attentive -= 1
                else:
                    self._sending -= 1
            return False
        return True

    # ── Working ──────────────────────────────────────────────────────────────────────────────

    def _work(self, request: Request | None) -> None:
        me = threading.get_ident()
        self._barred.add(me)
        try:
            while True:
                if request is not None:
                    with suppress(BaseException):  # its failure is known to the engine
                        self._send(request, None)
                    with self._lock:
                        self._sending -= 1
                        self._attentive += 1
                output = self._step()
                request = self._delegate(output)
                if request is None and not self._sleep(output):
                    return
        finally:
            self._barred.discard(me)

    def _step(self) -> Output | None:
        """Poll and settle; None if this thread is in the middle of it already."""
        me = threading.get_ident()
        with self._lock:
            if self._poller == me:
                return None
            self._poller = me
            self._wanted = False
            try:
                output = self.engine.poll()
                self.wake_at = output.wake_at  # not later: another thread may poll meanwhile
            finally:
                self._poller = None
        barred = me in self._barred
        self._barred.add(me)
        try:
            settle(output, self.waiters)
        finally:
            if not barred:
                self._barred.discard(me)
        if output.closed:
            self._retire()
        return output

    def _delegate(self, output: Output | None) -> Request | None:
        """Give all requests but one to new workers; the one is for the caller to send."""
        if output is None or not output.requests:
            return None
        first, *others = output.requests
        for other in others:
            if not self._start(other):
                self._send(other, None)
        with self._lock:
            self._attentive -= 1
            self._sending += 1
        soon = (
            output.wake_at is not None and output.wake_at < self.clock.monotonic() + first.timeout
        )
        if soon or self._wanted:
            self._start(None)
        return first

    def _sleep(self, output: Output | None) -> bool:
        """Wait until there is something to do; False if this worker is not needed any more."""
        if output is None or self._wanted:
            return True
        with self._lock:
            if self._asleep or output.closed:
                self._attentive -= 1
                if not self._wanted:
                    self._rouse(closed=output.closed)
                    return False
                # Who asked for a poll while we were attentive relied on us.
                if self._asleep:
                    self._bell.put(None)
                    return False
                self._attentive += 1
                return True
            self._asleep = True
            self._attentive -= 1
            # Not this output's: the last poll may have been another thread's.
            self._sleeps_until = self.wake_at
        try:
            if not self._wanted:
                self.clock.wait_for_bell(self._bell, self._sleeps_until)
        finally:
            with self._lock:
                self._asleep = False
                self._attentive += 1
        return True

    def _rouse(self, *, closed: bool = False) -> None:
        """Tell a worker that sleeps too long of the time that the last poll named, or to end."""
        until = self._sleeps_until
        sooner = self.wake_at is not None and (until is None or self.wake_at < until)
        if self._asleep and (sooner or closed):
            self._sleeps_until = self.wake_at
            self._bell.put(None)

    def _send(self, request: Request, limit: float | None) -> None:
        """Carry out a request, whatever happens."""
        result: Response | Failure = Failure("the request was interrupted", sent=True)
        try:
            result = self.http.send(request, limit)
        finally:
            if isinstance(result, Response):
                self.engine.handle_response(request.id, result)
            else:
                self.engine.handle_failure(request.id, result)

    def _retire(self) -> None:
        """Leave the registry, if no client has come meanwhile, and close the connections."""
        with _registry_lock:
            if self.engine.attached:
                return
            if _sessions.get(self._key) is self:
                del _sessions[self._key]
        with self._lock:
            idle = not self._sending
        if idle:
            self.http.close()

    # ── Waiting ──────────────────────────────────────────────────────────────────────────────

    def check_may_wait(self) -> None:
        """Refuse a wait that would wait for itself.

        Raises:
            RuntimeError: this thread drives the session (it is inside ``on_error``, say).
        """
        if threading.get_ident() in (self._poller, *self._barred):
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
        if self._alert() and not here:
            return
        while (output := self._step()) is not None:
            for request in output.requests:
                if not self._start(request):
                    limit = None if deadline is None else deadline - self.clock.monotonic()
                    self._send(request, limit)
                    self._wanted = True
            if not self._wanted:
                break
        # Workers that sleep learn of the new time, or that they are not needed any more.
        if output is None or not (output.closed or output.wake_at is not None):
            return
        if not self._alert() and not self._sending and not output.closed:
            self._start(None)

    def wait(
        self, awaited: Delivery | Ticket, timeout: float | None, what: str, *, leave: bool = False
    ) -> None:
        """Wait until ``awaited`` has its outcome.

        Args:
            awaited: what to wait for.
            timeout: seconds; None for as long as it takes.
            what: what it means if it has none in time.
            leave: whether this thread's own requests must be over by then too.

        Raises:
            TimeoutError: it has none in time.
            RuntimeError: this thread drives the session.
        """
        self.check_may_wait()
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        event = threading.Event()
        self.waiters.add(awaited, event.set)
        try:
            while True:
                self.pump(deadline if leave else None)
                if awaited.outcome is not None:
                    return
                if deadline is not None and self.clock.monotonic() >= deadline:
                    raise TimeoutError(what)
                self.clock.wait_for(event, self._next_pump(deadline))
                if awaited.outcome is not None:
                    return
        finally:
            self.waiters.discard(awaited, event.set)

    def finish(self, ticket: Ticket, deadline: float) -> None:
        """Wait for a close until its deadline, when the engine ends it."""
        with suppress(TimeoutError):
            self.wait(ticket, max(0.0, deadline - self.clock.monotonic()), "", leave=True)
        if ticket.outcome is None:
            self.pump(deadline, here=True)

    def _next_pump(self, deadline: float | None) -> float | None:
        """How long a waiting thread may wait: without workers it does their work."""
        if self._attentive or self._asleep or self._sending or self.wake_at is None:
            return deadline
        return self.wake_at if deadline is None else min(deadline, self.wake_at)


# ── Fork and exit ────────────────────────────────────────────────────────────────────────────


def _before_fork() -> None:
    # A fork in the middle of an import, or with a lock taken, would block the child for ever.
    build_lock.acquire()
    _registry_lock.acquire()


def _after_fork_in_parent() -> None:
    _registry_lock.release()
    build_lock.release()


def _after_fork_in_child() -> None:
    """Begin anew: the parent sends its events, with its own threads, locks and connections."""
    _after_fork_in_parent()
    global _exiting
    _exiting = False
    inherited = list(_sessions.values())
    _sessions.clear()
    for session in inherited:
        session.dead = True
        for buffer in session.engine.buffers:
            buffer.orphaned = Failed(
                MasivoClosedError("this process was forked: the event is its parent's to send"),
                0,
                None,
            )
    for client in list(clients):
        client.forked()


def _flush_at_exit() -> None:
    """Deliver what open clients hold, for at most EXIT_TIMEOUT in all, without a new thread."""
    global _exiting
    _exiting = True
    deadline = clocks.current.monotonic() + EXIT_TIMEOUT
    closing = [
        (session, buffer.close(deadline - clocks.current.monotonic()))
        for session in list(_sessions.values())
        for buffer in session.engine.buffers
    ]
    for session, ticket in closing:
        session.finish(ticket, deadline)
    for session in {session for session, _ in closing}:
        session.pump(here=True)  # what nobody asked about is logged


def _register_child_exit() -> None:
    """A child of ``multiprocessing`` runs no ``atexit`` functions, but finalizers of its own."""
    global _registered_in
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or _registered_in == os.getpid():
        return
    from multiprocessing import util

    _registered_in = os.getpid()
    util.Finalize(None, _flush_at_exit, exitpriority=10)


_registered_in: int | None = None
atexit.register(_flush_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
