"""Tests that travel in time, with time-machine or freezegun.

The date changes for clients and emulator alike, so that an ``issued_at`` from the app's clock is
valid. Waits do not change: batches, retries and deadlines take real time.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from masivo._async import clock as loop_clocks
from masivo._sync import clock as thread_clocks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["is_travelling", "monotonic", "real_waits"]


def is_travelling() -> bool:
    """Return whether either library has changed the date."""
    machine = sys.modules.get("time_machine")
    freezer = sys.modules.get("freezegun.api")
    return (machine is not None and machine.escape_hatch.is_travelling()) or (
        freezer is not None and bool(freezer.freeze_factories)
    )


def monotonic() -> float:
    """Return seconds that never run backwards, of a clock that neither library changes."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def _date() -> float:
    return time.time()  # looked up at each call: freezegun replaces it


class _ThreadTime(thread_clocks.Clock):
    monotonic = staticmethod(monotonic)
    time = staticmethod(_date)


class _LoopTime:
    """Real time for sessions in event loops, whose own timers freezegun stops."""

    monotonic = staticmethod(monotonic)
    time = staticmethod(_date)

    @staticmethod
    def applies() -> bool:
        """See ``loop_clocks.VirtualTime``. A MockClock of trio that the test uses takes
        precedence."""
        if "trio.testing" not in sys.modules:
            return True
        import trio.testing

        lowlevel = trio.lowlevel
        virtual = lowlevel.in_trio_run() and lowlevel.current_clock()
        return not isinstance(virtual, trio.testing.MockClock)

    @contextmanager
    def alarm(self, until: float | None, wake: Callable[[], object]) -> Generator[None]:
        """See ``loop_clocks.VirtualTime``."""
        if until is None:
            yield
            return
        timer = threading.Timer(max(0.0, until - monotonic()), wake)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@contextmanager
def real_waits() -> Generator[None]:
    """Make sessions that are made in the block wait in real time, if a library is loaded."""
    before = thread_clocks.current, loop_clocks.current
    if "time_machine" in sys.modules or "freezegun" in sys.modules:
        thread_clocks.current, loop_clocks.current = _ThreadTime(), _LoopTime()
    try:
        yield
    finally:
        thread_clocks.current, loop_clocks.current = before
