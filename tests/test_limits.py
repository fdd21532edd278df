"""The hard limit on the time of a test: it ends what hangs, and names it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HANGING = """
import signal, threading

def test_a_lock():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.Signals)  # whatever a handler would do
    threading.Lock().acquire() and threading.Event().wait()

def test_a_loop():
    while True:
        try:
            threading.Event().wait()
        except BaseException:
            pass

def test_that_is_well():
    pass
"""

QUIET = [
    f"-pno:{name}"
    for name in ("cacheprovider", "asyncio", "trio", "anyio", "masivo", "hypothesispytest")
]


def run(folder: Path, *options: str) -> str:
    """Run pytest on tests that hang; its output."""
    (folder / "conftest.py").write_text("from limits import *\n")
    (folder / "test_hanging.py").write_text(HANGING)
    (folder / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--limit", "0.5", *QUIET, *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    return done.stdout + done.stderr


def test_a_test_that_hangs_is_named(tmp_path: Path) -> None:
    """Without other processes the run ends with the first that hangs: its name and its stack."""
    said = run(tmp_path)
    assert "test_hanging.py::test_a_lock hangs: it is not over within 0.5 s" in said
    assert "in test_a_lock" in said


@pytest.mark.full
def test_a_run_goes_on_after_a_test_that_hangs(tmp_path: Path) -> None:
    """In a process of xdist's, a test that hangs has failed; the others are run."""
    said = run(tmp_path, "-n", "1", "-k", "not lock")
    assert "worker 'gw0' crashed while running 'test_hanging.py::test_a_loop'" in said
    assert "in test_a_loop" in said
    assert re.search(r"1 failed, [12] passed", said)  # one may be run again, by the next process
