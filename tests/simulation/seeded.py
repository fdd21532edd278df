"""Runs the simulator against a core with a defect: ``python -m tests.simulation.seeded``.

Each defect has an interpreter of its own, in which it is there from the start.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .defects import DEFECTS
from .patched import core_file, install

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .patched import Defect

__all__ = ["SEEDS", "hunt"]

SEEDS: Final = 2000
"""Within so many seeds every defect is to be found."""

FOUND: Final = 3
"""The exit status that says so."""

ROOT: Final = Path(__file__).parents[2]


def hunt(defect: Defect, seeds: int = SEEDS) -> str | None:
    """What the simulator says of a core with this defect; None if it finds nothing.

    Raises:
        RuntimeError: the simulator itself failed.
    """
    command = [sys.executable, "-m", "tests.simulation.seeded", "--seeds", str(seeds)]
    done = subprocess.run(
        [*command, "--only", str(DEFECTS.index(defect)), "--here"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, FOUND):
        raise RuntimeError(f"{defect.name}: {done.stderr}")
    return done.stdout.strip() if done.returncode else None


def _here(defect: Defect, seeds: int) -> int:
    """Hunt for a defect in this interpreter."""
    install(defect.file, defect.apply(core_file(defect.file).read_text("utf-8")))
    # The core must not be imported before the defect is in it.
    from .run import Totals, run_seeds

    found = run_seeds(range(seeds), Totals())
    if found is None:
        return 0
    print(f"seed {found[0]}: {found[1].detail[:150]}")
    return FOUND


def main() -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.seeded", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many to try")
    parser.add_argument("--only", type=int, help="the number of one defect")
    parser.add_argument("--first", type=int, default=0, help="the number of the first")
    parser.add_argument("--here", action="store_true", help="in this interpreter")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    arguments = parser.parse_args()
    only: int | None = arguments.only
    chosen: Sequence[Defect] = (
        DEFECTS[arguments.first :] if only is None else DEFECTS[only : only + 1]
    )
    if arguments.here:
        return _here(chosen[0], arguments.seeds)
    began = time.monotonic()
    missed = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = pool.map(partial(hunt, seeds=arguments.seeds), chosen)
        for defect, result in zip(chosen, results, strict=True):
            missed += result is None
            number = DEFECTS.index(defect)
            print(f"{number:3d} {defect.file:14} {defect.name}")
            print(f"    {result or 'NOT FOUND'}", flush=True)
    seconds = time.monotonic() - began
    print(f"{len(chosen) - missed} of {len(chosen)} defects found in {seconds:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
