"""The leases of a fleet: fair shares, take-over, and a fence for who comes too late."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from masivo.emulator import Fault
from masivo.protocol import RejectedEvent, Secret, StoreError
from masivo.relay.connection import Connections
from masivo.relay.leases import Leases
from masivo.relay.letters import dead_letters
from masivo.relay.on_redis import RedisStore
from masivo.relay.partition import Partition
from masivo.relay.scripts import LEASE, Keys

from .stores import batch, customer_orders, drained, event, make, numbered, running, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from masivo.emulator import Emulator
    from masivo.protocol import Place, Window

    from .redis_server import RedisServer

TTL = 0.6


class Idle:
    """Holds a partition and does nothing."""

    def __init__(self, number: int, token: bytes) -> None:
        self.number = number
        self.token = token
        self.ends_at = 0.0
        self.usable_until = 0.0
        self.drained = False
        self.draining = False
        self.ended = False

    def renewed(self, usable_until: float) -> None:
        """See Holder."""
        self.usable_until = usable_until

    def drain(self) -> None:
        """See Holder."""
        self.draining = self.drained = True

    def end(self) -> None:
        """See Holder."""
        self.ended = True


def relay(server: RedisServer, partitions: int = 4) -> Leases:
    """The leases of one more relay."""
    return Leases(Connections(Secret(server.url)), Keys("masivo", partitions), Idle, TTL)


async def closed(*relays: Leases) -> None:
    """Close the connections of relays."""
    for each in relays:
        await each._redis.aclose()


def held(*relays: Leases) -> list[int]:
    """How many partitions each relay holds."""
    return [len(each.held) for each in relays]


def test_shares_are_fair(redis_server: RedisServer) -> None:
    """Whoever joins gets its share within a few ticks; each partition has one holder."""

    async def main() -> None:
        one, two, three = relays = [relay(redis_server, 7) for _ in range(3)]
        await one.tick()
        assert held(one) == [7]
        for _ in range(3):
            for each in (one, two):
                await each.tick()
        assert sorted(held(one, two)) == [3, 4]
        for _ in range(3):
            for each in relays:
                await each.tick()
        assert sorted(held(*relays)) == [2, 2, 3]
        assert sorted(n for each in relays for n in each.held) == [*range(7)]
        three.drain()
        await three.tick()
        await three.tick()
        await three.leave()
        for _ in range(2):
            for each in (one, two):
                await each.tick()
        assert sum(held(one, two)) == 7
        await closed(*relays)

    asyncio.run(main())


def test_more_relays_than_partitions_hold_nothing(redis_server: RedisServer) -> None:
    """They wait until one is free."""

    async def main() -> None:
        relays = [relay(redis_server, 2) for _ in range(3)]
        for _ in range(3):
            for each in relays:
                await each.tick()
        assert sorted(held(*relays)) == [0, 1, 1]
        await closed(*relays)

    asyncio.run(main())


def test_others_take_over_when_a_lease_ends(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Not before; and who comes too late notices, ends its holders and says so in one line."""

    async def main() -> None:
        one, two = relays = [relay(redis_server) for _ in range(2)]
        began = time.monotonic()
        await one.tick()
        holders = [*one.held.values()]
        while len(two.held) < 4:
            await two.tick()
            await asyncio.sleep(0.01)
        took = time.monotonic() - began
        assert TTL - 0.02 <= took < 2 * TTL
        assert all(holder.usable_until < began + took for holder in holders)  # type: ignore[attr-defined]
        await one.tick()
        assert held(one) == [0]
        assert all(holder.ended for holder in holders)  # type: ignore[attr-defined]
        (message,) = caplog.messages
        assert message.startswith("this relay has lost the leases of 4 partitions")
        await closed(*relays)

    asyncio.run(main())


def test_a_lease_counts_from_before_the_call(redis_server: RedisServer) -> None:
    """A slow reply makes it shorter for the relay, never longer."""

    async def main() -> None:
        one = relay(redis_server)
        redis_server.call("CLIENT PAUSE", 300)
        began = time.monotonic()
        await one.tick()
        assert time.monotonic() - began > 0.2
        for holder in one.held.values():
            assert holder.ends_at < began + TTL + 0.05
            assert holder.usable_until < began + 0.8 * TTL + 0.05  # type: ignore[attr-defined]
        await closed(one)

    asyncio.run(main())


def test_the_time_is_that_of_redis(redis_server: RedisServer) -> None:
    """The clocks of hosts are never sent to it: members are aged by its own."""
    assert "TIME" in LEASE.text

    async def main() -> None:
        one = relay(redis_server)
        await one.tick()
        seconds, _ = redis_server.call("TIME")
        score = redis_server.call("ZSCORE", "{masivo}:members", one._relay)
        assert abs(score / 1000.0 - int(seconds)) < 2.0
        await closed(one)

    asyncio.run(main())


