"""Runs tests: all of them once, to see what each reaches, then those that reach a mutant."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import time
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
) -> set[str]:
    """Judge mutants until a time; tell what became of each.

    Tests are collected once: each mutant has a fork of this process, and runs its own there. The
    test that fails runs again in forks of its own, without the mutant and with it: one that fails
    for another reason, as on a busy machine, kills nothing.

    Returns:
        The tests that failed without a change.
    """
    options = [*_OPTIONS, "-s", "--no-header", "--no-summary", *arguments]
    plugin = _Judge(mutants, until, jobs, tell)
    pytest.main(options, plugins=[plugin])
    return plugin.unfit


class Trial(NamedTuple):
    """A mutant, and how it is judged."""

    mutant: str
    tests: dict[str, float]
    """Those that reach it, in this order, and the seconds that each takes without a change."""


class _Judge:
    def __init__(self, mutants: Iterable[Trial], until: float, jobs: int, tell: Tell) -> None:
        self._waiting = iter(mutants)
        self._until = until
        self._jobs = jobs
        self._tell = tell
        self.unfit: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called after each step of a test, in the fork."""
        if report.failed:
            print(f"{report.nodeid} ({report.when}):\n{report.longreprtext}", flush=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Called once in place of running the tests that were collected."""
        running: list[tuple[Trial, Generator[None, None, int]]] = []
        while True:
            while len(running) < self._jobs and time.monotonic() < self._until:
                if (trial := next(self._waiting, None)) is None:
                    break
                running.append((trial, self._judged(trial, session)))
            if not running:
                return True
            time.sleep(0.02)
            for trial, steps in list(running):
                try:
                    next(steps)
                except StopIteration as ended:
                    running.remove((trial, steps))
                    self._tell(trial.mutant, ended.value)

    def _judged(self, trial: Trial, session: pytest.Session) -> Generator[None, None, int]:
        """Return what became of a mutant."""
        left = {test: each for test, each in trial.tests.items() if test not in self.unfit}
        while left:
            result, test = yield from _run(trial.mutant, left, session)
            if result == SURVIVED:
                break
            alone = {test: left[test]}
            without, _ = yield from _run("", alone, session)
            if without == SURVIVED:
                again, _ = yield from _run(trial.mutant, alone, session)
                if again != SURVIVED:
                    return result
            else:
                self.unfit.add(test)
            while test in left:
                del left[next(iter(left))]
        return SURVIVED


def _run(
    mutant: str, tests: dict[str, float], session: pytest.Session
) -> Generator[None, None, tuple[int, str]]:
    """Run tests in a process of their own until one fails; return how it ended, and at which."""
    names, running = list(tests), mmap.mmap(-1, 4)
    pid = os.fork()
    if pid == 0:
        _test(mutant, names, session, running)
    test, result, until = "", None, 0.0
    while result is None:
        yield
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            # A test that ends its process has noticed the mutant, too.
            result = SURVIVED if status == 0 else KILLED
        if (now := names[int.from_bytes(running[:])]) != test:
            test, until = now, time.monotonic() + 20.0 + 4.0 * tests[now]
        elif result is None and time.monotonic() > until:
            result = TIMEOUT  # it waits for ever
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # and programs that the tests have left behind
    if result == TIMEOUT:
        os.waitpid(pid, 0)
    return result, test


def _test(
    mutant: str, tests: Sequence[str], session: pytest.Session, running: mmap.mmap
) -> NoReturn:
    """Run tests in this process until one fails, and end it; ``running`` gets each one's number."""
    status = KILLED
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        # A test that fails without a change is to be seen.
        said = os.devnull if mutant else "../control.txt"
        written = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (1, 2):
            os.dup2(written, stream)
        set_mutant_under_test(mutant)
        known = {item.nodeid: item for item in session.items}
        items = [known[test] for test in tests]
        for number, item in enumerate(items):
            running[:] = number.to_bytes(4)
            following = items[number + 1] if number + 1 < len(items) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                break
        else:
            status = SURVIVED
    finally:
        os._exit(status)
