"""The waiting events of a client with one batch in flight, where batches may step aside.

The rules: ``docs/reference/guarantees.md#order``.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from masivo._protocol.events.form import size

from .queues import taken_of, total_size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from masivo._protocol.delivery import Delivery

    from .queues import Entry, Taken

__all__ = ["InOrder"]


class InOrder:
    """First in, first out; customers with a batch are passed over. For one batch in flight, where
    others may have stepped aside.

    ``PerCustomer`` does the same for several batches, but takes many customers' events out of their
    order, and at a higher cost.
    """

    def __init__(self) -> None:
        self.source_of: Callable[[Delivery], object] | None = None
        """See ``PerCustomer``."""
        self.arrived = 0
        self.busy: set[str] = set()
        """The customers that have a batch."""
        # The waiting events: those that were never passed over; those that were, but whose customer
        # has no batch any more (a heap); and those that were passed over.
        self._waiting: deque[Entry] = deque()
        self._back: list[Entry] = []
        self._passed: dict[str, list[Entry]] = {}
        self._bytes = 0  # of the first two
        # Of these customers, all waiting events were passed over.
        self._settled: set[str] = set()

    @property
    def ready(self) -> int:
        """See ``Queue``."""
        self._settle()
        return len(self._waiting) + len(self._back)

    @property
    def ready_bytes(self) -> int:
        """See ``Queue``."""
        self._settle()
        return self._bytes

    def extend(self, deliveries: Sequence[Delivery]) -> int:
        """See ``Queue``."""
        length = total_size(deliveries)
        self._bytes += length + len(deliveries)
        entries = enumerate(deliveries, self.arrived)
        self.arrived += len(deliveries)
        if self._settled:
            for entry in entries:
                if entry[1].customer in self._settled:
                    self._pass(entry)
                else:
                    self._waiting.append(entry)
        else:
            self._waiting.extend(entries)
        return length

    def oldest(self) -> tuple[float, int] | None:
        """See ``Queue``."""
        place = self._next()
        return None if place is None else (place[0][1].at, place[0][0])

    def take(self, count: int, budget: int) -> Taken:
        """See ``Queue``."""
        entries: list[Entry] = []
        total = 0
        source_of = self.source_of
        if not (self._back or self.busy) and source_of is None:
            entries, total = self._first(count, budget)
            count = 0
        while len(entries) < count and (place := self._next()) is not None:
            delivery = place[0][1]
            cost = size(delivery.encoded) + 1
            if entries and (
                total + cost > budget
                or (source_of is not None and source_of(delivery) is not source_of(entries[0][1]))
            ):
                break
            entries.append(self._leave(place))
            total += cost
        self._bytes -= total
        customers = {each.customer for _, each in entries}
        self.busy |= customers
        return taken_of(entries, customers)

    def _first(self, count: int, budget: int) -> tuple[list[Entry], int]:
        """Remove the first events, while all that wait were never passed over and may be taken.
        Return them, and their bytes with a comma for each."""
        waiting = self._waiting
        entries = [waiting.popleft() for _ in range(min(count, len(waiting)))]
        total = total_size([each for _, each in entries]) + len(entries)
        while total > budget and len(entries) > 1:  # rare: few batches reach the bound of bytes
            total -= size(entries[-1][1].encoded) + 1
            waiting.appendleft(entries.pop())
        return entries, total

    def _next(self) -> deque[Entry] | list[Entry] | None:
        """The place whose first entry is the next to be taken; events before it are passed over."""
        waiting, back, busy = self._waiting, self._back, self.busy
        while True:
            place = back if back and not (waiting and waiting[0][0] < back[0][0]) else waiting
            if not place:
                return None
            if not busy or place[0][1].customer not in busy:
                return place
            self._pass(self._leave(place))

    def _leave(self, place: deque[Entry] | list[Entry]) -> Entry:
        """Remove the first entry of a place."""
        return heappop(place) if isinstance(place, list) else place.popleft()

    def _pass(self, entry: Entry) -> None:
        """Keep an event until its customer is released."""
        self._bytes -= size(entry[1].encoded) + 1
        self._passed.setdefault(entry[1].customer, []).append(entry)

    def _settle(self) -> None:
        """Pass over all events of customers that have a batch."""
        if len(self._settled) == len(self.busy):
            return
        self._settled = self.busy.copy()
        entries = sorted([*self._back, *self._waiting])
        self._back.clear()
        self._waiting.clear()
        for entry in entries:
            if entry[1].customer in self.busy:
                self._pass(entry)
            else:
                self._waiting.append(entry)

    def release(self, customers: Collection[str]) -> None:
        """See ``Queue``."""
        self.busy.difference_update(customers)
        self._settled.difference_update(customers)
        for customer in self._passed.keys() & customers:
            for entry in self._passed.pop(customer):
                self._bytes += size(entry[1].encoded) + 1
                heappush(self._back, entry)

    def hold(self, customers: Collection[str]) -> bool:
        """See ``PerCustomer``."""
        if any(customer in self.busy for customer in customers):
            return False
        self.busy.update(customers)
        return True

    def drop(self, customers: Collection[str]) -> Taken:
        """See ``PerCustomer``."""
        self._settle()
        entries = sorted([each for name in customers for each in self._passed.pop(name, ())])
        return taken_of(entries)

    def clear(self) -> Taken:
        """See ``Queue``."""
        entries = self.entries()
        self._waiting.clear()
        self._back.clear()
        self._passed.clear()
        self._bytes = 0
        return taken_of(entries)

    def entries(self, customers: Collection[str] | None = None) -> list[Entry]:
        """See ``PerCustomer``."""
        passed = (each for entries in self._passed.values() for each in entries)
        entries = sorted([*self._back, *self._waiting, *passed])
        if customers is None:
            return entries
        return [each for each in entries if each[1].customer in customers]

    def substitute(self, others: Mapping[int, Delivery]) -> None:
        """See ``PerCustomer``."""
        for place in (self._waiting, self._back, *self._passed.values()):
            for index, (number, _) in enumerate(place):
                if number in others:
                    place[index] = (number, others[number])
