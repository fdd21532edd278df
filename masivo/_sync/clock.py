"""Time as the thread driver sees it: what it reads, and how its threads wait for it.

The one seam for tests in virtual time: a session takes ``current`` when it is made, and a test
puts another clock there before it makes a client.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from queue import Empty, SimpleQueue

__all__ = ["Clock", "Latch"]


_LONGEST = 86_400.0
_GLANCE = 1.0
"""How long a waiting thread may take to notice that a fork has made it another process's."""


class Latch:
    """What threads wait for: as a ``threading.Event``, without its lock.

    Who begins to wait for an Event holds that for an instant. A signal's handler that comes just
    then, and waits for the package in its turn, would wait for the thread that sets the Event.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._bell: SimpleQueue[None] = SimpleQueue()

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """Let everybody go on who waits for it, now or later."""
        self._is_set = True
        self._bell.put(None)

    def clear(self) -> None:
        """Have it wait to be set once more."""
        self._is_set = False
        with suppress(Empty):
            while True:
                self._bell.get_nowait()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for so many seconds at most; whether it is."""
        if not self._is_set:
            with suppress(Empty):
                self._bell.get(timeout=timeout)
                self._bell.put(None)  # another thread may wait, too
        return self._is_set


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

    def wait_for(self, latch: Latch, until: float | None) -> None:
        """Wait until ``latch`` is set, at most until a time of ``monotonic``.

        In the child of a fork inside a signal's handler, which interrupted the wait, nobody will
        ever set it: there the wait ends early.
        """
        process = os.getpid()
        left = self._left(until)
        while not latch.wait(_GLANCE if left is None else min(left, _GLANCE)):
            left = self._left(until)
            if left == 0.0 or os.getpid() != process:
                return

    def _left(self, until: float | None) -> float | None:
        # To wake early is harmless; a wait beyond what the system can count is an error.
        return None if until is None else min(max(0.0, until - self.monotonic()), _LONGEST)


current = Clock()
"""What new sessions take."""
