"""One way to put events through clients, in each of the three worlds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from masivo import AsyncClient, Client, TrioClient

if TYPE_CHECKING:
    from masivo import AsyncDelivery, Delivery, FlushResult, Stats

__all__ = ["WORLDS", "Job", "Result", "World"]

Event: TypeAlias = Mapping[str, object]
AnyDelivery: TypeAlias = "Delivery | AsyncDelivery"
Load: TypeAlias = "tuple[dict[str, Any], Sequence[Event]]"

DRAIN_EVERY = 500
"""After so many events a producer waits for room."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done: clients that send side by side."""

    loads: Sequence[Load]
    """The settings of each client, and what it sends."""
    limit: float
    """Seconds for all of it."""
    calm: Callable[[], None] = lambda: None
    """Called when every event has its outcome; then each client sends its last event once more."""


@dataclass(slots=True)
class Result:
    """How the events of one client ended."""

    deliveries: list[AnyDelivery] = field(default_factory=list["Delivery | AsyncDelivery"])
    flushed: FlushResult | None = None
    """The first flush, of the storm."""
    after: FlushResult | None = None
    """The second one, of the calm."""
    stats: Stats | None = None
    """When all was over."""


World: TypeAlias = Callable[[Job], list[Result]]


def threads(job: Job) -> list[Result]:
    """Run a job with clients for threads."""
    results = [Result() for _ in job.loads]
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(**settings)) for settings, _ in job.loads]
        pairs = list(zip(clients, job.loads, results, strict=True))
        for client, (_, events), result in pairs:
            for number, event in enumerate(events):
                if number % DRAIN_EVERY == 0:
                    client.drain(job.limit)
                result.deliveries.append(client.send_analytics_event(event))
        for client, _, result in pairs:
            result.flushed = client.flush(job.limit)
        job.calm()
        for client, (_, events), result in pairs:
            client.send_analytics_event(events[-1])
            result.after = client.flush(job.limit)
    for client, _, result in pairs:
        result.stats = client.stats()
    return results


async def in_loop(make: Callable[..., AsyncClient | TrioClient], job: Job) -> list[Result]:
    """Run a job with clients for an event loop."""
    results = [Result() for _ in job.loads]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(make(**settings)) for settings, _ in job.loads]
        pairs = list(zip(clients, job.loads, results, strict=True))
        for client, (_, events), result in pairs:
            for number, event in enumerate(events):
                if number % DRAIN_EVERY == 0:
                    await client.drain(job.limit)
                result.deliveries.append(client.send_analytics_event(event))
        for client, _, result in pairs:
            result.flushed = await client.flush(job.limit)
        job.calm()
        for client, (_, events), result in pairs:
            client.send_analytics_event(events[-1])
            result.after = await client.flush(job.limit)
    for client, _, result in pairs:
        result.stats = client.stats()
    return results


def run_asyncio(main: Callable[[], Coroutine[Any, Any, list[Result]]]) -> list[Result]:
    """Run a function in asyncio; what it leaves behind unhandled is an error of the test."""
    unhandled: list[dict[str, Any]] = []

    async def watched() -> list[Result]:
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: unhandled.append(context)
        )
        return await main()

    results = asyncio.run(watched())
    assert not unhandled
    return results


WORLDS: dict[str, World] = {
    "threads": threads,
    "asyncio": lambda job: run_asyncio(partial(in_loop, AsyncClient, job)),
    "trio": lambda job: trio.run(partial(in_loop, TrioClient, job)),
}
