"""Waits before a retry, and holds: when a key may send again.

The rules: ``docs/reference/guarantees.md#backoff``; ``docs/reference/guarantees.md#retry-after``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from masivo._protocol.errors import MasivoError
    from masivo._protocol.values import RandomSource

    from .attempt import Attempt

__all__ = ["Backoff", "full_jitter"]

FIRST_WAIT: Final = 0.5
"""The bound of the first random wait, in seconds; it doubles with every failure in a row."""
LONGEST_WAIT: Final = 30.0
"""The bound that it doubles to, in seconds."""
LONGEST_HOLD: Final = 300.0
"""The longest ``Retry-After`` that is waited for, in seconds."""


def full_jitter(failures: int, random: RandomSource, longest: float = LONGEST_WAIT) -> float:
    """A random wait after this many failures in a row (from 1), in seconds: "full jitter"."""
    return random.random() * min(longest, FIRST_WAIT * 2.0 ** min(failures - 1, 64))


class Backoff:
    """The state of one key's waits: when its next request may be sent."""

    def __init__(self, random: RandomSource) -> None:
        self._random = random
        self.failures: int = 0
        """The number of failures in a row; any other result, even a 400 or a 401, resets it to
        0."""
        self.hold_until: float = 0.0
        """No request of the key is sent before this time, except the last try of a close."""
        self.long_hold_until: float = 0.0
        """Batches fail at once before this time: a ``Retry-After`` was above ``LONGEST_HOLD``."""
        self._long_hold_error: MasivoError | None = None

    def failed(self, attempt: Attempt, wait: float | None, error: MasivoError, now: float) -> None:
        """Count a failure: the next waits are longer.

        Args:
            attempt: the attempt that failed. Requests that were out together count as one failure.
            wait: the seconds of its ``Retry-After``, if any.
            error: the error of batches if the ``Retry-After`` is too long.
            now: the engine's time.
        """
        self.failures = max(self.failures, attempt.failures + 1)
        self.hold(wait, error, now)

    def hold(self, wait: float | None, error: MasivoError, now: float) -> None:
        """Obey a ``Retry-After``."""
        if wait is None:
            return
        if wait <= LONGEST_HOLD:
            self.hold_until = max(self.hold_until, now + wait)
        elif now + wait > self.long_hold_until:
            self.long_hold_until, self._long_hold_error = now + wait, error

    def succeeded(self) -> None:
        """Reset the count, after any result that needs no backoff."""
        self.failures = 0

    def wait(self) -> float:
        """A random wait before the next request, in seconds; 0 after a good response."""
        return full_jitter(self.failures, self._random) if self.failures else 0.0

    def long_hold(self, now: float) -> MasivoError | None:
        """The error with which batches fail at once at this time, if they do."""
        return self._long_hold_error if now < self.long_hold_until else None
