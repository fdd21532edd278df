"""What a seed means: the settings of clients, and the steps of the simulation."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Options", "Plan", "Step", "make_plan"]

_STEPS: Final = {
    "start": 8,
    "send": 30,
    "burst": 4,
    "flush": 5,
    "drain": 1,
    "close": 5,
    "destroy": 1,
    "kill": 4,
    "kill at an operation": 6,
    "fork": 3,
    "power failure": 1,
    "disk": 3,
    "outage": 4,
    "heal": 4,
    "key": 1,
    "night": 1,
    "clock": 1,
}
"""The steps, with how often they come."""
_GAPS: Final = (0.0, 0.0, 0.01, 0.05, 0.3, 2.0, 20.0, 300.0)


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of one client."""

    batch_size: int
    max_in_flight: int
    max_queue: int
    max_queue_bytes: int
    max_retries: int
    idle_timeout: float
    refresh_interval: float | None
    isolate_rejected: bool
    spool_max_bytes: int
    segment: int
    """Bytes after which a segment of a log is closed."""
    threads: float
    """How likely other threads do something in an operation on the disk."""
    window: int
    """The events that are read together, at most."""

    def client(self) -> dict[str, Any]:
        """Those that ``configure`` takes."""
        return {
            "batch_size": self.batch_size,
            "max_in_flight": self.max_in_flight,
            "max_queue": self.max_queue,
            "max_queue_bytes": self.max_queue_bytes,
            "max_retries": self.max_retries,
            "idle_timeout": self.idle_timeout,
            "max_wait": self.idle_timeout * 2.0,
            "refresh_interval": self.refresh_interval,
            "isolate_rejected": self.isolate_rejected,
            "spool_max_bytes": self.spool_max_bytes,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One step."""

    gap: float
    """The time before it, in seconds."""
    kind: str
    draws: tuple[float, float, float]
    """Random numbers that say how, between 0 and 1."""

    def pick(self, among: Sequence[Any], draw: int = 0) -> Any:
        """One of several."""
        return among[int(self.draws[draw] * len(among))]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that happens in a simulation, but the world's own draws, which come from the seed too."""

    seed: int
    window: int
    """The events that are read together, at least (``backlog.WINDOW``)."""
    customers: int
    faults: float
    """How often a single request fails."""
    odd: float
    """How many events are not as they should be."""
    wall_ahead: float
    """How far the wall clock is ahead of the true time, until a step sets it."""
    server_ahead: float
    slow_disk: bool
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return f"{self.window=} {self.customers=} {self.faults=} {self.odd=}"

    @property
    def parts(self) -> dict[str, Sequence[int]]:
        """See the frame: the steps."""
        return {"steps": range(len(self.steps))}

    def only(self, parts: Mapping[str, Sequence[int]]) -> Plan:
        """The plan with these steps alone."""
        return replace(self, steps=tuple(self.steps[number] for number in parts["steps"]))

    def options(self, source: random.Random) -> Options:
        """Settings of a client."""
        pick = source.choice
        batch_size, in_flight = pick((1, 2, 3, 5, 10)), pick((1, 1, 2, 3, 4))
        return Options(
            batch_size=batch_size,
            max_in_flight=in_flight,
            max_queue=pick((1, 3, 10, 25, 100)),
            max_queue_bytes=pick((1 << 26, 1 << 26, 1 << 26, 6_000, 1_500)),
            max_retries=pick((0, 1, 2, 4)),
            idle_timeout=pick((0.5, 5.0, 30.0)),
            refresh_interval=pick((None, 300.0)),
            isolate_rejected=source.random() < 0.9,
            spool_max_bytes=pick((1 << 30, 1 << 30, 1 << 30, 60_000, 12_000)),
            segment=pick((1, 300, 1_000, 4_000, 1 << 22)),
            threads=pick((0.0, 0.0, 0.02, 0.2)),
            window=max(self.window, 2 * batch_size * in_flight),
        )


def make_plan(seed: int) -> Plan:
    """The plan of a seed."""
    source = random.Random(seed)
    pick = source.choice
    kinds, weights = list(_STEPS), [*_STEPS.values()]
    for number in range(len(weights)):  # each seed has its own taste
        weights[number] *= pick((0, 1, 1, 1, 3)) if kinds[number] not in ("start", "send") else 1
    steps = [Step(0.0, "start", (source.random(), 0.0, 0.0))]
    for _ in range(source.randint(3, 60)):
        (kind,) = source.choices(kinds, weights)
        gap = pick(_GAPS) * source.random()
        steps.append(Step(gap, kind, (source.random(), source.random(), source.random())))
    return Plan(
        seed,
        window=pick((1, 4, 10, 1_000)),
        customers=pick((1, 2, 5, 20)),
        faults=pick((0.0, 0.0, 0.05, 0.3)),
        odd=pick((0.0, 0.0, 0.05, 0.3)),
        wall_ahead=pick((0.0, 0.0, -30.0, 50.0)),
        server_ahead=pick((0.0, 0.7, -20.0)),
        slow_disk=source.random() < 0.1,
        steps=tuple(steps),
    )
