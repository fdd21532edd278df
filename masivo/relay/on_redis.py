"""The store of a fleet, on Redis: it keeps batches, and delivers the partitions that this relay
holds.

The way of a batch: its events are spread over partitions by their customers, and stored by one
script (``scripts``). One relay at a time holds a partition (``leases``), reads it as a log
(``partition``) and delivers it by a client of its own (``delivery``).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from zlib import crc32

from masivo.protocol import Secret

from .connection import Connections
from .delivery import Delivery, RelayClient
from .leases import TTL, Leases
from .opening import open_store
from .partition import Partition, entry_time
from .scripts import INTAKE, SHORT, Keys
from .store import (
    REMEMBERED,
    Backlog,
    Kept,
    StoreFullError,
    StoreUnreachableError,
    place_of,
)
from .upstream import learn_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from masivo.protocol import ClientOptions

    from .store import Batch

__all__ = ["RedisStore"]

ENTRY: Final = 100
"""The most events of one entry of a stream."""
ENTRY_BYTES: Final = 65_536
"""The most bytes of an entry's events together, unless it has only one."""
FULL: Final = 0.8
"""The share of maxmemory above which no batch is accepted."""
MEASURE: Final = 1.0
"""Seconds between two looks at Redis' memory."""
IN_FLIGHT: Final = 3
"""The batches of one partition that are in flight at once."""
ENDS_WITHIN: Final = 1.0
"""Seconds for the last removals when a relay stops."""

LOOK: Final = 0.02
"""Seconds between two checks if deliveries have ended, while a relay stops."""

_logger = logging.getLogger("masivo.relay")


