"""Runs tests: all of them once, to see what each reaches, then those that reach a mutant."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, TypeAlias

import pytest
from mutmut.mutation.trampoline import set_mutant_under_test

from .child import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    Tell: TypeAlias = Callable[[str, int], None]

__all__ = ["Reach", "Trial", "judge", "reach"]

SURVIVED: Final = 0
KILLED: Final = 1
TIMEOUT: Final = 36
"""As mutmut writes them down."""

_OPTIONS: Final = (
    *("-q", "--rootdir=.", "--tb=short"),
    *("-p", "no:cacheprovider", "-p", "no:xdist"),
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


def judge(
    arguments: Sequence[str], mutants: Iterable[Trial], until: float, jobs: int, tell: Tell
) -> None:
    """Judge mutants until a time; tell what became of each.

    Tests are collected once: each mutant has a fork of this process, and runs its own there.
    """
    options = [*_OPTIONS, "-s", "--no-header", "--no-summary", *arguments]
    pytest.main(options, plugins=[_Judge(mutants, until, jobs, tell)])


class Trial(NamedTuple):
    """A mutant, and how it is judged."""

    mutant: str
    tests: Sequence[str]
    """Those that reach it, in this order."""
    seconds: float
    """For all of them; one that takes longer waits for ever."""


class _Judge:
    def __init__(self, mutants: Iterable[Trial], until: float, jobs: int, tell: Tell) -> None:
        self._waiting = iter(mutants)
        self._until = until
        self._jobs = jobs
        self._tell = tell

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called after each step of a test, in the fork."""
        if report.failed:
            print(f"{report.nodeid} ({report.when}):\n{report.longreprtext}", flush=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Called once in place of running the tests that were collected."""
        running: list[_Running] = []
        while True:
            while len(running) < self._jobs and time.monotonic() < self._until:
                if (trial := next(self._waiting, None)) is None:
                    break
                running.append(_Running(trial, session))
            if not running:
                return True
            time.sleep(0.02)
            for each in list(running):
                if (result := each.result()) is not None:
                    running.remove(each)
                    self._tell(each.mutant, result)


class _Running:
    """The process that judges one mutant."""

    def __init__(self, trial: Trial, session: pytest.Session) -> None:
        self.mutant = trial.mutant
        self._until = time.monotonic() + trial.seconds
        self._pid = os.fork()
        if self._pid == 0:
            _test(trial, session)

    def result(self) -> int | None:
        """Return what became of the mutant, or None while that is open."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self._end()  # programs that the tests have left behind
            # A test that ends its process has noticed the mutant, too.
            return SURVIVED if status == 0 else KILLED
        if time.monotonic() < self._until:
            return None
        self._end()
        os.waitpid(self._pid, 0)
        return TIMEOUT

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)


def _test(trial: Trial, session: pytest.Session) -> NoReturn:
    """Run tests in this process until one fails, and end it."""
    status = KILLED
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        # A test that fails without a change is to be seen.
        said = os.devnull if trial.mutant else "../control.txt"
        written = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for stream in (1, 2):
            os.dup2(written, stream)
        set_mutant_under_test(trial.mutant)
        known = {item.nodeid: item for item in session.items}
        items = [known[test] for test in trial.tests]
        for item, following in zip_longest(items, items[1:]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                break
        else:
            status = SURVIVED
    finally:
        os._exit(status)
