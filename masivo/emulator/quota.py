"""The daily quota of an account, and the headers that report it."""

import math
from dataclasses import dataclass

DAY = 86_400.0

# The error of a response to a request past the quota.
USED_UP = "The quota of the day is used up"


@dataclass(slots=True)
class _Window:
    ends_at: float
    used: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """The quota that a key has left after a request."""

    # True if the request itself was within the quota.
    granted: bool
    # X-RateLimit-* headers, and Retry-After if the request was not granted.
    headers: tuple[tuple[str, str], ...]


class Quota:
    """Requests counted by key and day. Not thread-safe: the caller holds a lock.

    A key's day begins with its first request and lasts 86,400 s, so that tests do not depend on
    the time of day. `limit=None` grants everything and adds no headers.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._windows: dict[str, _Window] = {}

    def spend(self, key: str | None, now: float) -> Allowance:
        """Count one request of the key; a request without a known key (None) is free."""
        if self._limit is None:
            return Allowance(granted=True, headers=())
        window = self._window(key, now)
        granted = window.used < self._limit
        if granted and key is not None:
            window.used += 1
        reset = str(math.ceil(window.ends_at - now))
        headers = (
            ("X-RateLimit-Limit", str(self._limit)),
            ("X-RateLimit-Remaining", str(self._limit - window.used)),
            ("X-RateLimit-Reset", reset),
        )
        if key is None:
            return Allowance(granted=True, headers=headers)
        return Allowance(granted, headers if granted else (*headers, ("Retry-After", reset)))

    def _window(self, key: str | None, now: float) -> _Window:
        window = self._windows.get(key) if key is not None else None
        if window is None or now >= window.ends_at:
            window = _Window(ends_at=now + DAY)
            if key is not None:
                self._windows[key] = window
        return window
