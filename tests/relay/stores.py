"""Batches, and stores that run, for the tests of the Redis store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from masivo.relay.on_redis import RedisStore
from masivo.relay.store import Batch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from masivo.emulator import Emulator
    from masivo.relay.store import Event

    from .redis_server import RedisServer

__all__ = ["batch", "customer_orders", "event", "make", "running", "until"]

ACCOUNT = hashlib.sha256(b"a client's key").digest()


def event(number: int, customer: str = "c", **more: object) -> Event:
    """An event that has no time yet."""
    value = {"type": "VIEW", "customer_id": customer, "brand_id": None, "n": number} | more
    return json.dumps(value).encode()[1:], customer


def batch(
    *events: Event, key: str | None = None, account: bytes = ACCOUNT, body: bytes | None = None
) -> Batch:
    """A batch of these events."""
    text = b",".join(encoded for encoded, _ in events) if body is None else body
    return Batch(account, key, hashlib.sha256(text).digest(), [*events])


def numbered(numbers: Iterable[int], customers: int = 7, key: str | None = None) -> Batch:
    """A batch of numbered events of several customers."""
    return batch(*(event(n, f"c{n % customers}") for n in numbers), key=key)


def make(server: RedisServer, emulator: Emulator, **options: Any) -> RedisStore:
    """A store that delivers to an emulator, soon."""
    options = {"idle_timeout": 0.02, "ttl": 0.6} | options
    return RedisStore(server.url, emulator.client_key, base_url=emulator.url, **options)


@asynccontextmanager
async def running(
    server: RedisServer, emulator: Emulator, **options: Any
) -> AsyncGenerator[RedisStore]:
    """A store that has started, and is stopped in the end."""
    store = make(server, emulator, **options)
    await store.start()
    try:
        yield store
    finally:
        await store.stop(5.0)


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not become true"
        await asyncio.sleep(0.005)


async def drained(store: RedisStore, seconds: float = 20.0) -> None:
    """Wait until nothing waits in a store."""
    end = time.monotonic() + seconds
    while (await store.backlog()).waiting:
        assert time.monotonic() < end, "it does not become empty"
        await asyncio.sleep(0.01)


def customer_orders(events: Iterable[dict[str, Any]]) -> dict[str, list[int]]:
    """The numbers of each customer's events, in order, each where it came first."""
    orders: dict[str, list[int]] = defaultdict(list)
    for each in events:
        order = orders[each["customer_id"]]
        if each["n"] not in order:
            order.append(each["n"])
    return orders
