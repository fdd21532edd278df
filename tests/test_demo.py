"""The demo, as ``make demo`` runs it, and the way into a clone that begins with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from docs.blocks import ROOT, Page

DEMO = ROOT / "examples" / "demo.py"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to a process there")
def test_an_interrupted_demo_says_so() -> None:
    """Ctrl-C ends the demo within seconds, with a line and no traceback."""
    with subprocess.Popen(
        [sys.executable, str(DEMO)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        while "1,000 sent" not in demo.stdout.readline():
            assert demo.poll() is None
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert "The demo was interrupted." in said
    assert "Traceback" not in said


@pytest.mark.full
def test_the_demo_ends_well() -> None:
    """The demo delivers everything from three worlds, and says so."""
    demo = subprocess.run(
        [sys.executable, str(DEMO)], capture_output=True, text=True, timeout=60, check=False
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stdout.endswith("All is as it should be.\n")
    assert demo.stderr == ""


@pytest.mark.full
def test_a_clone(tmp_path: Path) -> None:
    """Who follows the README in a clone, with nothing made before, sees the demo end well, and has
    an environment to enter. The README's other command is what ``.ci/run`` types."""
    page = Page(ROOT / "README.md")
    (make,) = (each.code for each in page.blocks if "test_a_clone" in (each.run_by or ""))
    demo, test = make.splitlines()
    assert test.split("#")[0].strip() == "make test"
    assert "\nmake test " in (ROOT / ".ci" / "run").read_text("utf-8")

    ignored = (ROOT / ".gitignore").read_text("utf-8").replace("/\n", "\n").split()
    clone = shutil.copytree(
        ROOT, tmp_path / "clone", ignore=shutil.ignore_patterns(".git", *ignored)
    )
    of_make = ("MAKE", "MFLAGS", "PYTHON", "VENV", "VIRTUAL_ENV")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(of_make)}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", f"{demo}\nsource .venv/bin/activate\ntype -p masivo"],
        cwd=clone,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith(
        f"\nAll is as it should be.\n{clone / '.venv' / 'bin' / 'masivo'}\n"
    ), done.stdout
