"""``issued_at``, from the server's clock (``wire.md``, "issued_at"; for HTTP dates, RFC 9110,
section 5.6.7)."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .values import Clock

__all__ = ["STAMP_LENGTH", "ServerClock", "format_stamp", "parse_http_date"]

STAMP_LENGTH: Final = len("2026-01-01T00:00:00.000Z")
"""The width of a stamp, in bytes."""

_TO_SECONDS: Final = len("2026-01-01T00:00:00")

WALL_CLOCK_MARGIN: Final = 2.0
"""How far behind the local clock a stamp stays where no ``Date`` was seen, in seconds: a time in
the future would be refused."""

_MONTHS: Final[tuple[str, ...]] = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_TIME: Final = r"(?P<h>\d\d):(?P<min>\d\d):(?P<s>\d\d)"
_IMF_OR_RFC850: Final = (
    rf"[A-Z][a-z]+, (?P<d>\d\d)[ -](?P<m>[A-Z][a-z]{{2}})[ -](?P<y>\d{{4}}|\d\d) {_TIME} GMT"
)
_ASCTIME: Final = rf"[A-Z][a-z]{{2}} (?P<m>[A-Z][a-z]{{2}}) (?P<d>[ \d]\d) {_TIME} (?P<y>\d{{4}})"


def parse_http_date(text: str) -> float | None:
    """Seconds since the epoch for an HTTP date in any of its three forms, else None."""
    text = text.strip()
    # Compiled (and kept) by `re` when the first answer is here: it is no work of an import.
    match = re.fullmatch(_IMF_OR_RFC850, text) or re.fullmatch(_ASCTIME, text)
    if match is None or match["m"] not in _MONTHS:
        return None
    year = int(match["y"])
    if len(match["y"]) == 2:  # RFC 850
        year += 2000 if year < 70 else 1900
    try:
        moment = datetime(
            year,
            _MONTHS.index(match["m"]) + 1,
            int(match["d"]),
            int(match["h"]),
            int(match["min"]),
            min(int(match["s"]), 59),  # a leap second
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return moment.timestamp()


def format_stamp(seconds: float) -> bytes:
    """Seconds since the epoch as UTC with milliseconds, cut (never rounded up)."""
    try:
        whole = math.floor(seconds)
        moment = datetime.fromtimestamp(whole, UTC)
    except (OverflowError, ValueError, OSError):  # a wall clock beyond all calendars
        return b"1970-01-01T00:00:00.000Z"
    # Not the microseconds of `fromtimestamp`: it rounds them, up as well.
    thousandths = min(999, int((seconds - whole) * 1000.0))
    # strftime is ten times dearer, and a slow producer's events have a stamp each.
    return f"{moment.isoformat()[:_TO_SECONDS]}.{thousandths:03d}Z".encode()


class ServerClock:
    """The server's time, as a lower bound.

    ``Date`` is cut to the second and the answer took time to arrive, so the server's clock reads
    at least ``Date`` when it does. It reads at most a second and the whole duration of the
    request more; an answer that contradicts the bound kept so far shows that the server's clock
    was set back, and starts anew.
    """

    def __init__(self, wall_clock: Clock) -> None:
        self._wall_clock = wall_clock
        self._offset: float | None = None

    def observe(self, date: str | None, sent_at: float, now: float) -> None:
        """Learn from the ``Date`` of an answer that arrived ``now`` to a request of ``sent_at``."""
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

    def seconds_until(self, date: float, answered: str | None) -> float:
        """How long it is to ``date``: by the ``Date`` of the same answer, else by our clock."""
        server_now = parse_http_date(answered) if answered is not None else None
        return date - (self._wall_clock() if server_now is None else server_now)
