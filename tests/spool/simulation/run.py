"""Runs seeds; one that fails says how to replay it."""

from __future__ import annotations

import gc
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .history import Violation
from .plan import make_plan
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .plan import Plan

__all__ = ["Found", "Totals", "report", "run", "run_seeds"]


@dataclass(frozen=True, slots=True)
class Found:
    """A defect that a plan found."""

    rule: str
    detail: str


@dataclass(slots=True)
class Totals:
    """What many seeds came to."""

    seeds: int = 0
    processes: int = 0
    crashes: int = 0
    events: int = 0
    requests: int = 0
    doubles: int = 0
    """Events that counted twice with a server that does not heed the ``Idempotency-Key``."""
    keyed: int = 0
    """Events that counted twice with one that does."""
    seconds: float = 0.0
    """Virtual ones."""

    def add(self, world: World) -> None:
        """Count a simulation."""
        self.seeds += 1
        self.processes += len(world.processes)
        self.crashes += world.history.crashes
        self.events += len(world.history.events)
        self.requests += world.server.requests
        self.doubles += world.history.doubles
        self.keyed += world.history.keyed_doubles
        self.seconds += world.now

    def __str__(self) -> str:
        return (
            f"{self.seeds} seeds, {self.processes} processes, {self.crashes} killed, "
            f"{self.events} events, {self.requests} requests, {self.doubles} doubles "
            f"({self.keyed} under another key), {self.seconds / 86_400:.0f} virtual days"
        )


def run(
    plan: Plan,
    totals: Totals | None = None,
    note: Callable[[float, str], None] | None = None,
) -> Found | None:
    """Run a plan; what it found, if anything."""
    world = World(plan, note)
    found: Found | None = None
    try:
        world.run()
    except Violation as violation:
        found = Found(violation.rule, f"t={world.now:.3f}: {violation}")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        found = Found(
            type(error).__name__,
            f"t={world.now:.3f}: {error!r} ({where.filename}:{where.lineno})",
        )
    if totals is not None:
        totals.add(world)
    return found


def run_seeds(seeds: Iterable[int], totals: Totals) -> tuple[int, Found] | None:
    """Run seeds until one finds something: that seed, and what it found."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for seed in seeds:
            found = run(make_plan(seed), totals)
            if found is not None:
                return seed, found
            if totals.seeds % 50 == 0:
                gc.collect()
    finally:
        if was_enabled:
            gc.enable()
    return None


def shrink(plan: Plan, found: Found, limit: float = 20.0) -> list[int]:
    """The numbers of few steps that still break the same rule.

    Args:
        plan: the plan.
        found: what it found.
        limit: seconds that it may take.
    """
    until = time.monotonic() + limit
    steps = list(range(len(plan.steps)))
    size = len(steps)
    while size:
        start = 0
        while start < len(steps) and time.monotonic() < until:
            fewer = steps[:start] + steps[start + size :]
            again = run(plan.only(fewer))
            if again is not None and again.rule == found.rule:
                steps = fewer
            else:
                start += size
        size //= 2
    return steps


def report(seed: int, found: Found) -> str:
    """What a failing seed found, and how to see it happen."""
    steps = ",".join(map(str, shrink(make_plan(seed), found)))
    command = f"cd tests; python -m spool.simulation {seed} --trace"
    return (
        f"seed {seed} broke a promise: {found.detail}\n"
        f"  the whole of it: {command}\n"
        f"  the heart of it: {command} --steps {steps}"
    )
