"""Measures of the spool: of its store alone, beside what one would pick for it, and of a backlog.

Each is a function that gives numbers by name. All ways store the same bytes, those of an event as a
client encodes it. Files are in the system's folder for temporary files (``TMPDIR``): where that is
in memory, the figures are not those of a disk.
"""

from __future__ import annotations

import gc
import os
import resource
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .calls import nothing, timed
from .events import events, make

if TYPE_CHECKING:
    from .contender import Contender

__all__ = ["WAYS", "adopted", "backlog", "removing", "store"]

_NS = 1e-9
_AT: Final = 1.7e9
_KEY: Final = "benchmark-key"
_URL: Final = "http://127.0.0.1"
_EVERYTHING: Final = 1 << 40
_BATCH: Final = 100
_WINDOW: Final = 1_048_576

Put: TypeAlias = Callable[[Any], object]


def _bodies(count: int) -> list[bytes]:
    import msgspec

    return list(map(msgspec.json.Encoder().encode, events(count)))


# ── One event ────────────────────────────────────────────────────────────────────────────────


def _spool(folder: str, bodies: list[bytes]) -> tuple[Put, list[Any]]:
    """The spool's store."""
    from masivo.spool import Spool

    append = Spool(folder, _KEY, _URL, _EVERYTHING).append

    def put(body: bytes) -> None:
        append(body, _AT, True)

    return put, bodies


