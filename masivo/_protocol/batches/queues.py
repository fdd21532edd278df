"""The waiting events, in the order in which batches take them.

The rules: ``docs/reference/guarantees.md#order``.

Three forms: ``Fifo`` for one batch in flight, ``PerCustomer`` for several, and ``InOrder``
(``in_order``) for one where batches may step aside. All number events as they arrive (0, 1, …). The
time of a step does not depend on the number of waiting events, except where a list of pointers is
moved (``_Line``), and in ``InOrder`` while a batch is aside.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

from masivo._protocol.events.form import each_size, size, sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from masivo._protocol.delivery import Delivery

__all__ = ["Entry", "Fifo", "PerCustomer", "Queue", "Taken", "taken_of", "total_size"]


def total_size(deliveries: Iterable[Delivery]) -> int:
    """The bytes of several events as they will be sent."""
    return sizes([delivery.encoded for delivery in deliveries])


class Taken(msgspec.Struct, frozen=True):
    """Events that left a queue."""

    deliveries: list[Delivery]
    numbers: Sequence[int]
    """Their numbers, in the same order."""
    customers: Collection[str]
    """The customers whose events stay in the queue until ``release``; empty for ``Fifo``."""


class Queue(Protocol):
    """The waiting events of one client."""

    arrived: int
    """The number of events that were ever appended; the next one gets this number."""

    @property
    def ready(self) -> int:
        """The number of events that could be taken now."""
        ...

    @property
    def ready_bytes(self) -> int:
        """The size of those that could be taken now, a comma for each included."""
        ...

    def extend(self, deliveries: Sequence[Delivery]) -> int:
        """Append events; return their size, without commas."""
        ...

    def oldest(self) -> tuple[float, int] | None:
        """Time of acceptance and number of the oldest event that could be taken now."""
        ...

    def take(self, count: int, budget: int) -> Taken:
        """Take the oldest events: at most ``count``, of at most ``budget`` bytes (commas
        included), but at least one."""
        ...

    def release(self, customers: Collection[str]) -> None:
        """Allow events of ``customers`` to be taken again."""
        ...

    def clear(self) -> Taken:
        """Take everything."""
        ...


class Fifo:
    """First in, first out."""

    def __init__(self) -> None:
        self.arrived = 0
        self.ready_bytes = 0
        self._waiting: deque[Delivery] = deque()

    @property
    def ready(self) -> int:
        """See ``Queue``."""
        return len(self._waiting)

    def extend(self, deliveries: Sequence[Delivery]) -> int:
        """See ``Queue``."""
        length = total_size(deliveries)
        self.arrived += len(deliveries)
        self.ready_bytes += length + len(deliveries)
        self._waiting.extend(deliveries)
        return length

    def oldest(self) -> tuple[float, int] | None:
        """See ``Queue``."""
        if not self._waiting:
            return None
        return self._waiting[0].at, self.arrived - len(self._waiting)

    def take(self, count: int, budget: int) -> Taken:
        """See ``Queue``."""
        waiting = self._waiting
        first = self.arrived - len(waiting)
        taken = [waiting.popleft() for _ in range(min(count, len(waiting)))]
        total = total_size(taken) + len(taken) if waiting else self.ready_bytes
        while total > budget and len(taken) > 1:  # rare: few batches reach the bound of bytes
            total -= size(taken[-1].encoded) + 1
            waiting.appendleft(taken.pop())
        self.ready_bytes -= total
        return Taken(taken, range(first, first + len(taken)), ())

    def release(self, customers: Collection[str]) -> None:
        """See ``Queue``: any event can be taken at any time."""

    def clear(self) -> Taken:
        """See ``Queue``."""
        taken = Taken(
            list(self._waiting), range(self.arrived - len(self._waiting), self.arrived), ()
        )
        self._waiting.clear()
        self.ready_bytes = 0
        return taken


Entry: TypeAlias = "tuple[int, Delivery]"
"""A waiting event, behind its number."""


class _Line:
    """One customer's waiting events."""

    __slots__ = ("bytes", "entries")

    def __init__(self) -> None:
        # Not a deque: most lines hold one event, and a deque takes ten times the memory. Moving the
        # rest of a list costs a thousandth of sending the events before it.
        self.entries: list[Entry] = []
        self.bytes = 0


