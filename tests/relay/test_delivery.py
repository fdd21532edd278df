"""The delivery of one partition, without a Redis."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from masivo.protocol import Place, Secret
from masivo.relay.connection import Connections
from masivo.relay.delivery import Delivery
from masivo.relay.on_redis import RedisStore
from masivo.relay.partition import READ, Partition
from masivo.relay.scripts import Keys
from masivo.relay.store import RelayError, StoreUnreachableError


def test_the_names_of_a_fleet_s_keys_stay() -> None:
    """Relays of two versions share them while a fleet is upgraded."""
    keys = Keys("a", 2)
    assert vars(keys) == {
        "prefix": "{a}:",
        "config": "{a}:config",
        "secret": "{a}:secret",
        "members": "{a}:members",
        "counts": "{a}:counts",
        "rejected": "{a}:rejected",
        "streams": ["{a}:stream:0", "{a}:stream:1"],
        "leases": ["{a}:lease:0", "{a}:lease:1"],
        "done": ["{a}:done:0", "{a}:done:1"],
    }
    assert keys.batch(b"account", "key") == "{a}:batch:ec72313e40c7845cbf6c1460abf1b0a9"


class Replies:
    """In place of a Redis: what it replies to each command, in order."""

    def __init__(self, *replies: Any) -> None:
        self._replies = [*replies]

    def call(self, *_: object) -> Any:
        """See Blocking."""
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    run = call


def partition(*replies: Any) -> Partition:
    """A partition whose Redis replies so."""
    redis: Any = Replies(*replies)
    return Partition(redis, Keys("masivo", 1), 0, b"relay:1", lambda: None)


def test_events_have_the_time_that_was_stored_with_them() -> None:
    """And say whether it was the server's. Those that another program added have that of their
    entry's id, by the clock of Redis."""
    rows = [
        (b"5000-0", {b"t": b"12.500 1", b"e": b"{}"}),
        (b"5000-1", {b"t": b"13.500 0", b"e": b"{}"}),
        (b"5000-2", {b"e": b"{}"}),
        (b"6000-0", {b"t": b"noon", b"e": b"{}"}),
    ]
    window = partition({}, rows).read(None, 10, 1_000)
    times = [(each.at, each.certain) for each in window.events]
    assert times == [(12.5, True), (13.5, False), (5.0, False), (6.0, False)]


def test_a_partition_is_adopted_once() -> None:
    """A later scan finds nothing new: what it holds would be sent twice."""
    each = partition()
    assert [*each.adopt()] == [each]
    assert [*each.adopt()] == []


def test_an_empty_window_ends_where_the_one_before_it_did() -> None:
    """Whoever reads on from there meets nothing twice."""
    each = partition({}, [(b"5000-0", {b"t": b"12.500 1", b"e": b"{}"})], [])
    first = each.read(None, 10, 1_000)
    second = each.read(first.after, 10, 1_000)
    assert (second.events, second.after, second.end) == ([], first.after, True)


def test_what_has_ended_since_it_was_read_ahead_is_not_returned() -> None:
    """The partition is read again from its start for some customers, while others' events from
    there are in flight: once they are delivered, they are not sent again."""
    rows = [(b"5000-0", {b"e": b"\n".join([b"{}"] * 5)}), (b"5000-1", {b"e": b"{}"})]
    each = partition({}, rows, rows, 0, [])
    stored = each.read(None, 10, 1_000).events
    again = each.read(None, 2, 1_000)
    each.remove([stored[3].position, stored[5].position])
    rest = each.read(again.after, 10, 1_000)
    assert [*again.events, *rest.events] == [stored[n] for n in (0, 1, 2, 4)]


def test_an_empty_partition_has_a_place_to_read_on_from() -> None:
    """That before all entries."""
    window = partition({}, []).read(None, 10, 1_000)
    assert (window.events, window.after, window.end) == ([], Place(0, 0), True)


@pytest.mark.parametrize("more", [0, 1, 2 * READ - 1])
def test_a_window_with_room_takes_all_that_is_there(more: int) -> None:
    """Redis is asked again until it has no more."""
    rows = [(b"5000-%d" % n, {b"e": b"{}"}) for n in range(READ + more)]
    window = partition({}, rows[:READ], rows[READ:]).read(None, 1_000, 1_000)
    assert (len(window.events), window.end) == (len(rows), True)


def test_a_release_writes_what_could_not_be_written_before() -> None:
    """The next relay does not send these events again."""
    rows = [(b"5000-0", {b"e": b"{}"})]
    each = partition({}, rows, StoreUnreachableError("Redis is gone"), 0)
    each.remove([stored.position for stored in each.read(None, 10, 1_000).events])
    assert (each.due, each.writable) == (True, False)
    each.release()
    assert (each.due, each.writable) == (False, True)


def test_a_partition_that_was_never_read_is_released_without_a_word() -> None:
    """Others deliver what it holds: for this relay's client nothing is left, nor takes room."""
    each = partition()
    assert (each.left(), each.size) == ((0, 0, None), 0)


def test_a_delivery_that_has_ended_waits_for_no_event() -> None:
    """Its client is destroyed, and its bell is silent."""
    client: Any = SimpleNamespace(begin=lambda: None, destroy=lambda: ended.append("client"))
    ended: list[str] = []

    async def main() -> None:
        redis: Any = None
        delivery = Delivery(partition(), b"relay:1", redis)
        delivery.begin(client)
        await asyncio.sleep(0)
        (bell,) = asyncio.all_tasks() - {asyncio.current_task()}
        delivery.end()
        await asyncio.wait({bell}, timeout=5)
        assert bell.cancelled()

    asyncio.run(main())
    assert ended == ["client"]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://a", "redis://a"),
        ("rediss://user:pa55word@a:6380/1?ssl_ca_certs=b", "rediss://a:6380/1"),
        ("redis://:pa55word@[::1]:1/0", "redis://[::1]:1/0"),
        ("unix://:pa55word@/run/redis?db=1", "unix:///run/redis"),
    ],
)
def test_a_place_is_a_url_without_its_secrets(url: str, place: str) -> None:
    """Password, user and query are left out."""
    assert Connections(Secret(url)).place == place


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "pa55word",
        "redis://a:port/0",
        "redis://[a",
        "redis://a/shop",
        "redis://:55/word@a:1/0",
    ],
)
def test_what_is_no_url_of_a_redis_is_shown_nowhere(url: str) -> None:
    """It may be a password."""
    with pytest.raises(RelayError, match=r"^the URL is no URL of a Redis"):
        Connections(Secret(url))


def test_a_store_shows_its_place_and_no_secret() -> None:
    """In a traceback out of its constructor, too, where it has no place yet."""
    store = RedisStore("redis://:pa55word@a/1", "a-key", base_url="http://127.0.0.1:1")
    assert repr(store) == "<RedisStore redis://a/1>"
    assert repr(RedisStore.__new__(RedisStore)) == "<RedisStore None>"
