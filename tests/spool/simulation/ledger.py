"""What lies on the disk, by its bytes alone, and what must never happen to it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from simulation.frame import Violation

from masivo.spool.records import CERTAIN, NOTE, REMOVAL, UNCERTAIN, Bad, Record, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spool.memory import File, Machine

    from .history import Event, History

__all__ = ["Ledger", "NotedBatch"]

_FILE: Final = re.compile(r"(.+)\.([0-9]{6,})\.(log|notes)")

Place: TypeAlias = "tuple[str, int]"
"""A log, and a position in it."""


@dataclass(frozen=True, slots=True)
class NotedBatch:
    """A batch that was noted."""

    key: str
    places: list[Place]
    writer: int | None
    """The process that noted it; None: the power has failed since."""


@dataclass(slots=True)
class _Seen:
    """A file, as far as it was read."""

    file: File
    log: str
    kind: str
    read: int = 0
    events: set[Place] = field(default_factory=set[Place])
    removals: set[Place] = field(default_factory=set[Place])


class Ledger:
    """The events on a disk, the removed ones, and the notes.

    Args:
        machine: whose disk it is.
        history: of the events.
        time: the server's time.
    """

    def __init__(self, machine: Machine, history: History, time: Callable[[], float]) -> None:
        self._machine = machine
        self._history = history
        self._time = time
        self.clear()

    def clear(self) -> None:
        """Forget everything: the power has failed. ``sync`` reads the disk anew."""
        self._operations = -1
        self._files: dict[str, _Seen] = {}
        self.removed: set[Place] = set()
        self.left: set[Place] = set()
        """The events that are not removed."""
        self.notes: dict[Place, NotedBatch] = {}
        """The last note of each event."""
        self.events: dict[Place, Event] = {}
        self.places: dict[int, set[Place]] = {}

    def sync(self) -> None:
        """Read what was written, and see what was deleted, since the last time.

        Raises:
            Violation: it must not have been.
        """
        if self._machine.operations == self._operations:
            return
        self._operations = self._machine.operations
        files = self._machine.files
        for kind in ("log", "notes"):
            for name, file in files.items():
                if not name.endswith(kind):
                    continue
                seen = self._files.get(name)
                if seen is None and (match := _FILE.fullmatch(name)) is not None:
                    seen = self._files[name] = _Seen(file, match[1], kind)
                if seen is not None and seen.read < len(file.data):
                    self._read(seen)
        for name in [name for name in self._files if name not in files]:
            seen = self._files[name]
            self._read(seen)
            del self._files[name]
            self._deleted(name, seen)

    def _read(self, seen: _Seen) -> None:
        data = bytes(seen.file.data[seen.read :])
        base = seen.read
        for record in scan(lambda offset, size: data[offset : offset + size], 0):
            if isinstance(record, Bad):
                if not record.last:
                    seen.read = base + record.end
                continue
            seen.read = base + record.end
            if seen.kind == "log":
                self._stored(seen, record)
            elif record.kind == NOTE:
                runs, key, _ = msgspec.msgpack.decode(record.body)
                self._noted(NotedBatch(key, [*_places(seen.log, runs)], self._holder(seen.log)))
            elif record.kind == REMOVAL:
                bounds = msgspec.msgpack.decode(record.body)
                for first, end in zip(bounds[::2], bounds[1::2], strict=True):
                    for position in range(first, end):
                        self._removed(seen, (seen.log, position))

    def _stored(self, seen: _Seen, record: Record) -> None:
        if record.kind not in (CERTAIN, UNCERTAIN):
            return
        place = seen.log, record.position
        body = record.body if record.body.startswith(b"{") else b"{" + record.body
        event = self._history.events[json.loads(body)["n"]]
        event.certain = record.kind == CERTAIN
        self.events[place] = event
        self.places.setdefault(event.number, set()).add(place)
        seen.events.add(place)
        if place not in self.removed:
            self.left.add(place)

    def _holder(self, log: str) -> int | None:
        lock = self._machine.files.get(f"{log}.lock")
        return None if lock is None or lock.owner is None else lock.owner.pid

    def _noted(self, batch: NotedBatch) -> None:
        for place in batch.places:
            self._check_earlier(place, batch)
        for place in batch.places:
            self.notes[place] = batch
            event = self.events.get(place)
            if event is not None and event.process == batch.writer:
                event.stamped = True
            if event is not None and batch.writer in self._history.misled:
                event.misdated = True  # whoever adopts it sends it with the same stamp

    def _check_earlier(self, place: Place, batch: NotedBatch) -> None:
        """An adopter sends a noted batch as it is before it notes its events anew."""
        earlier = self.notes.get(place)
        if earlier is None or batch.writer in (None, earlier.writer) or not self._binds(earlier):
            return
        history = self._history
        if batch.writer not in history.senders.get(earlier.key, ()) and not any(
            history.is_too_old(self.events[each], self._time()) for each in earlier.places
        ):
            raise Violation("noted", f"{self.events[place]}: noted as {batch}, {earlier} not sent")

    def _removed(self, seen: _Seen, place: Place) -> None:
        seen.removals.add(place)
        self._remove(place)
        event = self.events.get(place)
        if event is not None:
            self._history.removed(event, self._time())

    def _remove(self, place: Place) -> None:
        self.removed.add(place)
        self.left.discard(place)

    def _deleted(self, name: str, seen: _Seen) -> None:
        if seen.kind == "log":
            for place in seen.events - self.removed - self._elsewhere(seen, "events"):
                self._remove(place)  # the disk had no room for its removal
                self._history.removed(self.events[place], self._time())
        else:
            left = self._elsewhere(seen, "events")
            for place in (seen.removals & left) - self._elsewhere(seen, "removals"):
                raise Violation("back", f"{name} was deleted: {self.events[place]} comes back")

    def _elsewhere(self, gone: _Seen, what: str) -> set[Place]:
        found: set[Place] = set()
        for seen in self._files.values():
            if seen.log == gone.log:
                found |= getattr(seen, what)
        return found

    # ── Questions ────────────────────────────────────────────────────────────────────────────

    def holds(self, event: Event) -> bool:
        """True if the event is on the disk and not removed."""
        return any(place not in self.removed for place in self.places.get(event.number, ()))

    def is_in_log_of(self, event: Event, process: int) -> bool:
        """True if each log in which the event lies is held by this process."""
        places = self.places.get(event.number, ())
        return all(self._holder(log) == process for log, _ in places)

    def is_removed(self, event: Event) -> bool:
        """True if the event was on the disk, and its removal is written."""
        places = self.places.get(event.number)
        return bool(places) and not self.holds(event)

    def note_of(self, event: Event) -> NotedBatch | None:
        """The last note of an event; None if there is none."""
        notes = (self.notes.get(place) for place in self.places.get(event.number, ()))
        return next((note for note in notes if note is not None), None)

    def _binds(self, note: NotedBatch) -> bool:
        """True if whoever adopts a batch has to send it as it was noted."""
        return all(
            place in self.events and place not in self.removed and self.notes.get(place) is note
            for place in note.places
        )

    def noted_by_others(self, process: int) -> int:
        """How many events of other processes are or were in a noted batch."""
        return sum(
            place in self.events and self.events[place].process != process for place in self.notes
        )


def _places(log: str, runs: list[int]) -> Iterator[Place]:
    for first, count in zip(runs[::2], runs[1::2], strict=True):
        for position in range(first, first + count):
            yield log, position
