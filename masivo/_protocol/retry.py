"""Which failures are repeated, and when (contract, section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .settings import LONGEST
from .stamps import parse_http_date

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .errors import MasivoError
    from .stamps import ServerClock
    from .values import RandomSource

__all__ = ["ISOLATED", "REPEATED", "Backoff", "full_jitter", "retry_after"]

REPEATED: Final = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that ask for a repeat."""

ISOLATED: Final = frozenset({400, 413, 422})
"""Statuses that blame a batch, of which perhaps one event is at fault."""

FIRST_WAIT: Final = 0.5
"""The bound of the first random wait, in seconds; it doubles with every failure in a row."""
LONGEST_WAIT: Final = 30.0
"""The bound that it doubles to, in seconds."""
LONGEST_HOLD: Final = 300.0
"""The longest ``Retry-After`` that is waited for, in seconds."""


def full_jitter(failures: int, random: RandomSource, longest: float = LONGEST_WAIT) -> float:
    """A random wait after so many failures in a row (from 1), in seconds: "full jitter"."""
    return random.random() * min(longest, FIRST_WAIT * 2.0 ** min(failures - 1, 64))


def retry_after(headers: Mapping[str, str], clock: ServerClock) -> float | None:
    """The seconds that an answer's ``Retry-After`` asks for (``LONGEST`` at most: no driver could
    sleep much longer), None without a usable one.

    Source: RFC 9110, section 10.2.3: seconds, or a date.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST)
    date = parse_http_date(text)
    if date is None:
        return None
    return min(max(0.0, clock.seconds_until(date, headers.get("date"))), LONGEST)


class Backoff:
    """What the answers to one key say about when to send again."""

    def __init__(self, random: RandomSource) -> None:
        self._random = random
        self.failures: int = 0
        """How many failures in a row; 0 while the last answer was a good one."""
        self.hold_until: float = 0.0
        """No request of the key before this time, but a last try of a client that closes."""
        self.refused_until: float = 0.0
        """Batches fail at once with ``refusal`` before this time: the server asked for more
        patience than ``LONGEST_HOLD``."""
        self.refusal: MasivoError | None = None

    def failed(self, known: int, wait: float | None, error: MasivoError, now: float) -> None:
        """Take note of a failure that asks for a repeat.

        Args:
            known: ``failures`` when its request was sent: requests that were out together count
                as one failure.
            wait: the seconds of its ``Retry-After``, if any.
            error: what becomes of batches if that is too long.
            now: the engine's time.
        """
        self.failures = max(self.failures, known + 1)
        self.hold(wait, error, now)

    def hold(self, wait: float | None, error: MasivoError, now: float) -> None:
        """Obey a ``Retry-After``."""
        if wait is None:
            return
        if wait <= LONGEST_HOLD:
            self.hold_until = max(self.hold_until, now + wait)
        elif now + wait > self.refused_until:
            self.refused_until, self.refusal = now + wait, error

    def succeeded(self) -> None:
        """Take note of any other answer."""
        self.failures = 0

    def wait(self) -> float:
        """A random wait before the next request, in seconds; 0 after a good answer."""
        return full_jitter(self.failures, self._random) if self.failures else 0.0

    def refuses(self, now: float) -> MasivoError | None:
        """The error with which batches fail at once at this time, if they do."""
        return self.refusal if now < self.refused_until else None
