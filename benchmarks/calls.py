"""Measures of one call: what it costs, how long it can take, what the garbage collector adds.

Each measure is a coroutine over a contender that gives numbers by name (see ``measures.py``).
"""

from __future__ import annotations

import gc
import time
from array import array
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from .events import events, make

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .contender import Contender
    from .events import Event

__all__ = ["call", "collector", "long_queue", "nothing", "stall", "timed"]

_NS = 1e-9


async def call(contender: Contender, count: int) -> dict[str, float]:
    """What a call costs while nothing else happens, in seconds.

    Args:
        contender: opened with ``hold``.
        count: how many calls.
    """
    pool = events(1_000)
    timed(contender.send, islice(cycle(pool), 1_000))  # warm
    empty = sorted(timed(nothing, islice(cycle(pool), 5_000)))
    overhead = empty[len(empty) // 2]
    gc.collect()
    times = sorted(timed(contender.send, islice(cycle(pool), count)))
    return {
        "median": (times[count // 2] - overhead) * _NS,
        "p99": (times[count * 99 // 100] - overhead) * _NS,
        "longest": times[-1] * _NS,
    }


def nothing(_event: object) -> None:
    """What the taking of time itself costs."""


def timed(send: Callable[[Any], object], batch: Any) -> list[int]:
    """The nanoseconds of each call, the taking of time included."""
    clock = time.perf_counter_ns
    events = list(batch)
    # Not a list: an int that is kept for each call costs a page of memory now and then.
    times = array("q", [0]) * len(events)
    for number, event in enumerate(events):
        start = clock()
        send(event)
        times[number] = clock() - start
    return times.tolist()


async def stall(contender: Contender, count: int) -> dict[str, float]:
    """The longest call while batches are being sent, in seconds; ``machine`` is the longest of
    calls that do nothing, which is what the machine adds.

    Args:
        contender: opened with room for ``count``.
        count: how many calls.
    """
    gc.collect()
    times: list[int] = []
    for start in range(0, count, 100):
        # Made beforehand: this is about the driver; the collector has a measure of its own.
        times += timed(contender.send, [make(number) for number in range(start, start + 100)])
        await contender.pause()
    times.sort()
    await contender.finish()
    return {
        "longest": times[-1] * _NS,
        "p999": times[count * 999 // 1000] * _NS,
        "machine": max(timed(nothing, islice(cycle(events(100)), 20 * count))) * _NS,
    }


async def collector(
    contender: Contender, count: int, *, collect: bool, keep: bool
) -> dict[str, float]:
    """The longest call, its event made in it, while ``count`` come to wait, in seconds of the
    calling thread's CPU time: what the collector takes, it takes there.

    Args:
        contender: opened with ``hold``.
        count: how many calls.
        collect: whether the garbage collector is on.
        keep: whether the caller keeps what the calls return.
    """
    kept: list[object] = []
    pauses: list[float] = [0.0]
    begun = 0.0

    def watch(phase: str, info: dict[str, int]) -> None:
        nonlocal begun
        if phase == "start":
            begun = time.thread_time()
        else:
            pauses.append(time.thread_time() - begun)

    gc.collect()
    gc.callbacks.append(watch)
    if not collect:
        gc.disable()
    longest = _longest(contender.send, count, kept if keep else None)
    gc.enable()
    gc.callbacks.remove(watch)
    return {"longest": longest, "pause": max(pauses), "pauses": sum(pauses)}


def _longest(send: Callable[[Event], object], count: int, kept: list[object] | None) -> float:
    clock = time.thread_time
    longest = 0.0
    for number in range(count):
        start = clock()
        delivery = send(make(number))
        if kept is not None:
            kept.append(delivery)
        del delivery
        longest = max(longest, clock() - start)
    return longest


async def long_queue(contender: Contender, count: int, *, deliver: bool) -> dict[str, float]:
    """What a call costs behind a short queue and behind a long one, in seconds of CPU time.

    Args:
        contender: opened with ``hold``.
        count: the length of the queue at the end.
        deliver: whether they are then let go, and counted.
    """
    pool = events(1_000)
    gc.collect()
    _chunk(contender.send, pool)
    short = [_chunk(contender.send, pool) for _ in range(9)]
    for _ in range(count // 1_000 - 20):
        _chunk(contender.send, pool)
    long = [_chunk(contender.send, pool) for _ in range(10)]
    result = {"short": min(short), "long": min(long)}
    if deliver:
        sink = contender.options.sink
        sink.set(hold=False, reset=False)
        await contender.finish()
        result["missing"] = count + 100 - sink.read()["events"]
    return result


def _chunk(send: Callable[[Event], object], pool: Sequence[Event]) -> float:
    start = time.thread_time()
    for event in pool:
        send(event)
    return (time.thread_time() - start) / len(pool)
