"""The benchmark, as far as it goes without other SDKs, half an hour and a quiet machine."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from docs.blocks import ROOT, Page

from benchmarks.figures import Figure
from benchmarks.plan import OURS, plan
from benchmarks.report import as_text
from benchmarks.runner import run
from benchmarks.targets import Row

if TYPE_CHECKING:
    from pathlib import Path


def test_the_commands_of_the_page() -> None:
    """Each command on the page is one that the Makefile has, for the program of the benchmark."""
    page = Page(ROOT / "docs/explanation/performance.md")
    (code,) = (block.code for block in page.blocks if block.language == "sh")
    for command in re.findall(r"^(make \S+) ", code, re.MULTILINE):
        done = subprocess.run(
            [*command.split(), "-n"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert "-m benchmarks" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("value", "shown"), [(1.70398, "1.704 x"), (1.7000001, "1.7000001 x"), (1.7, "1.7 x")]
)
def test_a_figure_that_misses_its_target_looks_different_from_it(value: float, shown: str) -> None:
    """A figure has as many digits as tell it from its target, and three if it is that."""
    row = Row("a group", "what", "x", Figure(value, value, value, 1), "<=", 1.7)
    line = next(line for line in as_text([row]).splitlines() if line.startswith("what"))
    assert line.split("  ")[1] == shown


@pytest.mark.full
def test_every_measure(tmp_path: Path) -> None:
    """Each measure but that of imports, which has the other SDKs in it, can be taken of masivo; in
    its three worlds every event arrives."""
    everything = plan(quick=True)
    first = {
        (case.measure, case.contender if case.measure == "verify" else "one"): case
        for case in reversed(everything)
        if case.contender in (*OURS, "core", "spool", "relay, Redis", "relay, spool")
    }
    cases = [replace(case, rounds=1) for case in first.values()]
    assert {case.measure for case in everything} - {case.measure for case in cases} == {"imports"}
    results = run(cases, tmp_path / "journal", stamp="")
    for case in cases:
        (sample,) = results[case.name][case.contender]
        assert len(sample) > 2, "what it was measured for, beside the load and the time"
