"""The Redis store keeps batches: each whole, and once under one ``Idempotency-Key``."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import traceback
from contextlib import suppress
from struct import pack
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ResponseError

from masivo.protocol import Secret
from masivo.relay import on_redis
from masivo.relay.connection import MOST, Connections
from masivo.relay.on_redis import ENTRY, RedisStore
from masivo.relay.scripts import Script
from masivo.relay.service import run
from masivo.relay.store import Kept, RelayError, StoreFullError, StoreUnreachableError

from .redis_server import RedisServer
from .stores import batch, drained, event, make, numbered, running, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from masivo.emulator import Emulator


def test_the_same_batch_is_kept_once(redis_server: RedisServer, emulator: Emulator) -> None:
    """Under one key of one account: another body is a conflict, another account's key another's."""

    async def main() -> list[Kept]:
        async with running(redis_server, emulator, idle_timeout=60.0) as store:
            results = [
                await store.keep(batch(event(1), key="k")),
                await store.keep(batch(event(1), key="k")),
                await store.keep(batch(event(2), key="k")),
                await store.keep(batch(event(3), key="k", account=b"another")),
                await store.keep(batch(event(4))),
                await store.keep(batch(event(4))),
            ]
            assert (await store.backlog()).waiting == 4
            return results

    stored, repeated, conflict = Kept.STORED, Kept.REPEATED, Kept.CONFLICT
    assert asyncio.run(main()) == [stored, repeated, conflict, stored, stored, stored]


def test_a_batch_is_remembered_for_three_days(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """And its events' place does not depend on its key."""

    async def main() -> None:
        async with running(redis_server, emulator) as store:
            await store.keep(batch(event(1), key="k"))

    asyncio.run(main())
    (name,) = redis_server.call("KEYS", "{masivo}:batch:*")
    assert 72 * 3600 - 60 < redis_server.call("TTL", name) <= 72 * 3600


def test_scripts_are_sent_to_redis_once(redis_server: RedisServer, emulator: Emulator) -> None:
    """Afterwards their names are sufficient: one call for each batch."""
    redis_server.call("SCRIPT FLUSH")
    redis_server.call("CONFIG RESETSTAT")

    async def main() -> None:
        async with running(redis_server, emulator) as store:
            for number in range(5):
                await store.keep(batch(event(number)))
            await drained(store)

    asyncio.run(main())
    calls = redis_server.call("INFO", "commandstats")
    assert calls["cmdstat_eval"]["calls"] == 5
    assert calls["cmdstat_evalsha"]["failed_calls"] == 5


def test_a_script_has_the_name_that_redis_gives_it(redis_server: RedisServer) -> None:
    """With the check that each script begins with, and its flags before that."""
    script = Script("#!lua flags=no-writes\nreturn wrong(KEYS[1], 'hash')")
    assert redis_server.call("SCRIPT LOAD", script.text) == script.sha
    redis_server.call("SET", "a", "b")
    with pytest.raises(ResponseError, match="WRONGTYPE a is a string, not a hash"):
        redis_server.call("EVALSHA", script.sha, 1, "a")


@pytest.mark.parametrize("key", ["stream:3", "counts"])
def test_a_key_of_somebody_else_s_lets_nothing_be_kept(
    redis_server: RedisServer, emulator: Emulator, key: str
) -> None:
    """A script is not rolled back, so it looks before it writes: no repetition stores a part of the
    batch once more."""
    redis_server.call("SET", f"{{masivo}}:{key}", "somebody's")

    async def main() -> None:
        async with running(redis_server, emulator) as store:
            for batch_key in ("k", "k", None):
                with pytest.raises(StoreUnreachableError, match=f"WRONGTYPE .*{key} is a string"):
                    await store.keep(numbered(range(100), key=batch_key))
            redis_server.call("DEL", f"{{masivo}}:{key}")
            assert await store.keep(numbered(range(100), key="k")) is Kept.STORED
            assert await store.keep(numbered(range(100), key="k")) is Kept.REPEATED
            await drained(store)
            assert sorted(each["n"] for each in emulator.events) == [*range(100)]

    asyncio.run(main())


