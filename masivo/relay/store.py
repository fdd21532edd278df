"""The protocol of a relay's store. Each store also delivers what it keeps."""

from __future__ import annotations

import traceback
from enum import Enum
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

__all__ = [
    "REMEMBERED",
    "Backlog",
    "Batch",
    "Event",
    "Kept",
    "RelayError",
    "RelayStore",
    "StoreFullError",
    "StoreRefusedError",
    "StoreUnreachableError",
    "place_of",
]


REMEMBERED: Final = 72 * 3600
"""Seconds for which a batch is remembered by its ``Idempotency-Key`` after it was stored."""


class RelayError(Exception):
    """The relay cannot run with these settings; the message says why, and what to do."""


class StoreFullError(Exception):
    """The store has no room now; nothing of the batch was kept."""


class StoreUnreachableError(Exception):
    """The store does not respond. The batch may have been kept: its sender should retry it under
    the same ``Idempotency-Key``."""


class StoreRefusedError(StoreUnreachableError):
    """The store responds with an error that does not pass by itself: a wrong password, say."""


class Kept(Enum):
    """The result of keeping a batch."""

    STORED = "stored"
    REPEATED = "repeated"
    """The same batch was stored before, under the same key."""
    CONFLICT = "conflict"
    """Another batch was stored under the same key; nothing of this one was kept."""


Event: TypeAlias = tuple[bytes, str]
"""An event that was received and checked, and its customer. The event is in one line, in the core's
form: the bytes that were received, without the first brace if there is no ``issued_at`` yet
(``_protocol/events/form``)."""


class Batch(msgspec.Struct, frozen=True):
    """A batch that was received and checked."""

    account: bytes
    """The SHA-256 of the client key that it was sent with."""
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
    """Seconds since the oldest of them was stored, by the upstream's clock; None if there is
    none."""
    rejected: int
    """Dead letters."""


class RelayStore(Protocol):
    """A relay's store, and the delivery of what it keeps."""

    async def start(self) -> bytes:
        """Connect, check that the store can be used, and begin to deliver.

        Returns:
            The secret that tokens are signed with: the same for every relay of this store.

        Raises:
            RelayError: the store cannot be used with these settings.
            StoreUnreachableError: the store does not respond; try again later.
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
        """The estimate of the upstream's time, in seconds since the epoch."""
        ...

    async def problem(self) -> str | None:
        """The reason for which the store cannot keep events now; None if it can."""
        ...

    async def backlog(self) -> Backlog:
        """Count the events that wait, and the dead letters.

        Raises:
            StoreUnreachableError: the store does not respond.
        """
        ...

    async def stop(self, seconds: float) -> None:
        """End the delivery: requests in flight get this many seconds; the rest stays in the
        store."""
        ...


def place_of(error: Exception) -> str:
    """The class of an exception and its place in the code, for a log: its message may hold what
    came in."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
