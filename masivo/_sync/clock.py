"""Time as the thread driver sees it: the clock, and how its threads wait.

The one seam for tests in virtual time: a session takes ``current`` when it is made, and a test
puts another clock there before it makes a client.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from queue import Empty, SimpleQueue

__all__ = ["Clock"]

_LONGEST = 86_400.0
_GLANCE = 1.0
"""How long a waiting thread may take to notice that a fork has made it another process's."""


class Clock:
    """The system's clock."""

    # The functions themselves: every event is given a time, and a call between would show.
    monotonic = staticmethod(time.monotonic)
    """Seconds that never run backwards."""
    time = staticmethod(time.time)
    """Seconds since the epoch."""

    def over_by(self, timeout: float) -> float:
        """Return when a request that goes out now is to be over; never, where time is not real."""
        return self.monotonic() + timeout

    def sleep(self, bell: SimpleQueue[None], until: float | None) -> None:
        """Wait for a ring of ``bell`` and take it; at most until a time of ``monotonic``.

        A bell is a queue, as a ``threading.Event`` has a lock, which its waiter holds for an
        instant: a signal's handler that comes just then, and waits for the package in its turn,
        would wait for the thread that sets the Event.
        """
        with suppress(Empty):
            bell.get(timeout=self._left(until))

    def wait_for(self, bell: SimpleQueue[None], until: float | None) -> None:
        """As ``sleep``, for a caller's thread.

        In the child of a fork inside a signal's handler, which interrupted the wait, nobody will
        ever ring: there the wait ends early.
        """
        process = os.getpid()
        while os.getpid() == process and (left := self._left(until)) != 0.0:
            with suppress(Empty):
                bell.get(timeout=_GLANCE if left is None else min(left, _GLANCE))
                return

    def _left(self, until: float | None) -> float | None:
        # To wake early is harmless; a wait beyond what the system can count is an error.
        return None if until is None else min(max(0.0, until - self.monotonic()), _LONGEST)


current = Clock()
"""The clock of new sessions."""
