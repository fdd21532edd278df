"""The state of one key by the contract: the token, the waits, the clients."""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from masivo.protocol import FlushResult

from .expect import CLOSED, Delivered, Wrong
from .frame import Violation

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import Ticket

    from .expect import Expected
    from .model import Authorization, Batch, Client, Event, Part

__all__ = ["EPSILON", "KeyState"]

EPSILON: Final = 1e-6

Promise: TypeAlias = "Wrong | FlushResult | str | bool"
"""The outcome that a ticket must have."""


class KeyState:
    """The state of one key.

    Args:
        wall_clock: reads the caller's wall clock.
        draw: what the random source gives.
        stubborn: whether ``Api.is_server_key_refusal`` raises.
    """

    def __init__(self, wall_clock: Callable[[], float], draw: float, *, stubborn: bool) -> None:
        self.now = 0.0
        self.stubborn = stubborn
        self.draw = draw
        """What the random source gives now."""
        self.clients: list[Client] = []
        """The attached ones."""
        self.expected: dict[int, tuple[Event, Expected]] = {}
        """The outcomes that this poll must bring, by the event's number."""
        self.promised: dict[Ticket, Promise] = {}
        """The outcomes of tickets that this poll must bring."""
        self.cancelled: set[Ticket] = set()
        """Drains and flushes that were given up: their outcomes do not matter."""
        self.out: dict[int, Batch | Authorization] = {}
        self.token: str | None = None
        self.dead: set[str] = set()
        self.granted: set[str] = set()
        """Every token that there ever was."""
        self.authorization: Authorization | None = None
        self.authorizations = 0
        self.renewing = False
        """Whether a renewal was due when this poll began."""
        self.hold_until = 0.0
        self.long_hold_until = 0.0
        self.long_hold_error: Wrong = CLOSED
        self.failures = 0
        self.key_refused_until = 0.0
        self.key_refusal: Wrong = CLOSED
        self.offset: float | None = None
        """The server's clock less ours, at least."""
        self.seen_at = 0.0
        self.seen_wall = 0.0
        """Both clocks at the last ``Date``."""
        self.set_back = 0
        """How often a ``Date`` was more than a minute behind the estimate."""
        self.all_rejected = 0
        """Warnings that everything is rejected which this poll must bring."""
        self.inbox: list[Callable[[], None]] = []
        """What the core learns in the next poll."""
        self.token_tickets: list[tuple[Client, Ticket]] = []
        self.wall_clock = wall_clock
        self.granted_at = 0.0
        self.expires_at = math.inf
        self.part = 1.0
        self.margin = 0.0

    # ── Waits ────────────────────────────────────────────────────────────────────────────────

    def jitter(self) -> float:
        """The wait after the failures that the key had in a row."""
        return self.backoff(self.failures)

    def backoff(self, failures: int, longest: float = 30.0) -> float:
        """A wait after this many failures: up to 0.5 s, doubling."""
        return self.draw * min(longest, 0.5 * 2.0 ** min(failures - 1, 10)) if failures else 0.0

    def longest_renewal_wait(self) -> float:
        """The longest wait of a renewal in the background that failed: the interval."""
        intervals = [client.plan.refresh_interval or 300.0 for client in self.clients]
        return max(1.0, min(intervals, default=300.0))

    def spread_hold(self) -> float:
        """How long a renewal in the background waits during a ``Retry-After``: a fleet of
        processes must not come back in one instant. 0 without one."""
        held = max(self.hold_until, self.long_hold_until) - self.now
        return held + self.draw * self.longest_renewal_wait() if held > 0.0 else 0.0

    def alive(self) -> bool:
        """Whether there is a token that is not known to be dead."""
        return self.token is not None and self.now < self.expires_at

    def key_refused(self) -> bool:
        """Whether events fail at once, as the key was refused a short while ago."""
        return self.now < self.key_refused_until

    def long_hold(self) -> bool:
        """Whether batches fail at once, as a ``Retry-After`` was too long."""
        return self.now < self.long_hold_until

    def hurry(self) -> bool:
        """Whether a token is wanted by a client that closes with a deadline."""
        return self.token is None and self.hurries()

    def hurries(self) -> bool:
        return any(client.hurry and client.pending for client in self.clients)

    def ready_at(self, batch: Batch) -> float:
        """When a batch may be sent."""
        if batch.client.hurry:
            return -math.inf
        return max(batch.not_before, self.hold_until)

    def form_at(self, client: Client, *, unseen: bool = False) -> float:
        """When the next batch of a client must be formed, given a token."""
        if not client.slot():
            return math.inf
        due = client.due_at(client.free(unseen=unseen))
        return due if client.hurry or self.long_hold() else max(due, self.hold_until)

    def renew_at(self) -> float:
        """When the token is to be renewed in the background."""
        if self.token is None or self.authorization is not None:
            return math.inf
        intervals = [client.plan.refresh_interval for client in self.clients]
        interval = min((each for each in intervals if each is not None), default=math.inf)
        return min(self.granted_at + self.part * interval, self.expires_at - self.margin)

    def token_needed(self) -> bool:
        """Whether something needs a token now."""
        if self.token_tickets:
            return True
        if self.long_hold():
            return False
        return any(
            any(f.out is None and self.ready_at(f) <= self.now for f in client.batches)
            or (client.slot() and client.free())
            for client in self.clients
        )

    # ── Outcomes ─────────────────────────────────────────────────────────────────────────────

    def end(self, event: Event, expected: Expected) -> None:
        """An event has its outcome."""
        client = event.client
        if event.ended:
            raise Violation("model", f"event {event.number} would end twice")
        event.ended = True
        if event.batch is None and client.plan.on_error:
            self.stamp(event)  # it goes to ``on_error`` as it would have been sent
        self.expected[event.number] = event, expected
        client.pending -= 1
        client.pending_bytes -= event.sample.size
        good = isinstance(expected, Delivered)
        if good:
            client.delivered += 1
        else:
            client.failed += 1
        for flushing in client.flushes:
            if event in flushing.waits_for:
                flushing.waits_for.remove(event)
                flushing.delivered += good
                flushing.failed += not good
        self.end_flushes(client)

    def end_flushes(self, client: Client) -> None:
        for flushing in [each for each in client.flushes if not each.waits_for]:
            client.flushes.remove(flushing)
            self.promised[flushing.ticket] = FlushResult(flushing.delivered, flushing.failed)
            reported = flushing.reported
            client.reported = (
                max(client.reported[0], reported[0] + flushing.delivered),
                max(client.reported[1], reported[1] + flushing.failed),
            )

    def end_drains(self, client: Client) -> None:
        if client.has_room():
            self.promised.update(dict.fromkeys(client.drains, True))
            client.drains = []

    def fail_batches(self, client: Client, wrong: Wrong) -> None:
        """End the batches that wait to be sent."""
        for batch in [batch for batch in client.batches if batch.out is None]:
            client.batches.remove(batch)
            for event in batch.events():
                self.end(event, wrong)

    def release(self, client: Client, wrong: Wrong, *, quiet: bool = False) -> None:
        """End everything of a client, and detach it."""
        if client.detached:
            return
        client.detached, client.closed, client.closing = True, True, wrong
        for event in chain(client.waiting, *(batch.events() for batch in client.batches)):
            event.quiet = quiet
        for batch in client.batches:
            for event in batch.events():
                self.end(event, wrong)
            if batch.out is not None:
                del self.out[batch.out]
        for event in client.waiting:
            self.end(event, wrong)
        client.batches, client.waiting = [], []
        for ticket in client.drains:
            self.promised[ticket] = wrong
        for ticket in client.closes:
            self.promised[ticket] = True
        client.drains, client.closes = [], []
        for owner, ticket in self.token_tickets:
            if owner is client:
                self.promised[ticket] = CLOSED
        self.token_tickets = [pair for pair in self.token_tickets if pair[0] is not client]
        self.clients.remove(client)

    # ── Steps ────────────────────────────────────────────────────────────────────────────────

    def revoke(self) -> None:
        if self.token is not None:
            self.dead.add(self.token)
        self.token = None
        renewal = self.authorization
        if renewal is not None:  # it is urgent now
            renewal.retries, renewal.last_try = 0, False
            if renewal.out is None:
                renewal.not_before = self.now

    # ── Stamps ───────────────────────────────────────────────────────────────────────────────

    def drift(self) -> float:
        """The seconds by which the wall clock went on without ours since the last ``Date``, if it
        was more than a minute."""
        drift = (self.wall_clock() - self.seen_wall) - (self.now - self.seen_at)
        return drift if drift > 60.0 else 0.0

    def estimate(self) -> float:
        """The server's clock less ours, as far as it is known."""
        if self.offset is None:
            return self.wall_clock() - 2.0 - self.now
        return self.offset + self.drift()

    def learn(self, date: float | None) -> None:
        """Learn the server's time from a response."""
        if date is None:
            return
        before, bound = self.estimate(), date - self.now
        if self.offset is None or not self.offset - 60.0 <= bound <= self.offset:
            self.offset = bound
        self.seen_at, self.seen_wall = self.now, self.wall_clock()
        self.set_back += before - self.offset > 60.0

    def stamp(self, event: Event) -> None:
        """Fix the time that an event without a stamp gets."""
        client = event.client
        if client.set_back != self.set_back:
            client.set_back = self.set_back
            client.last_moment = client.last_stamp = -math.inf
        moment = self.estimate() + event.at
        known = self.offset is not None and not self.drift()
        event.by_server = known and moment > client.last_moment
        event.moment = client.last_moment = max(client.last_moment, moment)

    def renew(self, part: Part) -> bool:
        """Stamp a part anew, if the estimate moved by more than a minute since it was; whether it
        is another request then."""
        if abs(self.estimate() - part.offset) <= 60.0:
            return False
        part.offset = self.estimate()
        before = [written(event) for event in part.events]
        for event in part.events:
            self.stamp(event)
        if before == [written(event) for event in part.events]:
            return False
        part.key = ""
        for event in part.events:
            event.wire = None
        return True

    def form(self, client: Client, events: list[Event]) -> Batch:
        """Make a batch; its stamps are fixed now."""
        for event in events:
            self.stamp(event)
        batch = client.form(events, self.now + self.jitter())
        batch.parts[0].offset = self.estimate()
        return batch


def written(event: Event) -> int:
    """The stamp of an event, in whole milliseconds; 0 without one."""
    return math.floor(event.moment * 1000.0) if event.sample.stamped else 0
