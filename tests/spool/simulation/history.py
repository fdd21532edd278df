"""The events of a simulation, what became of each, and what may become of it.

The rules: ``docs/reference/guarantees.md#events-on-disk``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

from simulation.frame import Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ALONE", "MAX_AGE", "Event", "History"]

MAX_AGE: Final = 259_200.0
"""The oldest ``issued_at`` that the API takes, in seconds."""
ALONE: Final = 10
"""An event that failed alone this often may count as rejected."""


@dataclass(slots=True)
class Event:
    """One event, and all that is known of it."""

    number: int
    account: str
    line: tuple[int, int, str]
    """The process that sent it, which of its clients, and its customer."""
    nature: str
    """``good``; ``bad``: the API rejects it; ``poison``: the API fails with it."""
    issued_at: float
    """By the server's clock; its own, or that of its acceptance."""
    began: int
    """The order of the beginnings and ends of calls."""
    returned: int | None = None
    accepted: bool = False
    """Its call returned, and it was not refused."""
    doubtful: bool = False
    """Its call did not return."""
    processed: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """The requests in which the API accepted it: their keys and their senders."""
    told: dict[int, float] = field(default_factory=dict[int, float])
    """The processes that know that the API accepted it, and since when."""
    rejected: bool = False
    """The API has rejected it for its own sake."""
    cut: bool = False
    """A response of success broke off."""
    alone: int = 0
    """How often it failed alone."""
    reported: int = 0
    """How often ``on_error`` was called for it."""
    excused: str = ""
    """Why it may count twice, if it may."""
    stamped: bool = False
    """Its own process has noted it."""
    certain: bool = False
    """It lies on the disk with the server's time."""
    untimely: bool = False
    """The wall clock was set between its call and the moment at which its sender learned the
    server's time: nothing can tell how old it is."""
    misdated: bool = False
    """A process that was misled noted it."""
    lost: bool = False
    """The power failed before it was safe."""

    @property
    def process(self) -> int:
        """The process that sent it."""
        return self.line[0]

    def __str__(self) -> str:
        return f"event {self.number} of {self.account}, process {self.process}"


class History:
    """The events, and what became of them."""

    def __init__(self) -> None:
        self.events: dict[int, Event] = {}
        self.crashes = 0
        self.doubles = 0
        """How often an event counted twice with a server that does not heed the key."""
        self.keyed_doubles = 0
        """And with one that does."""
        self._moments = count(1)
        self._bodies: dict[str, bytes] = {}
        self._parts: dict[str, set[int]] = {}
        self.senders: dict[str, set[int]] = {}
        """The processes that have sent each key."""
        self.misled: set[int] = set()
        """The processes that were there when the wall clock was set."""
        self._latest: dict[tuple[int, int, str], Event] = {}

    def begin(
        self, account: str, line: tuple[int, int, str], nature: str, issued_at: float
    ) -> Event:
        """A call to send begins."""
        number = len(self.events) + 1
        event = Event(number, account, line, nature, issued_at, next(self._moments))
        self.events[number] = event
        return event

    def end(self, event: Event, *, accepted: bool) -> None:
        """A call to send returns."""
        event.returned = next(self._moments)
        event.accepted = accepted

    # ── On the wire ──────────────────────────────────────────────────────────────────────────

    def sent(self, key: str, body: bytes, events: Sequence[Event], sender: int) -> None:
        """A request with events was sent."""
        if self._bodies.setdefault(key, body) != body:
            raise Violation("same bytes", f"the key {key} came with another body")
        numbers = {event.number for event in events}
        self._parts[key] = numbers
        self.senders.setdefault(key, set()).add(sender)
        for event in events:
            was = {each for each, _ in event.processed}
            if event.excused or key in was:
                continue
            for whole in [self._parts[each] for each in was if numbers < self._parts[each]]:
                for number in whole:  # the response to the whole was lost; a crash may come now
                    self.events[number].excused = self.events[number].excused or "halved"

    def process(self, events: Sequence[Event], key: str, sender: int) -> None:
        """The API accepts events."""
        for event in events:
            self._in_order(event)
            keys = {key for key, _ in event.processed}
            if keys:
                self.doubles += 1
                self._may_come_twice(event, key, sender)
            if keys - {key} and key not in keys:
                self.keyed_doubles += 1
                if not event.excused:
                    was = event.processed[-1]
                    raise Violation("twice", f"{event}: as {key}, after {was}")
            event.processed.append((key, sender))

    def _in_order(self, event: Event) -> None:
        """First deliveries of a customer's events are in the order of the calls."""
        if event.processed or event.reported:  # one that was rejected can come back
            return
        latest = self._latest.get(event.line)
        if latest is not None and event.returned is not None and latest.began > event.returned:
            raise Violation("order", f"{event} came after {latest.number}, {event.line[2]}")
        if latest is None or latest.began < event.began:
            self._latest[event.line] = event

    def _may_come_twice(self, event: Event, key: str, sender: int) -> None:
        if sender in event.told and not event.excused:
            raise Violation("twice", f"{event}: its sender knew that it was accepted, {key}")

    # ── What ends it ─────────────────────────────────────────────────────────────────────────

    def is_ended(self, event: Event, server_time: float) -> bool:
        """True if the event need not be delivered any more, for its own sake."""
        return bool(
            event.processed
            or event.rejected
            or event.cut
            or event.alone >= ALONE
            or self.is_too_old(event, server_time)
        )

    def is_too_old(self, event: Event, server_time: float) -> bool:
        """True if the API would not take the event for its age, or perhaps not."""
        return event.untimely or server_time - event.issued_at > MAX_AGE - 10.0

    def removed(self, event: Event, server_time: float) -> None:
        """An event was removed from the disk."""
        if not self.is_ended(event, server_time):
            raise Violation("lost", f"{event} was removed without an outcome")
        if not event.processed and not event.reported:
            raise Violation("silence", f"{event} was removed, and on_error was not called")
