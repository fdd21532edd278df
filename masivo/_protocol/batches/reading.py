"""One log as a client reads it: which of its events are in memory, and whose are skipped.

The rules: ``docs/reference/guarantees.md#memory-with-a-spool`` and
``docs/reference/guarantees.md#step-aside``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo._protocol.storage.kept import positions_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from masivo._protocol.delivery import Delivery
    from masivo._protocol.storage.store import Place, Stored, Window

__all__ = ["Reading"]


class Reading:
    """A log that is read forward, once; and again for the customers that were skipped.

    A customer whose batches fail is skipped when its events take the room of others'. Once its last
    batch has ended, the log is read again from the start, for it alone; it is skipped no more when
    that has reached the end.
    """

    def __init__(self) -> None:
        self.after: Place | None = None
        """The place after which to continue reading."""
        self.again: Place | None = None
        """The same for the customers that return."""
        self.held: set[int] = set()
        """The positions of events in memory."""
        self.counted: set[int] = set()
        """The positions of events that were counted, and are not in memory."""
        self.waiting: dict[int, Delivery] = {}
        """Events in memory that wait behind those that are not, by position: in the client's own
        log alone."""
        self.removed: set[int] | None = None
        """The positions of events that have ended since the read began that is out."""
        self.skipped: set[str] = set()
        """The customers whose events stay on disk."""
        self.returning: set[str] = set()
        """Those of them whose events are being read."""

    def returns(self, busy: AbstractSet[str]) -> bool:
        """Return whether the log is to be read for skipped customers.

        Args:
            busy: the customers that have a batch.
        """
        if not self.returning:
            self.returning = self.skipped - busy
            self.again = None
        return bool(self.returning)

    def take(self, window: Window, *, again: bool) -> list[Stored]:
        """Note a window that was read; return those of its events that are not in memory, and did
        not end while it was read."""
        removed, self.removed = self.removed or (), None
        if again:
            self.again = window.after
        else:
            self.after = window.after
        held = self.held
        return [s for s in window.events if s.position not in held and s.position not in removed]

    def meet(self, positions: Iterable[int]) -> set[int]:
        """Note events that were read; return those that were not known before."""
        unknown = set(positions) - self.counted
        self.counted.difference_update(positions)
        return unknown

    def is_wanted(self, customer: str, *, again: bool) -> bool:
        """Return whether a customer's events are read; ``again``: for those that return."""
        return customer in self.returning if again else customer not in self.skipped

    def have_returned(self) -> None:
        """Note that the events of the customers that return were all read."""
        self.skipped -= self.returning
        self.returning.clear()

    def put_back(self, events: Sequence[Delivery]) -> None:
        """Note events that are no longer in memory, all those of their customers that wait."""
        positions = positions_of(events)
        customers = {each.customer for each in events}
        self.held.difference_update(positions)
        self.counted.update(positions)
        self.skipped |= customers
        self.returning -= customers

    def gone(self, positions: Sequence[int]) -> None:
        """Note events that have their outcome."""
        self.held.difference_update(positions)
        if self.removed is not None:
            self.removed.update(positions)
