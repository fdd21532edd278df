"""Time under the test's control: the fixture ``masivo_clock``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo._guesses import Advised

from .loops import in_loop, in_thread

if TYPE_CHECKING:
    from .virtual import VirtualTime

__all__ = ["MasivoClock"]


class MasivoClock(Advised):
    """The time of the clients and the emulator. It moves only when the test advances it, and while
    a call waits in the test's own thread.

    Such a call (``client.flush()``, ``delivery.result()``) advances the time itself, until it has
    what it waits for, because the test cannot do so meanwhile.
    """

    def __init__(self, virtual: VirtualTime) -> None:
        self._virtual = virtual

    @property
    def elapsed(self) -> float:
        """The virtual seconds since the test began."""
        return self._virtual.clock.monotonic()

    def time(self) -> float:
        """Return the virtual seconds since the epoch; a test begins at the real time."""
        return self._virtual.clock.time()

    def advance(self, seconds: float) -> None:
        """Advance the time, and wait until everything due by then is done.

        When it returns, the batches that were due have arrived at the emulator and have their
        outcome. Only the requests themselves take real time.

        Raises:
            RuntimeError: called in an event loop (use ``await masivo_clock.aadvance(...)``);
                or something due is not done in time, such as a request without a response.
        """
        __tracebackhide__ = True
        if in_loop():
            raise RuntimeError(
                "advance() would block the event loop that runs here, and its clients: "
                "await masivo_clock.aadvance(...)"
            )
        for _ in self._virtual.stops(seconds):
            self._virtual.wait_until_idle()

    async def aadvance(self, seconds: float) -> None:
        """Advance the time like ``advance``, in a test in asyncio or trio."""
        __tracebackhide__ = True
        for _ in self._virtual.stops(seconds):
            await in_thread(self._virtual.wait_until_idle)

    def __repr__(self) -> str:
        return f"<MasivoClock after {self.elapsed:g} s>"
