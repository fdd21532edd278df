"""Measures of delivery: events per second, CPU time, latency, order, bursts, batches."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

from .contender import BATCH, Contender
from .events import CUSTOMERS, events, in_order, make

if TYPE_CHECKING:
    from .sink import SinkControl

__all__ = ["burst", "choose", "end_to_end", "verify"]


async def end_to_end(
    contender: Contender, count: int, *, latency: float = 0.0, skewed: bool = False
) -> dict[str, float]:
    """Events per second, and CPU seconds per 100,000 events, from first call to last arrival.

    Args:
        contender: opened with room for ``count``.
        count: how many events.
        latency: how long the sink takes to answer, in seconds.
        skewed: whether every fifth event is of one customer.
    """
    sink = contender.options.sink
    await contender.deliver(events(2 * BATCH))  # connections are open, tokens fetched
    await _arrival(contender, sink, 2 * BATCH, patience=5.0)
    batch = events(count, skewed=skewed)
    gc.collect()
    gc.freeze()
    sink.set(latency=latency, collect=latency > 0)
    cpu, start = time.process_time(), time.monotonic()
    await contender.deliver(batch)
    arrived = await _arrival(contender, sink, count, patience=5.0)
    cpu = time.process_time() - cpu
    counts = sink.read()
    elapsed = counts["last"] - start
    result = {
        "rate": arrived / elapsed,
        "cpu": cpu * 100_000 / count,
        "missing": float(count - arrived),
        "requests": float(counts["requests"]),
        "busy": counts["cpu"] / elapsed,
    }
    if latency:
        numbers = sink.numbers()
        result["unordered"] = float(not in_order(numbers, skewed=skewed))
        result["twice"] = float(len(numbers) - len(set(numbers)))
        sink.set()
    return result


async def _arrival(contender: Contender, sink: SinkControl, count: int, patience: float) -> int:
    """Wait until so many events arrived, or no more do; how many did."""
    arrived, since = -1, time.monotonic()
    while True:
        now: int = sink.read()["events"]
        if now >= count:
            return now
        if now != arrived:
            arrived, since = now, time.monotonic()
        elif time.monotonic() - since > patience:
            return now
        await contender.sleep(0.02)


async def verify(contender: Contender, count: int) -> dict[str, float]:
    """Whether every event arrives, once.

    Args:
        contender: opened with room for ``count``.
        count: how many events.
    """
    sink = contender.options.sink
    sink.set(collect=True)
    await contender.deliver(events(count))
    await _arrival(contender, sink, count, patience=5.0)
    numbers = sink.numbers()
    return {
        "missing": float(count - len(set(numbers))),
        "twice": float(len(numbers) - len(set(numbers))),
    }


async def burst(contender: Contender, count: int, *, latency: float) -> dict[str, float]:
    """How many of a burst are lost, with default settings.

    Args:
        contender: opened with its defaults.
        count: how many events.
        latency: how long the sink takes to answer, in seconds.
    """
    sink = contender.options.sink
    sink.set(latency=latency)
    start = time.monotonic()
    for number in range(count):
        contender.send(make(number))
    sent = time.monotonic() - start
    await contender.finish()
    arrived = await _arrival(contender, sink, count, patience=12.0)
    sink.set()
    return {"lost": float(count - arrived), "caller": sent}


def choose(waiting: int, batches: int) -> dict[str, float]:
    """What it costs the core to choose and end a batch, in seconds of CPU time.

    Args:
        waiting: how many events wait meanwhile, of many customers.
        batches: how many batches are measured.
    """
    import random

    from masivo.protocol import Engine, Response, Secret, configure

    settings = configure(
        Secret("benchmark-key"),
        environ={},
        base_url="http://127.0.0.1",
        max_in_flight=8,
        max_queue=waiting + 10_000,
        max_queue_bytes=(waiting + 10_000) * 700,
    )
    engine = Engine(
        settings.account,
        clock=lambda: 0.0,
        wall_clock=lambda: 1e9,
        random=random.Random(7),
        wake=lambda: None,
    )
    buffer = engine.attach(settings)
    event = make(0)
    customers = max(CUSTOMERS, waiting // 5)
    number = 0

    def more(count: int) -> None:
        nonlocal number
        for _ in range(count):
            event["customer_id"] = f"customer-{number % customers:06d}"
            buffer.send(event)
            number += 1

    more(waiting)
    (authorization,) = engine.poll().requests
    engine.hand_back(authorization.id, Response(200, {}, b'{"data":"a-token"}'))
    requests = engine.poll().requests
    spent = 0.0
    gc.disable()
    for _ in range(batches):
        more(BATCH)
        requests += engine.poll().requests  # takes them in: not what is measured
        start = time.process_time()
        engine.hand_back(requests.pop(0).id, Response(200, {}, b"{}"))
        requests += engine.poll().requests
        spent += time.process_time() - start
    gc.enable()
    return {"batch": spent / batches}
