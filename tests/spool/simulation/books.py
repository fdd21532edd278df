"""The numbers that clients keep and report, against what they count."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from simulation.frame import Violation

from masivo._protocol.batches.queues import total_size
from masivo._protocol.events.form import size
from masivo._protocol.storage.kept import Kept, source_of
from masivo.protocol import (
    BatchSent,
    BatchSettled,
    EventsAdopted,
    EventsFailed,
    EventsSpooled,
    Failed,
    RetryScheduled,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from masivo.protocol import Buffer, Delivery, Output, Stats

__all__ = ["Tally", "check"]


class Tally:
    """The counts of all that the polls of one engine put out.

    Attributes:
        listens: True: its activity is counted, too.
    """

    def __init__(self, *, listens: bool) -> None:
        self.listens = listens
        self._out: Counter[str] = Counter()
        self._told: Counter[str] = Counter()

    def add(self, output: Output) -> None:
        """Count an output."""
        for request in output.requests:
            self._out["requests" if request.method == "POST" else "authorizations"] += 1
        for settled in output.settled:
            outcome = settled.outcome
            if not isinstance(outcome, Failed):
                self._out["delivered"] += len(settled.deliveries)
            else:
                kind = "left" if outcome.error.spooled else "failed"
                self._out[kind] += len(settled.deliveries)
        for each in output.activity:
            if isinstance(each, BatchSettled):
                self._told["delivered"] += each.delivered
            elif isinstance(each, EventsAdopted | EventsFailed | EventsSpooled):
                self._told[_NAMES[type(each)]] += each.events
            elif isinstance(each, BatchSent):
                self._told["requests"] += 1
            elif isinstance(each, RetryScheduled) and each.batch is not None:
                self._told["retries"] += 1

    def check(self, clients: Sequence[Stats]) -> None:
        """See that the counters of the engine's clients are right.

        Raises:
            Violation: one is not.
        """
        out = self._out
        names = {*out} - {"left", "authorizations"}
        shown = {name: sum(getattr(stats, name) for stats in clients) for name in _COUNTERS}
        shown["authorizations"] = clients[0].authorizations
        wanted = {name: out[name] for name in {*names, "authorizations"}}
        if self.listens:
            if self._told["left"] != out["left"]:
                raise Violation("activity", f"{self._told['left']} were left, not {out['left']}")
            wanted |= {name: self._told[name] for name in _COUNTERS}
        for name, count in wanted.items():
            if shown[name] != count:
                raise Violation("counters", f"{name}: {shown[name]}, not {count}")


_COUNTERS: Final = ("delivered", "failed", "requests", "retries", "adopted")
_NAMES: Final[dict[type, str]] = {
    EventsAdopted: "adopted",
    EventsFailed: "failed",
    EventsSpooled: "left",
}


def check(buffer: Buffer) -> None:
    """Count anew what a client counts, between two polls and calls.

    Raises:
        Violation: one of its numbers is another.
    """
    outbox: Any = buffer.outbox
    lines, aside, backlog, gate = outbox._lines, outbox._aside, outbox.backlog, outbox.gate
    if outbox.released:
        if gate.pending:
            raise Violation("books", f"{gate.pending} pending, and released")
        return
    queued: list[tuple[int, Delivery]] = lines.entries()
    batches = [*outbox._batches, *aside.batches]
    sent = [
        pair
        for batch in batches
        for part in batch.parts
        for pair in zip(part.numbers, part.deliveries, strict=True)
    ]
    taken = [each for _, each in (*queued, *sent)]
    events = [*taken, *backlog.own.waiting.values()]
    if any(not each.encoded for each in events):
        raise Violation("books", "an event is held that has its outcome")
    busy = {customer for batch in batches for customer in batch.customers}
    ready = [each for _, each in queued if each.customer not in busy]
    folded, items, total = gate.count()
    counted: dict[str, tuple[object, object]] = {
        "accepted": (outbox._queued, folded[0] + items),
        "accepted bytes": (outbox._queued_bytes, total),
        "pending": (gate.pending, len(events)),
        "pending bytes": (total - gate.ended_bytes, total_size(events)),
        "in flight": (outbox._in_flight, sum(map(len, outbox._batches))),
        "aside": (aside.events, sum(map(len, aside.batches))),
        "kept": (outbox._kept_queued, sum(isinstance(each, Kept) for _, each in queued)),
        "busy": (lines.busy, busy),
        "ready": (lines.ready, len(ready)),
        "ready bytes": (lines.ready_bytes, sum(size(each.encoded) + 1 for each in ready)),
        "read": (
            backlog._in_memory,
            sum(isinstance(each, Kept) and each.stored is not None for each in taken),
        ),
        "fresh": (backlog._fresh, []),
        "waits": (set(outbox._triggers._waits) - {each for _, each in queued}, set()),
    }
    live = [each for batch in aside.batches for part in batch.parts for each in part.deliveries]
    counted["waiters aside"] = [each for each in live if not isinstance(each, Kept)], []
    for place, log in enumerate([backlog.own, *backlog.sources]):
        source = None if log is backlog.own else log
        here = {each.position for each in taken if source_of(each) is source} - {None}
        counted[f"held, log {place}"] = log.held, here
        counted[f"held and on disk alone, log {place}"] = log.held & log.counted, set()
    for place, ticket in enumerate(outbox._outcomes.flushes._flushes):
        numbers = [n for n, _ in (*queued, *sent) if n < ticket.mark or n in ticket.more]
        counted[f"flush {place}"] = ticket.pending, len({*numbers} - ticket.done)
    for name, (number, true) in counted.items():
        if number != true:
            raise Violation("books", f"{name}: {number}, not {true}; {buffer.stats()}")
