"""Waiters and callbacks: what a driver does with an output, by ``settle``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from masivo.protocol import Failed, Waiters, settle, unwrap

from .activity import levels_of
from .frame import Violation
from .server import SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import Activity, Delivery, FailedEvent, OnActivity, Output, Ticket

__all__ = ["Callers", "Interruption", "own_error"]


class Interruption(BaseException):
    """What a signal handler might raise in the middle of a callback."""


class Callers:
    """Waits for outcomes, takes the calls of ``on_error``, and keeps the log.

    Args:
        send: called inside ``on_error``; it may send.
    """

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self._waiters = Waiters()
        self._waiting: dict[int, Callable[[], object]] = {}
        """The functions to be called once, by the identity of what is waited for."""
        self._due: set[Callable[[], object]] = set()
        """Those of them that the output at hand must call."""
        self._failed: list[FailedEvent] = []
        self._heard: list[tuple[int, Activity]] = []
        self._lines: list[str] = []
        self._levels: list[int] = []
        self._taken: list[FailedEvent] = []
        self._raised = 0
        self._logged = 0

    # ── What the driver calls ────────────────────────────────────────────────────────────────

    def log(self, level: int, msg: str, /) -> None:
        """See ``Logger``."""
        self._levels.append(level)
        if any(secret in msg for secret in SECRETS):
            raise Violation("secret", f"in the log: {msg!r}")

    def warning(self, msg: str, /) -> None:
        """See ``Logger``."""
        self._lines.append(msg)

    def error(self, msg: str, /, *, exc_info: bool) -> None:
        """See ``Logger``."""
        if not ("on_error" in msg or "on_activity" in msg) or not exc_info:
            raise Violation("on_error", f"what it raised is logged as {msg!r}")
        self._logged += 1

    def listener(self, client: int) -> OnActivity:
        """The ``on_activity`` of a client; it fails now and then."""

        def on_activity(activity: Activity) -> None:
            self._heard.append((client, activity))
            if len(self._heard) % 5 == 0:
                self._raised += 1
                raise Interruption

        return on_activity

    def on_error(self, failed: FailedEvent) -> None:
        """The ``on_error`` of every client that has one; it fails now and then."""
        self._failed.append(failed)
        self._send()
        if len(self._failed) % 3 == 0:
            self._raised += 1
            raise Interruption
        self._taken.append(failed)

    # ── What callers do ──────────────────────────────────────────────────────────────────────

    def wait(self, awaited: Delivery | Ticket) -> None:
        """Wait for an outcome."""

        def wake() -> None:
            if wake not in self._due:
                raise Violation("waiters", "called twice, early, or after it was given up")
            self._due.discard(wake)

        self._waiting[id(awaited)] = wake
        self._waiters.add(awaited, wake)

    def waits(self, awaited: Delivery | Ticket) -> bool:
        """Whether a caller waits for an outcome."""
        return id(awaited) in self._waiting

    def give_up(self, awaited: Delivery | Ticket) -> None:
        """Wait no longer."""
        wake = self._waiting.pop(id(awaited), None)
        if wake is not None:
            self._waiters.discard(awaited, wake)

    def settle(self, output: Output) -> list[FailedEvent]:
        """Hand an output on, and see that every waiter hears of it that should; what ``on_error``
        took without an error of its own."""
        ended: list[Delivery | Ticket] = [each for s in output.settled for each in s.deliveries]
        ended += [*output.tickets, *output.closes]
        # Before anything is let go of: another may come to have the same identity.
        self._due = {self._waiting.pop(id(each)) for each in ended if id(each) in self._waiting}
        ended.clear()
        calls = len(output.failed_events)
        settle(output, self, self._waiters)
        if output.settled or output.failed_events:
            raise Violation("settle", "it holds on to the deliveries")
        if any(ticket.outcome is not True for ticket in output.closes):
            raise Violation("settle", "a close does not end")
        if self._due:
            raise Violation("waiters", f"{len(self._due)} are not called")
        if self._lines != output.warnings:
            raise Violation("settle", f"logged {self._lines} instead of {output.warnings}")
        if self._levels != levels_of(output.activity):
            raise Violation("log", f"{output.activity} at the levels {self._levels}")
        if len(self._failed) != calls:
            raise Violation("on_error", f"called {len(self._failed)} times")
        said = [(cast("int", origin.owner), each) for origin, each in output.client_activity]
        if sorted(self._heard, key=_client) != sorted(said, key=_client):  # each in its order
            raise Violation("on_activity", f"called with {self._heard}")
        if self._logged != self._raised:
            raise Violation("on_error", f"{self._raised} errors, {self._logged} logged")
        self._lines.clear()
        self._levels.clear()
        self._heard.clear()
        self._failed.clear()
        taken, self._taken = self._taken, []
        return taken

    def check_end(self) -> None:
        """See that all waits are over."""
        if self._waiting:
            raise Violation("waiters", f"{len(self._waiting)} wait for ever")


def _client(heard: tuple[int, Activity]) -> int:
    return heard[0]


def own_error(outcome: object) -> None:
    """See that a caller is raised an error of its own, equal to the one that is shared."""
    if not isinstance(outcome, Failed):
        if unwrap(outcome) is not outcome:
            raise Violation("unwrap", "another result")
        return
    shared = outcome.error
    try:
        unwrap(outcome)
    except type(shared) as error:
        alike = (str(error), error.status, error.details) == (
            str(shared),
            shared.status,
            shared.details,
        )
        if error is shared or not alike or error.__cause__ is not shared.__cause__:
            raise Violation("unwrap", f"{error!r} instead of {shared!r}") from None
    else:
        raise Violation("unwrap", "nothing was raised")
