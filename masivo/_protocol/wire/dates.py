"""HTTP dates (RFC 9110, section 5.6.7), and the form of ``issued_at``."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from typing import Final

__all__ = ["STAMP_LENGTH", "format_stamp", "parse_http_date", "parse_stamp"]

STAMP_LENGTH: Final = len("2026-01-01T00:00:00.000Z")
"""The width of a stamp, in bytes."""

_EPOCH: Final = date(1970, 1, 1).toordinal()
_TO_SECONDS: Final = len("2026-01-01T00:00:00")

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
    # Compiled (and cached) by `re` at the first response, not at import.
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
    return _seconds(moment)


def parse_stamp(text: str) -> float | None:
    """Seconds since the epoch for a time with its offset in ISO 8601, else None."""
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else _seconds(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def _seconds(moment: datetime) -> float:
    # Not `timestamp()`: since CPython 3.14 it imports a module, which fails at interpreter exit.
    days = moment.toordinal() - _EPOCH
    seconds = days * 86_400.0 + moment.hour * 3_600 + moment.minute * 60 + moment.second
    return seconds + moment.microsecond / 1e6


def format_stamp(seconds: float) -> bytes:
    """Seconds since the epoch as UTC with milliseconds, cut (never rounded up)."""
    try:
        whole = math.floor(seconds)
        moment = datetime.fromtimestamp(whole, UTC)
    except (OverflowError, ValueError, OSError):  # a wall clock beyond all calendars
        return b"1970-01-01T00:00:00.000Z"
    # Not the microseconds of `fromtimestamp`: it rounds them, up as well.
    thousandths = min(999, int((seconds - whole) * 1000.0))
    return f"{moment.isoformat()[:_TO_SECONDS]}.{thousandths:03d}Z".encode()
