"""What the engine does, told for people: the lines of ``MASIVO_LOG`` (README, "Logging").

A line holds texts of ours, numbers, statuses, addresses and names of classes: nothing that the
server said, and nothing of an event. It is made only if somebody reads it.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from .causes import chain
from .flight import Flight
from .redaction import redacted
from .timers import Timer

if TYPE_CHECKING:
    from .core import Core
    from .errors import MasivoError
    from .flight import Attempt
    from .settle import Logger
    from .values import Failure, FlushResult, Request, Stats

__all__ = ["DEBUG", "INFO", "Journal", "Notes"]

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


class Notes:
    """Lines that wait to be written, in order."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, str]] = deque()
        self._turn: list[None] = [None]  # who takes it out writes, and puts it back

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, level: int, text: str) -> None:
        """Add a line, to be written at a level."""
        self._lines.append((level, text))

    def write(self, logger: Logger) -> None:
        """Write them all. Of several threads at once, one writes: the others need not wait, as it
        takes theirs as well, and so the order is kept."""
        while self._lines:
            try:
                turn = self._turn.pop()
            except IndexError:
                return  # who has it looks once more after giving it back
            try:
                while self._lines:
                    line = self._lines.popleft()
                    with suppress(Exception):  # a handler of the application's log may raise
                        logger.log(*line)
            finally:
                self._turn.append(turn)


class Journal:
    """Makes the lines of an engine.

    Args:
        core: whose steps and time it tells.
        level: the least level that is read.
    """

    def __init__(self, core: Core, level: int) -> None:
        self.level = level
        self._wake_at: float | None = None  # the wake-up that was last told of
        self._core = core
        self.notes: Notes = Notes()
        """What is still to be written."""

    def _debug(self, text: str) -> None:
        if self.level <= DEBUG:
            self._add(DEBUG, text)

    def _info(self, text: str) -> None:
        self._add(INFO, text)

    def _add(self, level: int, text: str) -> None:
        # An address of the caller's (in `base_url`, or in `Api`) may hold a secret.
        self.notes.add(level, redacted(text, self._core.secrets(None)))

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

    def answered(self, attempt: Attempt, status: int) -> None:
        """A request was answered."""
        tell = self._debug if status < 300 else self._info
        tell(f"{_name(attempt)}: answered {status} {self._took(attempt)}")

    def broken(self, attempt: Attempt, failure: Failure) -> None:
        """A request got no complete answer."""
        error = failure.cause or failure.fatal
        kinds = [] if error is None else [type(each).__name__ for each in chain(error)]
        why = ": " + " from ".join(dict.fromkeys(kinds)) if kinds else ""
        status = "" if failure.status is None else f", though its headers said {failure.status}"
        sent = "" if failure.sent else "; nothing was sent"
        self._info(f"{_name(attempt)}: no usable answer {self._took(attempt)}{status}{why}{sent}")

    def _took(self, attempt: Attempt) -> str:
        return f"after {self._core.now - attempt.sent_at:.3f} s"

    def repeats(self, attempt: Attempt) -> None:
        """An attempt is going to be repeated."""
        held = self._core.backoff.hold_until
        wait = max(attempt.not_before, held) - self._core.now
        why = ", as Retry-After says" if held > attempt.not_before else ""
        when = "now, a last time" if attempt.last_try else f"in {wait:.3f} s{why}"
        self._info(f"{_name(attempt)}: repeat {attempt.retries} {when}")

    def refuses(self) -> None:
        """The server asked for more patience than we have."""
        wait = self._core.backoff.refused_until - self._core.now
        self._info(f"Retry-After says {wait:.0f} s: until then batches fail at once")

    def halved(self, flight: Flight) -> None:
        """A refused batch goes on as halves."""
        first, second = (len(part.deliveries) for part in list(flight.parts)[:2])
        self._info(
            f"the refused batch is sent as two, of {first} and {second}, to find what is at fault"
        )

    # ── The token ────────────────────────────────────────────────────────────────────────────

    def granted(self, life: float | None, renew_at: float | None) -> None:
        """There is a token."""
        lives = "does not tell its life" if life is None else f"lives {life:.0f} s"
        renewed = "never" if renew_at is None else f"in {renew_at - self._core.now:.0f} s"
        self._debug(f"token: {lives}; to be renewed {renewed}")

    def revoked(self, why: str) -> None:
        """The token is no good any more."""
        self._info(f"token: thrown away, as {why}")

    def kept(self, attempt: Attempt) -> None:
        """A renewal failed; the token still works."""
        wait = attempt.not_before - self._core.now
        self._info(f"token: still used; the renewal is tried again in {wait:.0f} s")

    def refused(self, error: MasivoError, until: float) -> None:
        """The key was refused."""
        wait = until - self._core.now
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

    def rests(self, wake_at: float | None) -> None:
        """Nothing is left to be done before a time; told once for each."""
        if wake_at != self._wake_at:
            self._wake_at = wake_at
            timer = self._core.timers.first()
            if timer is None or wake_at is None:
                self._debug("nothing to do until something is asked for, or answered")
            else:
                wait = wake_at - self._core.now
                self._debug(f"nothing to do for {wait:.3f} s; then {_TIMERS[timer]}")


def _name(attempt: Attempt) -> str:
    if isinstance(attempt, Flight):
        return f"batch {attempt.part.key[:_SHOWN_OF_KEY]}"
    return "authorization"


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


def _kind(error: MasivoError) -> str:
    return type(error).__name__ + ("" if error.status is None else f" (HTTP {error.status})")
