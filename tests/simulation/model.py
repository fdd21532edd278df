"""The nouns of the independent model: what one client holds, by the contract.

Everything here is plain lists, searched from end to end: slow, short and easy to believe.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from masivo.protocol import Buffer, FlushTicket, Ticket

    from .expect import Wrong
    from .plan import ClientPlan
    from .traffic import Sample

__all__ = ["Authorization", "Client", "Event", "Batch", "Flushing", "Part", "Wait"]

WHOLE_BATCHES: Final = 2


@dataclass(slots=True, eq=False)
class Event:
    """An accepted event."""

    number: int
    at: float
    sample: Sample
    client: Client
    due: bool = False
    """Whether something other than time says that it must go."""
    batch: Batch | None = None
    wire: dict[str, Any] | None = None
    """As it was first sent."""
    ended: bool = False
    moment: float = 0.0
    """What ``issued_at`` must say, in seconds since the epoch."""
    by_server: bool = False
    """Whether that comes from the server's clock."""
    inside: bool = False
    """Whether ``on_error`` sent it."""
    untold: Wrong | None = None
    """The error that ``on_error`` is not told of: it was there when that sent the event."""
    quiet: bool = False
    """Whether one warning for many counts its loss."""


@dataclass(slots=True, eq=False)
class Part:
    """Events that travel together."""

    events: list[Event]
    key: str = ""
    body: bytes = b""
    halve: bool = False
    """Whether it was rejected as a whole, and goes on in halves."""
    offset: float = 0.0
    """The server's clock less ours, as it was known when it was stamped."""
    renewed: bool = False
    """Whether it went once more for a wrong stamp."""

    def split(self, first: int) -> tuple[Part, Part]:
        """So many events, and the others."""
        events, offset = self.events, self.offset
        return Part(events[:first], offset=offset), Part(events[first:], offset=offset)


@dataclass(slots=True, eq=False)
class Authorization:
    """A token that is being fetched."""

    not_before: float
    out: int | None = None
    known: int = 0
    retries: int = 0
    last_try: bool = False
    failed: bool = False


@dataclass(slots=True, eq=False)
class Batch:
    """A batch in flight."""

    client: Client
    parts: deque[Part]
    customers: set[str]
    """Whose later events wait behind it."""
    not_before: float
    out: int | None = None
    known: int = 0
    retries: int = 0
    last_try: bool = False
    token: str = ""
    unauthorized: set[str] | None = None
    """After a 401: the tokens that there had been at the first in a row."""
    all_rejected: bool = True
    """Whether every event that has its outcome was rejected."""
    leads: bool = False
    """Whether it went before older events, for a customer with a whole batch waiting."""

    def events(self) -> Iterator[Event]:
        """What has no outcome yet."""
        for part in self.parts:
            yield from part.events

    def next_part(self) -> None:
        """Go on to the next part."""
        self.parts.popleft()
        self.fresh()

    def fresh(self) -> None:
        """What is sent next is new."""
        self.retries, self.last_try, self.unauthorized = 0, False, None

    def send_first_alone(self) -> None:
        """Let the first event of a part that was never sent be a part of its own."""
        part = self.parts[0]
        if not part.key and not part.halve and len(part.events) > 1:
            self.parts.popleft()
            self.parts.extendleft(part.split(1)[::-1])


@dataclass(slots=True, eq=False)
class Flushing:
    """A flush that waits."""

    ticket: FlushTicket
    waits_for: list[Event]
    reported: tuple[int, int]
    delivered: int
    failed: int


@dataclass(slots=True, eq=False)
class Wait:
    """A caller's wait for the outcome of an event."""

    event: Event
    at: float
    """Since when."""


