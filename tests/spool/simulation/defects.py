"""Defects to seed into the rules of storage: the rule that each breaks, and what takes its place.

``cd tests && python -m spool.simulation.defects`` shows the seed that finds each.
"""

# pyright: basic
# Functions that replace those of the core are lambdas, which cannot be annotated.

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
from simulation.defects import after, around, becomes, before, change, nothing
from simulation.frame import hunt_all

from masivo._protocol.batches import issued_at
from masivo._protocol.batches.aside import Aside
from masivo._protocol.batches.backlog import Backlog, Removal
from masivo._protocol.batches.outbox import Outbox
from masivo._protocol.batches.reading import Reading
from masivo._protocol.batches.spooled import SpooledOutbox
from masivo.spool.log import Log
from masivo.spool.ranges import Ranges
from masivo.spool.spool import Spool

from .run import SIMULATOR

if TYPE_CHECKING:
    from simulation.frame import Defect

__all__ = ["DEFECTS", "hunt"]

SEEDS: Final = 500
"""Within this many seeds every defect is to be found."""


def _send_without_a_note(self: Any, part: Any) -> None:
    part.noting = part.noted = part.key
    self._context.touch(self)


def _halves_go_without_a_note(original: Any, self: Any, batch: Any) -> Any:
    part = original(self, batch)
    if batch.trigger == "halving":
        part.noting = part.noted = part.key
    return part


def _fail_instead(self: Any, deliveries: Any, numbers: Any, error: Any) -> None:
    self._outcomes.fail(deliveries, numbers, error)


def _backwards(original: Any, self: Any, source: Any, again: Any, window: Any) -> None:
    events = [*reversed(window.events)]
    original(self, source, again, msgspec.structs.replace(window, events=events))


def _at_fault(fault: bool) -> Any:
    def give_up(self: Any, batch: Any, *_: Any) -> None:
        batch.part.well = fault
        if fault:
            batch.part.failures += 10

    return give_up


def _keep_the_log(self: Any) -> None:
    self._owner = self._process()
    if self._held is not None:
        self._held.process = self._process()


DEFECTS: Final[dict[str, Defect]] = {
    # ── what is on disk, and when ─────────────────────────────────────────────────────────────────
    "an event is accepted without being stored": becomes(Spool, "append", lambda *_: 0),
    "a batch is sent without a note": becomes(SpooledOutbox, "_note", _send_without_a_note),
    "a half is sent without a note": around(SpooledOutbox, "_prepare", _halves_go_without_a_note),
    "an event is removed when it is sent": before(
        SpooledOutbox,
        "_send",
        lambda self, of, *_: self.backlog.gone(of.part.deliveries, delivered=False),
    ),
    "what was delivered is not removed": becomes(Removal, "__call__", nothing),
    "what was adopted and delivered is not removed": becomes(Log, "remove", nothing),
    "what failed is removed before on_error is called": around(
        Backlog, "gone", lambda original, self, ended, **_: original(self, ended, delivered=True)
    ),
    "a segment is deleted with events in it": becomes(Ranges, "covers", lambda *_: True),
    "an adopted log is never let go": becomes(Log, "release", nothing),
    # ── two ends ──────────────────────────────────────────────────────────────────────────────────
    "an outage ends events": becomes(SpooledOutbox, "_leave", _fail_instead),
    "a batch that steps aside is forgotten": becomes(Aside, "put", nothing),
    "a refused key is the end of what waits": becomes(
        SpooledOutbox, "_stop_queue", lambda self, error, *_: Outbox._stop_queue(self, error)
    ),
    "an outage counts as an event's fault": before(SpooledOutbox, "_give_up", _at_fault(True)),
    "a batch at fault is never halved": before(SpooledOutbox, "_give_up", _at_fault(False)),
    "events past their age are sent": becomes(SpooledOutbox, "_end_too_old", lambda *_: False),
    "rejected events pass in silence": around(
        SpooledOutbox,
        "_part_failed",
        lambda original, self, batch, error, **_: (
            original(self, batch, error)
            if error.status != 422
            else self._part_delivered(batch, None)
        ),
    ),
    # ── memory ────────────────────────────────────────────────────────────────────────────────────
    "windows are larger than the room": around(
        Backlog,
        "_read_own",
        lambda original, self, log, place, events, size: original(
            self, log, place, events * 50, size
        ),
    ),
    "an event that ended while a log was read is sent again": after(
        Backlog, "_read", lambda self, reading, *_: change(reading, "removed", None)
    ),
    "a customer whose batches fail takes the room of others": becomes(
        SpooledOutbox, "_put_back", nothing
    ),
    "a customer that was skipped is not read again": becomes(Reading, "returns", lambda *_: False),
    "a customer is read on where it was skipped": after(
        Reading, "returns", lambda self, *_: change(self, "again", self.again or self.after)
    ),
    # ── adoption ──────────────────────────────────────────────────────────────────────────────────
    "adopted events go in the wrong order": around(Backlog, "_source_read", _backwards),
    "a noted batch is not sent as it was": becomes(Log, "noted", lambda *_: []),
    "a log is adopted while another process has it": around(
        Spool, "adopt", lambda original, self, **named: original(_blind(self), **named)
    ),
    # ── forks ─────────────────────────────────────────────────────────────────────────────────────
    "a child keeps its parent's log": becomes(Spool, "forked", _keep_the_log),
    # ── issued_at ─────────────────────────────────────────────────────────────────────────────────
    "what was left is stamped like what is new": becomes(issued_at, "Kept", bool),
}


def _blind(spool: Any) -> Any:
    for file in spool._disk.machine.files.values():
        if file.owner is not spool._disk:
            file.owner = None
    return spool


def hunt(name: str) -> str | None:
    """Return a seed that finds a defect, and what it says; None if none does.

    Raises:
        RuntimeError: the defect does not fit the core.
    """
    return SIMULATOR.hunt(DEFECTS[name], range(SEEDS))


if __name__ == "__main__":
    sys.exit(hunt_all(hunt, DEFECTS))
