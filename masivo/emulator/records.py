"""What the emulator keeps: every request and every accepted event, in order."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from masivo.emulator.answers import Json
from masivo.emulator.faults import Fault


@dataclass(frozen=True, slots=True, repr=False)
class RecordedRequest:
    """One request as it arrived, and what became of it.

    It never changes; once the request is answered, another one takes its place in
    `Emulator.requests`. Its repr shows neither headers nor body.
    """

    number: int
    """Position among all requests, from 1, in the order in which their headers arrived."""
    route: str
    """"authorize", "events" (a batch), "event" (a single one), or the path where it is neither."""
    method: str
    """GET, POST and so on, as it was sent."""
    path: str
    """The request target as it was sent, with its query."""
    headers: dict[str, str]
    """Names in lower case; values of repeated headers are joined with a comma."""
    body: bytes
    """The whole body, or as much of it as was read."""
    events: list[Json] | None
    """The events in the body; None where there are none, or the body is not as it should be."""
    received_at: float
    """The emulator's clock when the body was complete, in seconds since the epoch."""
    status: int | None = None
    """Status of the answer; None while there is none, and for ever if none, or `raw`, was sent."""
    accepted: int = 0
    """How many events the API accepted."""
    answered_at: float | None = None
    """The emulator's clock when the answer began; None while there is none."""
    fault: Fault | None = None
    """The fault that was applied."""
    settled: bool = False
    """Whether its answer has begun, or it is known to get none."""
    problem: str | None = None
    """What the API said was wrong; None where nothing was, or a fault took the answer's place."""

    def __repr__(self) -> str:
        count = "no" if self.events is None else len(self.events)
        fault = f", {self.fault!r}" if self.fault else ""
        return (
            f"<RecordedRequest {self.number}: {self.method} {self.route}, {count} events, "
            f"{self.accepted} accepted, status {self.status}{fault}>"
        )


@dataclass(frozen=True, slots=True)
class Change:
    """A request as a change left it."""

    # Numbers the changes of a journal for ever, across `Journal.clear`.
    version: int
    # That of the request's ticket.
    serial: int
    record: RecordedRequest


@dataclass(frozen=True, slots=True)
class Ticket:
    """The place of a request in the journal, reserved when its headers have arrived."""

    # Identifies the request for ever, across `Journal.clear`.
    serial: int
    # Position among all requests, from 1.
    number: int
    # Position among the requests of its route, from 1.
    nth: int


class Journal:
    """Requests and accepted events, in order. Thread-safe.

    `changed` is notified of every change. It is also the lock of everything that a request
    changes in the emulator, and reentrant.
    """

    def __init__(self) -> None:
        self.changed: threading.Condition = threading.Condition()
        self._serial = 0
        self._numbers: Counter[str] = Counter()
        # None: the request is still being read.
        self._requests: dict[int, RecordedRequest | None] = {}
        self._version = 0
        # The latest change of each request that was read, by serial; in order of the changes.
        self._versions: dict[int, int] = {}
        # How often `clear` was called.
        self.clearings: int = 0
        self._events: list[dict[str, Json]] = []

    def reserve(self, route: str) -> Ticket:
        """Number a request whose headers have arrived."""
        with self.changed:
            self._serial += 1
            self._numbers[route] += 1
            self._requests[self._serial] = None
            return Ticket(self._serial, self._numbers.total(), self._numbers[route])

    def enter(self, ticket: Ticket, record: RecordedRequest) -> None:
        """Enter a request, or what became of it since."""
        with self.changed:
            if ticket.serial in self._requests:
                self._requests[ticket.serial] = record
                self._version += 1
                self._versions.pop(ticket.serial, None)
                self._versions[ticket.serial] = self._version
            self.changed.notify_all()

    def accept(
        self, ticket: Ticket, record: RecordedRequest, events: Sequence[dict[str, Json]]
    ) -> RecordedRequest:
        """Enter the events that the API took from a request; returns its record."""
        with self.changed:
            self._events.extend(events)
            record = replace(record, accepted=len(events))
            self.enter(ticket, record)
            return record

    def requests(self, route: str | None = None) -> list[RecordedRequest]:
        """Return the requests that were read, in order of arrival."""
        with self.changed:
            entered = [record for record in self._requests.values() if record is not None]
        return entered if route is None else [each for each in entered if each.route == route]

    def request(self, serial: int) -> RecordedRequest | None:
        """Return the request of this serial, if it was read and is kept."""
        return self._requests.get(serial)

    def changes(self, after: int) -> list[Change]:
        """Return every request that changed after this version, in order of its last change."""
        changes: list[Change] = []
        with self.changed:
            for serial in reversed(self._versions):
                version, record = self._versions[serial], self._requests[serial]
                if version <= after or record is None:
                    break
                changes.append(Change(version, serial, record))
        return changes[::-1]

    def events(self) -> list[dict[str, Json]]:
        """Return the accepted events, in order."""
        with self.changed:
            return list(self._events)

    def request_count(self, route: str | None = None) -> int:
        """Return how many requests have begun since the last `clear`."""
        with self.changed:
            return self._numbers.total() if route is None else self._numbers[route]

    @property
    def event_count(self) -> int:
        """How many events were accepted."""
        return len(self._events)

    def clear(self) -> None:
        """Forget requests and events; the next request has number 1."""
        with self.changed:
            self._numbers.clear()
            self._requests.clear()
            self._versions.clear()
            self._events.clear()
            self.clearings += 1

    def wait_for(self, predicate: Callable[[], object], timeout: float) -> bool:
        """Wait until the predicate is true after some change; False when time is up."""
        with self.changed:
            return bool(self.changed.wait_for(lambda: bool(predicate()), timeout))
