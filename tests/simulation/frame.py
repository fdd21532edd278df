"""The frame of the simulators, this one and that of clients with a spool (``tests/spool``): runs
one seed or many; shrinks the plan of one that fails, and says how to replay it; seeds defects.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import Self, TypeAlias

    Note: TypeAlias = Callable[[float, str], None]
    """Is given the time and a line for everything that happens."""
    Parts: TypeAlias = Mapping[str, Sequence[int]]
    """What a plan has of each kind, by number."""
    Defect: TypeAlias = Callable[[pytest.MonkeyPatch], None]
    """Breaks a rule of what is simulated, while it runs."""

__all__ = ["Found", "Simulator", "Totals", "Violation", "hunt_all"]


class Violation(AssertionError):  # noqa: N818 (what is wrong is the package, not the test)
    """A rule was broken.

    Args:
        rule: its name.
        detail: how.
    """

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


class Plan(Protocol):
    """What a seed means; its text is the first line of a trace."""

    @property
    def parts(self) -> Parts:
        """What can be left out."""
        ...

    def only(self, parts: Parts) -> Self:
        """The plan with these parts alone."""
        ...


class World(Protocol):
    """What happens by a plan."""

    now: float

    def run(self) -> None:
        """Take every step, and come to the end.

        Raises:
            Violation: a rule was broken.
        """
        ...

    def figures(self) -> Mapping[str, float]:
        """What it came to, by the name of each number."""
        ...


P = TypeVar("P", bound=Plan)


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
    figures: Counter[str] = field(default_factory=Counter[str])

    def __str__(self) -> str:
        figures = (f"{number:.0f} {name}" for name, number in self.figures.items())
        return ", ".join([f"{self.seeds} seeds", *figures])


@dataclass(frozen=True)
class Simulator(Generic[P]):
    """A simulator.

    Args:
        command: what runs it in a shell.
        make_plan: makes the plan of a seed.
        make_world: makes the world of a plan.
        caught: what a simulation may raise besides violations: it has found something, too.
    """

    command: str
    make_plan: Callable[[int], P]
    make_world: Callable[[P, Note | None], World]
    caught: tuple[type[BaseException], ...] = (Exception,)

    def run(self, plan: P, totals: Totals | None = None, note: Note | None = None) -> Found | None:
        """Run a plan; what it found, if anything. Its figures are added to the totals."""
        world: World | None = None
        found: Found | None = None
        try:
            world = self.make_world(plan, note)
            world.run()
        except self.caught as error:
            now = "none" if world is None else f"{world.now:.3f}"
            detail, rule = str(error), getattr(error, "rule", type(error).__name__)
            if not isinstance(error, Violation):
                where = traceback.extract_tb(error.__traceback__)[-1]
                detail = f"{error!r} ({where.name}, {where.filename}:{where.lineno})"
            found = Found(rule, f"t={now}: {detail}")
        if totals is not None and world is not None:
            totals.seeds += 1
            for name, number in world.figures().items():
                totals.figures[name] += number  # type: ignore[assignment]  # a Counter counts all
        return found

    def run_seeds(self, seeds: Iterable[int], totals: Totals) -> tuple[int, Found] | None:
        """Run seeds until one finds something: that seed, and what it found."""
        was_enabled = gc.isenabled()
        gc.disable()  # objects end by their count alone; full collections cost half the time
        try:
            for seed in seeds:
                found = self.run(self.make_plan(seed), totals)
                if found is not None:
                    return seed, found
                if totals.seeds % 100 == 0:
                    gc.collect()
        finally:
            if was_enabled:
                gc.enable()
        return None

    # ── One that fails ───────────────────────────────────────────────────────────────────────

    def shrink(self, plan: P, found: Found, limit: float = 20.0) -> Parts:
        """Few parts of a plan that still break the same rule; none if not even all its parts do.

        Args:
            limit: seconds that it may take.
        """
        until = time.monotonic() + limit
        parts = {name: tuple(numbers) for name, numbers in plan.parts.items()}

        def fails(some: Parts) -> bool:
            again = self.run(plan.only(some))
            return again is not None and again.rule == found.rule

        if not fails(parts):
            return {}
        before = None
        while parts != before and time.monotonic() < until:
            before = dict(parts)
            for name in parts:
                _shrink(parts, name, fails, until)
        return parts

    def report(self, seed: int, found: Found) -> str:
        """What a failing seed found, and how to see it happen."""
        command = f"{self.command} {seed} --trace"
        parts = self.shrink(self.make_plan(seed), found).items()
        heart = (f" --{name} {','.join(map(str, numbers)) or 'none'}" for name, numbers in parts)
        return (
            f"seed {seed} broke a rule: {found.detail}\n"
            f"  the whole of it: {command}\n"
            f"  the heart of it: {command}{''.join(heart)}"
        )

    def trace(self, seed: int) -> list[str]:
        """Everything that happens in a seed."""
        lines: list[str] = []
        self.run(self.make_plan(seed), note=lambda at, text: lines.append(f"{at} {text}"))
        return lines

    # ── Defects ──────────────────────────────────────────────────────────────────────────────

    def hunt(self, defect: Defect, seeds: Iterable[int]) -> str | None:
        """Return the first seed that finds a defect, and what it says; None if none does.

        Raises:
            RuntimeError: the defect does not fit the code.
        """
        with pytest.MonkeyPatch.context() as patch:
            defect(patch)
            result = self.run_seeds(seeds, Totals())
        if result is None:
            return None
        seed, found = result
        if found.rule in ("AttributeError", "NameError", "TypeError"):
            raise RuntimeError(found.detail)
        return f"seed {seed}: {found.detail[:150]}"

    # ── The command ──────────────────────────────────────────────────────────────────────────

    def main(self) -> int:
        """Do what the command line says; the exit status."""
        parser = argparse.ArgumentParser(prog=self.command)
        parser.add_argument("seed", type=int, nargs="?", help="the seed to replay")
        parser.add_argument("--trace", action="store_true", help="print everything that happens")
        for name in self.make_plan(0).parts:
            parser.add_argument(f"--{name}", type=_numbers, help=f"keep these {name} alone")
        parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to run")
        parser.add_argument("--first", type=int, default=0, help="the first of them")
        parser.add_argument("--soak", type=float, help="run seeds for this many seconds")
        arguments = parser.parse_args()
        if arguments.seed is not None:
            return self._replay(arguments)
        began = time.monotonic()
        seeds: Iterable[int] = range(arguments.first, arguments.first + arguments.seeds)
        if arguments.soak is not None:
            until = began + arguments.soak
            seeds = takewhile(lambda _: time.monotonic() < until, count(arguments.first))
        totals = Totals()
        result = self.run_seeds(seeds, totals)
        print(f"{totals} in {time.monotonic() - began:.1f} s")
        if result is None:
            return 0
        print(self.report(*result))
        return 1

    def _replay(self, arguments: argparse.Namespace) -> int:
        plan = self.make_plan(arguments.seed)
        chosen = {name: getattr(arguments, name) for name in plan.parts}
        if any(numbers is not None for numbers in chosen.values()):
            parts = plan.parts.items()
            plan = plan.only({n: all if chosen[n] is None else chosen[n] for n, all in parts})  # noqa: A001

        def note(now: float, text: str) -> None:
            print(f"{now:14.3f}  {text}")

        if arguments.trace:
            print(plan)
        found = self.run(plan, note=note if arguments.trace else None)
        print("nothing found" if found is None else found.detail)
        return 0 if found is None else 1


def _numbers(text: str) -> list[int]:
    return [] if text == "none" else [int(number) for number in text.split(",")]


def _shrink(
    parts: dict[str, tuple[int, ...]], name: str, fails: Callable[[Parts], bool], until: float
) -> None:
    """Leave out ever smaller stretches of one kind, while the others still fail."""
    size = len(parts[name])
    while size:
        start = 0
        while start < len(parts[name]) and time.monotonic() < until:
            fewer = parts[name][:start] + parts[name][start + size :]
            if fails({**parts, name: fewer}):
                parts[name] = fewer
            else:
                start += size
        size //= 2


def hunt_all(hunt: Callable[[str], str | None], names: Collection[str]) -> int:
    """Hunt for all defects; the exit status: whether all were found."""
    began = time.monotonic()
    missed = 0
    with ProcessPoolExecutor() as pool:
        for name, result in zip(names, pool.map(hunt, names), strict=True):
            missed += result is None
            print(f"{name}\n    {result or 'NOT FOUND'}")
            sys.stdout.flush()
    seconds = time.monotonic() - began
    print(f"{len(names) - missed} of {len(names)} defects found in {seconds:.0f} s")
    return 1 if missed else 0
