"""Virtual time for the clients of a test, in all worlds, and when they have nothing to do in it.

Only what ``masivo`` itself times is virtual: batches, repeats, renewals, the deadlines of calls in
threads, and the emulator's clock. The loop's own timers, and how long a request may take, are not.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

from masivo._async import clock as loop_clocks
from masivo._sync import clock as thread_clocks
from masivo.testing.conformance.clock import TICK, VirtualClock
from masivo.testing.conformance.watch import Watch
from masivo.testing.conformance.worlds import threads

from .loops import in_loop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from masivo.protocol import Engine

__all__ = ["VirtualTime"]

LIMIT: Final = 30.0
"""How long what is due may take, in real seconds; a request alone may take 10."""
LOOK_AGAIN: Final = 0.05
"""Workers that go to sleep tell nobody: after so many seconds somebody looks again."""


class VirtualTime:
    """The time of all clients that are made, or begin anew, while it is entered."""

    def __init__(self) -> None:
        self.clock: VirtualClock = _Clock()
        self._watch = _Watch(self.clock)
        self._test = threading.get_ident()

    def stops(self, seconds: float) -> Iterator[None]:
        """Move the clock from one time at which something is due to the next; at each of these,
        the caller sees to it that it is done."""
        if not 0 <= seconds < math.inf:
            raise ValueError("seconds must be a number from 0 on")
        until = self.clock.monotonic() + seconds
        yield
        while self.clock.monotonic() < until:
            self.clock.move(min(self._next(), until))
            yield

    def _next(self) -> float:
        """When something is due next; infinite for never."""
        at = min(self._watch.next_wake() or math.inf, self.clock.next_wait())
        return max(at, self.clock.monotonic() + TICK)

    # ── Rest ─────────────────────────────────────────────────────────────────────────────────

    def rest(self, latch: thread_clocks.Latch | None = None) -> None:
        """Wait until all that is due now has been done, or ``latch`` is set."""
        __tracebackhide__ = True
        deadline = time.monotonic() + LIMIT
        with self.clock.changed:
            while not (latch is not None and latch.is_set()) and (why := self._unrest()):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"masivo_clock: after {LIMIT:g} real seconds {why}")
                self.clock.changed.wait(LOOK_AGAIN)

    def _unrest(self) -> str | None:
        why = self._watch.unrest(parallel=True)
        sync = sys.modules.get("masivo._sync.session")
        if why is None and sync is not None:
            for session in sync.sessions():
                if session.clock is thread_clocks.current and session.is_busy:
                    return "a worker thread has not finished what it does"
        return why

    def let_run(self, latch: thread_clocks.Latch, until: float | None) -> None:
        """Let time run to what is due next, unless ``latch`` is set before.

        Args:
            latch: what the test's thread waits for.
            until: when it waits no longer.
        """
        __tracebackhide__ = True
        self.rest(latch)
        if latch.is_set():
            return
        at = min(self._next(), math.inf if until is None else until)
        if at < math.inf:
            self.clock.move(at)
        elif not latch.wait(LIMIT):
            raise RuntimeError(
                "masivo_clock: this waits for something that no passing of time brings about"
            )

    # ── Being the time ───────────────────────────────────────────────────────────────────────

    def watched(self) -> AbstractContextManager[object]:
        """While engines live in this time: to be entered before this, and left after the clients
        have begun anew."""
        return self._watch

    def __enter__(self) -> Self:
        thread_clocks.current = _ThreadClock(self.clock, self)
        loop_clocks.current = self.clock
        return self

    def __exit__(self, *_: object) -> None:
        """New sessions take the real time again."""
        thread_clocks.current = thread_clocks.Clock()
        loop_clocks.current = None

    def is_test(self) -> bool:
        """Whether this is the thread of the test, and no event loop runs in it."""
        return threading.get_ident() == self._test and not in_loop()


class _Clock(VirtualClock):
    """Its wall clock goes on from the real time: code under test may have read that."""

    def __init__(self) -> None:
        super().__init__()
        self._began = math.floor(time.time())

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._began + self.monotonic()


class _ThreadClock(threads._ThreadClock):  # noqa: SLF001
    """Lets time run for the test's own thread."""

    def __init__(self, clock: VirtualClock, owner: VirtualTime) -> None:
        super().__init__(clock)
        self._owner = owner

    def wait_for(self, latch: thread_clocks.Latch, until: float | None) -> None:
        if self._owner.is_test():
            self._owner.let_run(latch, until)
            latch.clear()
        else:
            super().wait_for(latch, until)


class _Watch(Watch):
    """Watches the engines whose time this is; a driver of the test's own has another."""

    def _made(self, engine: Engine, options: dict[str, Any]) -> None:
        if options["clock"]() == self.clock.monotonic():
            super()._made(engine, options)
