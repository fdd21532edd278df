"""``python -m benchmarks``: run everything, print the table, write the results."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from pathlib import Path

from .plan import plan
from .plots import plots
from .report import as_text, machine, write
from .runner import run
from .targets import table

HERE = Path(__file__).parent


def main() -> int:
    """Run the benchmark.

    Returns:
        0; with ``--strict`` 1 if a target was missed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="in under two minutes")
    parser.add_argument("--only", metavar="PATTERN", help="only cases whose name matches")
    parser.add_argument("--fresh", action="store_true", help="forget an interrupted run")
    parser.add_argument("--strict", action="store_true", help="fail if a target is missed")
    arguments = parser.parse_args()
    kind = "quick" if arguments.quick else "full"
    cases = plan(quick=arguments.quick)
    if arguments.only:
        cases = [case for case in cases if re.search(arguments.only, case.name)]
        if not cases:
            parser.error("no case has such a name")
    journal = HERE / f".journal-{kind}.jsonl"
    if arguments.fresh:
        journal.unlink(missing_ok=True)
    print(f"load before: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    results = run(cases, journal, _stamp())
    rows = table(results)
    if arguments.only:
        rows = [row for row in rows if row.figure is not None]
    print(as_text(rows))
    if not arguments.only:
        written = write(HERE.parent, results, rows, plots(results), quick=arguments.quick)
        journal.unlink()
        places = dict.fromkeys(str(path.relative_to(HERE.parent)) for path in written)
        print(f"\nwritten to {', '.join(places)}")
    return int(arguments.strict and any(row.met is False for row in rows))


def _stamp() -> str:
    """What must be the same for the samples of an interrupted run to be of use."""
    about = machine()
    del about["commit"]  # of the code itself, the digest says more
    digest = hashlib.sha256()
    for path in sorted((HERE.parent / "masivo").rglob("*.py")):
        digest.update(path.read_bytes())
    return json.dumps(about | {"code": digest.hexdigest()[:16]}, sort_keys=True)


if __name__ == "__main__":
    sys.exit(main())
