"""Runs the cases of a plan, interleaved over rounds, so that a change of the machine meets all.

Each sample is written down at once; a run that was interrupted resumes where it stopped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, TypeAlias

from .sink import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .plan import Case

__all__ = ["Results", "run"]

Results: TypeAlias = dict[str, dict[str, list[dict[str, float]]]]
"""By name of the case and contender: the samples, in the order of the rounds."""

_TIMEOUT = 300.0
"""Seconds for one sample."""
_ATTEMPTS = 2


def run(cases: Sequence[Case], journal: Path, stamp: str) -> Results:
    """Take every sample that the journal does not hold yet, and return all.

    Args:
        cases: what to measure.
        journal: where samples are written down.
        stamp: what must be the same for samples to be comparable (versions, the code); a journal
            with another one is begun anew.
    """
    known = _load(journal, stamp)
    most = max(case.rounds for case in cases)
    todo = [(r, case) for r in range(most) for case in _turn(cases, r) if r < case.rounds]
    begun = time.monotonic()
    with Sink() as sink, journal.open("a") as out:
        for done, (r, case) in enumerate(todo):
            if len(known[case.key]) > r:
                continue
            elapsed = time.monotonic() - begun
            _progress(f"{done}/{len(todo)} {elapsed:4.0f} s  {case.name}: {case.contender}")
            since = time.monotonic()
            sample = _sample(case, sink.port)
            sample |= {"load": os.getloadavg()[0], "took": time.monotonic() - since}
            known[case.key].append(sample)
            out.write(json.dumps([case.key, sample]) + "\n")
            out.flush()
    _progress("")
    results: Results = {}
    for case in cases:
        results.setdefault(case.name, {})[case.contender] = known[case.key]
    return results


def _turn(cases: Sequence[Case], r: int) -> list[Case]:
    """The cases in the order of a round: each begins elsewhere within a measure."""
    by_name: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_name[case.measure].append(case)
    return [
        case
        for group in by_name.values()
        for case in group[r % len(group) :] + group[: r % len(group)]
    ]


def _load(journal: Path, stamp: str) -> dict[str, list[dict[str, float]]]:
    known: dict[str, list[dict[str, float]]] = defaultdict(list)
    lines = journal.read_text().splitlines() if journal.exists() else []
    if not lines or lines[0] != stamp:
        journal.write_text(stamp + "\n")
        return known
    for line in lines[1:]:
        try:
            key, sample = json.loads(line)
        except ValueError:  # the last line of a run that was cut off
            continue
        known[key].append(sample)
    return known


def _sample(case: Case, port: int) -> dict[str, float]:
    question = {
        "port": port,
        "measure": case.measure,
        "contender": case.contender,
        "options": case.options,
        "parameters": case.parameters,
    }
    for attempt in range(_ATTEMPTS):
        try:
            process = subprocess.run(
                [sys.executable, "-m", "benchmarks.worker"],
                input=json.dumps(question),
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                check=True,
            )
        except subprocess.SubprocessError as error:
            if attempt == _ATTEMPTS - 1:
                said = getattr(error, "stderr", None) or ""
                raise SystemExit(f"\n{case.name} of {case.contender}: {error}\n{said}") from error
            time.sleep(1.0)
        else:
            sample: dict[str, float] = json.loads(process.stdout)
            return sample
    raise AssertionError


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
