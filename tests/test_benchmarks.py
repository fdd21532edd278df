"""The benchmark, as far as it goes without other SDKs, half an hour and a quiet machine."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from docs.blocks import ROOT, Page

from benchmarks.plan import OURS, plan
from benchmarks.runner import run

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
