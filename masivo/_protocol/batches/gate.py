"""The numbers that a client's callers, at any time, share with the engine's polls."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

from masivo._protocol.tally import Tally

if TYPE_CHECKING:
    from masivo._protocol.delivery import Failed
    from masivo._protocol.settings import Settings

__all__ = ["Gate"]

_Folded: TypeAlias = "tuple[int, int, int]"
"""The events that polls have counted: their number less one, their bytes, and the number of those
that came from a store."""


class Gate:
    """The counts of events that were accepted and ended, and the numbers at which a sender wakes
    the driver.

    Any number of callers count accepted events at once, without a lock (``tally`` states the rule):
    each appends its event's size to ``arrivals``, then checks if the list has grown by that one
    size since ``known`` was counted. If so, it knows the new sum; else it adds up the sizes of
    others (``count``).
    """

    __slots__ = (
        "alone",
        "arrivals",
        "behind",
        "closed",
        "dropped",
        "ended",
        "ended_bytes",
        "full_bytes",
        "full_count",
        "known",
        "oldest",
        "overflow",
        "overflowed",
        "settings",
        "unwritable",
        "wake_bytes",
        "wake_count",
        "wake_wait",
    )

    def __init__(self, settings: Settings) -> None:
        self.settings: Settings = settings
        self.closed: bool = False
        """True once the client accepts no more events."""
        # Written by callers.
        length = read = 0
        folded: _Folded = (-1, length, read)
        self.arrivals: list[Any] = [folded]
        """The sizes of accepted events in bytes, after the one item for those that polls have
        counted; so the number of events is ``arrivals[0][0] + len(arrivals)``."""
        self.known: tuple[_Folded, int, int] = (folded, 1, length)
        """A count: the first item of ``arrivals``, the number of its items, and the bytes of all.
        It is true for as long as that item is the first."""
        self.overflowed: Tally = Tally()
        """Events for which there was no room."""
        self.dropped: Tally = Tally()
        """Events that ``before_send`` dropped."""
        self.overflow: Failed | None = None
        """The outcome of events for which there was no room since the last poll."""
        self.behind: bool = False
        """True while the client's own log has events that are not in memory: later ones stay behind
        them. Written by polls, too."""
        self.alone: Failed | None = None
        """The outcome of events that were accepted into the store alone since the last poll."""
        self.unwritable: bool = False
        """True after the store could not take an event, until it is to be tried again. Written by
        polls, too."""
        # Written by polls. Before the first one, every event wakes the driver.
        self.ended: int = 0
        self.ended_bytes: int = 0
        self.oldest: float | None = None
        """The time at which the oldest pending event that a poll has seen was accepted."""
        self.full_count: int = settings.max_queue
        """The number of accepted events, those that have ended included, at which the buffer is
        full."""
        self.full_bytes: int = settings.max_queue_bytes
        self.wake_count: float = math.inf
        self.wake_bytes: float = -math.inf  # with a byte for the comma after each event
        self.wake_wait: float = math.inf
        """The number of accepted events from which on a caller that begins to wait for an outcome
        must wake the driver: infinite while a poll will come in time for any wait."""

    def count(self) -> tuple[_Folded, int, int]:
        """Bring ``known`` up to date and return it. From any thread."""
        arrivals = self.arrivals
        known = folded, items, total = self.known
        while len(arrivals) != items or arrivals[0] is not folded:
            first = arrivals[0]
            if first is not folded:
                folded, items, total = first, 1, first[1]
            more = arrivals[items:]
            items, total = items + len(more), total + sum(more)
            # If a poll has folded the list meanwhile, the loop counts anew.
            known = self.known = folded, items, total
        return known

    def fold(self, events: int = 0, length: int = 0) -> None:
        """Shorten ``arrivals``. By polls alone.

        Args:
            events: the number of events that came into memory from a store.
            length: their bytes.
        """
        folded, items, total = self.count()
        if items + events > 1:
            folded = (folded[0] + items - 1 + events, total + length, folded[2] + events)
            self.arrivals[:items] = [folded]
            self.known = folded, 1, folded[1]

    def end(self, events: int, length: int) -> None:
        """Count events that have ended, and their bytes. By polls alone."""
        self.ended += events
        self.ended_bytes += length
        self.full_count = self.settings.max_queue + self.ended
        self.full_bytes = self.settings.max_queue_bytes + self.ended_bytes

    @property
    def accepted(self) -> int:
        """The number of accepted events."""
        folded, items, _ = self.count()
        return folded[0] + items

    @property
    def arrived(self) -> int:
        """The number of accepted events that did not come from a store. It never decreases."""
        folded, items, _ = self.count()
        return folded[0] + items - folded[2]

    @property
    def read(self) -> int:
        """The number of events that came from a store."""
        read: int = self.arrivals[0][2]
        return read

    @property
    def pending(self) -> int:
        """The number of events that wait or are in flight."""
        return self.accepted - self.ended

    @property
    def due(self) -> bool:
        """True if enough events came in for the driver to poll."""
        folded, items, total = self.count()
        accepted = folded[0] + items
        return accepted >= self.wake_count or total + accepted > self.wake_bytes

    @property
    def has_room(self) -> bool:
        """True if there is room for a batch, or for half of the buffer."""
        settings = self.settings
        events = min(settings.batch_size, max(1, settings.max_queue // 2))
        length = min(settings.max_batch_bytes, settings.max_queue_bytes // 2)
        folded, items, total = self.count()
        accepted = folded[0] + items
        return accepted + events <= self.full_count and total + length <= self.full_bytes
