"""A hard limit on the time of each test, whatever hangs: a lock, a loop, a thread at the end.

The process of a test that is not over in time says which test it was and where its threads are, and
ends. Under xdist another process takes its place, and the test has failed. No exception could do
that for all tests: a loop may catch it, and a C function that waits is not interrupted.
"""

from __future__ import annotations

import faulthandler
import os
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["pytest_addoption", "pytest_configure"]

SECONDS: Final = 120.0
SLACK: Final = 10.0
"""Seconds after the limit in which a process that holds the interpreter's lock is ended, too."""


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
        self._tests: SimpleQueue[str | None] = SimpleQueue()
        """The test that begins, or None when it has ended; an empty name ends the thread."""
        self._thread = threading.Thread(target=self._watch, name="limit", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        test: str | None = None
        while test != "":
            try:
                test = self._tests.get(timeout=None if test is None else self._seconds)
            except Empty:
                said = f"\n{test} hangs: it is not over within {self._seconds:g} s\n"
                os.write(self._errors, said.encode())
                faulthandler.dump_traceback(self._errors)
                os._exit(1)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Called around each test with its fixtures."""
        self._tests.put(item.nodeid)
        # It needs no lock of the interpreter's, which a function in C may hold while it hangs.
        faulthandler.dump_traceback_later(self._seconds + SLACK, exit=True, file=self._errors)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._tests.put(None)

    def pytest_unconfigure(self) -> None:
        """Called at the end."""
        self._tests.put("")
        self._thread.join()
        os.close(self._errors)
