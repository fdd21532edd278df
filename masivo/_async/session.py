"""What the sessions of both event loops share: one engine for the clients of a key in one loop.

A subclass brings what its loop does in its own way: starting a request, sleeping, waiting.
"""

from __future__ import annotations

import logging
import random
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias, cast

from masivo import _process
from masivo._settle import Waiters, logger, settle
from masivo.protocol import Account, Engine, Failed

from . import clock as clocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import Clock, Delivery, Failure, Origin, Request, Response, Ticket

__all__ = ["GRACE", "AsyncSender", "Key", "LoopSession", "Member", "Registry", "session_of"]

GRACE: Final = 1.0
"""How long leaving a client waits for its connections to close, in seconds."""

Key: TypeAlias = tuple[Account, int]
"""What clients share a session by: the account, and the identity of ``http_client``."""
Registry: TypeAlias = "dict[Key, LoopSession]"
"""The sessions of one loop."""


class AsyncSender(Protocol):
    """Sends one session's requests."""

    async def send(self, request: Request) -> Response | Failure:
        """Carry out a request. Never raises an Exception; several may be out at once."""
        ...

    async def aclose(self) -> None:
        """Close the connections. Another request may come all the same."""
        ...


class Member(NamedTuple):
    """What a buffer's owner is: the session that its client joined."""

    session: LoopSession
    nursery: object = None
    """The client's own nursery, in trio."""


def session_of(buffer: Origin) -> LoopSession:
    """The session that a buffer's client joined."""
    return cast("Member", buffer.owner).session


class LoopSession(ABC):
    """One key's engine in one event loop."""

    def __init__(self, key: Key, registry: Registry, sender: AsyncSender, clock: Clock) -> None:
        self.sender = sender
        self._time = clocks.current
        self._key = key
        self._registry = registry
        registry[key] = self
        _process.sessions.add(self)
        self.engine = Engine(
            key[0],
            clock=clock if self._time is None else self._time.monotonic,
            wall_clock=time.time,
            random=random.Random(),
            wake=self.wake,
            listening=partial(logger.isEnabledFor, logging.INFO),
        )
        self.waiters = Waiters()
        self._wanted = False  # somebody asked for a poll since the last one began
        self._busy = False  # in the middle of a step: a finalizer may call from inside it
        self._driven = False  # a task is in `drive`
        self._wake_at: float | None = None  # the last poll's
        self._dead = False  # it belongs to the parent of this process

    # ── Each loop in its own way ─────────────────────────────────────────────────────────────

    @abstractmethod
    def here(self) -> bool:
        """Whether the session may be worked on here and now: by its loop's thread."""

    @abstractmethod
    def check_loop(self) -> None:
        """Refuse a call from outside the session's loop.

        Raises:
            RuntimeError: no loop is running here, or another one.
        """

    @abstractmethod
    def _call_soon(self, function: Callable[[], object]) -> None:
        """Have the loop call ``function``. Safe in any thread, signal handler and finalizer.

        Raises:
            RuntimeError: the loop is gone.
        """

    @abstractmethod
    def _ring(self) -> None:
        """End ``_sleep``, or the next one if there is none now."""

    @abstractmethod
    async def _sleep(self, until: float | None) -> None:
        """Let others run, then wait for ``_ring``, at most until a time on the loop's clock."""

    @abstractmethod
    def _start(self, request: Request) -> None:
        """Have a task ``carry_out`` the request."""

    @abstractmethod
    async def _wait_for(self, awaited: Delivery | Ticket, timeout: float | None) -> None:
        """Wait until ``awaited`` has its outcome, for so many seconds at most."""

    # ── Driving ──────────────────────────────────────────────────────────────────────────────

    def wake(self) -> None:
        """Have the driving task poll. May be called from anywhere, at any time."""
        if not self._wanted:
            self._wanted = True
            try:
                self._call_soon(self._on_wake)
            except RuntimeError:
                self.abort("the event loop was closed")
                self._wanted = False

    def _on_wake(self) -> None:
        if self._driven:
            self._ring()
        else:  # not yet, or not any more: failures that nobody asks for are logged all the same
            self.step()

    def step(self) -> None:
        """Poll, settle, start requests; in the middle of another step, have it done later."""
        if self._dead:
            return
        if self._busy:
            self.wake()
            return
        self._busy = True
        try:
            self._wanted = False
            output = self.engine.poll()
            self._wake_at = output.wake_at
            settle(output, self.waiters)
        finally:
            self._busy = False
        for request in output.requests:
            self._start(request)
        if not self.engine.attached:
            self.leave()

    async def drive(self) -> None:
        """Do what is to be done, until no client is attached."""
        self._driven = True
        try:
            self.step()
            while self.engine.attached:
                until = self._wake_at
                await self._pause(until)
                if self._wanted or self._wake_at == until:  # else a request's task has polled
                    self.step()
        finally:
            self._driven = False

    async def _pause(self, until: float | None) -> None:
        """Sleep until a time on the engine's clock."""
        if self._time is None:
            await self._sleep(until)
        else:
            with self._time.alarm(until, self._on_alarm):
                await self._sleep(None)

    def _on_alarm(self) -> None:
        with suppress(RuntimeError):  # the loop is gone
            self._call_soon(self._ring)

    async def carry_out(self, request: Request) -> None:
        """Send a request, hand its response in and do what is to be done then.

        The driving task need not know, unless it must wake up sooner.
        """
        self.engine.hand_back(request.id, await self.sender.send(request))
        before = self._wake_at
        self.step()
        sooner = self._wake_at is not None and (before is None or self._wake_at < before)
        if self._driven and (sooner or not self.engine.attached):
            self._ring()

    def abort(self, why: str) -> None:
        """End everything now, and leave the registry; nothing is awaited."""
        self.leave()
        self.engine.abort(why)
        self.step()

    def abort_anywhere(self, why: str) -> None:
        """As ``abort``; at once if the loop stands still, else as soon as it gets to it."""
        if self.here():
            self.abort(why)
        else:
            self.engine.abort(why)
            self.wake()

    def leave(self) -> None:
        """Leave the registry: the next client of the key starts fresh."""
        if self._registry.get(self._key) is self:
            del self._registry[self._key]

    def forked(self) -> None:
        """See ``_process.Session``."""
        self.leave()
        self._dead, self._wake_at = True, None
        for buffer in self.engine.buffers:
            buffer.orphaned = Failed(_process.orphaned())

    def last_words(self) -> None:
        """See ``_process.Session``."""
        self.engine.report_unclaimed()
        if self.here():
            self.step()
            return
        try:
            self._call_soon(self.step)
        except RuntimeError:  # the loop is gone
            self.step()

    # ── Waiting ──────────────────────────────────────────────────────────────────────────────

    def check_may_wait(self) -> None:
        """Refuse a wait that was asked for inside ``on_error``.

        Raises:
            RuntimeError: it was.
        """
        if self._busy:
            raise RuntimeError(
                "this would wait for itself: do not call flush, aclose, drain or get_token, "
                "nor await an unfinished delivery, from inside on_error"
            )

    async def wait(self, awaited: Delivery | Ticket, timeout: float | None, what: str) -> None:
        """Wait until ``awaited`` has its outcome.

        Raises:
            TimeoutError: it has none in time; ``what`` says what that means.
            RuntimeError: called in another loop.
        """
        if awaited.outcome is None:
            self.check_loop()
            self.wake()
        await self._wait_for(awaited, timeout)
        if awaited.outcome is None:
            raise TimeoutError(what)
