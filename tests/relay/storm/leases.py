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
    """A lease that has ended, or that another relay has: it did so between two looks."""

    partition: int
    since: float
    """The last look before it, in seconds since the epoch."""
    at: float
    """The first look after it."""
    waiting: frozenset[int]
    """The numbers of the events that the partition then had."""

    def had_in_flight(self, number: int, received: float, again: float) -> bool:
        """True if an event of the partition was not removed when the lease was lost, though the API
        had received it; it received it again later."""
        was_left = number in self.waiting or again <= self.at  # by then the next relay had read it
        return received <= self.at and self.since < again and was_left


class Leases(threading.Thread):
    """Looks at the leases of a fleet until ``stop`` is called.

    Args:
        server: the fleet's Redis; it may be down for a while.
        partitions: their number.

    """

    def __init__(self, server: RedisServer, partitions: int) -> None:
        super().__init__(name="leases", daemon=True)
        self._lost: list[tuple[int, float, float, Any]] = []
        self._looked = 0.0
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

    def stop(self) -> list[Lost]:
        """End; return each lease that was lost or given up."""
        self._stopped.set()
        self.join()
        # Read late: meanwhile nothing would look.
        return [
            Lost(number, since, at, _numbers(*content)) for number, since, at, content in self._lost
        ]

    def _look(self) -> None:
        now = time.time()
        tokens: list[bytes | None] = self._redis.execute_command("MGET", *self._keys.leases)
        for number, (before, token) in enumerate(zip(self._tokens, tokens, strict=True)):
            if before is not None and token != before:
                content = self._content(number)
                self._lost.append((number, self._looked, time.time(), content))
            self._tokens[number] = token
        self._looked = now

    def _content(self, number: int) -> tuple[Any, Any]:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.execute_command("HGETALL", self._keys.done[number])
        pipeline.execute_command("XRANGE", self._keys.streams[number], "-", "+")
        done, rows = pipeline.execute()
        return done, rows


def _numbers(done: dict[bytes, bytes], rows: Any) -> frozenset[int]:
    """The numbers of the events of a partition that have not ended."""
    numbers: list[int] = []
    for name, fields in rows:
        ended = int(done.get(name, b"0"), 16)
        numbers += [
            int(found[1])
            for index, line in enumerate(fields[b"e"].split(b"\n"))
            if not ended >> index & 1 and (found := _NUMBER.search(line))
        ]
    return frozenset(numbers)


def partition_of(customer: str, partitions: int) -> int:
    """The partition of a customer's events."""
    return zlib.crc32(customer.encode()) % partitions
