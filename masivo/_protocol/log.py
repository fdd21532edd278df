"""Failures that nobody asks for: at most one warning per cause every few seconds."""

from __future__ import annotations

from typing import Final, TypeAlias

from .errors import (
    MasivoAuthError,
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    MasivoQueueFullError,
    MasivoServerKeyError,
)

__all__ = ["FailureLog", "not_sent"]

INTERVAL: Final = 5.0
"""The least time between two warnings of one cause, in seconds."""

_CAUSES: Final[dict[type[MasivoError], str]] = {
    MasivoServerKeyError: "a SERVER key was used where a CLIENT key belongs",
    MasivoAuthError: "authorization failed; check the API key and base_url",
    MasivoNetworkError: "no usable answer from the API",
    MasivoConfigError: "there is no usable HTTP client; see http_client",
    MasivoQueueFullError: "the buffer was full; raise max_queue, or call drain() before sending",
    MasivoClosedError: "the client was closed or destroyed first",
    MasivoError: "the API refused them",
}


_Cause: TypeAlias = tuple[type[MasivoError], int | None]


class FailureLog:
    """Collects failures and says what is to be logged, and when.

    A warning names the class of error, the status and a text of ours: never what the server
    wrote, which may quote an event.
    """

    def __init__(self) -> None:
        self._until: dict[_Cause, float] = {}
        self._held: dict[_Cause, int] = {}

    def note(self, error: MasivoError, count: int, now: float, *, hold: bool = False) -> list[str]:
        """Take in ``count`` failures; what is to be logged at once (nothing, with ``hold``)."""
        cause = (type(error), error.status)
        if hold or now < self._until.get(cause, now):
            self._until.setdefault(cause, now)
            self._held[cause] = self._held.get(cause, 0) + count
            return []
        self._until[cause] = now + INTERVAL
        return [self._line(cause, count + self._held.pop(cause, 0))]

    def next(self) -> float | None:
        """When failures that were held back are to be logged."""
        return min((self._until[cause] for cause in self._held), default=None)

    def due(self, now: float) -> list[str]:
        """What is to be logged of the failures held back until now."""
        causes = [cause for cause in self._held if self._until[cause] <= now]
        return [self._release(cause, now) for cause in causes]

    def drain(self, now: float) -> list[str]:
        """What is to be logged of all that is held back."""
        return [self._release(cause, now) for cause in list(self._held)]

    def _release(self, cause: _Cause, now: float) -> str:
        self._until[cause] = now + INTERVAL
        return self._line(cause, self._held.pop(cause))

    @staticmethod
    def _line(cause: _Cause, count: int) -> str:
        kind, status = cause
        events = "1 event was" if count == 1 else f"{count} events were"
        answer = "" if status is None else f" (HTTP {status})"
        return (
            f"{events} not delivered, and nobody asked why: {kind.__name__}{answer}: "
            f"{_CAUSES.get(kind, _CAUSES[MasivoError])}. "
            "For the details ask the Delivery that send_analytics_event returned"
            # An event that found the buffer full was never accepted: on_error is not told of it.
            f"{'' if kind is MasivoQueueFullError else '; on_error, if set, was given them'}"
        )


def not_sent(count: int, why: str) -> list[str]:
    """The warning that so many events were lost with their client, if any were."""
    if not count:
        return []
    events = "1 event was" if count == 1 else f"{count} events were"
    return [f"{events} not sent: {why}"]
