"""Limits on what could hang, and a hastened backoff."""

from __future__ import annotations

import faulthandler
import gc
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from masivo.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

HARD_LIMIT = 150.0
"""Seconds after which a test is broken off, wherever it hangs."""


@pytest.fixture(autouse=True)
def hard_limit() -> Iterator[Callable[[], object]]:
    """Break off a test that hangs, and show where all threads are. A test of many examples calls
    it for each, so that the limit is one example's, however many there are."""

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
        pytest.fail(f"the test hangs: not over within {HARD_LIMIT:g} s")

    before = signal.signal(signal.SIGALRM, on_alarm)

    def begin() -> None:
        signal.setitimer(signal.ITIMER_REAL, HARD_LIMIT)

    begin()
    yield begin
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the shell has set out of the tests."""
    for name in ("MASIVO_API_KEY", "MASIVO_BASE_URL", "MASIVO_DISABLED"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Nothing outlives a test: no thread of the package, no connection that nobody closed."""
    yield
    for thread in threading.enumerate():
        if thread.name == "masivo":
            thread.join(15)
            assert not thread.is_alive(), "a thread of the package does not end"
    gc.collect()  # an unclosed socket is a ResourceWarning, and a warning is an error


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat after milliseconds: a hundred times faster than in life."""
    monkeypatch.setattr("masivo._protocol.sending.backoff.FIRST_WAIT", 0.005)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A running emulator."""
    with Emulator() as emulator:
        yield emulator
