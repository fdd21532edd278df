"""A client's own log: the events that are on disk and not in memory, and those in memory that wait
behind them.

The rules: ``docs/reference/guarantees.md#memory-with-a-spool``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo._protocol.storage.kept import positions_of

from .reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from masivo._protocol.delivery import Delivery
    from masivo._protocol.storage.store import StoredLog

    from .gate import Gate

__all__ = ["Own"]


class Own(Reading):
    """The client's own log. It is read only while it is behind, or customers return.

    Args:
        gate: the client's.
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.log: StoredLog | None = None
        """The log that was read last: another takes its place when it is lost."""
        self.behind: bool = False
        """True after an event was accepted into the store alone: later events wait until the log
        was read to its end, as it has all of them in order."""
        self.early: set[int] = set()
        """The positions of events that were read before their calls were heard of."""
        self.has_grown: bool = False
        """True if an event that is not in memory came since the last read began."""
        self.used: bool = False
        """True once an event came that a caller sent."""
        self._gate = gate

    def come(
        self, deliveries: list[Delivery]
    ) -> tuple[list[Delivery], list[Delivery], list[Delivery]]:
        """Note events that callers sent and that are in memory.

        Returns:
            The events to queue; those whose deliveries must end, as they were read already, or stay
            on disk behind others; and those that wait behind events that are not in memory.
        """
        self.used = True
        if not (self.behind or self.early or self.skipped):
            self.held.update(positions_of(deliveries))
            return deliveries, [], []
        queued: list[Delivery] = []
        ended: list[Delivery] = []
        waiting: list[Delivery] = []
        for delivery in deliveries:
            position = delivery.position
            assert position is not None  # noqa: S101
            if position in self.early:
                self.early.discard(position)
                ended.append(delivery)
            elif delivery.customer in self.skipped:
                self.counted.add(position)
                self.has_grown = self.has_grown or delivery.customer in self.returning
                ended.append(delivery)
            elif self.behind:
                self.waiting[position] = delivery
                waiting.append(delivery)
            else:
                self.held.add(position)
                queued.append(delivery)
        return queued, ended, waiting

    def comes_alone(self, position: int) -> None:
        """Note an event that was accepted into the store alone."""
        self.used = True
        if position in self.early:
            self.early.discard(position)
            return
        self.counted.add(position)
        self.behind = self._gate.behind = self.has_grown = True

    def begin(self, log: StoredLog) -> None:
        """Note the log that is read: from the start if it is another."""
        if log is not self.log:
            self.log, self.after, self.again = log, None, None

    def meet(self, positions: Iterable[int]) -> set[int]:
        """See ``Reading``: events that were not known are early."""
        unknown = super().meet(positions)
        self.early |= unknown
        return unknown

    def end(self, *, again: bool) -> list[Delivery]:
        """Note that the log was read to its end. Return the events that waited and were not found:
        they came after the read had begun, or are lost with a damaged part, or with the log."""
        found: list[Delivery] = []
        if again:
            if self.has_grown and not self.behind:
                return found
            self.have_returned()
        elif not self.has_grown:
            self.held.update(self.waiting)
            found = self.stop_waiting()
            self.behind = self._gate.behind = False
        if not (self.behind or self.skipped):
            self.counted.clear()
        return found

    def stop_waiting(self) -> list[Delivery]:
        """Remove and return the events that wait behind others."""
        waiting, self.waiting = self.waiting, {}
        return [*waiting.values()]

    def moved(self, delivery: Delivery, position: int | None) -> None:
        """Note that an event was stored again, at another position; None: it could not be."""
        self.held.difference_update((delivery.position,))
        delivery.position = position
        if position is not None:
            self.held.add(position)
