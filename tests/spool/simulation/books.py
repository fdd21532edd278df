"""The numbers that a client keeps, against what they count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulation.frame import Violation

from masivo._protocol.batches.queues import total_size
from masivo._protocol.events.form import size
from masivo._protocol.storage.kept import Kept, source_of

if TYPE_CHECKING:
    from masivo.protocol import Buffer, Delivery

__all__ = ["check"]


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
    for log in (backlog.own, *backlog.sources):
        source = None if log is backlog.own else log
        here = {each.position for each in taken if source_of(each) is source} - {None}
        counted[f"held {log}"] = log.held, here
        counted[f"both {log}"] = log.held & log.counted, set()
    for ticket in outbox._outcomes.flushes._flushes:
        numbers = [n for n, _ in (*queued, *sent) if n < ticket.mark or n in ticket.more]
        counted[f"flush {ticket}"] = ticket.pending, len({*numbers} - ticket.done)
    for name, (number, true) in counted.items():
        if number != true:
            raise Violation("books", f"{name}: {number}, not {true}; {buffer.stats()}")
