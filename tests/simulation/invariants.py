"""Compares every output of the core with what the contract says must come of the poll."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from masivo._protocol.errors import (
    MasivoAuthError,
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    MasivoQueueFullError,
    MasivoServerKeyError,
)
from masivo.protocol import CloseTicket, Delivery, Failed, FlushResult, Ticket

from .expect import Delivered, Wrong, check_error, check_outcome, shown
from .frame import Violation
from .model import Authorization, Batch, Client, Event
from .server import KEY, SECRETS
from .state import EPSILON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from masivo.protocol import Engine, Output, Request

    from .contract import Contract
    from .plan import Plan
    from .server import Server

__all__ = ["BASE_URL", "Cause", "Checker", "Numbered"]

BASE_URL: Final = "https://api.example.test/v1"

WARNING: Final = re.compile(
    r"(\d+) events? (?:was not|were not|may not have been) delivered \((\w+)(?:, HTTP (\d+))?:"
    r"(?: the buffer is full \((.+?)\))?"
)

Cause: TypeAlias = tuple[str, int | None, str]
"""What is warned of together: the class of an error, its status, and the bounds of a full
buffer."""

CAUSES: Final = {
    MasivoServerKeyError: "SERVER",
    MasivoAuthError: "authorization failed",
    MasivoNetworkError: "no usable response",
    MasivoConfigError: "HTTP client",
    MasivoQueueFullError: "full",
    MasivoClosedError: "closed",
    MasivoError: "not accepted",
}
"""A word by which each cause is known in a warning."""


class Checker:
    """Knows what the core did, and judges it."""

    def __init__(self, plan: Plan, server: Server, contract: Contract) -> None:
        self.plan = plan
        self.server = server
        self.contract = contract
        self.everyone: list[Client] = []
        """Every client that ever attached."""
        self.events: dict[int, Event] = {}
        """Every accepted event, by number."""
        self.keys: set[str] = set()
        self.requests: set[int] = set()
        self.told: dict[int, int] = {}
        """The numbers of the events that ``on_error`` is to be called for, by its argument."""
        self.unclaimed: Counter[Cause] = Counter()
        """Unclaimed failures that no warning has counted yet, by cause."""
        self._warned_at: dict[Cause, float] = {}
        self.lost: Counter[str] = Counter()
        """Warnings that ``abandon`` must still bring."""

    # ── Requests ─────────────────────────────────────────────────────────────────────────────

    def request(self, request: Request) -> None:
        """A request is to be sent."""
        if request.id in self.requests:
            raise Violation("request id", f"{request.id} was used before")
        self.requests.add(request.id)
        self._no_secret(repr(request), "the repr of a request")
        headers = dict(request.headers)
        common = {"accept": "application/json"}
        if not headers.pop("user-agent", "").startswith("masivo-python/"):
            raise Violation("headers", f"no user-agent: {list(headers)}")
        if request.method == "GET":
            common["x-api-key"] = KEY
            if self.plan.sdk_header is not None:
                common["x-masivo-sdk"] = self.plan.sdk_header
            timeout = max(client.plan.timeout for client in self.contract.clients)
            self._shape(request, headers, common, "/auth/authorize", None, timeout)
            self._authorization(request)
        else:
            common["content-type"] = "application/json"
            common["authorization"] = f"Bearer {self.contract.token}"
            common["idempotency-key"] = headers.get("idempotency-key", "")
            if self.plan.gzip:
                common["content-encoding"] = "gzip"
            client = self.everyone[int(str(request.owner))]
            timeout = client.plan.timeout
            self._shape(request, headers, common, "/behavior/events/bulk", client.index, timeout)
            self._batch(client, request, common["idempotency-key"])

    def _shape(
        self,
        request: Request,
        headers: dict[str, str],
        expected: dict[str, str],
        path: str,
        owner: int | None,
        timeout: float,
    ) -> None:
        if headers != expected or len(request.headers) != len(headers) + 1:
            raise Violation("headers", f"{headers} instead of {expected}")
        given = request.url, request.owner, request.timeout
        if given != (BASE_URL + path, owner, timeout):
            raise Violation("request", f"{given} instead of {path}, {owner}, {timeout}")

    def _may_go(self, not_before: float, what: str, *, hurry: bool) -> None:
        contract = self.contract
        if hurry:
            return
        if contract.now < contract.hold_until - EPSILON:
            raise Violation("Retry-After", f"{what} at {contract.now}, not {contract.hold_until}")
        if contract.now < not_before - EPSILON:
            raise Violation("too early", f"{what} at {contract.now}, not {not_before}")

    def _authorization(self, request: Request) -> None:
        contract = self.contract
        contract.authorizations += 1
        if request.body:
            raise Violation("authorization", "it has a body")
        waiting = contract.authorization
        if contract.long_hold():
            raise Violation("Retry-After", "an authorization is sent that should wait, or fail")
        if waiting is None:
            if contract.key_refused():
                raise Violation("authorization", "the key was refused less than 30 s ago")
            if contract.renewing:
                waiting = Authorization(contract.now)
            elif contract.token is None and contract.token_needed():
                waiting = Authorization(contract.now + contract.jitter())
            else:
                raise Violation("authorization", f"no need at {contract.now}")
            contract.authorization = waiting
        if waiting.out is not None:
            raise Violation("authorization", "two at once")
        self._may_go(waiting.not_before, "an authorization", hurry=contract.hurry())
        self._sent(waiting, request, hurry=contract.hurry())

    def _sent(self, attempt: Authorization | Batch, request: Request, *, hurry: bool) -> None:
        contract = self.contract
        if hurry and max(attempt.not_before, contract.hold_until) > contract.now:
            attempt.last_try = True
        attempt.out = request.id
        attempt.known = contract.failures
        contract.out[request.id] = attempt

    def _batch(self, client: Client, request: Request, key: str) -> None:
        contract = self.contract
        client.requests += 1
        if client.detached:
            raise Violation("closed", "a request of a client that is gone")
        if contract.token is None or contract.token in contract.dead or not contract.alive():
            raise Violation("dead token", f"{contract.token} was used")
        if (length := len(self.server.body(request))) > client.plan.max_batch_bytes:
            raise Violation("max_batch_bytes", f"a body of {length} bytes")
        events = [self.events[value["n"]] for value in self.server.payload(request)]
        for event in events:
            if event.ended:
                raise Violation("sent again", f"event {event.number} has its outcome")
            if event.client is not client:
                raise Violation("clients", f"event {event.number} is of another client")
        batch = events[0].batch
        if batch is None:
            batch = self._formed(client, events)
        if batch.out is not None:
            raise Violation("sent twice", f"event {events[0].number} is out already")
        self._may_go(batch.not_before, "a batch", hurry=client.hurry)
        self._part(batch, events, request, key)
        batch.token = contract.token
        self._sent(batch, request, hurry=client.hurry)

    def _formed(self, client: Client, events: list[Event]) -> Batch:
        """A batch that was not there before."""
        contract = self.contract
        if contract.long_hold():
            raise Violation("Retry-After", "a batch is sent that should fail at once")
        if not client.slot():
            raise Violation("max_in_flight", f"more than {client.plan.max_in_flight}")
        free = client.free()
        if client.due_at(free) > contract.now + EPSILON:
            raise Violation("too early", f"a batch that is due at {client.due_at(free)}")
        expected = client.compose(free)
        first = expected[:1] if client.sends_alone else expected
        if first != events:
            wanted, given = ([e.number for e in each] for each in (first, events))
            raise Violation("batch", f"{given} instead of {wanted}")
        return contract.form(client, expected)

    def _part(self, batch: Batch, events: list[Event], request: Request, key: str) -> None:
        part = batch.parts[0]
        if part.halve:
            half = len(part.events) // 2
            first = half if batch.client.sends_alone else len(events)
            if first not in (half, len(part.events) - half):
                raise Violation("halves", f"{first} of {len(part.events)}")
            batch.parts.popleft()
            batch.parts.extendleft(part.split(first)[::-1])
        if batch.client.sends_alone:
            batch.send_first_alone()
        part = batch.parts[0]
        self.contract.renew(part)
        if part.events != events:
            wanted, given = ([e.number for e in each] for each in (part.events, events))
            raise Violation("order", f"{given} instead of {wanted}")
        if part.key:
            if (part.key, part.body) != (key, request.body):
                raise Violation("idempotency", "a retry with another key or body")
            return
        if not re.fullmatch(r"[0-9a-f]{32}", key) or key in self.keys:
            raise Violation("idempotency", f"the key {key!r} is none, or not new")
        self.keys.add(key)
        part.key, part.body = key, request.body
        self._content(batch.client, events, self.server.body(request))

    def _content(self, client: Client, events: list[Event], body: bytes) -> None:
        value = json.loads(body, parse_float=Decimal)
        key = self.plan.events_key
        expected_size = sum(event.sample.size + 1 for event in events) - 1
        expected_size += 2 if key is None else len(json.dumps(key)) + 5
        if len(body) != expected_size:
            raise Violation("size", f"a body of {len(body)} bytes instead of {expected_size}")
        if key is not None and list(value) != [key]:
            raise Violation("body", f"the keys are {list(value)}")
        for event, wire in zip(events, value if key is None else value[key], strict=True):
            if event.wire is not None:
                if event.wire != wire:
                    raise Violation("body", f"event {event.number} changed on its way")
                continue
            event.wire = dict(wire)
            if event.sample.stamped:
                self._stamp(client, event, wire.pop("issued_at", None))
            if wire != event.sample.value():
                raise Violation("body", f"{wire} instead of {event.sample.text}")

    def _stamp(self, client: Client, event: Event, text: Any) -> None:
        stamp = self._is_stamp(event, text)
        if client.plan.max_in_flight == 1 and stamp < client.last_stamp:
            raise Violation("stamp", f"event {event.number}: {text} is before the last one")
        client.last_stamp = stamp

    def _is_stamp(self, event: Event, text: Any) -> float:
        if not isinstance(text, str) or not re.fullmatch(
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text
        ):
            raise Violation("stamp", f"{text!r} is none")
        stamp = datetime.fromisoformat(text).timestamp()
        if not -0.0011 < stamp - event.moment < 0.0001:
            raise Violation("stamp", f"event {event.number}: {stamp} instead of {event.moment}")
        if (
            event.by_server
            and not self.server.set_back
            and stamp > self.server.time(event.at) + 1e-5
        ):
            raise Violation("stamp", f"event {event.number} was not accepted before {text}")
        return stamp

    # ── Outcomes ─────────────────────────────────────────────────────────────────────────────

    def outcomes(self, output: Output) -> None:
        """Deliveries get their outcomes."""
        expected = self.contract.expected
        failed_events = iter(output.failed_events)
        for settled in output.settled:
            seen: set[int] = set()
            for delivery in settled.deliveries:
                number = numbered(delivery)
                if number not in expected:
                    raise Violation("outcome", f"event {number}: {shown(settled.outcome)}, early")
                event, wanted = expected.pop(number)
                if delivery.outcome is not settled.outcome:
                    raise Violation("outcome", f"event {number} has another than was reported")
                if id(wanted) not in seen:
                    check_outcome(f"event {number}", settled.outcome, wanted)
                    self._no_secret(revealed(settled.outcome), "an outcome")
                    seen.add(id(wanted))
                if isinstance(wanted, Delivered):
                    if number not in self.server.accepted:
                        raise Violation("delivered", f"event {number} was never accepted")
                elif event.untold is wanted:
                    pass
                elif event.client.plan.on_error:
                    self._on_error(event, wanted, next(failed_events, None), settled.outcome)
        if next(failed_events, None) is not None:
            raise Violation("on_error", "a call too many")
        if expected:
            number, (_, wanted) = next(iter(expected.items()))
            raise Violation("outcome", f"event {number} got none, but should: {wanted}")

    def _on_error(self, event: Event, wanted: Wrong, call: Any, outcome: Any) -> None:
        if call is None:
            raise Violation("on_error", f"not called for event {event.number}")
        check_error(f"on_error of event {event.number}", call.failed.error, wanted)
        seen = call.failed.event
        value = {**seen}
        stamp = value.pop("issued_at", None) if event.sample.stamped else None
        if value != json.loads(event.sample.text):
            raise Violation("on_error", f"{seen} instead of {event.sample.text}")
        if event.wire is not None and seen.get("issued_at") != event.wire.get("issued_at"):
            raise Violation("on_error", f"{seen} is not as it was sent: {event.wire}")
        if event.sample.stamped:
            self._is_stamp(event, stamp)
        if isinstance(outcome, Failed) and outcome.error is call.failed.error:
            raise Violation("on_error", "its error is shared with a waiter")
        self.told[id(call.failed)] = event.number

    def tickets(self, output: Output) -> None:
        """Flushes, drains, closes and token calls came to their end."""
        promised = self.contract.promised
        for ticket in (*output.tickets, *output.closes):
            if ticket in self.contract.cancelled:
                continue
            if ticket not in promised:
                raise Violation("ticket", f"ended early, or twice: {shown(ticket.outcome)}")
            promise = promised.pop(ticket)
            if not isinstance(ticket, CloseTicket):
                self.ticket(ticket, promise)
            elif promise is not True or ticket.outcome is not None:
                raise Violation("ticket", f"a close has {ticket.outcome} before it is settled")
        if promised:
            raise Violation("ticket", f"not ended: {next(iter(promised.values()))}")

    def ticket(self, ticket: Ticket, promise: object) -> None:
        """A ticket must have this outcome."""
        outcome = ticket.outcome
        if isinstance(promise, Wrong):
            if not isinstance(outcome, Failed):
                raise Violation("ticket", f"{promise} instead of {shown(outcome)}")
            check_error("a ticket", outcome.error, promise)
            self._no_secret(revealed(outcome), "a ticket")
        elif outcome != promise or type(outcome) is not type(promise):
            kind = "flush" if isinstance(promise, FlushResult) else "ticket"
            raise Violation(kind, f"{shown(outcome)} instead of {promise}")

    def warnings(self, lines: Sequence[str]) -> None:
        """Lines for the log."""
        attached = bool(self.contract.clients)
        for line in lines:
            self._no_secret(line, "a warning")
            if "rejects everything" in line:
                self.contract.all_rejected -= 1
                continue
            if (found := WARNING.match(line)) is None:
                self.lost[line] -= 1
                if self.lost[line] < 0:
                    raise Violation("warning", f"out of place: {line!r}")
                continue
            kind, status = found[2], None if found[3] is None else int(found[3])
            cause, count = (kind, status, found[4] or ""), int(found[1])
            word = next(word for error, word in CAUSES.items() if error.__name__ == kind)
            if word not in line:
                raise Violation("warning", f"{line!r} does not say {word!r}")
            at = self._warned_at.get(cause)
            if attached and at is not None and self.contract.now < at + 5.0 - EPSILON:
                raise Violation("warning", f"{cause} twice within 5 s")
            self._warned_at[cause] = self.contract.now
            self.unclaimed[cause] -= count
            if self.unclaimed[cause] < 0:
                raise Violation("warning", f"{line!r} counts {-self.unclaimed[cause]} too many")

    def silence(self) -> None:
        """What the log should have said by now."""
        attached = bool(self.contract.clients)
        if self.contract.all_rejected:
            raise Violation(
                "rejects everything", f"{-self.contract.all_rejected} too many warnings"
            )
        if self.lost.total():
            raise Violation("warning", f"missing: {+self.lost}")
        for cause, count in self.unclaimed.items():
            at = self._warned_at.get(cause)
            late = at is None or at + 5.0 <= self.contract.now - EPSILON or not attached
            if count and late:
                raise Violation("warning", f"{count} failures of {cause} passed in silence")

    def next_warning(self) -> float | None:
        """When the next warning is to be made."""
        times = [
            self._warned_at.get(cause, -math.inf) + 5.0 for cause, n in self.unclaimed.items() if n
        ]
        return min(times, default=None)

    def _no_secret(self, text: str, where: str) -> None:
        if any(secret in text for secret in SECRETS):
            raise Violation("secret", f"in {where}: {text}")

    # ── The state after every poll ───────────────────────────────────────────────────────────

    def state(self, engine: Engine, output: Output) -> None:
        """The counters, the bounds, the next wake-up."""
        contract = self.contract
        if output.closed != (not contract.clients):
            raise Violation("closed", f"{output.closed} with {len(contract.clients)} clients")
        attached = [client.buffer for client in contract.clients]
        if (engine.attached, engine.buffers) != (bool(attached), attached):
            raise Violation("attached", f"{engine.buffers} instead of {attached}")
        for client in self.everyone:
            self._stats(client)
            ended = client.buffer.closed, client.buffer.detached
            if ended != (client.closed, client.detached):
                raise Violation("closed", f"client {client.index}: {ended}")
        for shown_text in (repr(engine), repr(engine._context.account)):
            self._no_secret(shown_text, "a repr")

    def _stats(self, client: Client) -> None:
        in_flight = client.in_flight()
        expected = (
            client.accepted,
            client.delivered,
            client.failed,
            client.overflowed,
            client.dropped,
            client.retries,
            client.requests,
            self.contract.authorizations,
            len(client.waiting) + len(client.inbox),
            in_flight,
        )
        stats = client.buffer.stats()
        if counters(stats) != expected:
            raise Violation("stats", f"client {client.index}: {stats} instead of {expected}")
        pending = (client.waiting, client.inbox, *(batch.events() for batch in client.batches))
        oldest = min((event.at for events in pending for event in events), default=None)
        age = None if oldest is None else self.contract.now - oldest
        if (age is None) != (stats.oldest is None) or (
            age is not None
            and abs(age - (stats.oldest or 0.0)) > EPSILON
            and not self.server.set_back
        ):
            raise Violation("stats", f"client {client.index}: {stats.oldest} instead of {age}")
        if stats.accepted != stats.delivered + stats.failed + stats.queued + stats.in_flight:
            raise Violation("stats", f"they do not add up: {stats}")
        if (
            client.pending > client.plan.max_queue
            or client.pending_bytes > client.plan.max_queue_bytes
        ):
            raise Violation("bounds", f"{client.pending} events, {client.pending_bytes} bytes")
        if client.buffer.outbox.pending != client.pending:
            raise Violation(
                "pending", f"{client.buffer.outbox.pending} instead of {client.pending}"
            )

    def wake(self, wake_at: float | None) -> None:
        """The driver sleeps until ``wake_at``: is that soon enough?"""
        at, what = self.contract.next_deadline()
        warning = self.next_warning()
        if warning is not None and warning < at:
            at, what = warning, "a warning"
        if wake_at is None and at < float("inf"):
            raise Violation("overslept", f"{what}, due at {at}: no wake-up at all")
        if wake_at is not None and wake_at > at + EPSILON:
            raise Violation("overslept", f"{what}, due at {at}: wakes at {wake_at}")


class Numbered(Delivery, gc=False, eq=False, weakref=False):
    """A delivery that knows its event."""

    number: int = -1


counters: Final = attrgetter(
    *("accepted", "delivered", "failed", "overflowed", "dropped", "retries", "requests"),
    *("authorizations", "queued", "in_flight"),
)
"""The counters of ``Stats``, in order."""


def numbered(delivery: Delivery) -> int:
    """The number of a delivery's event."""
    if not isinstance(delivery, Numbered):
        raise Violation("delivery", f"{delivery!r} is of the wrong type")
    return delivery.number


def revealed(outcome: object) -> str:
    """Everything that an outcome reveals."""
    if isinstance(outcome, Failed):
        error = outcome.error
        texts = [repr(error), str(error), repr(error.args), repr(error.details)]
        cause: BaseException | None = error.__cause__
        while cause is not None:
            texts += [repr(cause), str(cause), repr(vars(cause)), repr(cause.__traceback__)]
            cause = cause.__cause__ or cause.__context__
        return " ".join(texts)
    return repr(outcome)
