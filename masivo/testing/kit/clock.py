"""Time under the test's control: the fixture ``masivo_clock``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .loops import in_loop, in_thread

if TYPE_CHECKING:
    from .virtual import VirtualTime

__all__ = ["MasivoClock"]


class MasivoClock:
    """Time as the clients and the emulator see it; it stands still until the test moves it.

    A call that waits in the test's own thread (``client.flush()``, ``delivery.result()``) lets
    time run by itself, to whatever it waits for: nobody else could move it.
    """

    def __init__(self, virtual: VirtualTime) -> None:
        self._virtual = virtual

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the test began."""
        return self._virtual.clock.monotonic()

    def time(self) -> float:
        """Virtual seconds since the epoch; a test begins at the real time."""
        return self._virtual.clock.time()

    def advance(self, seconds: float) -> None:
        """Let time pass, and wait until all that is due in it has been done.

        Batches that are due have arrived at the emulator then, and have their outcome. Nothing is
        waited for in real time but the requests themselves.

        Raises:
            RuntimeError: called in an event loop (``await masivo_clock.aadvance(...)`` there);
                or something that is due is not done, such as a request that is not answered.
        """
        __tracebackhide__ = True
        if in_loop():
            raise RuntimeError(
                "advance() would block the event loop that runs here, and with it the clients: "
                "await masivo_clock.aadvance(...)"
            )
        for _ in self._virtual.stops(seconds):
            self._virtual.rest()

    async def aadvance(self, seconds: float) -> None:
        """As ``advance``, for a test in asyncio or trio."""
        __tracebackhide__ = True
        for _ in self._virtual.stops(seconds):
            await in_thread(self._virtual.rest)

    def __repr__(self) -> str:
        return f"<MasivoClock after {self.elapsed:g} s>"