def _write(folder: str, bodies: list[bytes]) -> tuple[Put, list[Any]]:
    """A bare write of the bytes that the spool writes."""
    from masivo.spool.records import CERTAIN, encode

    fd = os.open(f"{folder}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    write = os.write

    def put(record: bytes) -> None:
        write(fd, record)

    return put, [encode(CERTAIN, 1, _AT, body) for body in bodies]


def _insert(folder: str, bodies: list[bytes]) -> tuple[Put, list[Any]]:
    """A bare INSERT into SQLite, as fast as it goes with a file that a crash does not break."""
    connection = sqlite3.connect(f"{folder}/db", isolation_level=None)
    for statement in (
        "PRAGMA locking_mode=EXCLUSIVE",
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=NORMAL",
        "CREATE TABLE events (id INTEGER PRIMARY KEY, body BLOB)",
    ):
        connection.execute(statement)
    execute = connection.execute

    def put(body: bytes) -> None:
        execute("INSERT INTO events (body) VALUES (?)", (body,))

    return put, bodies


def _persist_queue(folder: str, bodies: list[bytes]) -> tuple[Put, list[Any]]:
    """The queue of persist-queue that has acknowledgements."""
    from importlib import import_module

    queue: Any = import_module("persistqueue").SQLiteAckQueue(folder, auto_commit=True)
    return queue.put, bodies


def _litequeue(folder: str, bodies: list[bytes]) -> tuple[Put, list[Any]]:
    """The queue of litequeue, which takes text."""
    from importlib import import_module

    queue: Any = import_module("litequeue").LiteQueue(f"{folder}/db")
    return queue.put, [body.decode() for body in bodies]


WAYS: Final[dict[str, Callable[[str, list[bytes]], tuple[Put, list[Any]]]]] = {
    "spool": _spool,
    "os.write": _write,
    "sqlite INSERT": _insert,
    "persist-queue": _persist_queue,
    "litequeue": _litequeue,
}
"""By name: makes a function that stores an event, and the events in the form that it takes."""


def store(way: str, count: int) -> dict[str, float]:
    """What it costs to store one event, in seconds.

    Args:
        way: one of ``WAYS``.
        count: how many events.
    """
    with TemporaryDirectory(prefix="masivo-bench-") as folder:
        put, pool = WAYS[way](folder, _bodies(1_000))
        timed(put, islice(cycle(pool), 1_000))  # warm
        empty = sorted(timed(nothing, islice(cycle(pool), 5_000)))
        overhead = empty[len(empty) // 2]
        gc.collect()
        times = sorted(timed(put, islice(cycle(pool), count)))
    return {
        "median": (times[count // 2] - overhead) * _NS,
        "p99": (times[count * 99 // 100] - overhead) * _NS,
        "p999": (times[count * 999 // 1000] - overhead) * _NS,
        "longest": times[-1] * _NS,
    }


def removing(count: int) -> dict[str, float]:
    """What it costs to append while a thread notes and removes every batch, in seconds;
    ``machine`` is the longest of calls that do nothing, which is what the machine adds.

    Args:
        count: how many events.
    """
    from queue import SimpleQueue

    from masivo.protocol import Note
    from masivo.spool import Spool

    pool = _bodies(1_000)
    batches: SimpleQueue[list[int]] = SimpleQueue()
    with TemporaryDirectory(prefix="masivo-bench-") as folder:
        spool = Spool(folder, _KEY, _URL, _EVERYTHING)
        positions: list[int] = []

        def put(body: bytes) -> None:
            positions.append(spool.append(body, _AT, True))

        def poll() -> None:
            while batch := batches.get():
                own = spool.own
                assert own is not None
                own.note(Note(batch, f"{batch[0]:032x}", b""))
                own.remove(batch)
                if spool.due:
                    spool.tend()

        thread = threading.Thread(target=poll)
        thread.start()
        gc.collect()
        times: list[int] = []
        for _ in range(0, count, _BATCH):
            times += timed(put, islice(cycle(pool), _BATCH))
            batches.put(positions[-_BATCH:])
            del positions[:]
            time.sleep(0.001)  # as a batch takes longer to be sent than to be made
        batches.put([])
        thread.join()
        spool.release()
    times.sort()
    return {
        "p99": times[count * 99 // 100] * _NS,
        "p999": times[count * 999 // 1000] * _NS,
        "longest": times[-1] * _NS,
        "machine": max(timed(nothing, islice(cycle(pool), 20 * count))) * _NS,
    }


# ── A backlog ────────────────────────────────────────────────────────────────────────────────

_LEAVE = """
import sys
from benchmarks.storing import leave
leave(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
"""


def leave(folder: str, count: int, key: str, url: str) -> None:
    """Have events lie in a folder that nobody holds."""
    from masivo.spool import Spool

    spool = Spool(folder, key, url, _EVERYTHING)
    put, pool, now = spool.append, _bodies(1_000), time.time()
    for number, body in enumerate(islice(cycle(pool), count)):
        put(body, now, True)
        if not number % 1_000 and spool.due:
            spool.tend()
    spool.release()


def backlog(count: int) -> dict[str, float]:
    """Reading what another process has left: seconds until there is a first batch, events a
    second, bytes of memory for it, and bytes that are on disk when all is removed.

    Args:
        count: how many events were left.
    """
    from masivo.spool import Spool

    with TemporaryDirectory(prefix="masivo-bench-") as folder:
        _leave_elsewhere(folder, count, _KEY, _URL)
        before = _peak()
        begun = time.perf_counter()
        (log,) = Spool(folder, _KEY, _URL, _EVERYTHING).adopt()
        log.noted()
        first = 0.0
        read, after, end = 0, None, False
        while not end:
            window = log.read(after, _BATCH * 10, _WINDOW)
            first = first or time.perf_counter() - begun
            log.remove([event.position for event in window.events])
            read += len(window.events)
            after, end = window.after, window.end
        seconds = time.perf_counter() - begun
        left = sum(path.stat().st_size for path in Path(folder).iterdir())
        return {
            "events": float(count),
            "first": first,
            "rate": read / seconds,
            "memory": float(_peak() - before),
            "left": float(left),
            "missing": float(count - read),
        }


async def adopted(contender: Contender, count: int, deliver: int) -> dict[str, float]:
    """A client that finds what another process has left: seconds until its first batch has
    arrived, events a second, and bytes of memory beyond those of one that finds nothing.

    Args:
        contender: not opened; its options say where to.
        count: how many events were left.
        deliver: how many of them are waited for.
    """
    from masivo import Client

    sink, key = contender.options.sink, contender.options.key
    sink.set()
    with TemporaryDirectory(prefix="masivo-bench-") as folder:
        _leave_elsewhere(f"{folder}/left", count, key, sink.url)
        with Client(key, base_url=sink.url, spool=f"{folder}/empty") as client:
            client.send_analytics_event(make(0))
            client.flush()
        sink.set()
        before, begun = _peak(), time.perf_counter()
        client = Client(key, base_url=sink.url, spool=f"{folder}/left", spool_max_bytes=_EVERYTHING)
        client.get_token()
        first = 0.0
        while (arrived := sink.read()["events"]) < deliver:
            if arrived and not first:
                first = time.perf_counter() - begun
            await contender.sleep(0.002)
        seconds = time.perf_counter() - begun
        client.destroy()
        return {"first": first, "rate": arrived / seconds, "memory": float(_peak() - before)}


def _leave_elsewhere(folder: str, count: int, key: str, url: str) -> None:
    os.makedirs(folder, 0o700, exist_ok=True)  # noqa: PTH103
    command = [sys.executable, "-c", _LEAVE, folder, str(count), key, url]
    subprocess.run(command, check=True)


def _peak() -> int:
    """The most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
