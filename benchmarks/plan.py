"""What is measured, of whom, how often, and with how many events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LOOPS", "OURS", "PEERS", "QUEUES", "STORING", "Case", "plan"]

PEERS = ("posthog", "segment", "amplitude", "mixpanel", "rudder", "snowplow")
OURS = ("masivo", "masivo-asyncio", "masivo-trio")
QUEUES = ("persist-queue", "litequeue")
LOOPS = ("httpx loop", "httpx loop, asyncio", "httpx loop, trio")
STORING = ("storing loop", "storing loop, asyncio", "storing loop, trio")

LATENCY = 0.02


@dataclass(frozen=True)
class Case:
    """One measure of one contender."""

    name: str
    """What the results are filed under."""
    contender: str
    measure: str
    """The function, see ``worker.py``."""
    parameters: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    rounds: int = 1

    @property
    def key(self) -> str:
        """What identifies it in an interrupted run: a change of its numbers makes it new."""
        return json.dumps([self.name, self.contender, self.measure, self.parameters, self.options])


def plan(*, quick: bool) -> list[Case]:
    """Every case of a run.

    Args:
        quick: fewer events and fewer rounds, for a look in under two minutes.
    """
    cases: list[Case] = []

    def add(
        name: str,
        contenders: tuple[str, ...],
        measure: str,
        rounds: int,
        options: dict[str, Any] | None = None,
        **parameters: Any,
    ) -> None:
        for contender in contenders:
            cases.append(Case(name, contender, measure, parameters, options or {}, rounds))

    def pick(normal: int, fast: int) -> int:
        return fast if quick else normal

    hold = pick(100_000, 50_000)
    held = {"hold": True, "capacity": hold + 10_000}

    # Every peer, and masivo, delivers every event.
    for each in (*PEERS, *OURS):
        add("verified", (each,), "verify", 1, {"capacity": 3_000}, count=pick(2_000, 500))

    # One call.
    rounds = pick(9, 3)
    count = pick(20_000, 10_000)
    limits = ("walk+encode+append", "encode+append")
    add("call", (*OURS, *limits), "call", rounds, held, count=count)
    add("call", PEERS, "call", pick(5, 1), held, count=pick(5_000, 2_000))
    count = pick(100_000, 40_000)
    add("stall", OURS, "stall", pick(5, 1), {"capacity": count}, count=count)
    count = 100_000
    many = {"hold": True, "capacity": count + 10_000}
    for collect in (False, True):
        on = "on" if collect else "off"
        for keep in (False, True):
            name = f"collector {on}, {'kept' if keep else 'dropped'}"
            rounds = pick(5, 1 if keep else 2)
            add(
                name,
                ("masivo",),
                "collector",
                rounds,
                many,
                count=count,
                collect=collect,
                keep=keep,
            )
        if not quick:
            name = f"collector {on}, dropped"
            add(name, PEERS, "collector", 2, many, count=40_000, collect=collect, keep=False)

    # Deliveries.
    rounds = pick(7, 3)
    count = pick(60_000, 20_000)
    ahead = {"capacity": count}
    loops = (*LOOPS, "httpx2 loop", "h11 loop", "socket loop")
    add("end to end", (*OURS, *loops), "end_to_end", rounds, ahead, count=count)
    count = pick(count, 3_000)
    add("end to end", PEERS, "end_to_end", pick(3, 1), {"capacity": count}, count=count)
    rounds = pick(5, 1)
    count = pick(40_000, 16_000)
    slow = {"latency": LATENCY}
    one = {"capacity": count}
    add("latency, 1", ("masivo", "httpx loop"), "end_to_end", rounds, one, count=count // 4, **slow)
    for skewed in (False, True):
        name = "latency, 8" + (", skewed" if skewed else "")
        several = {"capacity": count, "in_flight": 8}
        who = ("masivo",) if quick and skewed else OURS
        add(name, who, "end_to_end", rounds, several, count=count, skewed=skewed, **slow)
    several = {"capacity": count, "in_flight": 16}
    add("latency, 16", ("httpx loop",), "end_to_end", rounds, several, count=count, **slow)
    if not quick:
        add("latency, peers", PEERS, "end_to_end", 2, {"capacity": 4_000}, count=4_000, **slow)
    for waiting in (2_000, 200_000):
        name = f"choose, {waiting} waiting"
        add(name, ("core",), "choose", pick(5, 2), waiting=waiting, batches=pick(300, 100))
    add("burst", ("masivo",), "burst", 1, count=20_000, latency=LATENCY)
    if not quick:
        add("burst", (*OURS[1:], *PEERS), "burst", 1, count=20_000, latency=LATENCY)

    # Footprint.
    for keep in (False, True):
        name = f"memory, {'kept' if keep else 'dropped'}"
        add(name, OURS[: pick(3, 1)], "memory", pick(3, 1), held, count=hold, keep=keep)
    add("memory, dropped", ("encode+append",), "memory", pick(3, 1), held, count=hold, keep=False)
    count = pick(20_000, 10_000)
    add("memory, dropped", PEERS, "memory", pick(3, 1), held, count=count, keep=False)
    count = pick(1_000_000, 200_000)
    queue = {"hold": True, "capacity": count + 1_000}
    add("long queue", ("masivo",), "long_queue", pick(3, 1), queue, count=count, deliver=not quick)
    add("imports", ("python",), "imports", pick(3, 1), times=pick(8, 4))
    add("idle", OURS, "idle", pick(2, 1), seconds=pick(5, 2))
    if not quick:
        add("idle", PEERS, "idle", 1, seconds=5)
    count = pick(1_000, 200)
    for one_key in (True, False):
        name = f"{count} clients of one key" if one_key else f"{count} keys"
        who = OURS[:1] if quick else OURS
        add(name, who, "many", 1, count=count, one_key=one_key)

    # The spool.
    rounds = pick(9, 3)
    count = pick(20_000, 10_000)
    add("store", ("spool", "os.write", "sqlite INSERT"), "store", rounds, count=count)
    add("store", QUEUES, "store", rounds, count=pick(2_000, 500))
    add("removing", ("spool",), "removing", pick(5, 2), count=pick(50_000, 20_000))
    add("backlog", ("spool",), "backlog", 1, count=pick(5_000_000, 500_000))
    left = pick(5_000_000, 500_000)
    add("adopted", ("masivo",), "adopted", 1, count=left, deliver=left // 50)
    on_disk = {"spool": True}
    add("call, spool", OURS[: pick(3, 1)], "call", rounds, {**held, **on_disk}, count=count)
    count = pick(100_000, 40_000)
    one = {"capacity": count, **on_disk}
    add("stall, spool", OURS[: pick(3, 1)], "stall", pick(5, 1), one, count=count)
    count = pick(60_000, 20_000)
    one = {"capacity": count, **on_disk}
    stored = (*OURS[: pick(3, 1)], *STORING[: pick(3, 1)])
    add("end to end, spool", stored, "end_to_end", pick(7, 2), one, count=count)

    # The relay.
    rounds = pick(5, 1)
    count = pick(100_000, 20_000)
    ways = ("relay, Redis", "relay, storing nothing", "redis-py loop")
    add("intake", ways, "intake", rounds, count=count, connections=8)
    add("intake, alone", ways[:2], "intake", rounds, count=count // 5, connections=1)
    add("drained", ("relay, Redis",), "drained", rounds, count=count)
    several = {"capacity": count, "in_flight": 8}
    add("drained", ("masivo-asyncio",), "end_to_end", rounds, several, count=count)
    add("through", ("relay, spool",), "through", rounds, count=count)
    add("through", ("masivo-asyncio",), "end_to_end", rounds, {**several, **on_disk}, count=count)
    return cases
