"""When a batch goes out: every trigger, and the timer that belongs to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .queues import Queue
    from .settings import Settings

__all__ = ["Triggers"]


class Triggers:
    """Why and when one client's next batch is due.

    Args:
        settings: the client's.
        budget: the bytes that a batch's events may have, a comma after each included.
    """

    def __init__(self, settings: Settings, budget: int) -> None:
        self._settings = settings
        self._budget = budget
        self._due_below = 0  # events numbered below this are due ...
        self._due_by = ""  # ... by this
        self._last_at = -math.inf

    def arrived(self, at: float) -> None:
        """An event was accepted."""
        self._last_at = max(self._last_at, at)

    def push(self, number: int, why: str) -> None:
        """Whatever else holds, events numbered below this are due."""
        self._due_below, self._due_by = number, why

    def due(self, queue: Queue, now: float, held: int, wanted: str | None) -> str | None:
        """What makes a batch due; None if nothing does.

        Args:
            queue: what waits.
            now: the engine's time.
            held: events that wait or are in flight.
            wanted: what callers wait for, if anything: room ("drain"), the end ("close").
        """
        settings, oldest = self._settings, queue.oldest()
        if oldest is None:
            return None
        at, number = oldest
        if queue.ready >= settings.batch_size:
            return "batch_size"
        if queue.ready_bytes > self._budget:
            return "max_batch_bytes"
        if number < self._due_below:
            return self._due_by
        if now >= self.due_at(at):
            return "max_wait" if now >= at + settings.max_wait else "idle_timeout"
        if wanted is not None:
            return wanted
        return "max_queue" if held >= settings.max_queue else None

    def due_at(self, oldest_at: float) -> float:
        """When the waiting events are due by their age."""
        return min(self._last_at + self._settings.idle_timeout, oldest_at + self._settings.max_wait)

    def missing(self, queue: Queue, unended: int) -> tuple[int, int]:
        """How many more events, or bytes, make a batch due."""
        events = min(self._settings.batch_size - queue.ready, self._settings.max_queue - unended)
        return events, self._budget - queue.ready_bytes