class PerCustomer:
    """First in, first out per customer; customers with a batch in flight are skipped.

    Free customers are taken in the order of their oldest event. One exception: while no leader is
    in flight, the first customer with a whole batch waiting goes first, as the leader. Such a
    customer's batches can only be sent one after another, so they would finish last, after the
    others' batches, which can be in flight together.

    Heaps order the customers, so finding the next batch costs the same however many wait behind it.

    Args:
        batch: the number of events in a whole batch.
    """

    def __init__(self, batch: int) -> None:
        self.source_of: Callable[[Delivery], object] | None = None
        """Returns the log that holds an event: a batch takes events of one log only. None: all are
        in the same log, or in none."""
        self._batch = batch
        self.arrived = 0
        self.ready_bytes = 0
        self._ready = 0
        self._lines: dict[str, _Line] = {}
        self.busy: set[str] = set()
        """The customers that have a batch."""
        # The free customers with waiting events, by the number of their oldest; and those of them
        # with a whole batch waiting. Outdated entries are skipped in `_first`.
        self._free: list[tuple[int, str]] = []
        self._long: list[tuple[int, str]] = []
        self._leader: str | None = None  # the leader, while it is in flight

    @property
    def ready(self) -> int:
        """See ``Queue``."""
        return self._ready

    def extend(self, deliveries: Sequence[Delivery]) -> int:
        """See ``Queue``."""
        lines, busy, batch, number = self._lines, self.busy, self._batch, self.arrived
        ready = ready_bytes = length = 0
        lengths = each_size([delivery.encoded for delivery in deliveries])
        for delivery, size_ in zip(deliveries, lengths, strict=True):
            customer = delivery.customer
            cost = size_ + 1
            length += cost
            free = customer not in busy
            line = lines.get(customer)
            if line is None:
                line = lines[customer] = _Line()
                if free:
                    heappush(self._free, (number, customer))
            line.entries.append((number, delivery))
            line.bytes += cost
            number += 1
            if free:
                if len(line.entries) == batch:
                    heappush(self._long, (line.entries[0][0], customer))
                ready += 1
                ready_bytes += cost
        self.arrived = number
        self._ready += ready
        self.ready_bytes += ready_bytes
        return length - len(deliveries)

    def _first(self, heap: list[tuple[int, str]]) -> str | None:
        """The customer of a heap whose oldest event is the oldest."""
        while heap:
            number, customer = heap[0]
            line = self._lines.get(customer)
            if line is not None and line.entries[0][0] == number and customer not in self.busy:
                return customer
            heappop(heap)
        return None

    def oldest(self) -> tuple[float, int] | None:
        """See ``Queue``."""
        customer = self._first(self._free)
        if customer is None:
            return None
        number, delivery = self._lines[customer].entries[0]
        return delivery.at, number

    def take(self, count: int, budget: int) -> Taken:
        """See ``Queue``."""
        taken: list[Entry] = []
        customers: list[str] = []
        total = 0
        source: object = None
        source_of = self.source_of
        leader = self._first(self._long) if self._leader is None else None
        customer = self._first(self._free) if leader is None else leader
        while customer is not None:
            line = self._lines[customer]
            entries, first, before = line.entries, len(taken), total
            if source_of is None and first + len(entries) <= count and total + line.bytes <= budget:
                taken += entries
                total += line.bytes
            else:
                for entry in entries[: count - first]:
                    cost = size(entry[1].encoded) + 1
                    if taken and total + cost > budget:
                        count = len(taken)  # the batch is full
                        break
                    if source_of is not None:
                        log = source_of(entry[1])
                        if taken and log is not source:
                            break  # the rest of this customer's are in another log
                        source = log
                    total += cost
                    taken.append(entry)
            mine = len(taken) - first
            if not mine:
                break
            customers.append(customer)
            self.busy.add(customer)
            if mine == len(entries):
                del self._lines[customer]
            else:
                del entries[:mine]
                line.bytes -= total - before
                self._ready -= len(entries)
                self.ready_bytes -= line.bytes
            customer = self._first(self._free)
        if leader is not None:
            self._leader = leader
        self._ready -= len(taken)
        self.ready_bytes -= total
        return taken_of(taken, customers)

    def release(self, customers: Collection[str]) -> None:
        """See ``Queue``."""
        for customer in customers:
            self.busy.discard(customer)
            if customer == self._leader:
                self._leader = None
            line = self._lines.get(customer)
            if line is not None:
                entry = (line.entries[0][0], customer)
                heappush(self._free, entry)
                if len(line.entries) >= self._batch:
                    heappush(self._long, entry)
                self._ready += len(line.entries)
                self.ready_bytes += line.bytes

    def hold(self, customers: Collection[str]) -> bool:
        """Keep the events of ``customers`` in the queue, as ``take`` does; return False if one of
        them is in flight already."""
        if any(customer in self.busy for customer in customers):
            return False
        for customer in customers:
            self.busy.add(customer)
            line = self._lines.get(customer)
            if line is not None:
                self._ready -= len(line.entries)
                self.ready_bytes -= line.bytes
        return True

    def drop(self, customers: Collection[str]) -> Taken:
        """Take all events of customers that have a batch, without putting them into another."""
        entries = self.entries(customers)
        for customer in customers:
            self._lines.pop(customer, None)
        return taken_of(entries)

    def clear(self) -> Taken:
        """See ``Queue``."""
        entries = self.entries()
        self._lines.clear()
        self._free.clear()
        self._long.clear()
        self._ready = self.ready_bytes = 0
        return taken_of(entries)

    def entries(self, customers: Collection[str] | None = None) -> list[Entry]:
        """Return the events with their numbers, of these customers or of all, in order."""
        names = self._lines if customers is None else self._lines.keys() & set(customers)
        return sorted([entry for name in names for entry in self._lines[name].entries])

    def substitute(self, others: Mapping[int, Delivery]) -> None:
        """Replace the events with these numbers by others of the same customers."""
        for name in {each.customer for each in others.values()}:
            line = self._lines[name]
            line.entries = [(n, others.get(n, each)) for n, each in line.entries]


def taken_of(entries: Sequence[Entry], customers: Collection[str] = ()) -> Taken:
    """Events behind their numbers, as they left a queue."""
    return Taken(
        [delivery for _, delivery in entries], [number for number, _ in entries], customers
    )
