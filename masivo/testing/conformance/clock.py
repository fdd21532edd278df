"""Virtual time, which only the suite moves, so that hours cost milliseconds."""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

__all__ = ["VirtualClock"]

TICK: Final = 2.0**-20
"""The step of the clock in seconds, about a microsecond. Every time is a whole number of ticks, so
that sums and differences of times are exact whatever the order in which a world computes them."""

WALL: Final = 1_767_225_600.0
"""The wall clock at the beginning: 2026-01-01T00:00:00Z."""

_Wait: TypeAlias = "tuple[float, Callable[[], object]]"


class VirtualClock:
    """A monotonic and a wall clock that only the suite moves.

    A driver reads ``monotonic`` (its engine's clock) and ``time`` (the engine's wall clock). Its
    adapter decides how it waits: in ``Adapter.advanced`` it tells an event loop that the clock was
    moved, or it sets an ``alarm``; a thread waits in ``park``.
    """

    def __init__(self) -> None:
        self.changed: threading.Condition = threading.Condition()
        """Notified when the clock was moved, a thread was parked, or anything else happened that
        the suite waits for."""
        self._now = 0.0
        self._slept = 0.0
        self._waits: dict[object, _Wait] = {}  # by thread, or by alarm

    def applies(self) -> bool:
        """Return True: clients that are made now always use it."""
        return True

    def monotonic(self) -> float:
        """Seconds since the scenario began."""
        return self._now

    def time(self) -> float:
        """Seconds since the epoch."""
        return WALL + self._now + self._slept

    def suspend(self, seconds: float) -> None:
        """Advance ``time`` but not ``monotonic``, as while a machine sleeps; for the suite only."""
        with self.changed:
            self._slept += math.ceil(seconds / TICK) * TICK

    def notify(self) -> None:
        """Make the suite check its conditions again."""
        with self.changed:
            self.changed.notify_all()

    def park(
        self, block: Callable[[], object], wake: Callable[[], object], until: float | None
    ) -> None:
        """Wait on the calling thread, at most until a time of ``monotonic``.

        Args:
            block: waits, without a limit, for the thread's condition.
            wake: makes ``block`` return; called from another thread when ``until`` has come.
            until: None for no limit.
        """
        if until is None or until > self._now:
            with self._waiting(threading.get_ident(), until, wake):
                block()

    def alarm(
        self, until: float | None, wake: Callable[[], object]
    ) -> AbstractContextManager[None]:
        """While the block lasts, call ``wake`` at a time of ``monotonic``.

        Args:
            until: None for never.
            wake: called from the thread that moves the clock; at once if the time has passed.
        """
        return self._waiting(object(), until, wake)

    @contextmanager
    def _waiting(
        self, key: object, until: float | None, wake: Callable[[], object]
    ) -> Generator[None, None, None]:
        with self.changed:
            self._waits[key] = (math.inf if until is None else until, wake)
            late = until is not None and until <= self._now
            self.changed.notify_all()
        try:
            if late:
                wake()
            yield
        finally:
            with self.changed:
                self._waits.pop(key, None)

    def is_parked(self, thread: int) -> bool:
        """Return whether a thread (by its identifier) waits in ``park``."""
        with self.changed:
            return thread in self._waits

    def next_wait(self) -> float:
        """The earliest time that a parked thread waits for; infinite for none."""
        with self.changed:
            return min((until for until, _ in self._waits.values()), default=math.inf)

    def move(self, to: float) -> None:
        """Set the time to ``to``, rounded up to a tick; for the suite only."""
        with self.changed:
            self._now = max(self._now, math.ceil(to / TICK) * TICK)
            due = [wake for until, wake in self._waits.values() if until <= self._now]
            self.changed.notify_all()
        for wake in due:
            wake()
