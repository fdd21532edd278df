"""One log as a client reads it: which of its events are in memory, and whose are skipped.

The rules: ``docs/reference/guarantees.md#memory-with-a-spool`` and
``docs/reference/guarantees.md#step-aside``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from masivo._protocol.storage.kept import source_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from masivo._protocol.delivery import Delivery
    from masivo._protocol.storage.store import Noted, Place, StoredLog

__all__ = ["Own", "Reading", "Source", "is_live"]


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

    def is_wanted(self, customer: str | None, *, again: bool) -> bool:
        """Return whether a customer's events are read; ``again``: for those that return."""
        return customer in self.returning if again else customer not in self.skipped

    def have_returned(self) -> None:
        """Note that the events of the customers that return were all read."""
        self.skipped -= self.returning
        self.returning.clear()

    def put_back(self, events: Sequence[Delivery]) -> None:
        """Note events that are no longer in memory, all those of their customers that wait."""
        positions = [each.position for each in events if each.position is not None]
        customers = {each.customer or "" for each in events}
        self.held.difference_update(positions)
        self.counted.update(positions)
        self.skipped |= customers
        self.returning -= customers

    def gone(self, positions: Sequence[int]) -> None:
        """Note events that have their outcome."""
        self.held.difference_update(positions)
        if self.removed is not None:
            self.removed.update(positions)


class Own(Reading):
    """The client's own log. It is read only while it is behind, or customers return."""

    def __init__(self) -> None:
        super().__init__()
        self.log: StoredLog | None = None
        """The log that was read last: another takes its place when it is lost."""
        self.behind: bool = False
        """True after an event was accepted into the store alone: later events wait until the log
        was read to its end, as it has all of them in order."""
        self.early: set[int] = set()
        """The positions of events that were read before ``Backlog`` heard of them."""
        self.waiting: dict[int, Delivery] = {}
        """Events in memory that wait behind those that are not, by position."""
        self.has_grown: bool = False
        """True if an event came since the last read began that is to be read."""


class Source(Reading):
    """A log that the client has adopted."""

    def __init__(self, log: StoredLog, noted: Sequence[Noted]) -> None:
        super().__init__()
        self.log: StoredLog = log
        self.noted: deque[Noted] = deque(noted)
        """Batches that its last owner may have sent: they are sent before the rest is read."""
        self.ended: bool = False
        """True once it was read to its end."""
        self.live: bool = False
        """True if others append to it."""
        self.look_at: float = 0.0
        """The time from which a live log may be read again."""
        self.pending: int = len(self.noted)
        """The number of its events in memory, and of its noted batches that are not in memory."""

    def may_be_read(self, now: float, *, closing: bool) -> bool:
        """Return whether its next window may be read."""
        if self.ended or self.noted:
            return False
        return not self.live or (now >= self.look_at and not closing)


def is_live(delivery: Delivery) -> bool:
    """Return True if an event is in a live log."""
    source = source_of(delivery)
    return isinstance(source, Source) and source.live
