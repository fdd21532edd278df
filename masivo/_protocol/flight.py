"""A batch on its way: what is sent, and what is known of its attempts."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from .attempt import Attempt

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .delivery import Delivery
    from .queues import Taken

__all__ = ["Flight", "Part"]

LONE_REFUSALS: Final = 8
"""After so many events in a row that were refused alone, a batch is halved no further."""


class Part(msgspec.Struct):
    """A batch, or what is left of one after halving: a request of its own."""

    deliveries: list[Delivery]
    numbers: Sequence[int]
    """The queue's numbers of the deliveries."""
    events: list[bytes]
    """The events as they are sent, stamps included: the same in every repeat."""
    key: str = ""
    """The ``Idempotency-Key``, the same in every repeat; empty until it is first sent."""

    def halves(self) -> tuple[Part, Part]:
        """Two parts, in order."""
        middle = len(self.deliveries) // 2
        return (
            Part(self.deliveries[:middle], self.numbers[:middle], self.events[:middle]),
            Part(self.deliveries[middle:], self.numbers[middle:], self.events[middle:]),
        )


class Flight(Attempt):
    """A batch in flight, sent part after part; its customers' later events wait behind it."""

    def __init__(self, taken: Taken, events: list[bytes]) -> None:
        super().__init__()
        self.customers: Collection[str] = taken.customers
        self.parts: deque[Part] = deque([Part(taken.deliveries, taken.numbers, events)])
        self.why: str = ""
        """What made the batch due."""
        self.token: str | None = None
        """The token of the request that is out, or of the last one."""
        self.unauthorized: bool = False
        """Whether the last answer was a 401."""
        self._refused_alone = 0

    @property
    def part(self) -> Part:
        """The part whose turn it is."""
        return self.parts[0]

    def next_part(self, *, accepted: bool, refused: bool) -> Part:
        """Remove and return the part that has its outcome.

        Args:
            accepted: whether the API took it.
            refused: whether the API blamed its events.
        """
        part = self.parts.popleft()
        if self._refused_alone >= LONE_REFUSALS:
            pass  # halving has stopped, for good
        elif accepted:
            self._refused_alone = 0
        elif refused and len(part.deliveries) == 1:
            self._refused_alone += 1
        self._begin_part()
        return part

    def halve(self) -> bool:
        """Put two halves in the place of the part that was refused; False if that is over."""
        if len(self.part.deliveries) == 1 or self._refused_alone >= LONE_REFUSALS:
            return False
        self.parts.extendleft(reversed(self.parts.popleft().halves()))
        self.why = "halving"
        self._begin_part()
        return True

    def _begin_part(self) -> None:
        self.begin()
        self.unauthorized = False

    def remaining(self) -> list[Part]:
        """Remove and return every part that has no outcome yet."""
        parts = list(self.parts)
        self.parts.clear()
        return parts

    def __len__(self) -> int:
        """How many events have no outcome yet."""
        return sum(len(part.deliveries) for part in self.parts)
