"""The batches that a relay has stored, by their ``Idempotency-Key``, in its memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from .store import Batch

__all__ = ["Remembered", "Stored"]

SECONDS: Final = 72 * 3600.0
"""A batch is remembered for this time."""
MOST: Final = 100_000
"""The most batches that are remembered; the oldest makes way."""


class Stored:
    """A batch that was stored, or a part of it.

    Attributes:
        digest: of its body.
        events: how many of its events were stored: the first ones.
        whole: True if these are all.
    """

    __slots__ = ("at", "digest", "events", "whole")

    def __init__(self, digest: bytes, at: float) -> None:
        self.digest: bytes = digest
        self.at: float = at
        self.events: int = 0
        self.whole: bool = False


class Remembered:
    """The batches that were stored.

    Args:
        most: how many are remembered.
        clock: monotonic seconds.
    """

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._stored: OrderedDict[tuple[bytes, str], Stored] = OrderedDict()

    def find(self, batch: Batch) -> Stored:
        """Return what was stored under a batch's key; begin to remember it, if it has one."""
        now = self._clock()
        if batch.key is None:
            return Stored(batch.digest, now)
        key = batch.account, batch.key
        stored = self._stored.get(key)
        if stored is not None and now - stored.at <= SECONDS:
            return stored
        self._stored.pop(key, None)
        stored = self._stored[key] = Stored(batch.digest, now)
        while len(self._stored) > self._most or self._is_over(now):
            self._stored.popitem(last=False)
        return stored

    def forget(self, batch: Batch) -> None:
        """Forget a batch of which nothing was stored."""
        if batch.key is not None:
            self._stored.pop((batch.account, batch.key), None)

    def _is_over(self, now: float) -> bool:
        return now - next(iter(self._stored.values())).at > SECONDS