def test_a_lease_whose_reply_was_lost_is_taken_again(redis_server: RedisServer) -> None:
    """The relay never learned of it: it has a new token, and nobody waits for its end."""

    async def main() -> None:
        one = relay(redis_server)
        await one.tick()
        one.held.clear()
        await one.tick()
        assert held(one) == [4]
        await closed(one)

    asyncio.run(main())


@asynccontextmanager
async def undelivered(
    server: RedisServer, emulator: Emulator, *sizes: int
) -> AsyncGenerator[tuple[RedisStore, Partition]]:
    """A store with one partition, which keeps batches of these sizes and cannot deliver them, and a
    second reader under the partition's lease."""
    emulator.fail(503, route="authorize", times=None)
    async with running(server, emulator, partitions=1) as store:
        first = 0
        for size in sizes:
            await store.keep(numbered(range(first, first + size)))
            first += size
        await until(lambda: 0 in store._leases.held)
        token = store._leases.held[0].token
        yield store, Partition(store._redis.blocking(), store._keys, 0, token, lambda: None)


def read(window: Window) -> list[int]:
    """The numbers of a window's events."""
    return [json.loads(b"{" + each.event)["n"] for each in window.events]


def test_who_comes_too_late_deletes_nothing(redis_server: RedisServer, emulator: Emulator) -> None:
    """The script looks at the lease: events, dead letters and counts stay as they are."""

    async def main() -> None:
        async with undelivered(redis_server, emulator, 10) as (store, late):
            window = late.read(None, 100, 1 << 20)
            assert len(window.events) == 10
            redis_server.call("SET", "{masivo}:lease:0", "somebody's")
            late.remove([each.position for each in window.events])
            assert late.lost
            assert not late.writable
            assert redis_server.call("XLEN", "{masivo}:stream:0") == 1
            assert (await store.backlog()).waiting == 10
            redis_server.call("SET", "{masivo}:lease:0", late._token, "PX", 600)

    asyncio.run(main())


