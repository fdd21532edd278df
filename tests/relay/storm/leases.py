"""Lost leases: for each, the events that had not been removed, of which some may have been sent."""

from __future__ import annotations

import re
import threading
import time
import zlib
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from masivo.relay.scripts import Keys

if TYPE_CHECKING:
    from relay.redis_server import RedisServer

__all__ = ["Leases", "Lost", "partition_of"]

LOOKS = 0.02
"""The time between two looks at the leases, in seconds: a fraction of that between a relay's."""

_NUMBER = re.compile(rb'"n": ?(\d+)')


class Lost(NamedTuple):
    """A partition's lease that has ended, or that another relay has."""

    partition: int
    at: float
    """When it was seen, in seconds since the epoch."""
    waiting: frozenset[int]
    """The numbers of the events that the partition still had."""


class Leases(threading.Thread):
    """Looks at the leases of a fleet until ``stop`` is called.

    Args:
        server: the fleet's Redis; it may be down for a while.
        partitions: their number.

    Attributes:
        lost: each lease that was lost or given up.
    """

    def __init__(self, server: RedisServer, partitions: int) -> None:
        super().__init__(name="leases", daemon=True)
        self.lost: list[Lost] = []
        self._redis: Any = redis.Redis(
            port=server.port, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=5.0
        )
        self._keys = Keys("masivo", partitions)
        self._tokens: list[bytes | None] = [None] * partitions
        self._stopped = threading.Event()

    def run(self) -> None:
        """See Thread."""
        with closing(self._redis):
            while not self._stopped.wait(LOOKS):
                try:
                    self._look()
                except RedisError:
                    continue  # it is down

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        self.join()

    def _look(self) -> None:
        tokens: list[bytes | None] = self._redis.execute_command("MGET", *self._keys.leases)
        for number, (before, now) in enumerate(zip(self._tokens, tokens, strict=True)):
            if before is not None and now != before:
                waiting = self._waiting(number)
                self.lost.append(Lost(number, time.time(), waiting))
            self._tokens[number] = now

    def _waiting(self, number: int) -> frozenset[int]:
        stream, done = self._keys.streams[number], self._keys.done[number]
        call = self._redis.execute_command
        ended: dict[bytes, bytes] = call("HGETALL", done)
        waiting: list[int] = []
        for name, fields in call("XRANGE", stream, "-", "+"):
            removed = set(ended.get(name, b"").split(b","))
            waiting += [
                int(found[1])
                for index, line in enumerate(fields[b"e"].split(b"\n"))
                if str(index).encode() not in removed and (found := _NUMBER.search(line))
            ]
        return frozenset(waiting)


def partition_of(customer: str, partitions: int) -> int:
    """The partition of a customer's events."""
    return zlib.crc32(customer.encode()) % partitions
