"""Run the whole fleet and draw it: ``make fleet`` (some 6 minutes on two quiet cores)."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from .fleet import Plan, Traffic, run
from .report import measure, plot


def main() -> int:
    """Run, print, draw; 1 if a bound does not hold."""
    parser = argparse.ArgumentParser(prog="make fleet")
    parser.add_argument("--processes", type=int, default=10_000)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--svg", type=Path, default=Path("docs/images/fleet.svg"))
    arguments = parser.parse_args()
    size, length = arguments.processes, arguments.hours * 3600.0
    outage = (length / 2, length / 2 + 600.0)
    plans = {
        f"{size:,} processes, a key each; no response for ten minutes": Plan(size, length, outage),
        f"{size:,} processes, one key; 503 for ten minutes, then every token is revoked": Plan(
            size, length, outage, kind="503", one_key=True, revoked_at=length * 0.75, seed=2
        ),
    }
    panels: list[tuple[str, Plan, Traffic]] = []
    held = True
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for (title, plan), (traffic, took) in zip(
            plans.items(), pool.map(run, plans.values()), strict=True
        ):
            panels.append((title, plan, traffic))
            authorizations = measure(plan, traffic.authorizations)
            print(f"{title} ({took:.0f} s of CPU)")
            print(f"  authorizations: {authorizations}")
            print(f"  all requests:   {measure(plan, traffic.requests)}")
            print(
                f"  events: {traffic.sent:,} sent, {traffic.delivered:,} delivered, "
                f"{traffic.failed:,} failed in the outage",
                flush=True,
            )
            held &= authorizations.undisturbed <= 1.5 and authorizations.after_outage <= 3.0
            held &= authorizations.after_revocation <= 3.0
    arguments.svg.write_text(plot(panels), encoding="utf-8")
    print("the bounds hold" if held else "THE BOUNDS DO NOT HOLD")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
