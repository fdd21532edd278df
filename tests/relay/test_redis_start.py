"""A relay does not start over a Redis that would lose events, nor with other settings than its
fleet."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from masivo.relay.letters import dead_letters
from masivo.relay.on_redis import RedisStore
from masivo.relay.scripts import Keys
from masivo.relay.store import RelayError, StoreUnreachableError

from .redis_server import RedisServer
from .relays import KEY, Running, batch, event, running, upstream, wait_for
from .stores import drained, make, numbered

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from masivo.emulator import Emulator


def started(store: RedisStore) -> bytes:
    """Start a store, stop it, and return its secret."""

    async def main() -> bytes:
        secret = await store.start()
        await store.stop(1.0)
        return secret

    return asyncio.run(main())


@contextmanager
def starting(server: RedisServer, emulator: Emulator) -> Generator[Running, None, None]:
    """A relay that has not started yet."""

    def make_store(_: object) -> RedisStore:
        return make(server, emulator)

    with running(make_store, upstream(emulator.url), at_once=True) as relay:
        wait_for(relay.listens)
        yield relay


@pytest.fixture
def settings(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A server whose settings are put right again in the end."""
    before = {
        name: redis_server.call("CONFIG GET", name)[name]
        for name in ("maxmemory", "maxmemory-policy", "appendfsync", "appendonly")
    }
    yield redis_server
    for name, value in before.items():
        redis_server.call("CONFIG SET", name, value)


def test_a_policy_that_evicts_is_refused(settings: RedisServer, emulator: Emulator) -> None:
    """Redis would delete accepted events."""
    settings.call("CONFIG SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(RelayError, match=r"allkeys-lru .* noeviction"):
        started(make(settings, emulator))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("appendfsync", "everysec", "appendfsync is everysec, so a crash loses"),
        ("appendonly", "no", "no append-only file"),
    ],
)
def test_the_cost_of_a_crash_is_said(
    settings: RedisServer,
    emulator: Emulator,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: str,
    words: str,
) -> None:
    """At the start, where Redis does not sync each write."""
    settings.call("CONFIG SET", name, value)
    started(make(settings, emulator))
    assert words in caplog.text


