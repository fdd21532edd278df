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
from masivo.emulator.api import MAX_BODY, Call, StorefrontApi
from masivo.emulator.faults import Fault, FaultPlan
from masivo.emulator.records import Journal, RecordedRequest, Ticket
from masivo.emulator.switches import NO_SWITCHES, Switches


@dataclass(slots=True)
class Desk:
    """What the exchanges of one emulator share. `journal.changed` is the lock of all of it."""

    api: StorefrontApi
    clock: Callable[[], float] = time.time
    plan: FaultPlan = field(default_factory=FaultPlan)
    # What is switched on in the inspector, for requests that no queued fault is for.
    switches: Switches = NO_SWITCHES
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
            queued = desk.plan.take(route, self._ticket.number, self._ticket.nth)
            self._fault = queued or desk.switches.fault(route)

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
        try:
            record, answer = self._processed(record, call)
        except BaseException:
            # A caller's function raised: the connection ends, but the request was made.
            self._told(record)
            raise
        fault = record.fault or script.NO_FAULT
        if fault.delay:
            yield script.Wait(fault.delay)
        if fault.reset is not None or fault.close:
            self._told(record)
            yield script.Reset() if fault.reset is not None else script.Close()
            return
        now = desk.clock()
        if answer is None or record.fault is not None:
            answer = script.altered(answer, fault, desk.api.base_headers(now))
        status = answer.status if fault.raw is None else None
        record = replace(record, status=status, answered_at=now, problem=answer.problem)
        self._told(record)
        yield from script.steps(conn, self._method, answer, fault)

    def _processed(
        self, record: RecordedRequest, call: Call
    ) -> tuple[RecordedRequest, Answer | None]:
        """Settle the fault, then let the API process the request unless the fault prevents it."""
        desk = self._desk
        if record.fault is None and desk.on_request is not None:
            record = replace(record, fault=desk.on_request(record))
        if record.fault is not None and not record.fault.processes:
            desk.journal.enter(self._ticket, record)
            return record, None
        with desk.journal.changed:
            if len(record.body) > MAX_BODY:
                answer = self._too_large()
            else:
                answer = desk.api.answer(call, desk.clock())
            return desk.journal.accept(self._ticket, record, answer.accepted), answer

    def _too_large(self) -> Answer:
        answer = error_answer(413, "Content Too Large", f"The limit is {MAX_BODY} bytes")
        base = self._desk.api.base_headers(self._desk.clock())
        return replace(answer, headers=(*base, *answer.headers, ("Connection", "close")))

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
        record = replace(record, settled=True)
        self._desk.journal.enter(self._ticket, record)
        if self._desk.on_answer is not None:
            self._desk.on_answer(record)
