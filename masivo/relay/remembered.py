"""The batches that a relay has stored, by their ``Idempotency-Key``, in its memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from .store import REMEMBERED

if TYPE_CHECKING:
    from collections.abc import Callable

    from .store import Batch

__all__ = ["Remembered"]

MOST: Final = 100_000
"""The most batches that are remembered; the oldest is forgotten first."""


class Remembered:
    """The batches that were stored.

    Args:
        most: how many are remembered.
        clock: monotonic seconds.
    """

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._stored: OrderedDict[tuple[bytes, str], tuple[bytes, float]] = OrderedDict()

    def digest_of(self, batch: Batch) -> bytes | None:
        """Return the digest of the batch that was stored under this one's key; None if there is
        none, or this one has no key."""
        if batch.key is None:
            return None
        self._forget_old()
        stored = self._stored.get((batch.account, batch.key))
        return None if stored is None else stored[0]

    def add(self, batch: Batch) -> None:
        """Remember a batch that was stored, if it has a key."""
        if batch.key is not None:
            self._stored[batch.account, batch.key] = batch.digest, self._clock()
            if len(self._stored) > self._most:
                self._stored.popitem(last=False)

    def _forget_old(self) -> None:
        oldest = self._clock() - REMEMBERED
        while self._stored and next(iter(self._stored.values()))[1] < oldest:
            self._stored.popitem(last=False)
