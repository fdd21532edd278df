"""The clock of a session in a loop, and the wait of its driving task.

The seam for tests in virtual time: a session takes ``current`` when it is made. Only the core's
time is virtual then (batches, retries, renewals); the loop keeps its own time for everything else,
requests included.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

__all__ = ["Clock", "VirtualTime", "current"]


class VirtualTime(Protocol):
    """Time that a test moves."""

    def applies(self) -> bool:
        """Return True if a session that is made now uses it."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def alarm(
        self, until: float | None, wake: Callable[[], object]
    ) -> AbstractContextManager[object]:
        """While the block lasts, call ``wake``, on any thread, at a time of ``monotonic``; at once
        if that has passed, never for None."""
        ...


current: VirtualTime | None = None
"""The time of new sessions; None: the loop's own."""


class Clock:
    """The clock of one session: the loop's, or a test's.

    Args:
        now: the loop's time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        virtual = current if current is not None and current.applies() else None
        self._virtual = virtual
        self.monotonic = now if virtual is None else virtual.monotonic
        """Seconds that never run backwards."""
        self.time = time.time if virtual is None else virtual.time
        """Seconds since the epoch."""

    async def wait(
        self,
        until: float | None,
        sleep: Callable[[float | None], Awaitable[None]],
        wake: Callable[[], object],
    ) -> None:
        """Sleep until a time of ``monotonic``; None: without a limit.

        Args:
            until: the time.
            sleep: lets others run, and sleeps for this many seconds at most; may end early.
            wake: ends the sleep. Safe in any thread.
        """
        if self._virtual is not None:
            with self._virtual.alarm(until, wake):
                await sleep(None)
            return
        await sleep(None if until is None else max(0.0, until - self.monotonic()))
        if until is not None and self.monotonic() >= until:
            # The process may have been frozen, or the loop blocked: what has come meanwhile is
            # read first, by the tasks of the requests.
            for _ in range(2):
                await sleep(0.0)
