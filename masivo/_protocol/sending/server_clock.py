"""The server's time, learned from its responses.

The rules: ``docs/reference/guarantees.md#clock-of-the-server``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from masivo._protocol.wire.dates import parse_http_date

if TYPE_CHECKING:
    from masivo._protocol.values import Clock

__all__ = ["ServerClock"]

WALL_CLOCK_MARGIN: Final = 2.0
"""How far behind the local clock a stamp stays where no ``Date`` was seen, in seconds: the API
rejects a time in the future."""


class ServerClock:
    """The server's time, as a lower bound.

    ``Date`` is cut to the second and the response took time to arrive, so the server's clock reads
    at least ``Date`` when it does. It exceeds ``Date`` by at most one second plus the
    request's duration. A response that contradicts the bound kept so far shows that the server's
    clock was set back: the bound starts anew.
    """

    def __init__(self, wall_clock: Clock) -> None:
        self._wall_clock = wall_clock
        self._offset: float | None = None

    def observe(self, date: str | None, sent_at: float, now: float) -> None:
        """Learn from the ``Date`` of a response.

        Args:
            date: the header, or None.
            sent_at: when the request was sent, on the engine's clock.
            now: when the response arrived, on the engine's clock.
        """
        seconds = parse_http_date(date) if date is not None else None
        if seconds is None:
            return
        lower, upper = seconds - now, seconds + 1.0 - sent_at
        if self._offset is None or lower > self._offset or upper < self._offset:
            self._offset = lower

    def time(self, at: float, now: float) -> float:
        """The server's time at the moment ``at``, in seconds since the epoch; never too late.

        Args:
            at: seconds on the engine's clock.
            now: the engine's time.
        """
        if self._offset is not None:
            return self._offset + at
        return self._wall_clock() - WALL_CLOCK_MARGIN - (now - at)