def test_a_start_that_waits_does_not_repeat_the_cost_of_a_crash(
    settings: RedisServer, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once Redis can be used: a relay at a read-only replica tries every second."""
    settings.call("CONFIG SET", "appendonly", "no")
    settings.call("REPLICAOF", "127.0.0.1", "9")
    try:
        with pytest.raises(StoreUnreachableError, match="read only replica"):
            started(make(settings, emulator))
    finally:
        settings.call("REPLICAOF", "NO", "ONE")
    assert caplog.records == []


def test_a_safe_redis_needs_no_word(
    redis_server: RedisServer, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is logged."""
    started(make(redis_server, emulator))
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_where_config_is_forbidden_a_warning_says_so(
    redis_server: RedisServer, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A managed Redis may forbid it: the relay starts."""
    redis_server.call("ACL SETUSER", "relay", "on", ">w", "~*", "&*", "+@all", "-config")
    url = f"redis://relay:w@127.0.0.1:{redis_server.port}/0"
    started(RedisStore(url, emulator.client_key, base_url=emulator.url))
    assert "CONFIG is forbidden" in caplog.text
    assert "noeviction" in caplog.text


COMMANDS = [name.lower() for name, *_ in Keys("masivo", 1).commands()]
FIRST = "reset", "on", ">w", "~{masivo}:*", "+info", "+eval", "+evalsha"
RIGHTS = [*FIRST, *(f"+{name}" for name in COMMANDS)]


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        (FIRST, COMMANDS),
        ([*RIGHTS, "-zadd"], ["zadd"]),
        ([*RIGHTS, "resetkeys", "~another:*"], [each for each in COMMANDS if each != "time"]),
    ],
    ids=["none", "one missing", "keys missing"],
)
def test_a_user_without_a_right_is_refused_before_anything_is_written(
    redis_server: RedisServer, emulator: Emulator, rights: Sequence[str], missing: list[str]
) -> None:
    """A script would break off in the middle; the message says what to give."""
    redis_server.call("ACL SETUSER", "relay", *rights)
    url = f"redis://relay:w@127.0.0.1:{redis_server.port}/0"
    named, given = ", ".join(missing).upper(), " ".join(f"+{name}" for name in missing)
    with pytest.raises(RelayError, match=rf"may not call {named} .*{re.escape(f' {given}')}$"):
        started(RedisStore(url, emulator.client_key, base_url=emulator.url))
    assert redis_server.call("KEYS", "*") == []


def test_the_page_lists_these_rights() -> None:
    """As a command that one can copy."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "run-a-relay.md"
    (command,) = re.findall(r"ACL SETUSER (.*?)```", page.read_text("utf-8"), re.DOTALL)
    listed = {word for word in command.split() if word.startswith("+")}
    assert listed - {"+config|get"} == {word for word in RIGHTS if word.startswith("+")}


@pytest.mark.full
def test_these_rights_are_enough(
    redis_server: RedisServer, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """To keep events, deliver them, and keep those that are rejected."""
    redis_server.call("ACL SETUSER", "relay", *RIGHTS)
    url = f"redis://relay:w@127.0.0.1:{redis_server.port}/0"
    emulator.reject = lambda each: "bad" if each["n"] == 7 else None

    async def main() -> None:
        store = RedisStore(
            url, emulator.client_key, base_url=emulator.url, idle_timeout=0.02, ttl=0.6
        )
        await store.start()
        try:
            await store.keep(numbered(range(50), key="k"))
            await drained(store)
            assert (await store.backlog()).rejected == 1
        finally:
            await store.stop(5.0)

    asyncio.run(main())
    assert len(emulator.events) == 49
    assert len([*dead_letters(url, "masivo")]) == 1
    assert all("CONFIG is forbidden" in each for each in caplog.messages)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"partitions": 8}, "has partitions 4, and this relay 8"),
        ({"base_url": "http://127.0.0.1:1/v1"}, "has base_url"),
        ({"api_key": "another-key"}, "--replaced-key"),
    ],
)
def test_a_relay_that_differs_does_not_start(
    redis_server: RedisServer, emulator: Emulator, options: dict[str, Any], words: str
) -> None:
    """It would deliver to another account, or break the order."""
    started(make(redis_server, emulator))
    given: dict[str, Any] = {"api_key": emulator.client_key, "base_url": emulator.url} | options
    with pytest.raises(RelayError, match=words):
        started(RedisStore(redis_server.url, **given))


def test_a_fleet_of_another_name_is_another(redis_server: RedisServer, emulator: Emulator) -> None:
    """It shares nothing."""
    one = started(make(redis_server, emulator))
    other = started(make(redis_server, emulator, name="other", partitions=2))
    assert one != other
    names = [name.decode() for name in redis_server.call("KEYS", "*")]
    assert {name.partition(":")[0] for name in names} == {"{masivo}", "{other}"}


def test_a_replaced_key_is_noted(redis_server: RedisServer, emulator: Emulator) -> None:
    """From then on the others need it."""
    started(make(redis_server, emulator))
    other: dict[str, Any] = {"api_key": "another-key", "base_url": emulator.url}
    started(RedisStore(redis_server.url, replaced_key=True, **other))
    started(RedisStore(redis_server.url, **other))
    with pytest.raises(RelayError, match="another MASIVO_API_KEY"):
        started(make(redis_server, emulator))


def test_the_secret_is_made_once(redis_server: RedisServer, emulator: Emulator) -> None:
    """All relays sign with it, also of those that start together."""

    async def main() -> set[bytes]:
        stores = [make(redis_server, emulator) for _ in range(4)]
        secrets = await asyncio.gather(*(store.start() for store in stores))
        await asyncio.gather(*(store.stop(1.0) for store in stores))
        return {*secrets}

    (secret,) = asyncio.run(main())
    assert len(secret) == 32
    assert started(make(redis_server, emulator)) == secret