def test_a_redis_that_becomes_full_takes_a_batch_whole_or_not_at_all(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at its memory before a script begins, and not within."""
    emulator.fail(503, route="authorize", times=None)
    monkeypatch.setattr(on_redis, "FULL", 2.0)  # a relay takes nothing before that
    text = "x" * 20_000

    async def main() -> None:
        async with running(server, emulator, idle_timeout=60.0) as store:
            kept = 0

            async def keep() -> None:
                nonlocal kept
                while True:
                    await store.keep(batch(*(event(n, f"c{n}", t=text) for n in range(50))))
                    kept += 50

            with pytest.raises(StoreFullError, match="no memory left"):
                await keep()
            assert kept > 100
            assert (await store.backlog()).waiting == kept

    settings = {"maxmemory": "8mb", "appendonly": "no"}
    with RedisServer(tmp_path, settings=settings) as server:
        asyncio.run(main())


def test_nothing_is_kept_while_redis_is_nearly_full(
    redis_server: RedisServer, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delivery needs the rest of the memory. The relay is not ready, and says why."""
    monkeypatch.setattr(on_redis, "MEASURE", 0.01)

    async def becomes(store: RedisStore, *, full: bool) -> None:
        await until(lambda: (store._full is not None) == full)

    async def main() -> None:
        used = redis_server.call("INFO", "memory")["used_memory"]
        async with running(redis_server, emulator) as store:
            redis_server.call("CONFIG SET", "maxmemory", round(1.2 * used))
            await becomes(store, full=True)
            with pytest.raises(StoreFullError, match=r"uses \d+ of \d+ bytes"):
                await store.keep(batch(event(1)))
            problem = await store.problem()
            assert problem is not None
            assert "uses" in problem
            redis_server.call("CONFIG SET", "maxmemory", 4 * used)
            await becomes(store, full=False)
            assert await store.keep(batch(event(1))) is Kept.STORED

    try:
        asyncio.run(main())
    finally:
        redis_server.call("CONFIG SET", "maxmemory", 0)


def test_a_forgotten_script_is_loaded_again(redis_server: RedisServer, emulator: Emulator) -> None:
    """As after a restart, or in a replica that has been promoted."""

    async def main() -> None:
        async with running(redis_server, emulator) as store:
            await store.keep(batch(event(1)))
            redis_server.call("SCRIPT", "FLUSH")
            assert await store.keep(batch(event(2))) is Kept.STORED
            await until(lambda: emulator.event_count == 2)

    asyncio.run(main())


def test_a_replica_is_unreachable(
    redis_server: RedisServer, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """READONLY, after a failover: the sender should repeat. Redis responds to a PING, but the relay
    is not ready, and its log says why."""

    async def main() -> None:
        async with running(redis_server, emulator) as store:
            redis_server.call("REPLICAOF", "127.0.0.1", "1")
            try:
                with pytest.raises(StoreUnreachableError):
                    await store.keep(batch(event(1)))
                problem = await store.problem()
                await until(lambda: caplog.messages)
            finally:
                redis_server.call("REPLICAOF", "NO", "ONE")
            assert problem is not None
            assert "read only replica" in problem
            assert await store.keep(batch(event(1))) is Kept.STORED
            assert await store.problem() is None
            await until(lambda: "the store can be used again" in caplog.messages)

    asyncio.run(main())
    assert caplog.messages[0].startswith("the store cannot be used: Redis at ")
    assert "read only replica" in caplog.messages[0]


def test_a_huge_batch_does_not_block_redis(redis_server: RedisServer, emulator: Emulator) -> None:
    """10,000 events of 4 MB: some entries of bounded size, in one short script."""
    events = [event(n, f"c{n % 50}", text="x" * 350) for n in range(10_000)]
    emulator.fail(503, route="authorize", times=None)

    async def main() -> None:
        async with running(redis_server, emulator, idle_timeout=60.0) as store:
            redis_server.call("CONFIG RESETSTAT")
            await store.keep(batch(*events, key="k"))
            assert (await store.backlog()).waiting == 10_000

    asyncio.run(main())
    lengths = [redis_server.call("XLEN", f"{{masivo}}:stream:{n}") for n in range(4)]
    assert 10_000 / ENTRY <= sum(lengths) < 1.5 * 10_000 / ENTRY
    stats = redis_server.call("INFO", "commandstats")
    assert stats["cmdstat_xadd"]["calls"] == sum(lengths)
    assert stats["cmdstat_evalsha"]["usec_per_call"] < 100_000


def test_redis_is_down_and_comes_back(tmp_path: Path, emulator: Emulator) -> None:
    """Killed and started again, on its file: what was kept is known, and delivered once."""

    async def main() -> None:
        async with running(server, emulator, idle_timeout=0.2, ttl=3.0) as store:
            assert await store.keep(numbered(range(20), key="k")) is Kept.STORED
            server.kill()
            with pytest.raises(StoreUnreachableError):
                await store.keep(numbered(range(20), key="k"))
            assert await store.problem() is not None
            server.start()
            assert await store.keep(numbered(range(20), key="k")) is Kept.REPEATED
            assert await store.problem() is None
            await drained(store)

    with RedisServer(tmp_path) as server:
        asyncio.run(main())
    assert sorted(each["n"] for each in emulator.events) == [*range(20)]


@pytest.mark.full
def test_a_hanging_redis_is_unreachable(tmp_path: Path, emulator: Emulator) -> None:
    """Within the time that a sender waits for its response."""

    async def main() -> float:
        async with running(server, emulator, ttl=3.0) as store:
            server.pause(paused=True)
            began = time.monotonic()
            try:
                with pytest.raises(StoreUnreachableError):
                    await store.keep(batch(event(1)))
            finally:
                server.pause(paused=False)
            return time.monotonic() - began

    with RedisServer(tmp_path) as server:
        assert asyncio.run(main()) < 5.0


def test_a_reply_that_comes_late_is_no_other_call_s(tmp_path: Path) -> None:
    """A call waits two seconds for its reply; what comes after that is never read."""

    async def main() -> object:
        connections = Connections(Secret(server.url))
        assert await connections.call("ECHO", "first") == b"first"
        server.pause(paused=True)
        try:
            with pytest.raises(StoreUnreachableError, match="no reply within 2 s"):
                await connections.call("ECHO", "second")
        finally:
            server.pause(paused=False)
        reply = await connections.call("ECHO", "third")
        await connections.aclose()
        return reply

    with RedisServer(tmp_path) as server:
        assert asyncio.run(main()) == b"third"


class _Resets:
    """In place of a Redis: it has nothing to say, and resets its connections when told to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepted: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> Secret:
        """Where it is."""
        return Secret(f"redis://127.0.0.1:{self._listener.getsockname()[1]}")

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                self._accepted.append(accepted)
                thread = threading.Thread(target=self._reply, args=(accepted,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _reply(self, accepted: socket.socket) -> None:
        with accepted, suppress(OSError):
            while data := accepted.recv(65_536):
                reply = b"*-1\r\n" if b"XREAD" in data else b"+OK\r\n"
                accepted.sendall(reply * data.count(b"*"))
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))

    def reset(self) -> None:
        """Reset all connections."""
        while self._accepted:
            with suppress(OSError):  # the client has closed it
                self._accepted.pop().shutdown(socket.SHUT_RD)
        for each in self._threads[1:]:
            each.join(10)

    def close(self) -> None:
        """End it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()


@pytest.mark.parametrize("start", [asyncio.run, run], ids=["asyncio", "uvloop"])
def test_a_connection_that_is_reset_while_idle_is_made_anew(
    start: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    """One call fails, as if Redis were away for a moment; the next succeeds."""
    server = _Resets()

    async def main() -> None:
        connections = Connections(server.url)
        for call in (
            lambda: connections.call("ECHO", "text"),
            lambda: connections.wait_for("stream", "0", 1.0),
        ):
            await call()
            server.reset()
            await asyncio.sleep(0.05)
            with pytest.raises(StoreUnreachableError, match="reset"):
                await call()
            await call()
        await connections.aclose()

    try:
        start(main())
    finally:
        server.close()


def test_calls_wait_for_a_connection(redis_server: RedisServer) -> None:
    """Many at once use no more than there may be; each has its own reply."""

    async def main() -> None:
        connections = Connections(Secret(redis_server.url))
        texts = [b"%d" % n for n in range(4 * MOST)]
        calls = [connections.call("ECHO", text) for text in texts]
        assert await asyncio.gather(*calls) == texts
        listed = await connections.call("CLIENT LIST", "TYPE", "normal")
        assert len(listed) == MOST
        await connections.aclose()

    asyncio.run(main())


@pytest.mark.parametrize(
    "url", ["http://user:pa55word@host:1/0", "redis://u:pa55word@host:port/0", "pa55word"]
)
def test_a_wrong_url_is_shown_without_its_password(url: str, emulator: Emulator) -> None:
    """Nor by the frames of the traceback."""
    with pytest.raises(RelayError) as caught:
        RedisStore(url, emulator.client_key, base_url=emulator.url)
    assert "pa55word" not in _all_of(caught.value)
    assert "redis://HOST" in str(caught.value)


def test_the_password_is_shown_nowhere(tmp_path: Path, emulator: Emulator) -> None:
    """In no repr, and no error of a server that does not take it or does not respond."""
    with RedisServer(tmp_path, settings={"requirepass": "right", "appendonly": "no"}) as server:
        url = f"redis://:pa55word@127.0.0.1:{server.port}/0"
        store = RedisStore(url, emulator.client_key, base_url=emulator.url)
        assert "pa55word" not in repr(store)
        with pytest.raises(RelayError) as caught:
            asyncio.run(store.start())
        assert "pa55word" not in _all_of(caught.value)
        assert emulator.client_key not in _all_of(caught.value)
        assert f"redis://127.0.0.1:{server.port}/0" in str(caught.value)
    with pytest.raises(StoreUnreachableError) as unreachable:
        asyncio.run(store.start())
    assert "pa55word" not in _all_of(unreachable.value)


def test_the_keys_are_shown_nowhere(redis_server: RedisServer, emulator: Emulator) -> None:
    """Neither Redis nor a repr knows the upstream's key."""

    async def main() -> str:
        async with running(redis_server, emulator) as store:
            await store.keep(batch(event(1), key="k"))
            return repr(store) + repr(vars(store))

    assert emulator.client_key not in asyncio.run(main())
    for name in redis_server.call("KEYS", "*"):
        if redis_server.call("TYPE", name) == b"hash":
            values = redis_server.call("HGETALL", name)
            assert emulator.client_key.encode() not in values.values()
    assert make(redis_server, emulator) is not None


def _all_of(error: BaseException) -> str:
    """All that a traceback may show, without the frame of the test."""
    assert error.__traceback__ is not None
    inner = error.with_traceback(error.__traceback__.tb_next)
    lines = traceback.TracebackException.from_exception(inner, capture_locals=True)
    return "".join(lines.format()) + repr(error)


def test_a_redis_without_its_replicas_keeps_nothing(
    redis_server: RedisServer, emulator: Emulator
) -> None:
    """With ``min-replicas-to-write``, which bounds the loss of a failover; it goes on later."""

    async def main() -> None:
        async with running(redis_server, emulator) as store:
            redis_server.call("CONFIG SET", "min-replicas-to-write", 1)
            try:
                with pytest.raises(StoreUnreachableError, match="NOREPLICAS"):
                    await store.keep(batch(event(1), key="k"))
            finally:
                redis_server.call("CONFIG SET", "min-replicas-to-write", 0)
            assert await store.keep(batch(event(1), key="k")) is Kept.STORED
            await drained(store)
            assert len(emulator.events) == 1

    asyncio.run(main())
