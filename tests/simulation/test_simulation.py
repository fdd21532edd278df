"""The simulator itself, as a test: many seeds, and a seed that says the same twice."""

from __future__ import annotations

import os

from .plan import make_plan
from .run import Totals, report, run_seeds
from .world import World

SEEDS = int(os.environ.get("MASIVO_SEEDS", "2000"))


def trace_of(seed: int) -> list[str]:
    """Everything that happens in a seed."""
    lines: list[str] = []

    def note(at: float, text: str) -> None:
        lines.append(f"{at} {text}")

    World(make_plan(seed), note).run()
    return lines


def test_the_core_keeps_the_contract_for_every_seed() -> None:
    """No seed finds that the core breaks a rule; one that does is shrunk, and can be replayed."""
    totals = Totals()
    found = run_seeds(range(SEEDS), totals)
    print(totals)
    assert found is None, report(*found)


def test_a_seed_is_the_same_every_time() -> None:
    """Two runs of one seed are alike to the last line of their traces."""
    trace = trace_of(7)
    assert trace_of(7) == trace
    assert len(trace) > 10
