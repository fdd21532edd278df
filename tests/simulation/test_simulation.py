"""The simulator itself, as a test: many seeds, and a seed that says the same twice."""

from __future__ import annotations

import os

import pytest

from .frame import Totals
from .run import SIMULATOR

SEEDS = int(os.environ.get("MASIVO_SEEDS", "60"))
PARTS = 4  # so that the processes that run the tests share the work


@pytest.mark.scaled
@pytest.mark.parametrize("part", range(PARTS))
def test_the_core_keeps_the_contract_for_every_seed(part: int) -> None:
    """No seed finds that the core breaks a rule; one that does is shrunk, and can be replayed."""
    totals = Totals()
    found = SIMULATOR.run_seeds(range(part, SEEDS, PARTS), totals)
    print(totals)
    assert found is None, SIMULATOR.report(*found)


def test_a_seed_is_the_same_every_time() -> None:
    """Two runs of one seed are alike to the last line of their traces."""
    trace = SIMULATOR.trace(7)
    assert SIMULATOR.trace(7) == trace
    assert len(trace) > 10
