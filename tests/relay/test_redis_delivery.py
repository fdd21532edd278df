"""The Redis store delivers what it keeps: all of it, in order per customer, once."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from masivo._protocol.sending import backoff
from masivo.emulator import Emulator, Fault
from masivo.relay import on_redis
from masivo.relay.delivery import Delivery
from masivo.relay.letters import dead_letters
from masivo.relay.store import Kept, StoreFullError, StoreUnreachableError

from .redis_server import RedisServer
from .stores import batch, customer_orders, drained, event, make, numbered, running, until

if TYPE_CHECKING:
    from pathlib import Path

    from masivo.relay.on_redis import RedisStore


def numbers(emulator: Emulator) -> list[int]:
    """The numbers of the accepted events, in order of arrival."""
    return [each["n"] for each in emulator.events]


def test_everything_arrives_in_order_per_customer(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """Once each, under one token."""

    async def main() -> None:
        async with running(redis_server, emulator, batch_size=50) as store:
            for first in range(0, 1_000, 100):
                await store.keep(numbered(range(first, first + 100)))
            await drained(store)

    asyncio.run(main())
    assert sorted(numbers(emulator)) == [*range(1_000)]
    assert all(order == sorted(order) for order in customer_orders(emulator.events).values())
    assert len(emulator.authorizations) == 1


def test_an_event_without_a_time_has_that_of_its_storing(
    redis_server: RedisServer, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it waits; before the API's clock is known it stays 2 s behind. A time of its
    own stays."""
    monkeypatch.setattr(backoff, "FIRST_WAIT", 0.05)
    own = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    emulator.fail(503, route="events", times=2)

    async def main() -> float:
        async with running(redis_server, emulator) as store:
            await store.keep(batch(event(1)))
            stored = store.now()
            await store.keep(batch((b"{" + event(2, issued_at=own)[0], "c")))
            await until(lambda: emulator.event_count == 2)
            return stored

    stored = asyncio.run(main())
    first, second = emulator.events
    assert abs(datetime.fromisoformat(first["issued_at"]).timestamp() - stored) < 2.1
    assert second["issued_at"] == own


