"""A relay's store, as its intake and its operations know it. Each store delivers what it keeps."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

import msgspec

__all__ = [
    "Backlog",
    "Batch",
    "Event",
    "Kept",
    "RelayError",
    "RelayStore",
    "StoreFullError",
    "StoreUnreachableError",
]


class RelayError(Exception):
    """The relay cannot run like this; the message says why, and what to do."""


class StoreFullError(Exception):
    """The store has no room now; nothing of the batch was kept."""


class StoreUnreachableError(Exception):
    """The store does not respond. The batch may have been kept: its sender should repeat it under
    the same ``Idempotency-Key``."""


class Kept(Enum):
    """The result of keeping a batch."""

    STORED = "stored"
    REPEATED = "repeated"
    """It was stored before, under the same key."""
    CONFLICT = "conflict"
    """Another batch was stored under the same key; nothing of this one was kept."""


class Event(NamedTuple):
    """An event that came in, checked."""

    encoded: bytes
    """In one line, in the form in which the core keeps it: the bytes that came, without the first
    brace where there is no ``issued_at`` yet (``_protocol/events/form``)."""
    customer: str


class Batch(msgspec.Struct, frozen=True):
    """A batch that came in, checked."""

    account: bytes
    """The SHA-256 of the client key that it came under."""
    key: str | None
    """Its ``Idempotency-Key``, if it has one."""
    digest: bytes
    """The SHA-256 of its body, without its content-encoding."""
    events: list[Event]


class Backlog(NamedTuple):
    """The events that wait in a store."""

    waiting: int
    """Events that are neither delivered nor rejected."""
    oldest: float | None
    """When the oldest of them was stored, in seconds since the epoch; None: there is none."""
    rejected: int
    """Dead letters."""


class RelayStore(Protocol):
    """A relay's store, and the delivery of what it keeps."""

    async def start(self) -> bytes:
        """Connect, check that the store can be used, and begin to deliver.

        Returns:
            The secret that tokens are signed with: the same for every relay of this store.

        Raises:
            RelayError: it cannot be used like this.
        """
        ...

    async def keep(self, batch: Batch) -> Kept:
        """Keep all events of a batch, or none.

        Raises:
            StoreFullError: there is no room.
            StoreUnreachableError: the store does not respond.
        """
        ...

    def now(self) -> float:
        """The upstream's time, as known, in seconds since the epoch."""
        ...

    async def problem(self) -> str | None:
        """Why the store cannot keep events now; None if it can."""
        ...

    async def backlog(self) -> Backlog:
        """Count what waits.

        Raises:
            StoreUnreachableError: the store does not respond.
        """
        ...

    async def stop(self, seconds: float) -> None:
        """End the delivery: requests on their way get this long; the rest stays in the store."""
        ...
