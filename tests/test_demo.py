"""The demo, as ``make demo`` runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parent.parent / "examples" / "demo.py"


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
