"""One request, from its headers to the steps that send its response.

1. `Exchange(...)`: the headers have arrived; the request gets its number and its queued fault.
2. `steps(conn, body)`: the body is complete; the request is recorded and processed, and the steps
   to carry out are yielded. Or `abandon(body)`: the body was never complete.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import h11

from masivo.emulator import script
from masivo.emulator.api import MAX_BODY, Call, StorefrontApi
from masivo.emulator.faults import Fault, FaultPlan
from masivo.emulator.records import Journal, RecordedRequest, Ticket
from masivo.emulator.responses import Response, error_response
from masivo.emulator.switches import NO_SWITCHES, Switches


@dataclass(slots=True)
class Desk:
    """The state that all exchanges of one emulator share. `journal.changed` is its lock."""

    api: StorefrontApi
    clock: Callable[[], float] = time.time
    plan: FaultPlan = field(default_factory=FaultPlan)
    # The inspector's switches, for requests without a queued fault.
    switches: Switches = NO_SWITCHES
    journal: Journal = field(default_factory=Journal)
    # Chooses a fault for a request without a queued one; called without the lock.
    on_request: Callable[[RecordedRequest], Fault | None] | None = None
    # Called once with each request, when its response begins or it turns out to get none.
    on_response: Callable[[RecordedRequest], None] | None = None


class Exchange:
    """One request and its response."""

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
        """False if the body must not be read; `steps` is called then."""
        return self._fault is None or self._fault.reset != "before_reading"

    def abandon(self, body: bytes) -> None:
        """Record a request whose client left, or broke the protocol, before the end of the body."""
        self._settle(self._record(self._call(body), body))

    def steps(self, conn: h11.Connection, body: bytes) -> Iterator[script.Step]:
        """Process the request and yield the steps of its response.

        A body of more than MAX_BODY bytes gets a 413, whatever its content.
        """
        desk = self._desk
        call = self._call(body)
        record = self._record(call, body)
        try:
            record, response = self._processed(record, call)
        except BaseException:
            # A caller's function raised: the connection ends, but the request is recorded.
            self._settle(record)
            raise
        fault = record.fault or script.NO_FAULT
        if fault.delay:
            yield script.Wait(fault.delay)
        if fault.reset is not None or fault.close:
            self._settle(record)
            yield script.Reset() if fault.reset is not None else script.Close()
            return
        now = desk.clock()
        if response is None or record.fault is not None:
            response = script.altered(response, fault, desk.api.base_headers(now))
        status = response.status if fault.raw is None else None
        record = replace(record, status=status, responded_at=now, problem=response.problem)
        self._settle(record)
        yield from script.steps(conn, self._method, response, fault)

    def _processed(
        self, record: RecordedRequest, call: Call
    ) -> tuple[RecordedRequest, Response | None]:
        """Choose the fault, then let the API process the request unless the fault prevents it."""
        desk = self._desk
        if record.fault is None and desk.on_request is not None:
            record = replace(record, fault=desk.on_request(record))
        if record.fault is not None and not record.fault.processes:
            desk.journal.enter(self._ticket, record)
            return record, None
        with desk.journal.changed:
            if len(record.body) > MAX_BODY:
                response = self._too_large()
            else:
                response = desk.api.respond(call, desk.clock())
            return desk.journal.accept(self._ticket, record, response.accepted), response

    def _too_large(self) -> Response:
        response = error_response(413, "Content Too Large", f"The limit is {MAX_BODY} bytes")
        base = self._desk.api.base_headers(self._desk.clock())
        return replace(response, headers=(*base, *response.headers, ("Connection", "close")))

    def _call(self, body: bytes) -> Call:
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

    def _settle(self, record: RecordedRequest) -> None:
        record = replace(record, settled=True)
        self._desk.journal.enter(self._ticket, record)
        if self._desk.on_response is not None:
            self._desk.on_response(record)
