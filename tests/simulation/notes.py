"""What the core tells for ``MASIVO_LOG``, compared with what it did."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from masivo.protocol import Failed

from .expect import Violation
from .server import SECRETS

if TYPE_CHECKING:
    from masivo.protocol import Output, Request

__all__ = ["NotesCheck"]

DEBUG: Final = 10
INFO: Final = 20

SENT: Final = re.compile(
    r"(?:authorization|batch [0-9a-f]{8}): (?:(\d+) events?, (\d+) bytes, due by [a-z_ ]+: )?"
    r"(GET|POST) (\S+) \(request (\d+)(?:, repeat \d+)?, timeout \S+ s\)"
)
FAILED: Final = re.compile(r"(\d+) events? failed: (\w+)(?: \(HTTP (\d+)\))?;")
RESTS: Final = re.compile(r"nothing to do (?:for (\d+\.\d{3}) s; then .+|until .+)")


class NotesCheck:
    """What one poll must tell, at a level.

    Args:
        output: of the poll, before it is settled.
        level: the least level that somebody reads; above INFO nobody does.
        now: the engine's time.
    """

    def __init__(self, output: Output, level: int, now: float) -> None:
        self._requests = list(output.requests) if level <= DEBUG else []
        self._failed: Counter[tuple[str, str | None]] = Counter()
        for settled in output.settled:
            outcome = settled.outcome
            if level <= INFO and isinstance(outcome, Failed):
                status = None if outcome.error.status is None else str(outcome.error.status)
                self._failed[type(outcome.error).__name__, status] += len(settled.deliveries)
        self._rest = None if output.wake_at is None else output.wake_at - now
        self._level = level

    def compare(self, lines: list[tuple[int, str]]) -> None:
        """Raise a Violation unless these are the lines."""
        for level, line in lines:
            if level not in (DEBUG, INFO) or level < self._level:
                raise Violation("notes", f"{line!r} at level {level}")
            if any(secret in line for secret in SECRETS):
                raise Violation("secret", f"in a note: {line!r}")
            due = DEBUG
            if found := SENT.fullmatch(line):
                self._sent(line, found)
            elif found := FAILED.match(line):
                due = INFO
                self._failed[found[2], found[3]] -= int(found[1])
            elif found := RESTS.fullmatch(line):
                told = None if found[1] is None else f"{float(found[1]):.3f}"
                if told != (None if self._rest is None else f"{self._rest:.3f}"):
                    raise Violation("notes", f"{line!r}, but it is {self._rest}")
            else:
                continue
            if level != due:
                raise Violation("notes", f"{line!r} at level {level}")
        if self._requests:
            raise Violation("notes", f"not told: {self._requests[0]}")
        if any(self._failed.values()):
            raise Violation("notes", f"too few or many told: {self._failed}")

    def _sent(self, line: str, found: re.Match[str]) -> None:
        if not self._requests:
            raise Violation("notes", f"nothing was sent: {line!r}")
        request: Request = self._requests.pop(0)
        length = str(len(request.body)) if request.body else None
        told = (found[3], found[4], int(found[5]), found[2])
        if told != (request.method, request.url, request.id, length):
            raise Violation("notes", f"{line!r} instead of {request}")
