"""``python -m spool.simulation``, from ``tests``: replay a seed, or run many."""

from __future__ import annotations

import argparse
import sys
import time

from .plan import make_plan
from .run import Totals, report, run, run_seeds


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m spool.simulation", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", help="the seed to replay")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    parser.add_argument("--steps", type=_numbers, help="take these steps alone")
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--soak", type=float, help="run seeds for this many seconds")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _replay(arguments)
    totals = Totals()
    began = time.monotonic()
    first = arguments.first
    if arguments.soak is None:
        result = run_seeds(range(first, first + arguments.seeds), totals)
    else:
        result = None
        while result is None and time.monotonic() < began + arguments.soak:
            result = run_seeds(range(first, first + 20), totals)
            first += 20
    print(f"{totals} in {time.monotonic() - began:.1f} s")
    if result is None:
        return 0
    print(report(*result))
    return 1


def _replay(arguments: argparse.Namespace) -> int:
    plan = make_plan(arguments.seed)
    if arguments.steps is not None:
        plan = plan.only(arguments.steps)

    def note(now: float, text: str) -> None:
        print(f"{now:14.3f}  {text}")

    if arguments.trace:
        print(f"window={plan.window} customers={plan.customers} faults={plan.faults}")
    found = run(plan, note=note if arguments.trace else None)
    print("nothing found" if found is None else found.detail)
    return 0 if found is None else 1


if __name__ == "__main__":
    sys.exit(main())
