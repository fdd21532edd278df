"""The common part of the sessions of both event loops: one engine for a key in one loop.

A subclass implements the parts that differ between loops: starting tasks, and ending them.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol, cast

from masivo import _process
from masivo._helpers import Helpers
from masivo._log import logger
from masivo._session import Key, SessionBase, registry
from masivo.protocol import Delivery, settle

from .clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo._http.openers import Opener
    from masivo._http.transport import World
    from masivo.protocol import Buffer, Failure, Origin, Request, Response, StoreWork, Ticket

__all__ = ["CLOSED_WITHIN", "LOOP_CLOSED", "AsyncSender", "LoopSession", "Member", "session_of"]

CLOSED_WITHIN: Final = 1.0
"""Seconds that leaving a client waits for its connections to close."""

LOOP_CLOSED: Final = (
    "the event loop was closed, and the client was not (use 'async with', or await aclose())"
)
"""The reason that is given for events that a loop left behind."""


class AsyncSender(Protocol):
    """Sends one session's requests."""

    async def send(self, request: Request) -> Response | Failure:
        """Carry out a request. Never raises an Exception; several may be out at once."""
        ...

    async def aclose(self) -> None:
        """Close the connections. Another request may still follow."""
        ...


class Member(NamedTuple):
    """A buffer's owner: the session that its client joined."""

    session: LoopSession
    nursery: Any = None
    """The client's own nursery, in trio."""
    sender: AsyncSender | None = None
    """Sends the client's batches; None: the session's sender does. The session sends
    authorizations."""


def session_of(buffer: Origin) -> LoopSession:
    """The session that a buffer's client joined."""
    return cast("Member", buffer.owner).session


class LoopSession(SessionBase):
    """One key's engine in one event loop."""

    _event: ClassVar[type[Any]]
    """The loop's kind of event."""
    _call_soon: Callable[[Callable[[], object]], object]
    """Makes the loop call a function. Safe in any thread, signal handler and finalizer. It raises a
    RuntimeError if the loop is closed."""

    def __init__(self, key: Key, opener: Opener, world: World) -> None:
        self.sender: AsyncSender = opener(world)
        self._world = world
        self._clock = Clock(world.now)
        super().__init__(key, self._clock.monotonic, self._clock.time)
        registry[key] = self
        self._wanted = False  # a poll was requested since the last one began
        self._busy = False  # in a step, inside which a finalizer may call
        self._bell: Any = None  # ends the sleep of the driving task; None: there is no such task
        self._wake_at: float | None = None  # the last poll's
        # Work on stores: the loop does not wait for disks.
        self._helpers = Helpers(set(), lambda: not (_process.exiting or self.dead))

    # ── Each loop in its own way ─────────────────────────────────────────────────────────────

    @abstractmethod
    def here(self) -> bool:
        """Return True if this thread may poll now: it is the loop's."""

    @abstractmethod
    def check_loop(self) -> None:
        """Raise for a call from outside the session's loop.

        Raises:
            RuntimeError: no loop is running here, or another one.
        """

    @abstractmethod
    def joined(self, buffer: Buffer) -> None:
        """Start the tasks that a client needs, which has just been attached."""

    @abstractmethod
    def _start(self, request: Request) -> None:
        """Start a task that carries out the request, and those that ``carry_out`` returns."""

    @abstractmethod
    async def aclose(self) -> None:
        """Wait until the connections are closed, if no client is left: CLOSED_WITHIN seconds at
        most."""

    # ── Driving ──────────────────────────────────────────────────────────────────────────────

    def wake(self) -> None:
        """See SessionBase. The driving task polls."""
        if not self._wanted:
            self._wanted = True
            try:
                self._call_soon(self._on_wake)
            except RuntimeError:
                self.leave()
                self.engine.abort(LOOP_CLOSED)
                self.step()

    def _on_wake(self) -> None:
        if self._bell is not None:
            self._bell.set()
        else:  # before or after ``drive``: unclaimed failures must still be logged
            self.step()

    def attend(self) -> None:
        """See SessionBase."""
        if self.here():
            self.step()
        else:
            self.wake()

    def step(self, keep_for: object = None) -> Request | None:
        """Poll, settle, start requests; inside another step, schedule that for later. The driving
        task is woken only if it must poll sooner, or end.

        Args:
            keep_for: the owner whose next request is returned instead of started, if there is one.
        """
        if self.dead:
            self._wake_at = None
            return None
        if self._busy:
            self.wake()
            return None
        self._busy = True
        try:
            self._wanted = False
            output = self.engine.poll()
            before, self._wake_at = self._wake_at, output.wake_at
            settle(output, logger, self.waiters)
            for work in output.storage:
                if not self._helpers.take(partial(self._work, work)):
                    self._work(work)
        finally:
            self._busy = False
        own = (each for each in output.requests if keep_for is not None and each.owner is keep_for)
        kept = next(own, None)
        for request in output.requests:
            if request is not kept:
                self._start(request)
        if not self.engine.attached:
            self.leave()
        sooner = self._wake_at is not None and (before is None or self._wake_at < before)
        if self._bell is not None and (sooner or not self.engine.attached):
            _set(self._bell)
        return kept

    def _work(self, work: StoreWork) -> None:
        self.engine.do_work(work)
        self.wake()

    async def drive(self) -> None:
        """Poll when due, until no client is attached."""
        try:
            self.step()
            while self.engine.attached:
                until = self._wake_at
                await self._clock.wait(until, self._sleep, self.wake)
                if self._wanted or self._wake_at == until:  # else another task has polled
                    self.step()
        finally:
            self._bell = None

    async def _sleep(self, seconds: float | None) -> None:
        """Let others run, and wait for the bell, for this many seconds at most."""
        self._bell = self._event()
        await self._wait_for(self._bell, seconds)

    async def _wait_for(self, event: Any, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with nullcontext() if seconds is None else self._world.bound(seconds):
                await event.wait()

    async def carry_out(self, request: Request) -> Request | None:
        """Send a request, hand its result back, and poll.

        Returns:
            The next request of the same client, for the same task to carry out.
        """
        member = cast("Member | None", request.owner)
        sender = self.sender if member is None else member.sender or self.sender
        self.engine.hand_back(request.id, await sender.send(request))
        return self.step(request.owner)

    @property
    def is_driven(self) -> bool:
        """See SessionBase: its loop runs in another thread."""
        return not (self.dead or self.here())

    # ── Waiting ──────────────────────────────────────────────────────────────────────────────

    @property
    def may_wait(self) -> bool:
        """See SessionBase. In another thread ``check_loop`` gives the error."""
        return not (self._busy and self.here())

    async def wait(self, awaited: Delivery | Ticket, timeout: float | None, what: str) -> None:
        """Wait until ``awaited`` has its outcome.

        Raises:
            TimeoutError: it has no outcome in time; ``what`` is the message.
            RuntimeError: called in another loop, or inside ``on_error``.
        """
        event = self._event()
        if awaited.outcome is not None:
            event.set()
            await event.wait()  # in trio a checkpoint all the same
            return
        self.check_may_wait()
        self.check_loop()
        if not isinstance(awaited, Delivery):  # else the core calls ``wake`` if needed
            self.wake()
        with self.waiters.waiting(awaited, partial(_set, event)):
            await self._wait_for(event, timeout)
        if awaited.outcome is None:
            self.step()  # it may be done already
        if awaited.outcome is None:
            raise TimeoutError(what)


def _set(event: Any) -> None:
    with suppress(RuntimeError):  # its loop was closed
        event.set()
