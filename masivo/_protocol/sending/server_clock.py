"""The server's time, learned from its responses.

The rules: ``docs/reference/guarantees.md#clock-of-the-server``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from masivo._protocol.wire.dates import parse_http_date

if TYPE_CHECKING:
    from masivo._protocol.values import Clock

__all__ = ["DOUBT", "ServerClock"]

WALL_CLOCK_MARGIN: Final = 2.0
"""Seconds by which a stamp stays behind the local clock if no ``Date`` was seen: the API rejects a
time in the future."""

DOUBT: Final = 60.0
"""Clocks that differ by more seconds than this were set, or have stopped. Less is the network's
delay, or drift."""


class ServerClock:
    """The server's clock, by its distance from the engine's.

    ``Date`` is cut to the second and the response took time to arrive, so the server's clock reads
    at least ``Date`` at that moment: each ``Date`` is a lower bound, and the highest counts. One
    that is far below shows that the server's clock was set back, or that an earlier response was
    wrong: it replaces the estimate.

    The engine's clock may stop while the machine sleeps. If the wall clock has advanced without it
    since the last ``Date``, the wall clock is used in its place until the next.
    """

    def __init__(self, wall_clock: Clock) -> None:
        self.is_known: bool = False
        """True once a ``Date`` was seen."""
        self.ahead: float = -WALL_CLOCK_MARGIN
        """The least number of seconds by which the server's clock is ahead of the wall clock. For
        calls to send: reading it costs nothing."""
        self._wall_clock = wall_clock
        self._offset: float | None = None
        self._seen: tuple[float, float] = (0.0, 0.0)  # both clocks at the last `Date`
        self._leapt = False  # a `Date` was far ahead of the estimate, and none confirmed it yet
        self.set_back: int = 0
        """The number of times that a ``Date`` showed that the estimate was too late."""

    def observe(self, date: str | None, now: float, *, success: bool = True) -> None:
        """Learn from the ``Date`` of a response.

        Args:
            date: the header, or None.
            now: when the response arrived, on the engine's clock.
            success: True for a 2xx: others may be of something before the API.
        """
        seconds = parse_http_date(date) if date is not None else None
        if seconds is None:
            return
        before, bound, known = self.offset(now), seconds - now, self.is_known
        if self._offset is None or bound > self._offset or self._offset - bound > DOUBT:
            self._offset = bound
        wall = self._wall_clock()
        self._seen = now, wall
        self.ahead, self.is_known = self._offset + now - wall, True
        if before - self._offset > DOUBT:
            self.set_back += 1
        if known and bound - before > DOUBT:
            self._leapt = True
        elif success:
            self._leapt = False

    def offset(self, now: float) -> float:
        """The least number of seconds by which the server's clock is ahead of the engine's.

        Args:
            now: the engine's time.
        """
        if self._offset is None:
            return self._wall_clock() - WALL_CLOCK_MARGIN - now
        return self._offset + self._drift(now)

    def is_doubtful(self, now: float) -> bool:
        """True while the estimate may be far too late: from the moment at which the wall clock has
        advanced alone (this machine has slept, or its clock was set) until the next ``Date``; and
        from a ``Date`` that is far ahead of the estimate until a success confirms it."""
        return self._offset is not None and (self._leapt or self._drift(now) != 0.0)

    def _drift(self, now: float) -> float:
        drift = (self._wall_clock() - self._seen[1]) - (now - self._seen[0])
        return drift if drift > DOUBT else 0.0