def test_a_removal_whose_reply_was_lost_counts_once(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """It is written again under its number, and changes nothing more."""

    async def main() -> None:
        async with undelivered(redis_server, emulator, 10) as (store, partition):
            window = partition.read(None, 100, 1 << 20)
            kept = [each.position for each in window.events]
            partition.remove(kept[:3])
            partition._attempts = iter((1,))  # type: ignore[assignment]
            partition.remove(kept[3:5])
            assert (await store.backlog()).waiting == 7
            assert partition.writable

    asyncio.run(main())


def test_a_dead_letter_has_a_status_where_the_api_has_given_one(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """An event that became too old while it waited was rejected without a response."""

    async def main() -> None:
        async with undelivered(redis_server, emulator, 2) as (_, partition):
            window = partition.read(None, 100, 1 << 20)
            for stored, status in zip(window.events, (None, 422), strict=True):
                partition.reject([RejectedEvent(b"{" + stored.event, "why", status, 1.0)])
            partition.remove([each.position for each in window.events])

    asyncio.run(main())
    letters = [json.loads(line)["rejected"] for line in dead_letters(redis_server.url, "masivo")]
    assert [each["status"] for each in letters] == [None, 422]


def test_a_log_can_be_read_in_pieces_and_again(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """A window ends in the middle of an entry, and one that was lost on its way is read again."""

    async def main() -> None:
        async with undelivered(redis_server, emulator, *[50] * 10) as (_, partition):
            after: Place | None = None
            seen: list[int] = []
            windows = 0
            while True:
                partition.read(after, 70, 1 << 20)  # its result never arrives
                window = partition.read(after, 70, 1 << 20)
                windows += 1
                seen += [each.position for each in window.events]
                assert len(window.events) <= 70
                after = window.after
                if window.end:
                    break
            assert len(seen) == len({*seen}) == 500
            assert seen == sorted(seen)
            assert windows >= 8
            small = partition.read(None, 1_000, 1)
            assert len(small.events) == 1

    asyncio.run(main())


def test_what_has_ended_is_not_read_again(redis_server: RedisServer, emulator: Emulator) -> None:
    """From an earlier place: neither whole entries that have ended nor single events; nor does
    what was read ahead come twice."""

    async def main() -> None:
        async with undelivered(redis_server, emulator, 10, 10, 10) as (_, partition):
            first_window = partition.read(None, 4, 1 << 20)
            positions = [each.position for each in first_window.events]
            partition.read(first_window.after, 21, 1 << 20)
            partition.remove(positions[1:3])
            whole = partition.read(None, 100, 1 << 20)
            assert read(whole) == [0, *range(3, 30)]
            partition.remove([each.position for each in whole.events[8:18]])
            assert read(partition.read(None, 8, 1 << 20)) == [0, *range(3, 10)]
            assert read(partition.read(first_window.after, 100, 1 << 20)) == [
                *range(4, 10),
                *range(20, 30),
            ]

    asyncio.run(main())


def test_nothing_is_read_again_before_its_removals_are_written(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """Redis still has what has ended: to read that again would be to send it twice."""

    async def main() -> None:
        async with undelivered(redis_server, emulator, 10, 10, 10) as (_, partition):
            window = partition.read(None, 15, 1 << 20)
            redis_server.call("RENAME", "{masivo}:counts", "{masivo}:aside")
            redis_server.call("SET", "{masivo}:counts", "somebody's")
            partition.remove([each.position for each in window.events[:12]])
            assert not partition.writable
            with pytest.raises(StoreError, match="could not be removed yet"):
                partition.read(None, 100, 1 << 20)
            assert read(partition.read(window.after, 10, 1 << 20)) == [*range(15, 25)]
            redis_server.call("RENAME", "{masivo}:aside", "{masivo}:counts")
            assert read(partition.read(None, 100, 1 << 20)) == [*range(12, 30)]
            assert partition.writable

    asyncio.run(main())


def test_a_relay_that_joins_takes_its_share_of_the_delivery(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """Requests on their way end first: nothing is sent twice, and the order holds."""
    emulator.fail(Fault(delay=0.02), route="events", times=None)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(redis_server, emulator, batch_size=5))
            for first in range(0, 400, 100):
                await one.keep(numbered(range(first, first + 100), customers=13))
            await until(lambda: emulator.event_count > 20)
            two = await stack.enter_async_context(running(redis_server, emulator, batch_size=5))
            await until(lambda: _shares(one, two) == [2, 2])
            await drained(one)

    asyncio.run(main())
    numbers = [each["n"] for each in emulator.events]
    assert sorted(numbers) == [*range(400)]
    assert all(order == sorted(order) for order in customer_orders(emulator.events).values())


def _shares(*stores: RedisStore) -> list[int]:
    return [len(each._leases.held) for each in stores]


def test_a_dead_relay_is_replaced(redis_server: RedisServer, emulator: Emulator) -> None:
    """One that renews nothing any more: the other delivers what it had, in order."""
    emulator.fail(Fault(delay=0.05), route="events", times=None)

    async def main() -> None:
        one = make(redis_server, emulator, batch_size=5, max_in_flight=1)
        await one.start()
        await one.keep(numbered(range(200)))
        await until(lambda: emulator.event_count > 10)
        one._stopping.set()  # its loop stands still: leases end, and with them its requests
        async with running(redis_server, emulator) as two:
            began = time.monotonic()
            await until(lambda: len(two._leases.held) == 4)
            assert time.monotonic() - began < 3 * TTL
            emulator.heal()
            await drained(two)
        await one.stop(0.1)

    asyncio.run(main())
    numbers = [each["n"] for each in emulator.events]
    assert {*numbers} == {*range(200)}
    assert len(numbers) - 200 <= 4 * 5, "more than the requests in flight came twice"
    assert all(order == sorted(order) for order in customer_orders(emulator.events).values())


def test_an_unforeseen_error_ends_no_delivery(
    redis_server: RedisServer,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next look at the leases tries again; the log names the place, and not what came in."""
    hold = RedisStore._hold
    errors = [RuntimeError("a secret"), MemoryError()]

    def failing(self: RedisStore, number: int, token: bytes) -> object:
        if errors:
            raise errors.pop()
        return hold(self, number, token)

    monkeypatch.setattr(RedisStore, "_hold", failing)

    async def main() -> None:
        async with running(redis_server, emulator) as one:
            await one.keep(numbered(range(20)))
            await drained(one)

    asyncio.run(main())
    assert len(emulator.events) == 20
    assert any("cannot be used: MemoryError at " in line for line in caplog.messages)
    assert "secret" not in caplog.text


def test_no_request_starts_without_a_lease(redis_server: RedisServer, emulator: Emulator) -> None:
    """It waits for the renewal; that is no failure, and costs no retry."""

    async def main() -> None:
        async with running(redis_server, emulator, ttl=30.0) as store:
            await until(lambda: len(store._leases.held) == 4)
            for holder in store._leases.held.values():
                holder.renewed(time.monotonic() - 1.0)
            await store.keep(batch(event(1)))
            await until(lambda: len(emulator.authorizations) == 1)
            for _ in range(20):
                await asyncio.sleep(0.01)
            assert emulator.event_count == 0
            for holder in store._leases.held.values():
                holder.renewed(time.monotonic() + 30.0)
            await until(lambda: emulator.event_count == 1)

    asyncio.run(main())
    assert len(emulator.batches) == 1
