"""One request, from its headers to the steps that answer it.

1. `Exchange(...)`: the headers have arrived; the request is numbered and a queued fault is
   taken.
2. `steps(conn, body)`: the body is complete; the request is recorded and processed, and what
   comes out is the bytes to send. Or `abandon(body)`: the body never was complete.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import h11

from masivo.emulator import script
from masivo.emulator.answers import Answer, error_answer
from masivo.emulator.api import Call, StorefrontApi
from masivo.emulator.faults import Fault, FaultPlan
from masivo.emulator.records import Journal, RecordedRequest, Ticket

# The largest request body, in bytes; a larger one is answered with 413.
MAX_BODY = 64 * 1024 * 1024


@dataclass(slots=True)
class Desk:
    """What the exchanges of one emulator share. `journal.changed` is the lock of all of it."""

    api: StorefrontApi
    clock: Callable[[], float] = time.time
    plan: FaultPlan = field(default_factory=FaultPlan)
    journal: Journal = field(default_factory=Journal)
    # Decides on a fault for a request that has none queued; called without the lock.
    on_request: Callable[[RecordedRequest], Fault | None] | None = None
    # Told of each request once, when its answer begins or it turns out to get none.
    on_answer: Callable[[RecordedRequest], None] | None = None


class Exchange:
    """One request and its answer."""

    def __init__(self, desk: Desk, method: str, target: str, headers: dict[str, str]) -> None:
        """Take a request whose headers (names in lower case) have arrived."""
        self._desk = desk
        self._method = method
        self._target = target
        self._headers = headers
        route = desk.api.route(target)
        with desk.journal.changed:
            self._ticket: Ticket = desk.journal.reserve(route)
            self._fault = desk.plan.take(route, self._ticket.number, self._ticket.nth)

    @property
    def reads_body(self) -> bool:
        """Whether the body is to be read at all; if not, `steps` is next."""
        return self._fault is None or self._fault.reset != "before_reading"

    def abandon(self, body: bytes) -> None:
        """Record a request whose client went away, or broke the protocol, in its body."""
        self._told(self._record(self._call(body), body))

    def steps(self, conn: h11.Connection, body: bytes) -> Iterator[script.Step]:
        """Process the request and yield the steps of its answer.

        A body of more than MAX_BODY bytes is refused, whatever is in it.
        """
        desk = self._desk
        call = self._call(body)
        record = self._record(call, body)
        if self._fault is None and desk.on_request is not None:
            self._fault = desk.on_request(record)
            record = replace(record, fault=self._fault)
        fault = self._fault or script.NO_FAULT
        answer = None
        if fault.processes:
            with desk.journal.changed:
                answer = self._process(call, body)
                record = desk.journal.accept(self._ticket, record, answer.accepted)
        else:
            desk.journal.enter(self._ticket, record)
        if fault.delay:
            yield script.Wait(fault.delay)
        if fault.reset is not None or fault.close:
            self._told(record)
            yield script.Reset() if fault.reset is not None else script.Close()
            return
        now = desk.clock()
        if self._fault is not None or answer is None:
            answer = script.altered(answer, fault, desk.api.base_headers(now))
        status = answer.status if fault.raw is None else None
        self._told(replace(record, status=status, answered_at=now))
        yield from script.steps(conn, self._method, answer, fault)

    def _process(self, call: Call, body: bytes) -> Answer:
        now = self._desk.clock()
        if len(body) <= MAX_BODY:
            return self._desk.api.answer(call, now)
        answer = error_answer(413, "Content Too Large", f"The limit is {MAX_BODY} bytes")
        close = ("Connection", "close")
        headers = (*self._desk.api.base_headers(now), *answer.headers, close)
        return replace(answer, headers=headers)

    def _call(self, body: bytes) -> Call:
        if len(body) > MAX_BODY:
            return Call(self._method, self._desk.api.route(self._target), self._headers)
        return self._desk.api.read(self._method, self._target, self._headers, body)

    def _record(self, call: Call, body: bytes) -> RecordedRequest:
        return RecordedRequest(
            number=self._ticket.number,
            route=call.route,
            method=self._method,
            path=self._target,
            headers=self._headers,
            body=body,
            events=call.events,
            received_at=self._desk.clock(),
            fault=self._fault,
        )

    def _told(self, record: RecordedRequest) -> None:
        self._desk.journal.enter(self._ticket, record)
        if self._desk.on_answer is not None:
            self._desk.on_answer(record)
