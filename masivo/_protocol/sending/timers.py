"""Timers as named slots: setting one replaces its time, and the next wake-up is the minimum."""

from __future__ import annotations

from enum import Enum, auto
from heapq import heappop, heappush
from typing import TypeAlias

__all__ = ["Slot", "Timer", "Timers"]


class Timer(Enum):
    """Every timer of the core."""

    LINGER = auto()
    """A client's waiting events become due (``idle_timeout``, ``max_wait``, ``await_linger``, a
    hold that ends)."""
    RETRY = auto()
    """A batch, or an authorization, is sent again."""
    CLOSE = auto()
    """The deadline of a client's ``close``."""
    REFRESH = auto()
    """The token is renewed."""
    SPOOL = auto()
    """A client checks its store for logs to adopt and records to write again."""
    LOG = auto()
    """Suppressed warnings are written as one."""


Slot: TypeAlias = tuple[Timer, object]
"""A timer and what it belongs to (a client, a batch, None for the key's own)."""


class Timers:
    """At most one time per slot."""

    def __init__(self) -> None:
        self._at: dict[Slot, float] = {}
        # A heap with entries that may be out of date: a slot's true time is in `_at`.
        self._heap: list[tuple[float, int, Slot]] = []
        self._count = 0

    def set(self, slot: Slot, at: float | None) -> None:
        """Make ``slot`` fire at ``at`` (seconds on the engine's clock), or never for None."""
        if self._at.get(slot) == at:
            return
        if at is None:
            del self._at[slot]
        else:
            self._at[slot] = at
            self._count += 1
            heappush(self._heap, (at, self._count, slot))
        if len(self._heap) > 64 + 4 * len(self._at):
            self._rebuild()

    def get(self, slot: Slot) -> float | None:
        """The time at which ``slot`` fires, or None."""
        return self._at.get(slot)

    def due(self, now: float) -> list[Slot]:
        """The slots whose time has come, earliest first; they are empty afterwards."""
        fired: list[Slot] = []
        while (at := self.next()) is not None and at <= now:
            slot = heappop(self._heap)[2]
            del self._at[slot]
            fired.append(slot)
        return fired

    def next(self) -> float | None:
        """The earliest time in any slot, or None."""
        heap = self._heap
        while heap and self._at.get(heap[0][2]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def first(self) -> Timer | None:
        """The timer that fires next, or None."""
        return None if self.next() is None else self._heap[0][2][0]

    def clear(self) -> None:
        """Empty every slot."""
        self._at.clear()
        self._heap.clear()

    def _rebuild(self) -> None:
        self._heap = [(at, n, slot) for n, (slot, at) in enumerate(self._at.items())]
        self._heap.sort()
        self._count = len(self._heap)
