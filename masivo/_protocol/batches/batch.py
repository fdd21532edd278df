"""A batch in flight: its parts, and the state of its attempts."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from masivo._protocol.sending.attempt import Attempt

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from masivo._protocol.delivery import Delivery

    from .queues import Taken

__all__ = ["Batch", "Part"]

_NAME_LENGTH: Final = 8  # characters of an idempotency key that name a batch in reports


class Part(msgspec.Struct):
    """A batch, or a half of one: a request of its own."""

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
    """True once it was sent again for stamps that had proved wrong."""

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


class Batch(Attempt):
    """A batch in flight, sent part after part; its customers' later events wait behind it."""

    def __init__(
        self, taken: Taken, events: list[bytes], trigger: str, offset: float = 0.0
    ) -> None:
        super().__init__()
        self.customers: Collection[str] = taken.customers
        part = Part(taken.deliveries, taken.numbers, events, "", offset)
        self.parts: deque[Part] = deque([part])
        self.trigger: str = trigger
        """The reason for it to go."""
        self.token: str | None = None
        """The token of the request that is out, or of the last one."""
        self.grant: int = 0
        """The number of that token among those that the key was granted."""
        self.unauthorized: int | None = None
        """How many tokens the key had been granted at the first of the 401s in a row; None: the
        last response was no 401."""
        self.oldest: float = 0.0
        """When its oldest event without an outcome was accepted."""
        self._note_oldest()
        self.all_rejected: bool = True
        """True while the API has rejected every event that has its outcome."""

    @property
    def part(self) -> Part:
        """The part whose turn it is."""
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
            self._note_oldest()
        return part

    def _note_oldest(self) -> None:
        # In order, unless several customers take turns. (An event that waits behind one of these
        # for its customer is younger.)
        deliveries = self.part.deliveries
        if self.customers:
            deliveries = [each for part in self.parts for each in part.deliveries]
        self.oldest = min([each.at for each in deliveries]) if self.customers else deliveries[0].at

    def halve(self) -> bool:
        """Put two halves in the place of the part that was rejected; False if it is one event."""
        count = len(self.part.deliveries)
        if count > 1:
            self._split(count // 2, "halving")
            self._begin_part()
        return count > 1

    def send_first_alone(self) -> None:
        """Have the first event go alone, unless the part was sent as it is."""
        if not self.part.key and len(self.part.deliveries) > 1:
            self._split(1, "probe")

    def send_anew(self) -> None:
        """Have the part that was rejected go once more, as a new one."""
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
