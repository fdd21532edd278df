"""The clock of the thread driver, and the waits of its threads.

The seam for tests in virtual time: a session takes ``current`` when it is made, and a test replaces
it before it makes a client.
"""

from __future__ import annotations

import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import sleep

__all__ = ["Clock"]

_LONGEST = 86_400.0
_LATE = 0.25
"""Seconds that a sleeper is late if it was stopped, with its process."""
_HEAD_START = 0.05
"""Seconds in which requests read what has come."""
_GLANCE = 1.0
"""Seconds in which a caller that waits notices that no thread will ring."""


class Clock:
    """The system's clock."""

    # Not wrapped: each event reads the time, and a wrapper would be measurable.
    monotonic = staticmethod(time.monotonic)
    """Seconds that never run backwards."""
    time = staticmethod(time.time)
    """Seconds since the epoch."""

    def over_by(self, timeout: float) -> float:
        """Return when a request that is sent now must end; infinity in virtual time."""
        return self.monotonic() + timeout

    def sleep(self, bell: SimpleQueue[None], until: float) -> None:
        """Wait for a ring of ``bell`` and remove it; at most until a time of ``monotonic``.

        A bell is a queue, not a ``threading.Event``: a waiter of an Event briefly holds its lock,
        and a signal handler that interrupts it then, and waits for the package, would deadlock.
        """
        self._wait(bell, self._left(until))

    def wait_for(self, bell: SimpleQueue[None], until: float) -> None:
        """As ``sleep``, for a caller's thread, which checks once a second what may have become of
        the thread that rings: a signal handler that interrupts the wait may fork, and an exception,
        such as a MemoryError, may end that thread."""
        self._wait(bell, min(self._left(until), _GLANCE))

    def _wait(self, bell: SimpleQueue[None], seconds: float) -> None:
        until = self.monotonic() + seconds
        with suppress(Empty):
            bell.get(timeout=seconds)
        if self.monotonic() > until + _LATE:
            # The process was stopped, and a deadline may have passed. A response that has come
            # meanwhile counts: requests get a head start.
            sleep(_HEAD_START)

    def _left(self, until: float) -> float:
        # Waking early is harmless; a wait longer than the system supports is an error.
        return min(max(0.0, until - self.monotonic()), _LONGEST)


current = Clock()
"""The clock of new sessions."""
