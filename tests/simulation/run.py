"""Runs seeds; shrinks the plan of one that fails, and says how to replay it."""

from __future__ import annotations

import gc
import time
import traceback
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .callers import Interruption
from .expect import Violation
from .plan import make_plan
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .plan import Plan

__all__ = ["Found", "Totals", "replay", "run", "run_seeds", "shrink"]


@dataclass(frozen=True, slots=True)
class Found:
    """A defect that a plan found."""

    rule: str
    """The rule that was broken."""
    detail: str


@dataclass(slots=True)
class Totals:
    """What many seeds came to."""

    seeds: int = 0
    steps: int = 0
    polls: int = 0
    events: int = 0
    requests: int = 0
    seconds: float = 0.0
    """Virtual ones."""

    def add(self, world: World) -> None:
        """Count a simulation."""
        self.seeds += 1
        self.steps += world.done
        self.polls += world.polls
        self.events += len(world.checker.events)
        self.requests += len(world.checker.requests)
        self.seconds += world.now

    def __str__(self) -> str:
        return (
            f"{self.seeds} seeds, {self.steps} steps, {self.polls} polls, {self.events} events, "
            f"{self.requests} requests, {self.seconds / 3600:.0f} virtual hours"
        )


def run(
    plan: Plan,
    totals: Totals | None = None,
    note: Callable[[float, str], None] | None = None,
) -> Found | None:
    """Run a plan; what it found, if anything.

    Args:
        totals: what to add its figures to.
        note: see ``World``.
    """
    world: World | None = None
    found: Found | None = None
    try:
        world = World(plan, note)
        world.run()
    except Violation as violation:
        found = Found(violation.rule, f"t={_time(world)}: {violation}")
    except (Exception, Interruption) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} ({where.name})"
        found = Found(type(error).__name__, f"t={_time(world)}: {what}")
    if totals is not None and world is not None:
        totals.add(world)
    return found


def _time(world: World | None) -> str:
    return "none" if world is None else f"{world.now:.3f}"


def run_seeds(seeds: Iterable[int], totals: Totals) -> tuple[int, Found] | None:
    """Run seeds until one finds something: that seed, and what it found."""
    was_enabled = gc.isenabled()
    gc.disable()  # the core's objects end by their count alone; full collections cost half the time
    try:
        for seed in seeds:
            found = run(make_plan(seed), totals)
            if found is not None:
                return seed, found
            if totals.seeds % 200 == 0:
                gc.collect()
    finally:
        if was_enabled:
            gc.enable()
    return None


def shrink(
    plan: Plan, found: Found, limit: float = 20.0
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The numbers of few steps and few faults that still break the same rule.

    Args:
        limit: seconds that it may take.
    """
    until = time.monotonic() + limit
    steps = tuple(range(len(plan.steps)))
    fates = tuple(number for number, fate in enumerate(plan.fates) if fate.kind != "ok")

    def fails(some_steps: Sequence[int], some_fates: Sequence[int]) -> bool:
        again = run(plan.only(some_steps, some_fates))
        return again is not None and again.rule == found.rule

    if not fails(steps, fates):
        return steps, tuple(range(len(plan.fates)))
    while time.monotonic() < until:
        smaller = _fewer(steps, partial(_swapped, fails, fates), until)
        calmer = _fewer(fates, partial(fails, smaller), until)
        if (smaller, calmer) == (steps, fates):
            break
        steps, fates = smaller, calmer
    return steps, fates


def _swapped(
    fails: Callable[[Sequence[int], Sequence[int]], bool],
    fates: Sequence[int],
    steps: Sequence[int],
) -> bool:
    return fails(steps, fates)


def _fewer(
    numbers: tuple[int, ...], fails: Callable[[tuple[int, ...]], bool], until: float
) -> tuple[int, ...]:
    """A part of ``numbers`` that still fails: ever smaller stretches are left out."""
    size = len(numbers)
    while size:
        start = 0
        while start < len(numbers) and time.monotonic() < until:
            fewer = numbers[:start] + numbers[start + size :]
            if fails(fewer):
                numbers = fewer
            else:
                start += size
        size //= 2
    return numbers


def replay(seed: int, steps: Sequence[int] | None, fates: Sequence[int] | None) -> str:
    """The command that replays a plan, or a part of it."""
    command = f"python -m tests.simulation {seed} --trace"
    if steps is not None:
        command += f" --steps {','.join(map(str, steps)) or 'none'}"
    if fates is not None:
        command += f" --faults {','.join(map(str, fates)) or 'none'}"
    return command


def report(seed: int, found: Found) -> str:
    """What a failing seed found, and how to see it happen."""
    plan = make_plan(seed)
    steps, fates = shrink(plan, found)
    return (
        f"seed {seed} broke a rule: {found.detail}\n"
        f"  the whole of it: {replay(seed, None, None)}\n"
        f"  the heart of it: {replay(seed, steps, fates)}"
    )
