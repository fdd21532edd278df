"""Which tests of the core run which of its lines, so that a mutant meets those alone.

Gathered once, in a process of its own, and kept in ``.mutants-reach`` until a file changes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import coverage
import hypothesis
import pytest

from .mutations import CORE, FILES, ROOT

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["QUIET", "Reach", "Repeatable", "reach"]

TESTS: Final = ROOT / "tests" / "protocol"
QUIET: Final = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
"""Hypothesis is imported before pytest starts."""
KEPT: Final = ROOT / ".mutants-reach"


class Reach:
    """What the tests reach.

    Args:
        seconds: of processor time that each test takes.
        lines: by file of the core and line, the tests that run it, by number.
    """

    def __init__(self, seconds: dict[str, float], lines: dict[str, dict[str, list[int]]]) -> None:
        self.seconds = seconds
        self._tests = list(seconds)
        self._lines = lines

    def tests(self, file: str, span: range | None) -> list[str]:
        """The tests that run one of these lines (all, if they run at import), quickest first."""
        found = set(self._tests)
        if span is not None:
            lines = self._lines.get(file, {})
            found = {self._tests[test] for line in span for test in lines.get(str(line), ())}
        return sorted(found, key=self.seconds.__getitem__)


class Repeatable:
    """Has random tests be the same every time, and not shrink what they find."""

    def pytest_sessionstart(self) -> None:
        """Called once the settings of the tests are known, before a test is read."""
        generate = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        repeatable = hypothesis.settings(phases=generate, database=None, derandomize=True)
        hypothesis.settings.register_profile("repeatable", repeatable)
        hypothesis.settings.load_profile("repeatable")


class _Recorder:
    """Tells the coverage which test is running."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.seconds: dict[str, float] = {}
        self._measured = measured

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Called around each test."""
        self._measured.switch_context(item.nodeid)
        began = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - began
        return result


def _digest() -> str:
    files = sorted(TESTS.rglob("*.py")) + [CORE / file for file in FILES]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _gather() -> None:
    """Run the tests, and keep what they reach."""
    measured = coverage.Coverage(data_file=None, include=[f"{CORE}/*"], config_file=False)
    recorder = _Recorder(measured)
    measured.start()
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *QUIET, str(TESTS)]
    status = pytest.main(options, plugins=[recorder, Repeatable()])
    measured.stop()
    if status != pytest.ExitCode.OK:
        sys.exit(1)
    data = measured.get_data()
    numbers = {test: number for number, test in enumerate(recorder.seconds)}
    lines = {
        Path(file).relative_to(CORE).as_posix(): {
            line: [numbers[test] for test in tests if test]
            for line, tests in data.contexts_by_lineno(file).items()
        }
        for file in data.measured_files()
    }
    kept = {"digest": _digest(), "seconds": recorder.seconds, "lines": lines}
    KEPT.write_text(json.dumps(kept), "utf-8")


def reach() -> Reach:
    """What the tests reach, as the files are now."""
    kept: dict[str, Any] = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    if kept.get("digest") != _digest():
        print("seeing which tests run which lines", flush=True)
        command = [sys.executable, "-m", __name__]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{done.stdout}\nthe core's tests fail")
        kept = json.loads(KEPT.read_text("utf-8"))
    return Reach(kept["seconds"], kept["lines"])


if __name__ == "__main__":
    _gather()
