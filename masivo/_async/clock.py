"""The seam for tests in virtual time: sessions take ``current`` when they are made.

Only the core's time is virtual then (batches, retries, renewals); the loop keeps its own time for
everything else, requests included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = ["VirtualTime", "current"]


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