@dataclass(slots=True, eq=False)
class Client:
    """One client."""

    index: int
    plan: ClientPlan
    buffer: Buffer
    budget: int
    """The bytes that a batch's events may have, a comma after each included."""
    waiting: list[Event] = field(default_factory=list[Event])
    inbox: list[Event] = field(default_factory=list[Event])
    """Accepted events that the core has not looked at yet."""
    waits: list[Wait] = field(default_factory=list[Wait])
    unseen_waits: list[Wait] = field(default_factory=list[Wait])
    """Waits that the core has not looked at yet."""
    batches: list[Batch] = field(default_factory=list[Batch])
    pending: int = 0
    pending_bytes: int = 0
    accepted: int = 0
    delivered: int = 0
    failed: int = 0
    overflowed: int = 0
    dropped: int = 0
    retries: int = 0
    requests: int = 0
    last_at: float = -math.inf
    last_moment: float = -math.inf
    """The latest moment that was stamped on an event."""
    set_back: int = 0
    """How often the server's clock had been found to be behind when it last stamped."""
    last_stamp: float = -math.inf
    """The stamp that was last sent, in seconds since the epoch."""
    flushes: list[Flushing] = field(default_factory=list[Flushing])
    reported: tuple[int, int] = (0, 0)
    drains: list[Ticket] = field(default_factory=list["Ticket"])
    closes: list[Ticket] = field(default_factory=list["Ticket"])
    deadline: float = math.inf
    closing: Wrong | None = None
    closed: bool = False
    detached: bool = False
    overflowing: bool = False
    rejected_batches: int = 0
    """How many batches in a row were rejected to the last event."""
    warned: bool = False
    """Whether the log says that everything is rejected."""

    @property
    def sends_alone(self) -> bool:
        """Whether events go alone, as everything seems to be rejected."""
        return self.rejected_batches >= WHOLE_BATCHES

    @property
    def hurry(self) -> bool:
        """Whether it closes with a deadline."""
        return self.deadline < math.inf

    def free(self, *, unseen: bool = False) -> list[Event]:
        """The waiting events that could go now; with ``unseen``, those of the inbox too."""
        waiting = [*self.waiting, *self.inbox] if unseen else self.waiting
        if self.plan.max_in_flight == 1:
            return waiting
        busy = {customer for batch in self.batches for customer in batch.customers}
        return [event for event in waiting if event.sample.customer not in busy]

    def slot(self) -> bool:
        """Whether one more batch may be in flight."""
        return len(self.batches) < self.plan.max_in_flight

    def has_room(self) -> bool:
        """Whether there is room for a batch."""
        plan = self.plan
        events = min(plan.batch_size, max(1, plan.max_queue // 2))
        length = min(plan.max_batch_bytes, plan.max_queue_bytes // 2)
        return (
            self.pending + events <= plan.max_queue
            and self.pending_bytes + length <= plan.max_queue_bytes
        )

    def due_at(self, free: list[Event]) -> float:
        """When the next batch, of these events first, is due; -inf for at once."""
        if not free:
            return math.inf
        plan = self.plan
        if (
            len(free) >= plan.batch_size
            or sum(event.sample.size + 1 for event in free) > self.budget
            or free[0].due
            or self.drains
            or self.closes
            or self.pending >= plan.max_queue
        ):
            return -math.inf
        last_at = max(self.last_at, free[-1].at)
        return min(last_at + plan.idle_timeout, free[0].at + plan.max_wait)

    def awaited_at(self, *, unseen: bool = False) -> float:
        """When everything must go for the sake of those who wait for an event in the buffer."""
        linger = self.plan.await_linger
        waits = [*self.waits, *self.unseen_waits] if unseen else self.waits
        since = [w.at for w in waits if w.event.batch is None and not w.event.ended]
        return math.inf if linger is None else min(since, default=math.inf) + linger

    def leader(self, free: list[Event]) -> list[Event]:
        """The events of the customer who goes first for having a whole batch waiting, if any."""
        lines: dict[str, list[Event]] = {}
        for event in free:
            lines.setdefault(event.sample.customer, []).append(event)
        if self.plan.max_in_flight == 1 or any(batch.leads for batch in self.batches):
            return []
        return next(
            (each for each in lines.values() if len(each) >= self.plan.batch_size), list[Event]()
        )

    def compose(self, free: list[Event]) -> list[Event]:
        """The events of the next batch: customers by their oldest event, where they count."""
        if self.plan.max_in_flight > 1:
            order: dict[str, list[Event]] = {}
            for event in [*self.leader(free), *free]:
                order.setdefault(event.sample.customer, []).append(event)
            free = list(dict.fromkeys(event for line in order.values() for event in line))
        events: list[Event] = []
        total = 0
        for event in free:
            total += event.sample.size + 1
            if len(events) == self.plan.batch_size or (events and total > self.budget):
                break
            events.append(event)
        return events

    def form(self, events: list[Event], not_before: float) -> Batch:
        """Put events in flight, as a batch."""
        leads = bool(self.leader(self.free()))
        gone = set(map(id, events))
        self.waiting = [event for event in self.waiting if id(event) not in gone]
        customers = {event.sample.customer for event in events}
        batch = Batch(self, deque([Part(events)]), customers, not_before, leads=leads)
        for event in events:
            event.batch = batch
        self.batches.append(batch)
        return batch

    def in_flight(self) -> int:
        """The number of events in batches."""
        return sum(len(part.events) for batch in self.batches for part in batch.parts)
