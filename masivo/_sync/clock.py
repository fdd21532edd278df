"""Time as the thread driver sees it: what it reads, and how its threads wait for it.

The one seam for tests in virtual time: a session takes ``current`` when it is made, and a test
puts another clock there before it makes a client.
"""

from __future__ import annotations

import time
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from queue import SimpleQueue

__all__ = ["Clock"]


_LONGEST = 86_400.0


class Clock:
    """The system's clock."""

    # The functions themselves: every event is given a time, and a call between would show.
    monotonic = staticmethod(time.monotonic)
    """Seconds that never run backwards."""
    time = staticmethod(time.time)
    """Seconds since the epoch."""

    def wait_for_bell(self, bell: SimpleQueue[None], until: float | None) -> None:
        """Wait for something in ``bell`` and take it; at most until a time of ``monotonic``."""
        with suppress(Empty):
            bell.get(timeout=self._left(until))

    def wait_for(self, event: threading.Event, until: float | None) -> None:
        """Wait until ``event`` is set, at most until a time of ``monotonic``."""
        event.wait(self._left(until))

    def _left(self, until: float | None) -> float | None:
        # To wake early is harmless; a wait beyond what the system can count is an error.
        return None if until is None else min(max(0.0, until - self.monotonic()), _LONGEST)


current = Clock()
"""What new sessions take."""
