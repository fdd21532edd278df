"""The threads of one API key.

A session has one worker thread, started at the first need. It polls the engine, settles, sends
the request that comes of it, and so on; with nothing to do it sleeps until ``wake_at``. Workers
are all alike: one that is about to send starts another if there is more to be done meanwhile,
and one that finds another asleep ends.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

from masivo._http import Http, HttpClient
from masivo._settle import Waiters, logger, settle
from masivo.protocol import Engine, Failure

from . import clock as clocks
from . import process

if TYPE_CHECKING:
    from masivo.protocol import (
        Buffer,
        Delivery,
        OnError,
        Output,
        Request,
        Response,
        Settings,
        Ticket,
    )

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


class Session:
    """One key's engine, with the threads that drive it."""

    def __init__(self, key: process.Key, http: Http) -> None:
        self._key = key
        self.http = http
        self.clock = clocks.current
        self.engine = Engine(
            key[0],
            clock=self.clock.monotonic,
            wall_clock=self.clock.time,
            random=random.Random(),
            wake=self.wake,
            log_level=logger.getEffectiveLevel,
        )
        self.waiters = Waiters()
        self.wake_at: float | None = None
        """When the last poll wanted the next one."""
        self._closed = False  # whether the last poll found no client
        self._process = process.this
        # Guards `poll` and the counts below. Reentrant: a signal handler or a finalizer may run
        # while its thread holds it.
        self._lock = threading.RLock()
        self._poller: int | None = None  # the thread that is in `poll`
        self._wanted = False  # somebody asked for a poll since the last one began
        self._attentive = 0  # workers that will poll before they next wait
        self._asleep = False  # a worker waits in `_bell` ...
        self._sleeps_until: float | None = None  # ... at most until this time
        self._busy = 0  # workers in the middle of a request, or of the caller's code ...
        self._at_leisure = 0  # ... of these, in the caller's code
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._barred: set[int] = set()  # threads that must not wait for this session
        # What is being called for failures, and what is set when that is done.
        self._telling: dict[clocks.Latch, list[OnError]] = {}

    @property
    def dead(self) -> bool:
        """Whether it belongs to the parent of this process."""
        return self._process is not process.this

    # ── Waking ───────────────────────────────────────────────────────────────────────────────
    #
    # A signal's handler may raise at any call on the main thread: what follows it there may never
    # happen. So nothing here relies on an earlier caller having gone through with it.

    def wake(self) -> None:
        """See to it that somebody polls soon. Takes no lock but to start a thread."""
        if self.dead or self._alert():
            return
        if self.engine.attached:
            self._start(None)
        else:
            self._step([])  # all that can be left is something to log: no need of a thread

    def _alert(self) -> bool:
        """Tell a worker that a poll is wanted; False if none would notice."""
        self._wanted = True
        # A worker goes to sleep in this order: asleep, no longer attentive, then a last look at
        # `_wanted`. So one that was not seen in either state is seen now, or sees for itself.
        if not self._asleep:
            if self._attentive:
                return True
            if not self._asleep:
                return False
        self._ring()
        return True

    def _ring(self) -> None:
        """Wake the worker that sleeps; one ring is enough for any number of callers."""
        if self._bell.empty():
            self._bell.put(None)

    def _start(self, request: Request | None) -> bool:
        """Start a worker; False if no thread can be had."""
        # Whoever takes the claim, the new thread or this one, sees to it that the count is right.
        claim: list[None] = [None]
        change = 0
        try:
            with self._lock:
                if process.exiting or self.dead:
                    return False
                if request is None and (self._attentive or self._asleep):
                    return self._alert()
                change = 1
                self._count(request, change)
            process.register_child_exit()
            threading.Thread(
                target=self._work, args=(request, claim), name="masivo", daemon=True
            ).start()
        except BaseException as error:
            if not change or not _take(claim):
                raise  # the thread runs: what came up belongs to the caller
            with self._lock:
                self._count(request, -change)
            if not isinstance(error, RuntimeError):
                raise
            return False  # no more threads, or the interpreter is shutting down
        return True

    def _count(self, request: Request | None, change: int) -> None:
        if request is None:
            self._attentive += change
        else:
            self._busy += change

    @property
    def is_busy(self) -> bool:
        """Whether a worker does something, and does not sleep."""
        return bool(self._attentive or self._busy)

    def abort(self, why: str) -> None:
        """End everything now; nothing is waited for."""
        self.engine.abort(why)
        self.pump(here=True)

    # ── Working ──────────────────────────────────────────────────────────────────────────────

    def _work(self, request: Request | None, claim: list[None]) -> None:
        if not _take(claim):
            return
        me = threading.get_ident()
        self._barred.add(me)
        todo: list[Request] = []
        try:
            while True:
                if request is not None:
                    with suppress(BaseException):  # its failure is known to the engine
                        self._send(request, None)
                    with self._lock:
                        self._attentive += 1
                        self._busy -= 1
                self._step(todo, worker=True)
                if todo and self._wanted:
                    self._step(todo, worker=True)  # cheaper than another thread for it
                if self.dead:
                    return  # `on_error` forked, and this is the child
                request = self._delegate(todo)
                if request is None and not self._sleep():
                    if self._closed:
                        self._retire()  # who polled last may have found this thread busy
                    return
        except BaseException:
            with self._lock:
                self._attentive -= 1
            raise
        finally:
            self._barred.discard(me)

    def _step(self, todo: list[Request], *, worker: bool = False) -> bool:
        """Poll and settle; False if this thread is in the middle of it already.

        Args:
            todo: takes the requests that the caller must see to.
            worker: whether the caller is a worker.
        """
        me = threading.get_ident()
        with self._lock:
            if self._poller == me:
                return False
            self._poller = me
            self._wanted = False
            try:
                output = self.engine.poll()
            finally:
                self._poller = None
            self.wake_at, self._closed = output.wake_at, output.closed
            told = clocks.Latch() if output.failed_events else None
            if told is not None:
                self._telling[told] = [on_error for on_error, _ in output.failed_events]
            if self._asleep and (self._closed or self._sleeps_too_long()):
                self._ring()
        todo += output.requests
        process.remember_failures(output)
        try:
            if output.warnings or told is not None:
                self._settle_at_leisure(output, todo, worker=worker)
            else:
                settle(output, self.waiters)
        finally:
            if told is not None:
                self._telling.pop(told, None)
                told.set()
        if output.closed:
            self._retire()
        return True

    def _settle_at_leisure(self, output: Output, todo: list[Request], *, worker: bool) -> None:
        """Settle where that runs the caller's code: ``on_error``, handlers of the log.

        It may take its time, or wait for a lock of the caller's, whose holder waits for us. So
        nothing may wait for this thread meanwhile.
        """
        todo[:] = [request for request in todo if not self._start(request)]
        me = threading.get_ident()
        barred = me in self._barred
        self._barred.add(me)
        if worker:
            with self._lock:
                self._at_leisure += 1
                self._busy += 1
                self._attentive -= 1
            if self._wanted or (output.wake_at is not None and not self._asleep):
                self.wake()
        try:
            settle(output, self.waiters)
        finally:
            if worker:
                with self._lock:
                    self._attentive += 1
                    self._busy -= 1
                    self._at_leisure -= 1
            if not barred:
                self._barred.discard(me)

    def _sleeps_too_long(self) -> bool:
        if self.wake_at is None:
            return False
        return self._sleeps_until is None or self.wake_at < self._sleeps_until

    def _delegate(self, todo: list[Request]) -> Request | None:
        """Give all requests but one to new workers; the one is for the caller to send."""
        if not todo:
            return None
        first, *others = todo
        todo.clear()
        for other in others:
            if not self._start(other):
                with suppress(BaseException):
                    self._send(other, None)
        with self._lock:
            self._busy += 1
            self._attentive -= 1
            until = self.wake_at
        soon = until is not None and until < self.clock.monotonic() + first.timeout
        if self._wanted or (soon and not self._asleep):
            self.wake()
        return first

    def _sleep(self) -> bool:
        """Wait until there is something to do; False if this worker is not needed any more."""
        if self._wanted:
            return True
        with self._lock:
            # What the last poll said counts, and that may have been another thread's.
            if self._asleep or self._closed:
                self._attentive -= 1
                # Who asked for a poll while we were attentive relied on us.
                if self._wanted and self._asleep:
                    self._ring()
                elif self._wanted:
                    self._attentive += 1
                    return True
                return False
            self._sleeps_until = until = self.wake_at
            self._asleep = True
            self._attentive -= 1
        try:
            if not self._wanted:
                self.clock.wait_for_bell(self._bell, until)
        finally:
            with self._lock:
                self._attentive += 1
                self._asleep = False
        return True

    def _send(self, request: Request, limit: float | None) -> None:
        """Carry out a request, whatever happens."""
        result: Response | Failure = Failure("the request was interrupted", sent=True)
        try:
            result = self.http.send(request, limit)
        finally:
            self.engine.hand_back(request.id, result)

    def _retire(self) -> None:
        """Leave the registry, if no client has come meanwhile, and close the connections."""
        with process.registry_lock:
            if self.engine.attached:
                return
            if process.registry.get(self._key) is self:
                del process.registry[self._key]
        with self._lock:
            idle = not self._busy
        if idle:
            self.http.close()

    # ── Waiting ──────────────────────────────────────────────────────────────────────────────

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
        self.waiters.add(awaited, latch.set)
        try:
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
        finally:
            self.waiters.discard(awaited, latch.set)

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


def _take(claim: list[None]) -> bool:
    """Whether this thread is the first to take it."""
    try:
        claim.pop()
    except IndexError:
        return False
    return True
