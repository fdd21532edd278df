"""The one seam for tests in virtual time: sessions take ``current`` when they are made.

Only what the core times is virtual then (batches, retries, renewals); the loop keeps its own time
for everything else, the requests themselves included.
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
        """Return whether a session that is made here and now goes by it."""
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
        """While the block lasts, have ``wake`` called, on any thread, at a time of
        ``monotonic``; at once if that has come, never for None."""
        ...


current: VirtualTime | None = None
"""The time of new sessions; None: the loop's own."""
