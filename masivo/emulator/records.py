"""The emulator's records: every request and every accepted event, in order."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from masivo._guesses import Advised
from masivo.emulator.faults import Fault


@dataclass(frozen=True, slots=True, repr=False)
class RecordedRequest(Advised):
    """One request as it arrived, and its result.

    It never changes: when the request has its response, a new record replaces it in
    `Emulator.requests`. Its repr shows neither headers nor body.
    """

    number: int
    """Position among all requests, from 1, in the order in which their headers arrived."""
    route: str
    """"authorize", "events" (a batch), "event" (a single one), or the path of any other."""
    method: str
    """GET, POST and so on, as sent."""
    path: str
    """The request target as sent, with its query."""
    headers: dict[str, str]
    """Names in lower case; the values of a header that occurs twice are joined with a comma."""
    body: bytes
    """The whole body, or the part of it that was read."""
    events: list[Any] | None
    """The events in the body; None if the body is missing or malformed."""
    received_at: float
    """The emulator's clock when the body was complete, in seconds since the epoch."""
    status: int | None = None
    """Status of the response; None until it begins, or if a fault sends `raw` or nothing."""
    accepted: int = 0
    """The number of events that the API accepted."""
    responded_at: float | None = None
    """The emulator's clock when the response began; None while there is none."""
    fault: Fault | None = None
    """The fault that was applied."""
    settled: bool = False
    """True once its response has begun, or is known not to come."""
    problem: str | None = None
    """The error that the API reported; None without one, or if a fault replaced the response."""

    def __repr__(self) -> str:
        count = "no" if self.events is None else len(self.events)
        fault = f", {self.fault!r}" if self.fault else ""
        return (
            f"<RecordedRequest {self.number}: {self.method} {self.route}, {count} events, "
            f"{self.accepted} accepted, status {self.status}{fault}>"
        )


@dataclass(frozen=True, slots=True)
class Change:
    """A request after a change."""

    # Numbers the changes of a journal; `Journal.clear` does not reset it.
    version: int
    # The serial of the request's ticket.
    serial: int
    record: RecordedRequest


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request's place in the journal, reserved when its headers have arrived."""

    # Identifies the request; `Journal.clear` does not reset it.
    serial: int
    # Position among all requests, from 1.
    number: int
    # Position among the requests of its route, from 1.
    nth: int


class Journal:
    """Requests and accepted events, in order. Thread-safe.

    `changed` is notified of every change. It is also the (reentrant) lock of everything that a
    request changes in the emulator.
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
        # The number of calls of `clear`.
        self.clearings: int = 0
        self._events: list[dict[str, Any]] = []

    def reserve(self, route: str) -> Ticket:
        """Number a request whose headers have arrived."""
        with self.changed:
            self._serial += 1
            self._numbers[route] += 1
            self._requests[self._serial] = None
            return Ticket(self._serial, self._numbers.total(), self._numbers[route])

    def enter(self, ticket: Ticket, record: RecordedRequest) -> None:
        """Enter a request, or its new state."""
        with self.changed:
            if ticket.serial in self._requests:
                self._requests[ticket.serial] = record
                self._version += 1
                self._versions.pop(ticket.serial, None)
                self._versions[ticket.serial] = self._version
            self.changed.notify_all()

    def accept(
        self, ticket: Ticket, record: RecordedRequest, events: Sequence[dict[str, Any]]
    ) -> RecordedRequest:
        """Enter the events that the API accepted from a request; return its new record."""
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
        """Return the request with this serial; None if it was not read or is not kept."""
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

    def events(self) -> list[dict[str, Any]]:
        """Return the accepted events, in order."""
        with self.changed:
            return list(self._events)

    def request_count(self, route: str | None = None) -> int:
        """Return the number of requests since the last `clear`."""
        with self.changed:
            return self._numbers.total() if route is None else self._numbers[route]

    @property
    def event_count(self) -> int:
        """The number of accepted events."""
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
        """Wait until the predicate is true after a change; return False when time is up."""
        with self.changed:
            return bool(self.changed.wait_for(lambda: bool(predicate()), timeout))
