"""The worker threads of one API key.

A session has one worker thread, started at the first need. It polls the engine, settles, sends
the request that comes of it, and so on; with nothing to do it sleeps until ``wake_at``. Workers
are all alike: one that is about to send starts another if there is more to be done meanwhile,
and one that finds another asleep ends.

Each is in one of these states, and the session counts them:

==========  ==========================================  ===========================================
state       what it does                                how it goes on
==========  ==========================================  ===========================================
attentive   polls and settles, or is about to           busy, if there is a request to send; else
                                                        asleep, or it ends if another sleeps already
                                                        or no client is left
busy        sends a request                             attentive
at leisure  (busy, too) runs the caller's code:         attentive
            ``on_error``, handlers of the log
asleep      waits in ``_bell``; one at most             attentive, when the bell rings or at
                                                        ``_sleeps_until``
==========  ==========================================  ===========================================

An attentive worker sees whatever is wanted; a sleeping one must be rung; busy ones are no help, so
if there are no others, who wants a poll starts one.
"""

from __future__ import annotations

import logging
import random
import threading
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from masivo._settle import Waiters, logger, settle
from masivo.protocol import Engine, Failure

from . import clock as clocks
from . import process

if TYPE_CHECKING:
    from masivo._http import Http
    from masivo.protocol import OnError, Output, Request, Response

__all__ = ["Workers"]


class Workers:
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
            listening=partial(logger.isEnabledFor, logging.INFO),
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


def _take(claim: list[None]) -> bool:
    """Whether this thread is the first to take it."""
    try:
        claim.pop()
    except IndexError:
        return False
    return True
