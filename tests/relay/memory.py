"""A store in memory, which delivers nothing: the intake's tests look at what it was given."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from masivo.relay.store import (
    Backlog,
    Kept,
    RelayError,
    StoreFullError,
    StoreUnreachableError,
)

if TYPE_CHECKING:
    from masivo.relay.store import Batch, Event

__all__ = ["SECRET", "MemoryStore"]

SECRET = b"a secret of thirty-two bytes ..."


class MemoryStore:
    """See RelayStore.

    Attributes:
        batches: what was stored.
        most: the events that there is room for.
        reachable: False: it does not respond.
        gate: cleared: batches wait for it.
        waiting: the batches that do.
        ahead: the upstream's clock less this machine's, in seconds.
        stopped: the seconds that it was given to stop; None: it runs.
    """

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.most = 1_000_000
        self.reachable = True
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.ahead = 0.0
        self.stopped: float | None = None
        self.refusal: str | None = None

    @property
    def events(self) -> list[Event]:
        """The stored events, in order."""
        return [event for batch in self.batches for event in batch.events]

    async def start(self) -> bytes:
        """See RelayStore."""
        if self.refusal is not None:
            raise RelayError(self.refusal)
        return SECRET

    async def keep(self, batch: Batch) -> Kept:
        """See RelayStore."""
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        if not self.reachable:
            raise StoreUnreachableError("it does not respond")
        for former in self.batches:
            if batch.key is not None and (former.account, former.key) == (batch.account, batch.key):
                return Kept.REPEATED if former.digest == batch.digest else Kept.CONFLICT
        if len(self.events) + len(batch.events) > self.most:
            raise StoreFullError("it is full")
        self.batches.append(batch)
        return Kept.STORED

    def now(self) -> float:
        """See RelayStore."""
        return time.time() + self.ahead

    async def problem(self) -> str | None:
        """See RelayStore."""
        return None if self.reachable else "it does not respond"

    async def backlog(self) -> Backlog:
        """See RelayStore."""
        if not self.reachable:
            raise StoreUnreachableError("it does not respond")
        return Backlog(len(self.events), 60.0 if self.events else None, 3)

    async def stop(self, seconds: float) -> None:
        """See RelayStore."""
        self.stopped = seconds