def test_a_relay_starts_over_a_full_redis(settings: RedisServer, emulator: Emulator) -> None:
    """It is needed to make room: nothing is to be written first."""
    secret = started(make(settings, emulator))
    settings.call("CONFIG SET", "maxmemory", "1")
    assert started(make(settings, emulator)) == secret


def test_a_new_fleet_needs_memory(settings: RedisServer, emulator: Emulator) -> None:
    """Its settings cannot be written: the error says so, and what to raise."""
    settings.call("CONFIG SET", "maxmemory", "1")
    with pytest.raises(RelayError, match=r"memory.*: a new fleet needs some; raise maxmemory"):
        started(make(settings, emulator))


def test_a_relay_waits_for_its_redis(
    tmp_path: Path, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """It is alive and says why it takes nothing; clients get a 503, and it begins once Redis
    responds."""
    server = RedisServer(tmp_path)
    with starting(server, emulator) as relay:
        wait_for(lambda: b"Redis" in relay.ask("GET", "/health", root=True).body)
        answers = [relay.ask("GET", path, root=True) for path in ("/health", "/ready", "/metrics")]
        assert [each.status for each in answers] == [200, 503, 200]
        assert all(server.url.encode() in each.body for each in answers[:2])
        assert b"masivo_relay_store_up 0.0" in answers[2].body
        assert relay.ask("GET", "/auth/authorize", headers={"x-api-key": KEY}).status == 503
        assert relay.send(batch(event()), token="any").status == 503
        with server:
            wait_for(lambda: relay.ask("GET", "/ready", root=True).status == 200)
            assert relay.send(batch(event())).status == 200
            wait_for(lambda: emulator.events)
    assert [each for each in caplog.messages if "waits for its store" in each]
    assert "the store responds" in caplog.messages


def test_a_relay_that_waits_can_be_stopped(tmp_path: Path, emulator: Emulator) -> None:
    """At once."""
    began = time.monotonic()
    with starting(RedisServer(tmp_path), emulator):
        pass
    assert time.monotonic() - began < 3.0


@pytest.mark.parametrize(
    ("path", "words"), [(":wrong@{}/0", "invalid username-password"), ("{}/99", "out of range")]
)
def test_what_waiting_does_not_put_right_ends_the_start(
    tmp_path: Path, emulator: Emulator, path: str, words: str
) -> None:
    """A wrong password, a database that there is none of; the message names the place."""
    with RedisServer(tmp_path, settings={"requirepass": "r" * (path[0] == ":")}) as server:
        url = "redis://" + path.format(f"127.0.0.1:{server.port}")
        with pytest.raises(RelayError, match=rf"cannot be used: Redis at redis://127.*{words}"):
            started(RedisStore(url, emulator.client_key, base_url=emulator.url))


def test_dead_letters_need_a_redis(tmp_path: Path) -> None:
    """The error names the place, and no password."""
    server = RedisServer(tmp_path)
    with pytest.raises(RelayError, match=r"cannot be read: Redis at redis://127\.0\.0\.1"):
        next(iter(dead_letters(f"redis://:pa55word@127.0.0.1:{server.port}", "masivo")))
    with pytest.raises(RelayError, match="no URL of a Redis"):
        next(iter(dead_letters("pa55word", "masivo")))


def test_many_dead_letters_are_read_in_pieces(redis_server: RedisServer) -> None:
    """All of them, the oldest first."""
    script = """for n = 0, 1199 do
        redis.call('XADD', KEYS[1], '*', 'a', '1', 'r', 'r', 's', '0', 'e', '{"n":' .. n .. '}')
    end"""
    redis_server.call("EVAL", script, 1, "{masivo}:rejected")
    lines = [*dead_letters(redis_server.url, "masivo")]
    assert lines[0] == b'{"rejected":{"reason":"r","status":null,"at":1.0},"event":{"n":0}}'
    assert len(lines) == 1_200