def test_a_rejected_event_is_a_dead_letter(
    redis_server: RedisServer, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not block its partition, and is written in the step that removes it. The client does
    not log it: the relay reports it."""
    emulator.reject = lambda each: "it is bad" if each["n"] % 10 == 3 else None

    async def main() -> tuple[int, int]:
        async with running(redis_server, emulator) as store:
            await store.keep(numbered(range(20), customers=1))
            await drained(store)
            backlog = await store.backlog()
            return backlog.waiting, backlog.rejected

    assert asyncio.run(main()) == (0, 2)
    letters = [json.loads(line) for line in dead_letters(redis_server.url, "masivo")]
    assert [each["event"]["n"] for each in letters] == [3, 13]
    assert all("issued_at" in each["event"] for each in letters)
    assert {each["rejected"]["status"] for each in letters} == {422}
    assert all("it is bad" in each["rejected"]["reason"] for each in letters)
    assert numbers(emulator) == [n for n in range(20) if n % 10 != 3]
    assert not [record for record in caplog.records if record.name == "masivo"]


@pytest.mark.full
def test_a_removal_that_cannot_be_written_writes_no_dead_letter_either(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """However often it is tried: the script looks before it writes. Once it could be written,
    events are sent again."""
    emulator.reject = lambda _: "no"
    redis_server.call("SET", "{masivo}:counts", "somebody's")
    redis_server.call("XADD", "{masivo}:stream:0", "1-1", "e", event(1)[0])

    async def main() -> None:
        async with running(redis_server, emulator) as store:
            await until(lambda: 0 in store._leases.held)
            partition = cast("Delivery", store._leases.held[0]).partition
            await until(lambda: not partition.writable)
            assert redis_server.call("XLEN", "{masivo}:rejected") == 0
            redis_server.call("DEL", "{masivo}:counts")
            await until(lambda: not redis_server.call("XLEN", "{masivo}:stream:0"))
            assert partition.writable

    asyncio.run(main())
    assert redis_server.call("XLEN", "{masivo}:rejected") == 1


def test_an_outage_ends_nothing(
    redis_server: RedisServer, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every retry exhausted: all of it is still there, and goes in order later."""
    monkeypatch.setattr(backoff, "FIRST_WAIT", 0.05)
    emulator.fail(503, route="events", times=40)

    async def main() -> None:
        async with running(redis_server, emulator, max_retries=0) as store:
            await store.keep(numbered(range(60), customers=2))
            await until(lambda: len(emulator.batches) >= 4)
            assert (await store.backlog()).waiting == 60
            emulator.heal()
            await drained(store, 60.0)
            assert (await store.backlog()).rejected == 0

    asyncio.run(main())
    assert customer_orders(emulator.events) == {
        "c0": [*range(0, 60, 2)],
        "c1": [*range(1, 60, 2)],
    }
    assert emulator.event_count == 60


@pytest.mark.full
def test_a_full_redis_is_drained_to_nothing(tmp_path: Path, emulator: Emulator) -> None:
    """It refuses what is new. Leases are renewed and events removed all the same."""
    emulator.fail(503, route="authorize", times=None)
    events = [event(n, f"c{n % 9}", text="x" * 1_000) for n in range(1_000)]
    kept = 0

    async def fill(store: RedisStore) -> int:
        batches = 0
        with suppress(StoreFullError):
            while True:
                await store.keep(batch(*events, key=f"k{batches}"))
                batches += 1
        return batches

    async def main() -> int:
        async with running(server, emulator) as store:
            batches = await fill(store)
            with pytest.raises(AssertionError):
                await until(lambda: False, 1.5)  # longer than a lease
            emulator.heal()
            await drained(store, 60.0)
            await until(lambda: store._full is None)
            await store.keep(batch(*events, key="another"))
            return batches

    settings = {"maxmemory": "12mb", "appendonly": "no"}
    with RedisServer(tmp_path, settings=settings) as server:
        kept = asyncio.run(main())
    assert kept > 3
    assert emulator.event_count >= 1_000 * kept


def test_a_relay_without_partitions_knows_the_upstream_s_time(redis_server: RedisServer) -> None:
    """It checks ages, says the time and counts how long events have waited as the others do,
    whatever its own clock."""
    with Emulator(clock=lambda: time.time() - 3_600) as behind:

        async def main() -> None:
            async with (
                running(redis_server, behind, partitions=1) as one,
                running(redis_server, behind, partitions=1) as other,
            ):
                await until(lambda: one.now() < time.time() - 3_000)
                await until(lambda: other.now() < time.time() - 3_000)
                assert len(one._leases.held) + len(other._leases.held) == 1
                behind.fail(503, route="events", times=None)
                await other.keep(batch(event(1)))
                for each in (one, other):
                    oldest = (await each.backlog()).oldest
                    assert oldest is not None
                    assert -3.0 < oldest < 3.0

        asyncio.run(main())


@pytest.mark.full
def test_a_replica_takes_over_for_a_lost_redis(tmp_path: Path, emulator: Emulator) -> None:
    """What had reached it is delivered, and a batch that comes again is known; it has to be given
    the scripts."""
    emulator.fail(503, route="events", times=None)
    for name in ("redis", "replica"):
        (tmp_path / name).mkdir()

    async def main() -> None:
        async with running(server, emulator, ttl=1.0) as store:
            await until(lambda: replica.call("INFO", "replication")["master_link_status"] == "up")
            assert await store.keep(numbered(range(60), key="k")) is Kept.STORED
            assert server.call("WAIT", 1, 5_000) == 1
            server.kill()
            with pytest.raises(StoreUnreachableError):
                await store.keep(numbered(range(60), key="k"))
            replica.call("REPLICAOF", "NO", "ONE")
            replica.call("CONFIG SET", "port", server.port)
            assert await store.keep(numbered(range(60), key="k")) is Kept.REPEATED
            emulator.heal()
            await drained(store)

    with (
        RedisServer(tmp_path / "redis", settings={"repl-diskless-sync-delay": "0"}) as server,
        RedisServer(
            tmp_path / "replica", settings={"replicaof": f"127.0.0.1 {server.port}"}
        ) as replica,
    ):
        asyncio.run(main())
    assert sorted(numbers(emulator)) == [*range(60)]


def test_a_stop_ends_what_is_on_its_way(redis_server: RedisServer, emulator: Emulator) -> None:
    """Its events are removed; the rest stays, and the next relay has the leases at once."""
    emulator.fail(Fault(delay=0.3), route="events", times=None)

    async def main() -> None:
        async with running(redis_server, emulator, batch_size=5, max_in_flight=1) as store:
            await store.keep(numbered(range(40), customers=1))
            await until(lambda: emulator.event_count == 5)
        assert redis_server.call("KEYS", "{masivo}:lease:*") == []
        assert redis_server.call("ZCARD", "{masivo}:members") == 0
        emulator.heal()
        async with running(redis_server, emulator) as store:
            await drained(store)

    asyncio.run(main())
    assert numbers(emulator) == [*range(40)]


def test_a_stop_does_not_wait_for_a_dead_api(redis_server: RedisServer, emulator: Emulator) -> None:
    """What is on its way gets its time, and no more."""
    emulator.fail(Fault(delay=30.0), route="events", times=None)

    async def main() -> float:
        store = make(redis_server, emulator)
        await store.start()
        await store.keep(batch(event(1)))
        await until(lambda: emulator.event_count == 1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await store.stop(0.2)
        return loop.time() - began

    assert asyncio.run(main()) < 1.0
    assert redis_server.call("XLEN", "{masivo}:stream:0") + sum(
        redis_server.call("XLEN", f"{{masivo}}:stream:{n}") for n in (1, 2, 3)
    )


def test_a_stop_does_not_wait_for_a_redis_that_hangs(
    redis_server: RedisServer, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be removed in time counts twice, and the lease of its partition runs out."""
    monkeypatch.setattr(on_redis, "ENDS_WITHIN", 0.05)
    monkeypatch.setattr(Delivery, "drained", False)

    async def main() -> None:
        store = make(redis_server, emulator)
        await store.start()
        await until(lambda: len(store._leases.held) == 4)
        async with asyncio.timeout(10):
            await store.stop(0.0)

    asyncio.run(main())
    assert len(redis_server.call("KEYS", "{masivo}:lease:*")) == 4


def test_what_an_entry_has_delivered_is_not_sent_again(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """A batch may end in the middle of an entry: the next relay goes on there."""

    def decide(request: Any) -> Fault | None:
        return Fault(status=503) if request.number > 3 else None

    emulator.on_request = decide  # an authorization, then two batches

    async def main() -> None:
        async with running(redis_server, emulator, batch_size=7, max_in_flight=1) as store:
            await store.keep(numbered(range(40), customers=1))
            await until(lambda: len(emulator.requests) > 3)
        assert emulator.event_count == 14
        emulator.heal()
        async with running(redis_server, emulator) as store:
            await drained(store)

    asyncio.run(main())
    assert numbers(emulator) == [*range(40)]
    assert [*redis_server.call("HGETALL", "{masivo}:done:0")] in ([], [b"#"])


@pytest.mark.full
def test_what_ends_while_redis_is_down_is_removed_later(tmp_path: Path, emulator: Emulator) -> None:
    """Nothing more of the partition is sent until then, and nothing twice."""
    down = asyncio.Event()

    async def main() -> None:
        async with running(server, emulator, batch_size=5, max_in_flight=1, ttl=5.0) as store:
            loop = asyncio.get_running_loop()

            def killed(request: Any) -> Fault | None:
                if request.route == "events" and not down.is_set():
                    server.kill()
                    loop.call_soon_threadsafe(down.set)
                return None

            await store.keep(numbered(range(40), customers=1))
            emulator.on_request = killed
            await down.wait()
            await until(lambda: emulator.event_count == 5)
            server.start()
            await drained(store)

    with RedisServer(tmp_path) as server:
        asyncio.run(main())
    assert numbers(emulator) == [*range(40)]


def test_a_slow_redis_delays_the_next_batch(tmp_path: Path, emulator: Emulator) -> None:
    """It is sent after the removals of those before it: a crash meanwhile makes no more events
    count twice than were in flight."""

    def pause(request: Any) -> None:
        if request.route == "events":
            server.pause(paused=True)

    async def main() -> None:
        async with running(server, emulator, batch_size=5, ttl=5.0) as store:
            emulator.on_request = pause
            await store.keep(numbered(range(100), customers=1))
            await until(lambda: emulator.event_count > 0)
            await asyncio.sleep(0.3)
            assert emulator.event_count == 5
            emulator.on_request = None
            server.pause(paused=False)
            await drained(store)

    with RedisServer(tmp_path) as server:
        asyncio.run(main())
    assert numbers(emulator) == [*range(100)]


def test_what_others_wrote_into_a_stream_does_no_harm(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """Entries that are no events are removed."""
    for number in range(4):
        redis_server.call("XADD", f"{{masivo}}:stream:{number}", "*", "x", "y")
        redis_server.call("XADD", f"{{masivo}}:stream:{number}", "*", "e", "no event", "t", "z")

    async def main() -> None:
        async with running(redis_server, emulator) as store:
            await store.keep(numbered(range(20)))
            await until(lambda: emulator.event_count == 20)
            lengths = [f"{{masivo}}:stream:{n}" for n in range(4)]
            await until(lambda: not sum(redis_server.call("XLEN", each) for each in lengths))

    asyncio.run(main())


def test_an_idle_relay_delivers_within_milliseconds(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """Redis rings: nothing waits for the next look, which comes each second."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        times: list[float] = []
        async with running(redis_server, emulator, batch_size=1) as store:
            for number in range(9):
                began = loop.time()
                await store.keep(batch(event(number)))
                await until(lambda: emulator.event_count == number + 1)  # noqa: B023
                times.append(loop.time() - began)
        return sorted(times)

    assert asyncio.run(main())[4] < 0.3


def test_no_request_waits_for_the_removal_of_others(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """Only for one that failed, which is looked at when leases are renewed: here each 50 s."""

    async def main() -> None:
        async with running(redis_server, emulator, batch_size=5, ttl=300.0) as store:
            await store.keep(numbered(range(400)))
            await drained(store, 10.0)

    asyncio.run(main())
    assert emulator.event_count == 400
