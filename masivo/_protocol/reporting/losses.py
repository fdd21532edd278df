"""Warnings about lost events: at most one per cause every few seconds.

The rules: ``docs/reference/guarantees.md#unclaimed-failures``.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from masivo._protocol.errors import (
    MasivoAuthError,
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    MasivoQueueFullError,
    MasivoServerKeyError,
)
from masivo._protocol.wire.statuses import RETRYABLE

from .lines import count_of

__all__ = ["NOT_ACCEPTED", "Losses", "not_sent"]

INTERVAL: Final = 5.0
"""The least time between two warnings of one cause, in seconds."""

NOT_ACCEPTED: Final = ": the event was not accepted"
"""In the message of a ``MasivoQueueFullError``, after what was full."""

_CAUSES: Final[dict[type[MasivoError], str]] = {
    MasivoServerKeyError: "a SERVER key was used where a CLIENT key belongs",
    MasivoAuthError: "authorization failed; check the API key and base_url",
    MasivoNetworkError: "no usable response from the API",
    MasivoConfigError: "there is no usable HTTP client; see http_client",
    MasivoClosedError: "the client was closed, or the program ended, before delivery",
    MasivoError: "not accepted by the API",
}

_Cause: TypeAlias = tuple[type[MasivoError], int | None, bool, str]
"""The class, the status, whether the spool keeps the event, and what was full."""


class Losses:
    """Unclaimed failures, counted by cause, until they are logged.

    A warning names the class of error, the status and our own text: never the server's text, which
    may quote an event.
    """

    def __init__(self) -> None:
        self._until: dict[_Cause, float] = {}
        self._suppressed: dict[_Cause, int] = {}

    def note(
        self, error: MasivoError, count: int, now: float, *, suppress: bool = False
    ) -> list[str]:
        """Count failures; return the lines to be logged at once (none, with ``suppress``)."""
        cause = (type(error), error.status, error.spooled, _what_was_full(error))
        if suppress or now < self._until.get(cause, now):
            self._until.setdefault(cause, now)
            self._suppressed[cause] = self._suppressed.get(cause, 0) + count
            return []
        self._until[cause] = now + INTERVAL
        return [self._line(cause, count + self._suppressed.pop(cause, 0))]

    def next(self) -> float | None:
        """The time at which suppressed failures are due to be logged."""
        return min((self._until[cause] for cause in self._suppressed), default=None)

    def due(self, now: float) -> list[str]:
        """The lines of suppressed failures that are to be logged now."""
        causes = [cause for cause in self._suppressed if self._until[cause] <= now]
        return [self._release(cause, now) for cause in causes]

    def drain(self, now: float) -> list[str]:
        """The lines of all suppressed failures."""
        return [self._release(cause, now) for cause in list(self._suppressed)]

    def _release(self, cause: _Cause, now: float) -> str:
        self._until[cause] = now + INTERVAL
        return self._line(cause, self._suppressed.pop(cause))

    @staticmethod
    def _line(cause: _Cause, count: int) -> str:
        kind, status, spooled, full = cause
        fate = "was not" if count == 1 else "were not"
        http = "" if status is None else f", HTTP {status}"
        why = full or _CAUSES.get(kind, _CAUSES[MasivoError])
        if spooled and kind is MasivoQueueFullError:
            why = "the buffer was full, or older events wait on disk"
        if spooled and kind is MasivoError:
            why = "the API accepts no events now"
            if status not in RETRYABLE:
                why += "; check base_url and the API key"
        if kind is MasivoNetworkError and status is not None and 200 <= status < 300:
            fate, why = "may not have been", "no usable response after the headers of a success"
        if kind is MasivoAuthError and status in RETRYABLE:
            why = "authorization failed; the trouble is the API's, not the key's"
        events, reason = f"{count_of(count)} {fate} delivered", f"{kind.__name__}{http}: {why}"
        if spooled:
            return f"{events} yet ({reason}); kept in the spool, to be sent later"
        # An event that found no room was never accepted: on_error is not called.
        other = "call drain() before sending" if kind is MasivoQueueFullError else "set on_error"
        advice = f"Check the Delivery that send_analytics_event returned, or {other}"
        return f"{events} ({reason}). {advice}"


def _what_was_full(error: MasivoError) -> str:
    """The buffer with its bounds, or the spool with its path, as the error says it; empty for
    another error."""
    if not isinstance(error, MasivoQueueFullError) or error.spooled:
        return ""
    return error.message.partition(NOT_ACCEPTED)[0]


def not_sent(count: int, why: str) -> list[str]:
    """The warning that this many events were lost with their client, if any were."""
    if not count:
        return []
    events = "1 event was" if count == 1 else f"{count} events were"
    return [f"{events} not sent: {why}"]
