"""Batches that have stepped aside, and when the next of them is sent again.

The rules: ``docs/reference/guarantees.md#step-aside``.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from masivo._protocol.sending.backoff import full_jitter

if TYPE_CHECKING:
    from masivo._protocol.sending.context import Context

    from .batch import Batch

__all__ = ["Aside"]


class Aside:
    """The batches of one client that have stepped aside, in order."""

    def __init__(self, context: Context) -> None:
        self.batches: deque[Batch] = deque()
        """The batches."""
        self.events: int = 0
        """The number of their events."""
        self.well: bool = False
        """True if the API has accepted events since a batch last failed."""
        self.try_at: float = -math.inf
        """When the next of them is sent at the latest; at once while the API is ``well``."""
        self._failed = 0  # attempts since the API last was well
        self._context = context

    def put(self, batch: Batch) -> None:
        """Add a batch behind the others."""
        batch.begin()
        batch.unauthorized = None
        self.batches.append(batch)
        self.events += len(batch)

    def is_due(self, now: float) -> bool:
        """Return whether the next of them is to be sent."""
        return bool(self.batches) and (self.well or now >= self.try_at)

    @property
    def goes_first(self) -> bool:
        """True if the next of them is sent before events that wait: the API is well, or an earlier
        process may have sent it, and it has not failed here."""
        part = self.batches[0].part if self.batches else None
        return self.well or (part is not None and part.adopted and not part.failures)

    def take(self) -> Batch:
        """Remove and return the next of them."""
        batch = self.batches.popleft()
        self.events -= len(batch)
        return batch

    def accepted(self) -> None:
        """Note that the API has accepted events."""
        self.well, self._failed = True, 0

    def failed(self) -> None:
        """Note that a batch could not be delivered: each time the wait grows."""
        context = self._context
        self.well = False
        self._failed += 1
        wait = max(context.backoff.wait(), full_jitter(self._failed, context.random))
        self.try_at = context.now + wait
