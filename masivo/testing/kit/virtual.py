"""Virtual time for the clients of a test, with any driver, and waiting until they are idle.

Only timers of ``masivo`` itself are virtual: batches, retries, renewals, the deadlines of calls in
threads, and the emulator's clock. The loop's own timers and request timeouts are real.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from queue import Empty
from typing import TYPE_CHECKING, Any, Final, Self, cast

from masivo._async import clock as loop_clocks
from masivo._sync import clock as thread_clocks
from masivo.testing.conformance.clock import TICK, VirtualClock
from masivo.testing.conformance.watch import Watch
from masivo.testing.conformance.worlds import threads

from .loops import in_loop
from .travel import is_travelling, monotonic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from queue import SimpleQueue

    from masivo.protocol import Engine

__all__ = ["VirtualTime"]

LIMIT: Final = 30.0
"""Real seconds that everything due at one time may take; a single request may take 10."""
FIRST_CHECK: Final = 0.001
"""Real seconds before the first check: workers that go to sleep send no notification, and most are
about to."""
CHECK_EVERY: Final = 0.05
"""Real seconds between later checks, at most."""


class VirtualTime:
    """The time of all clients that are made or reset while it is entered."""

    def __init__(self) -> None:
        self.clock: VirtualClock = _Clock()
        self._watch = _Watch(self.clock)
        self._test = threading.get_ident()

    def stops(self, seconds: float) -> Iterator[None]:
        """Move the clock from one due time to the next; at each, the caller waits until everything
        due is done."""
        if not isinstance(cast("object", seconds), int | float):
            raise TypeError(
                f"pass a number of seconds, not {seconds!r} (a timedelta has total_seconds())"
            )
        if not 0 <= seconds < math.inf:
            raise ValueError("seconds must be a number from 0 on")
        until = self.clock.monotonic() + seconds
        yield
        while self.clock.monotonic() < until:
            self.clock.move(min(self._next(), until))
            yield

    def _next(self) -> float:
        """Return the next due time; infinite for none."""
        at = min(self._watch.next_wake() or math.inf, self.clock.next_wait())
        return max(at, self.clock.monotonic() + TICK)

    # ── Idling ───────────────────────────────────────────────────────────────────────────────

    def wait_until_idle(self, bell: SimpleQueue[None] | None = None) -> None:
        """Wait until everything due now is done, or ``bell`` has rung."""
        __tracebackhide__ = True
        deadline = monotonic() + LIMIT
        pause = FIRST_CHECK
        with self.clock.changed:
            while (bell is None or bell.empty()) and (why := self._busy_reason()):
                if monotonic() > deadline:
                    raise RuntimeError(f"masivo_clock: after {LIMIT:g} real seconds {why}")
                notified = self.clock.changed.wait(pause)
                pause = FIRST_CHECK if notified else min(2 * pause, CHECK_EVERY)

    def _busy_reason(self) -> str | None:
        why = self._watch.unrest(parallel=True)
        sync = sys.modules.get("masivo._sync.session")
        if why is None and sync is not None:
            for session in sync.sessions():
                if session.clock is thread_clocks.current and session.is_busy:
                    return "a worker thread has not finished what it does"
        return why

    def let_run(self, bell: SimpleQueue[None], until: float) -> None:
        """Advance the time to the next due time, unless ``bell`` rings before.

        Args:
            bell: the bell that the test's thread waits for.
            until: the end of its wait.
        """
        __tracebackhide__ = True
        self.wait_until_idle(bell)
        if not bell.empty():
            return
        at = min(self._next(), until)
        if at < math.inf:
            self.clock.move(at)
            return
        try:
            bell.get(timeout=LIMIT)
        except Empty:
            raise RuntimeError(
                "masivo_clock: this waits for something that does not depend on time"
            ) from None

    # ── Installing the time ──────────────────────────────────────────────────────────────────

    def watched(self) -> AbstractContextManager[object]:
        """Watch the engines in this time. Enter it before the time, and leave it after the clients
        were reset."""
        return self._watch

    def __enter__(self) -> Self:
        self._before = thread_clocks.current, loop_clocks.current
        thread_clocks.current = _ThreadClock(self.clock, self)
        loop_clocks.current = self.clock
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the former time for new sessions."""
        thread_clocks.current, loop_clocks.current = self._before

    def is_test(self) -> bool:
        """Return whether this is the test's thread, without a running event loop."""
        return threading.get_ident() == self._test and not in_loop()


class _Clock(VirtualClock):
    """A clock whose wall time starts at the real time, which code under test may have read.

    If a test travels in time, it starts at the travelled time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._began = math.floor(time.time())

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return (time.time() if is_travelling() else self._began) + self.monotonic()


class _ThreadClock(threads._ThreadClock):  # noqa: SLF001
    """The clock of threads; it advances the time while the test's own thread waits."""

    def __init__(self, clock: VirtualClock, owner: VirtualTime) -> None:
        super().__init__(clock)
        self._owner = owner

    def wait_for(self, bell: SimpleQueue[None], until: float) -> None:
        if self._owner.is_test():
            self._owner.let_run(bell, until)
        else:
            super().wait_for(bell, until)


class _Watch(Watch):
    """The watch over the engines in this time; engines of the test's own driver use another."""

    def _made(self, engine: Engine, options: dict[str, Any]) -> None:
        if options["clock"]() == self.clock.monotonic():
            super()._made(engine, options)
