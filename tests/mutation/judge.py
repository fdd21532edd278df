"""Runs tests: all of them once, to see what each reaches, then those that reach a mutant."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Final

import pytest
from mutmut.mutation.trampoline import set_mutant_under_test

from .child import reached

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

__all__ = ["Reach", "Running", "judge", "reach"]

SURVIVED: Final = 0
KILLED: Final = 1
TIMEOUT: Final = 36
"""As mutmut writes them down."""

_OPTIONS: Final = (
    "-q",
    "-x",
    "--rootdir=.",
    "--tb=short",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
)


class Reach:
    """Sees which functions a test reaches, and how long it takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.tests: dict[str, list[str]] = {}
        self.failed: set[str] = set()
        """Tests that fail without a change, as may happen on a busy machine: they tell nothing."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Called around each test."""
        reached.take()
        began = time.perf_counter()
        result = yield
        if item.nodeid not in self.failed:
            self.seconds[item.nodeid] = time.perf_counter() - began
            for name in reached.take():
                self.tests.setdefault(name, []).append(item.nodeid)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called after each step of a test."""
        if report.failed:
            self.failed.add(report.nodeid)


def reach(arguments: Sequence[str]) -> Reach:
    """Run tests with the code as it is, and return what each reaches."""
    set_mutant_under_test("stats")
    reached.note_all()
    plugin = Reach()
    status = pytest.main([*_OPTIONS, *arguments], plugins=[plugin])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit("the tests cannot be run, see above")
    set_mutant_under_test("")
    return plugin


class Running:
    """The process that judges one mutant."""

    def __init__(self, mutant: str, tests: Iterable[str], seconds: float) -> None:
        self.mutant = mutant
        self._until = time.monotonic() + seconds
        self._pid = os.fork()
        if self._pid == 0:
            _test(mutant, tests)

    def result(self) -> int | None:
        """Return what became of the mutant, or None while that is open."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self._end()  # programs that the tests have left behind
            # A test that ends its process, or has pytest fail, has noticed the mutant.
            return SURVIVED if status == 0 else KILLED
        if time.monotonic() < self._until:
            return None
        self._end()
        os.waitpid(self._pid, 0)
        return TIMEOUT

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)


def _test(mutant: str, tests: Iterable[str]) -> None:
    """Run tests in this process, and end it."""
    status = KILLED
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        set_mutant_under_test(mutant)
        status = int(pytest.main(["-x", *_OPTIONS, *tests]))
    finally:
        os._exit(status)


def judge(
    mutants: Iterable[tuple[str, Sequence[str], float]], until: float, jobs: int
) -> Generator[tuple[str, int]]:
    """Judge mutants until a time, each by its tests within its seconds; yield their results."""
    waiting = iter(mutants)
    running: list[Running] = []
    while True:
        while len(running) < jobs and time.monotonic() < until:
            following = next(waiting, None)
            if following is None:
                break
            running.append(Running(*following))
        if not running:
            return
        time.sleep(0.05)
        for each in list(running):
            if (result := each.result()) is not None:
                running.remove(each)
                yield each.mutant, result
