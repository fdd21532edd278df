"""The leases of one relay: the partitions that it may deliver, and until when.

A relay reads its clock before it asks for a lease, and sends only until that time plus a share of
the lease's duration: until then no other relay has the partition, by any clock.
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Final, Protocol

from .scripts import FREE, LEASE
from .store import StoreFullError, StoreUnreachableError

if TYPE_CHECKING:
    from .connection import Connections
    from .scripts import Keys

__all__ = ["TTL", "Holder", "Leases"]

TTL: Final = 3.0
"""The duration of a lease, in seconds."""
CALLS: Final = 6
"""A lease is renewed this many times in its duration."""
USABLE: Final = 0.8
"""The share of a lease's duration in which a request may start."""

_logger = logging.getLogger("masivo.relay")


class Holder(Protocol):
    """Delivers one partition while its lease lasts."""

    token: bytes
    """The lease's."""
    ends_at: float
    """The time at which the lease ends, on the monotonic clock."""

    def renewed(self, usable_until: float) -> None:
        """Note the time until which requests may start, on the monotonic clock."""
        ...

    @property
    def drained(self) -> bool:
        """True once, after ``drain``, it has sent its last request."""
        ...

    def drain(self) -> None:
        """Start no more requests, and end when those in flight are over."""
        ...

    def end(self) -> None:
        """End now: the lease is over."""
        ...


class Make(Protocol):
    """Makes a partition's holder."""

    def __call__(self, number: int, token: bytes) -> Holder:
        """Begin to deliver the partition of this number."""
        ...


class Leases:
    """The leases of one relay. Call ``tick`` every ``interval`` seconds.

    Args:
        redis: connections for the loop.
        keys: the fleet's.
        make: makes the holder of a partition.
        ttl: the duration of a lease.
    """

    def __init__(self, redis: Connections, keys: Keys, make: Make, ttl: float = TTL) -> None:
        self.interval: float = ttl / CALLS
        self.held: dict[int, Holder] = {}
        """The holders, by their partitions."""
        self._draining: set[int] = set()
        self._leaving = False
        self._lost = 0  # since the last tick
        self._redis = redis
        self._keys = keys
        self._make = make
        self._ttl = ttl
        self._relay = secrets.token_hex(8)

    async def tick(self) -> None:
        """Renew, take and give up leases.

        Raises:
            StoreUnreachableError: Redis does not respond. Holders end when their leases do.
        """
        try:
            await self._give_up()
            await self._renew()
        except StoreFullError as error:  # unexpected: these scripts run in a full Redis, too
            raise StoreUnreachableError(str(error)) from None
        finally:
            self._end_late()
            if self._lost:
                _logger.warning(
                    "this relay has lost the leases of %d partitions, which others deliver now: "
                    "for %.0f s it was paused, or could not use Redis",
                    self._lost,
                    self._ttl,
                )
                self._lost = 0

    async def _renew(self) -> None:
        partitions = range(len(self._keys.leases))
        held = {number: holder.token for number, holder in self.held.items()}
        fresh = "" if self._leaving else f"{self._relay}:{secrets.token_hex(4)}"
        before = time.monotonic()
        share, *tokens = await self._redis.run(
            LEASE,
            [self._keys.members, *self._keys.leases],
            [self._relay, round(1000 * self._ttl), fresh, *(held.get(n, b"") for n in partitions)],
        )
        for number, token in enumerate(tokens):
            holder = self.held.get(number)
            if holder is not None and token != holder.token:
                self._lose(number)
                holder = None
            if token and holder is None:
                holder = self.held[number] = self._make(number, token)
            if holder is not None:
                holder.ends_at = before + self._ttl
                holder.renewed(before + USABLE * self._ttl)
        surplus = len(self.held) - len(self._draining) - (0 if self._leaving else share)
        for number in sorted(self.held.keys() - self._draining, reverse=True)[: max(0, surplus)]:
            self._draining.add(number)
            self.held[number].drain()

    async def _give_up(self) -> None:
        """Give up the leases whose holders have drained."""
        drained = [number for number in self._draining if self.held[number].drained]
        if drained:
            await self._free(drained)

    async def _free(self, numbers: list[int], *, leave: bool = False) -> None:
        await self._redis.run(
            FREE,
            [self._keys.members, *(self._keys.leases[n] for n in numbers)],
            [self._relay if leave else "", *(self.held[n].token for n in numbers)],
        )
        for number in numbers:
            self._end(number)

    def _end_late(self) -> None:
        """End the holders whose leases are over."""
        now = time.monotonic()
        for number in [n for n, holder in self.held.items() if now >= holder.ends_at]:
            self._lose(number)

    def _lose(self, number: int) -> None:
        self._lost += 1
        self._end(number)

    def _end(self, number: int) -> None:
        self._draining.discard(number)
        self.held.pop(number).end()

    def drain(self) -> None:
        """Take no more leases; the following ticks give up those that are held."""
        self._leaving = True

    async def leave(self) -> None:
        """Leave the fleet, and give up the leases whose holders have drained; others run out. To
        be called when all holders have ended: the relay stops.

        Raises:
            StoreUnreachableError: Redis does not respond. All leases run out.
        """
        done = [number for number, holder in self.held.items() if holder.drained]
        await self._free(done, leave=True)
