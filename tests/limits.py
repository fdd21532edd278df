"""A hard limit on the time of each test, whatever hangs: a lock, a loop, a thread at the end.

The process of a test that is not over in time says which test it was and where its threads are, and
ends. Under xdist another process takes its place, and the test has failed. No exception could do
that for all tests: a loop may catch it, and a C function that waits is not interrupted.
"""

from __future__ import annotations

import faulthandler
import os
import threading
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["pytest_addoption", "pytest_configure"]

SECONDS: Final = 120.0
TICKS: Final = 10
"""The limit is looked at this many times before it is over: a test costs no change of threads."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Called before options are read."""
    text = "seconds after which a test is broken off, with its process"
    parser.addoption("--limit", type=float, default=SECONDS, help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Called when options are known, and before pytest takes the standard error for itself."""
    config.pluginmanager.register(Limit(config.getoption("--limit") or SECONDS, os.dup(2)))


class Limit:
    """Ends this process when one of its tests takes too long.

    Args:
        seconds: the limit.
        errors: the file descriptor to which it says so.
    """

    def __init__(self, seconds: float, errors: int) -> None:
        self._seconds = seconds
        self._errors = errors
        self._test: str | None = None
        """The test that is being run."""
        self._ticks = 0
        """Since it began."""
        self._alarm = 0
        """The ticks for which the alarm need not be set again."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="limit", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(self._seconds / TICKS):
            self._ticks += 1
            self._alarm -= 1
            if self._test is not None and self._ticks > TICKS:
                said = f"\n{self._test} hangs: it is not over within {self._seconds:g} s\n"
                os.write(self._errors, said.encode())
                faulthandler.dump_traceback(self._errors)
                os._exit(1)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Called around each test with its fixtures."""
        self._ticks = 0
        self._test = item.nodeid
        if self._alarm <= 0:
            self._alarm = TICKS // 2
            # It needs no lock of the interpreter's, which a function in C may hold while it hangs.
            faulthandler.dump_traceback_later(2 * self._seconds, exit=True, file=self._errors)
        try:
            return (yield)
        finally:
            self._test = None

    def pytest_unconfigure(self) -> None:
        """Called at the end."""
        faulthandler.cancel_dump_traceback_later()
        self._over.set()
        self._thread.join()
        os.close(self._errors)