class RedisStore:
    """See RelayStore.

    Args:
        url: of Redis (``connection``). It is shown without its credentials.
        api_key: the upstream's.
        name: of the fleet, the prefix of its keys in Redis.
        partitions: the number of streams that customers are spread over.
        replaced_key: True if the upstream's key was replaced since the fleet began.
        on_leases: called with the number of partitions that this relay holds.
        ttl: the duration of a lease, in seconds: the same for all relays.
        options: of the clients that deliver.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        name: str = "masivo",
        partitions: int = 4,
        replaced_key: bool = False,
        on_leases: Callable[[int], object] | None = None,
        ttl: float = TTL,
        **options: Unpack[ClientOptions],
    ) -> None:
        address, self._key = Secret(url), Secret(api_key)
        del url, api_key  # a traceback may show local variables
        self._redis = Connections(address)
        self._keys = Keys(name, partitions)
        self._replaced_key = replaced_key
        self._on_leases = on_leases
        self._options = options
        self._options.setdefault("max_in_flight", IN_FLIGHT)
        self._options.setdefault("refresh_interval", None)
        self._anchor = RelayClient(None, self._key, **self._options)
        """A client without a partition, which keeps the session alive: its token and its estimate
        of the time."""
        self._leases = Leases(self._redis, self._keys, self._hold, ttl)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._full: str | None = None
        self._down = False

    def __repr__(self) -> str:
        redis = getattr(self, "_redis", None)  # it is missing in a traceback from the constructor
        return f"<RedisStore {redis and redis.place}>"

    # ── The intake's side ────────────────────────────────────────────────────────────────────

    async def start(self) -> bytes:
        """See RelayStore."""
        try:
            secret = await open_store(
                self._redis,
                self._keys,
                partitions=len(self._keys.streams),
                base_url=self._anchor.base_url,
                upstream_key=self._key,
                replaced_key=self._replaced_key,
            )
        except BaseException:
            await self._redis.aclose()
            raise
        self._tasks = [
            asyncio.create_task(self._keep_leases(), name="masivo-relay-leases"),
            asyncio.create_task(self._watch_memory(), name="masivo-relay-memory"),
            asyncio.create_task(learn_time(self._anchor), name="masivo-relay-time"),
        ]
        return secret

    async def keep(self, batch: Batch) -> Kept:
        """See RelayStore."""
        if self._full is not None:
            raise StoreFullError(self._full)
        keys = self._keys
        digest = "" if batch.key is None else keys.batch(batch.account, batch.key)
        now, certain = self._anchor.server_time()
        result = await self._redis.run(
            INTAKE,
            [digest or keys.config, keys.counts, *keys.streams],
            [
                batch.digest[:SHORT] if digest else b"",
                REMEMBERED,
                entry_time(now, certain=certain),
                *_entries(batch, len(keys.streams)),
            ],
        )
        return Kept(result.decode())

    def now(self) -> float:
        """See RelayStore."""
        return self._anchor.server_time()[0]

    async def problem(self) -> str | None:
        """See RelayStore."""
        try:
            # A write that changes nothing: a replica, for one, responds to a PING, too.
            await self._redis.call("DEL", self._keys.batch(b"", ""))
        except StoreUnreachableError as error:
            return str(error)
        return self._full

    async def backlog(self) -> Backlog:
        """See RelayStore."""
        keys = self._keys
        first = [self._redis.call("XRANGE", each, "-", "+", "COUNT", 1) for each in keys.streams]
        counts, rejected, *oldest = await asyncio.gather(
            self._redis.call("HVALS", keys.counts),
            self._redis.call("XLEN", keys.rejected),
            *first,
        )
        now = self.now()
        ages = [now - float(rows[0][1][b"t"].split()[0]) for rows in oldest if rows]
        waiting = max(0, sum(map(int, counts)))  # others may have added entries
        return Backlog(waiting, max(ages, default=None), rejected)

    # ── Delivery ─────────────────────────────────────────────────────────────────────────────

    def _hold(self, number: int, token: bytes) -> Delivery:
        loop = asyncio.get_running_loop()
        delivery: Delivery

        def at_end() -> None:
            loop.call_soon_threadsafe(delivery.at_end.set)

        partition = Partition(self._redis.blocking(), self._keys, number, token, at_end)
        delivery = Delivery(partition, token, self._redis)
        delivery.begin(RelayClient(delivery, self._key, **self._options))
        return delivery

    async def _keep_leases(self) -> None:
        while not self._stopping.is_set():
            before = len(self._leases.held)
            try:
                await self._leases.tick()
            except Exception as error:  # noqa: BLE001 (delivery may pause, but must not end)
                problem = error if isinstance(error, StoreUnreachableError) else place_of(error)
                if not self._down:
                    _logger.warning("the store cannot be used: %s", problem)
                self._down = True
            else:
                if self._down:
                    _logger.warning("the store can be used again")
                self._down = False
            if self._on_leases is not None and len(self._leases.held) != before:
                self._on_leases(len(self._leases.held))
            await self._rest(self._leases.interval)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _watch_memory(self) -> None:
        while not self._stopping.is_set():
            try:
                info = await self._redis.call("INFO", "memory")
            except Exception:  # noqa: BLE001, S110 (the leases' loop logs it; this must not end)
                pass
            else:
                most, used = info.get("maxmemory", 0), info.get("used_memory", 0)
                self._full = None
                if most and used >= FULL * most:
                    self._full = f"Redis at {self._redis.place} uses {used} of {most} bytes"
            await self._rest(MEASURE)

    async def stop(self, seconds: float) -> None:
        """See RelayStore."""
        if not self._tasks:  # it did not start
            await self._redis.aclose()
            return
        self._stopping.set()  # what uses Redis is not cancelled: redis-py may swallow that
        *loops, learning = self._tasks
        learning.cancel()
        await asyncio.gather(*loops, learning, return_exceptions=True)
        loop = asyncio.get_running_loop()
        self._leases.drain()
        until = loop.time() + seconds
        with suppress(StoreUnreachableError):
            await self._leases.tick()
            while self._leases.held and loop.time() < until:
                await asyncio.sleep(LOOK)
                await self._leases.tick()
        holders = [*self._leases.held.values()]
        for holder in holders:
            holder.end()
        until = loop.time() + ENDS_WITHIN
        while not all(holder.drained for holder in holders):
            if loop.time() >= until:
                break
            await asyncio.sleep(LOOK)
        with suppress(StoreUnreachableError):
            await self._leases.leave()
        self._anchor.destroy()
        await self._anchor.aclose()
        await self._redis.aclose()


def _entries(batch: Batch, partitions: int) -> list[object]:
    """A batch's events as the script's arguments: for each entry, its partition, its number of
    events, and the events."""
    spread: list[list[bytes]] = [[] for _ in range(partitions)]
    for encoded, customer in batch.events:
        spread[crc32(customer.encode()) % partitions].append(encoded)
    entries: list[object] = []
    for partition, events in enumerate(spread):
        together = b"\n".join(events)
        if events and len(events) <= ENTRY and len(together) <= ENTRY_BYTES:
            entries += [partition, len(events), together]
            continue
        first = 0
        while first < len(events):
            last, size = first + 1, len(events[first])
            while last < len(events) and last - first < ENTRY:
                size += len(events[last])
                if size > ENTRY_BYTES:
                    break
                last += 1
            entries += [partition, last - first, b"\n".join(events[first:last])]
            first = last
    return entries
