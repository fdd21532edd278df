"""A batch in flight: its parts, and the state of its attempts."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from masivo._protocol.sending.attempt import Attempt

from .queues import Taken

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from masivo._protocol.delivery import Delivery

__all__ = ["Batch", "Part"]

_NAME_LENGTH: Final = 8  # characters of an idempotency key that name a batch in reports


class Part(msgspec.Struct):
    """A batch, or a part of a halved one: sent as its own request."""

    deliveries: list[Delivery]
    numbers: Sequence[int]
    """The queue's numbers of the deliveries."""
    events: list[bytes]
    """The events as they are sent, stamps included: the same in every retry."""
    key: str
    """The ``Idempotency-Key``, the same in every retry; empty until it is first sent."""
    offset: float
    """The server's clock less the engine's, as it was known when the events were stamped."""
    renewed: bool = False
    """True once it was sent again because its stamps had proved wrong."""
    noted: str | None = None
    """The key under which it was noted in a store; None if it was not."""
    noting: str | None = None
    """The key under which it is being noted, or was noted."""
    adopted: bool = False
    """True if another process may have sent it already."""
    well: bool | None = None
    """True if the API had just accepted other events when the part was first sent; None before
    that."""
    failures: int = 0
    """The number of failed attempts to deliver it."""

    def split(self, first: int) -> tuple[Part, Part]:
        """Two parts, in order: this many events, and the others."""
        return (
            Part(
                self.deliveries[:first], self.numbers[:first], self.events[:first], "", self.offset
            ),
            Part(
                self.deliveries[first:], self.numbers[first:], self.events[first:], "", self.offset
            ),
        )

    def without(self, events: Sequence[bool]) -> Part:
        """A new part, without the marked events."""
        kept = [n for n, marked in enumerate(events) if not marked]
        return Part(
            [self.deliveries[n] for n in kept],
            [self.numbers[n] for n in kept],
            [self.events[n] for n in kept],
            "",
            self.offset,
        )


class Batch(Attempt):
    """A batch in flight, sent part after part; its customers' later events wait behind it."""

    def __init__(
        self, taken: Taken, events: list[bytes], trigger: str, offset: float, client: object
    ) -> None:
        super().__init__(client)
        self.customers: Collection[str] = taken.customers
        part = Part(taken.deliveries, taken.numbers, events, "", offset)
        self.parts: deque[Part] = deque([part])
        self.trigger: str = trigger
        """The reason for which it is sent."""
        self.token: str | None = None
        """The token of its current or last request."""
        self.grant: int
        """The number of that token among those that the key was granted."""
        self.unauthorized: int | None = None
        """The number of tokens that the key had been granted at the first of the 401s in a row;
        None if the last response was not a 401."""
        self.oldest: float
        """The time at which its oldest pending event was accepted."""
        self.note_oldest()
        self.guilty: bool = False
        """True once it could not be delivered although the API accepted other batches."""
        self.all_rejected: bool = True
        """True while the API has rejected every event that has its outcome."""

    @property
    def part(self) -> Part:
        """The current part."""
        return self.parts[0]

    @property
    def name(self) -> str:
        """See Attempt."""
        return self.part.key[:_NAME_LENGTH]

    def next_part(self) -> Part:
        """Remove and return the part that has its outcome."""
        part = self.parts.popleft()
        self._begin_part()
        if self.parts:
            self.note_oldest()
        return part

    def note_oldest(self) -> None:
        """Set ``oldest``."""
        # In order, unless several customers take turns. (An event that waits behind one of these
        # for its customer is younger.)
        if self.customers:
            self.oldest = min([each.at for part in self.parts for each in part.deliveries])
        else:
            self.oldest = self.part.deliveries[0].at

    def halve(self) -> bool:
        """Replace the rejected part by two halves; return False if it is a single event."""
        count = len(self.part.deliveries)
        if count > 1:
            self._split(count // 2, "halving")
            self._begin_part()
        return count > 1

    def without_part(self) -> Batch | None:
        """Move the parts after the current one to a new batch and return it; None if none can move.

        Events of the current part's customers stay behind it.
        """
        part, *others = self.parts
        stay = {each.customer for each in part.deliveries}
        rest: list[Part] = []
        behind = [part]
        for each in others:
            marks = [delivery.customer in stay for delivery in each.deliveries]
            if not all(marks):
                rest.append(each if not any(marks) else each.without(marks))
            if any(marks):
                behind.append(each if all(marks) else each.without([not mark for mark in marks]))
        if not rest:
            return None
        self.parts = deque(behind)
        customers = {each.customer for one in rest for each in one.deliveries}
        self.customers = {customer for customer in self.customers if customer not in customers}
        self.note_oldest()
        first = rest[0]
        taken = Taken(first.deliveries, first.numbers, customers)
        batch = Batch(taken, first.events, self.trigger, first.offset, self.client)
        batch.guilty = self.guilty
        batch.parts = deque(rest)
        batch.note_oldest()
        return batch

    def send_first_alone(self) -> None:
        """Split off the first event, to be sent alone, unless the part was sent already."""
        if not self.part.key and len(self.part.deliveries) > 1:
            self._split(1, "probe")

    def send_anew(self) -> None:
        """Send the rejected part again, as a new one."""
        self.part.renewed = True
        self.trigger = "new stamps"
        self._begin_part()

    def _split(self, first: int, trigger: str) -> None:
        self.parts.extendleft(reversed(self.parts.popleft().split(first)))
        self.trigger = trigger

    def _begin_part(self) -> None:
        self.begin()
        self.unauthorized = None

    def remaining(self) -> list[Part]:
        """Remove and return every part that has no outcome yet."""
        parts = list(self.parts)
        self.parts.clear()
        return parts

    def __len__(self) -> int:
        """The number of events that have no outcome yet."""
        return sum(len(part.deliveries) for part in self.parts)
