"""What the sessions of both event loops share: one engine for the clients of a key in one loop.

A subclass brings what its loop does in its own way: starting a request, sleeping, waiting.
"""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from masivo._settle import Waiters, settle
from masivo.protocol import Account, Engine, Failure, Response

if TYPE_CHECKING:
    from collections.abc import Generator

    from masivo._http import AsyncHttp
    from masivo.protocol import Clock, Delivery, Output, Request, Ticket

__all__ = ["GRACE", "Key", "LoopSession", "Member", "Registry"]

GRACE: Final = 1.0
"""How long leaving ``async with`` by an exception waits for connections to close, in seconds."""

Key: TypeAlias = tuple[Account, int]
"""What clients share a session by: the account, and the identity of ``http_client``."""
Registry: TypeAlias = "dict[Key, LoopSession]"
"""The sessions of one loop."""


class Member(NamedTuple):
    """What a buffer's owner is: the session that its client joined."""

    session: LoopSession
    nursery: object = None
    """The client's own nursery, in trio."""


class LoopSession(ABC):
    """One key's engine in one event loop."""

    def __init__(self, key: Key, registry: Registry, http: AsyncHttp, clock: Clock) -> None:
        self.http = http
        self._key = key
        self._registry = registry
        registry[key] = self
        self.engine = Engine(
            key[0],
            clock=clock,
            wall_clock=time.time,
            random=random.Random(),
            wake=self.wake,
        )
        self._waiters = Waiters()
        self._thread = threading.get_ident()
        self._wanted = False  # somebody asked for a poll since the last one began
        self._busy = False  # in the middle of a step: a finalizer may call from inside it

    # ── Each loop in its own way ─────────────────────────────────────────────────────────────

    @abstractmethod
    def _ring(self) -> None:
        """Wake the driving task; called in the loop's thread."""

    @abstractmethod
    def _ring_from_outside(self) -> None:
        """Wake the driving task; called in another thread (by a finalizer)."""

    @abstractmethod
    def _start(self, request: Request) -> None:
        """Have a task ``carry_out`` the request."""

    @abstractmethod
    async def _sleep(self, until: float | None) -> None:
        """Wait for ``_ring``, at most until a time on the engine's clock."""

    @abstractmethod
    async def _wait_for(self, awaited: Delivery | Ticket, timeout: float | None) -> None:
        """Wait until ``awaited`` has its outcome. Raises TimeoutError."""

    # ── Driving ──────────────────────────────────────────────────────────────────────────────

    def wake(self) -> None:
        """Have the driving task poll."""
        if not self._wanted:
            self._wanted = True
            if threading.get_ident() == self._thread:
                self._ring()
            else:
                self._ring_from_outside()

    def step(self) -> Output | None:
        """Poll, settle, start requests; None in the middle of another step."""
        if self._busy:
            self.wake()
            return None
        self._busy = True
        try:
            self._wanted = False
            output = self.engine.poll()
            settle(output, self._waiters)
        finally:
            self._busy = False
        for request in output.requests:
            self._start(request)
        return output

    def settle_now(self) -> None:
        """Take inputs in at once, as far as that needs no waiting."""
        self.step()
        self.wake()  # the driving task may have to end

    async def drive(self) -> None:
        """Do what is to be done, until no client is attached."""
        while True:
            output = self.step()
            if output is not None and output.closed and not self.engine.attached:
                return
            if not self._wanted:
                await self._sleep(None if output is None else output.wake_at)

    async def carry_out(self, request: Request) -> None:
        """Send a request and hand its answer in, whatever happens."""
        result: Response | Failure = Failure("the request was interrupted", sent=True)
        try:
            result = await self.http.send(request)
        finally:
            if isinstance(result, Response):
                self.engine.handle_response(request.id, result)
            else:
                self.engine.handle_failure(request.id, result)
            self.wake()

    def abort(self, why: str) -> None:
        """End everything now, and leave the registry; nothing is awaited."""
        self.leave()
        self.engine.abort(why)
        self.step()

    def leave(self) -> None:
        """Leave the registry: the next client of the key starts fresh."""
        if self._registry.get(self._key) is self:
            del self._registry[self._key]

    # ── Waiting ──────────────────────────────────────────────────────────────────────────────

    def check_may_wait(self) -> None:
        """Refuse a wait that was asked for inside ``on_error``.

        Raises:
            RuntimeError: it was.
        """
        if self._busy:
            raise RuntimeError(
                "do not call flush, aclose, drain or get_token, nor await an unfinished delivery, "
                "from inside on_error: it would wait for itself"
            )

    async def wait(self, awaited: Delivery | Ticket, timeout: float | None, what: str) -> None:
        """Wait until ``awaited`` has its outcome.

        Raises:
            TimeoutError: it has none in time; ``what`` says what that means.
        """
        self.wake()
        try:
            await self._wait_for(awaited, timeout)
        except TimeoutError:
            if awaited.outcome is None:
                raise TimeoutError(what) from None

    @contextmanager
    def _waiting(self, awaited: Delivery | Ticket, waker: object) -> Generator[bool, None, None]:
        """Have ``waker`` called when ``awaited`` has its outcome; whether it has none yet."""
        assert callable(waker)  # noqa: S101
        self._waiters.add(awaited, waker)
        try:
            yield awaited.outcome is None
        finally:
            self._waiters.discard(awaited, waker)
