"""The simulation of clients with a spool, as a test: many seeds, and defects that they find."""

from __future__ import annotations

import os

import pytest
from simulation.frame import Totals

from .defects import DEFECTS, hunt
from .run import SIMULATOR

SEEDS = int(os.environ.get("MASIVO_SEEDS", "20"))
PARTS = 4  # so that the processes that run the tests share the work

QUICK = ("a batch is sent without a note", "adopted events go in the wrong order")
"""Found by one of the first seeds. `make test-all` hunts for all."""


@pytest.mark.scaled
@pytest.mark.parametrize("part", range(PARTS))
def test_no_seed_breaks_a_promise(part: int) -> None:
    """Whatever crashes, fills up and fails: no event is lost, none comes twice without a crash,
    each customer's come in order, and in the end all are delivered and no log is left."""
    totals = Totals()
    found = SIMULATOR.run_seeds(range(part, SEEDS, PARTS), totals)
    print(totals)
    assert found is None, SIMULATOR.report(*found)


@pytest.mark.parametrize("seed", [2, 7, 54, 94, 119])
def test_a_seed_is_the_same_every_time(seed: int) -> None:
    """Two runs of one seed are alike to the last line of their traces. In most of these, logs are
    begun at the same moment."""
    trace = SIMULATOR.trace(seed)
    assert SIMULATOR.trace(seed) == trace
    assert len(trace) > 10


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in DEFECTS],
)
def test_a_defect_is_found(name: str) -> None:
    """The simulation finds each defect."""
    assert hunt(name) is not None


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_has_its_place(name: str) -> None:
    """Each defect changes something that is there."""
    with pytest.MonkeyPatch.context() as patch:
        DEFECTS[name](patch)
