"""What the engine does, told for people: the lines of ``MASIVO_LOG`` (README, "Logging").

A line holds texts of ours, numbers, statuses, addresses and names of classes: nothing that the
server said, and nothing of an event. It is made only if somebody reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .causes import chain
from .flight import Flight
from .output import Notes
from .timers import Timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .attempt import Attempt
    from .errors import MasivoError
    from .values import Failure, FlushResult, Request, Stats

__all__ = ["DEBUG", "INFO", "Journal"]

DEBUG: Final = 10
"""The level of what is as it should be (``logging.DEBUG``)."""
INFO: Final = 20
"""The level of what went wrong, and what the engine does about it (``logging.INFO``)."""

_SHOWN_OF_KEY: Final = 8  # characters of an idempotency key, by which a batch is named

_TIMERS: Final = {
    Timer.LINGER: "waiting events become due",
    Timer.REPEAT: "something is sent again",
    Timer.CLOSE: "a close runs out",
    Timer.REFRESH: "the token is renewed",
    Timer.LOG: "warnings that were held back are written",
}


class Journal:
    """Makes the lines of an engine.

    Args:
        redact: takes the secrets out of a line.
        level: the least level that is read.
    """

    def __init__(self, redact: Callable[[str], str], level: int) -> None:
        self.level = level
        self._wake_at: float | None = None  # the wake-up that was last told of
        self._redact = redact
        self.notes: Notes = Notes()
        """What is still to be written."""

    def _debug(self, text: str) -> None:
        if self.level <= DEBUG:
            self._add(DEBUG, text)

    def _info(self, text: str) -> None:
        self._add(INFO, text)

    def _add(self, level: int, text: str) -> None:
        # An address of the caller's (in `base_url`, or in `Api`) may hold a secret.
        self.notes.add(level, self._redact(text))

    # ── Requests and answers ─────────────────────────────────────────────────────────────────

    def sent(self, attempt: Attempt, request: Request) -> None:
        """A request goes out."""
        carries = ""
        if isinstance(attempt, Flight):
            count = len(attempt.part.deliveries)
            carries = f"{_events(count)}, {len(request.body)} bytes, due by {attempt.why}: "
        repeat = f", repeat {attempt.retries}" if attempt.retries else ""
        self._debug(
            f"{_name(attempt)}: {carries}{request.method} {request.url} "
            f"(request {request.id}{repeat}, timeout {request.timeout:g} s)"
        )

    def answered(self, attempt: Attempt, status: int, now: float) -> None:
        """A request was answered."""
        tell = self._debug if status < 300 else self._info
        tell(f"{_name(attempt)}: answered {status} {_took(attempt, now)}")

    def broken(self, attempt: Attempt, failure: Failure, now: float) -> None:
        """A request got no complete answer."""
        error = failure.cause or failure.fatal
        kinds = [] if error is None else [type(each).__name__ for each in chain(error)]
        why = ": " + " from ".join(dict.fromkeys(kinds)) if kinds else ""
        status = "" if failure.status is None else f", though its headers said {failure.status}"
        sent = "" if failure.sent else "; nothing was sent"
        self._info(f"{_name(attempt)}: no usable answer {_took(attempt, now)}{status}{why}{sent}")

    def repeats(self, attempt: Attempt, held: float, now: float) -> None:
        """An attempt is going to be repeated."""
        wait = max(attempt.not_before, held) - now
        why = ", as Retry-After says" if held > attempt.not_before else ""
        when = "now, a last time" if attempt.last_try else f"in {wait:.3f} s{why}"
        self._info(f"{_name(attempt)}: repeat {attempt.retries} {when}")

    def refuses(self, wait: float) -> None:
        """The server asked for more patience than we have."""
        self._info(f"Retry-After says {wait:.0f} s: until then batches fail at once")

    def halved(self, flight: Flight) -> None:
        """A refused batch goes on as halves."""
        first, second = (len(part.deliveries) for part in list(flight.parts)[:2])
        self._info(
            f"the refused batch is sent as two, of {first} and {second}, to find what is at fault"
        )

    # ── The token ────────────────────────────────────────────────────────────────────────────

    def granted(self, life: float | None, renew_in: float | None) -> None:
        """There is a token."""
        lives = "does not tell its life" if life is None else f"lives {life:.0f} s"
        renewed = "never" if renew_in is None else f"in {renew_in:.0f} s"
        self._debug(f"token: {lives}; to be renewed {renewed}")

    def revoked(self, why: str) -> None:
        """The token is no good any more."""
        self._info(f"token: thrown away, as {why}")

    def kept(self, wait: float) -> None:
        """A renewal failed; the token still works."""
        self._info(f"token: still used; the renewal is tried again in {wait:.0f} s")

    def refused(self, error: MasivoError, wait: float) -> None:
        """The key was refused."""
        self._info(f"the key was refused ({_kind(error)}): for {wait:.0f} s events fail at once")

    # ── Clients ──────────────────────────────────────────────────────────────────────────────

    def took_in(self, count: int, waiting: int) -> None:
        """Events came in."""
        self._debug(f"{_events(count)} taken in; {waiting} without outcome")

    def failed(self, count: int, error: MasivoError) -> None:
        """Events ended with an error."""
        self._info(f"{_events(count)} failed: {_kind(error)}; ask the Delivery for the details")

    def asked(self, what: str, waiting: int) -> None:
        """Somebody waits: for a flush, a drain, a close."""
        self._debug(f"{what}: waits for {_events(waiting)}")

    def flushed(self, result: FlushResult) -> None:
        """A flush is over."""
        self._debug(f"flush: done, {result.delivered} delivered, {result.failed} failed")

    def released(self, stats: Stats) -> None:
        """A client is gone."""
        self._debug(f"client closed: {stats.delivered} delivered, {stats.failed} failed in all")

    # ── Time ─────────────────────────────────────────────────────────────────────────────────

    def fired(self, timer: Timer) -> None:
        """A timer is due."""
        self._debug(f"it is time: {_TIMERS[timer]}")

    def rests(self, wake_at: float | None, timer: Timer | None, now: float) -> None:
        """Nothing is left to be done before a time; told once for each."""
        if wake_at != self._wake_at:
            self._wake_at = wake_at
            if timer is None or wake_at is None:
                self._debug("nothing to do until something is asked for, or answered")
            else:
                wait = wake_at - now
                self._debug(f"nothing to do for {wait:.3f} s; then {_TIMERS[timer]}")


def _took(attempt: Attempt, now: float) -> str:
    return f"after {now - attempt.sent_at:.3f} s"


def _name(attempt: Attempt) -> str:
    if isinstance(attempt, Flight):
        return f"batch {attempt.part.key[:_SHOWN_OF_KEY]}"
    return "authorization"


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


def _kind(error: MasivoError) -> str:
    return type(error).__name__ + ("" if error.status is None else f" (HTTP {error.status})")
