"""A disk in memory: the stores of a scenario's clients, which outlive them.

It implements ``masivo.protocol.Store`` without files, so that a scenario can see everything that a
driver has stored, and end a client as a crash would.
"""

from __future__ import annotations

import json
import threading
from itertools import count
from typing import TYPE_CHECKING

from masivo.protocol import (
    Note,
    Noted,
    Place,
    RejectedEvent,
    Stored,
    StoreError,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["MemoryDisk", "MemoryLog", "MemoryStore"]


class MemoryDisk:
    """The logs of all clients of a scenario."""

    def __init__(self) -> None:
        self.rejected: list[RejectedEvent] = []
        """The rejected events that are kept."""
        self.full: bool = False
        """True if it accepts no more events."""
        self.lock: threading.RLock = threading.RLock()
        self.logs: list[_Events] = []
        self.positions: Iterator[int] = count(1)

    def store(self, account: str) -> MemoryStore:
        """Make the store of a new client.

        Args:
            account: only logs of the same account are adopted.
        """
        return MemoryStore(self, account)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events in logs, in the order in which they were stored."""
        with self.lock:
            stored = [each for log in self.logs for each in log.events.values()]
        return [_number(each.event) for each in sorted(stored, key=lambda each: each.position)]

    @property
    def rejected_numbers(self) -> list[int]:
        """The numbers of the rejected events that are kept."""
        return [_number(each.event) for each in self.rejected]

    def is_noted(self, key: str | None) -> bool:
        """Return True if a log has a note of a batch with this key."""
        with self.lock:
            return any(note.key == key for log in self.logs for note in log.notes)


def _number(event: bytes) -> int:
    """The number of a stored event, which may lack its opening brace."""
    fields: dict[str, object] = json.loads(event if event[:1] == b"{" else b"{" + event)
    number = fields.get("n")
    return number if isinstance(number, int) else -1


class _Events:
    """The content of one log."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.events: dict[int, Stored] = {}
        self.notes: list[Note] = []
        self.holder: MemoryLog | None = None


class MemoryLog:
    """One log of a client (``masivo.protocol.StoredLog``); calls after its release change
    nothing."""

    def __init__(self, disk: MemoryDisk, content: _Events) -> None:
        self._disk = disk
        self._content = content
        content.holder = self

    @property
    def is_held(self) -> bool:
        """True until it was released, or its client crashed."""
        return self._content.holder is self

    @property
    def name(self) -> str:
        """See StoredLog."""
        return "memory"

    @property
    def size(self) -> int:
        """See StoredLog."""
        with self._disk.lock:
            return sum(len(each.event) for each in self._content.events.values())

    def append(self, stored: Stored) -> None:
        """Append an event."""
        self._content.events[stored.position] = stored

    def noted(self) -> list[Noted]:
        """See StoredLog."""
        with self._disk.lock:
            events, notes = self._content.events, self._content.notes
            latest = {position: note for note in notes for position in note.positions}
            return [
                Noted(note, [events[position] for position in note.positions])
                for note in notes
                if all(latest[each] is note and each in events for each in note.positions)
            ]

    def read(self, after: Place | None, events: int, size: int) -> Window:
        """See StoredLog."""
        with self._disk.lock:
            last = 0 if after is None else after.offset
            rest = [each for at, each in self._content.events.items() if at > last]
        window: list[Stored] = []
        for each in rest[:events]:
            size -= len(each.event)
            if window and size < 0:
                break
            window.append(each)
        place = Place(0, window[-1].position if window else last)
        return Window(window, place, len(window) == len(rest), damaged=0)

    def note(self, note: Note) -> None:
        """See StoredLog."""
        with self._disk.lock:
            if self.is_held:
                self._content.notes.append(note)

    def remove(self, positions: Sequence[int]) -> None:
        """See StoredLog."""
        with self._disk.lock:
            for position in positions if self.is_held else ():
                self._content.events.pop(position, None)

    def left(self) -> tuple[int, int, float | None]:
        """See StoredLog."""
        with self._disk.lock:
            stored = list(self._content.events.values())
        times = [each.at for each in stored]
        return len(stored), sum(len(each.event) for each in stored), min(times, default=None)

    def release(self) -> None:
        """See StoredLog."""
        with self._disk.lock:
            if self.is_held:
                self.let_go()
                if not self._content.events:
                    self._disk.logs.remove(self._content)

    def let_go(self) -> None:
        """Release the log without deleting it if it is empty."""
        if self.is_held:
            self._content.holder = None


class MemoryStore:
    """One client's events on the disk (``masivo.protocol.Store``)."""

    def __init__(self, disk: MemoryDisk, account: str) -> None:
        self.quick: bool = True
        self._disk = disk
        self._account = account
        self._logs: list[MemoryLog] = []  # the logs that it holds, or held
        self._own: MemoryLog | None = None
        self._strangers = 0
        self._released = False

    def crash(self) -> None:
        """End as a process does that is killed: what is on the disk stays as it is."""
        with self._disk.lock:
            self._released = True
            for log in self._logs:
                log.let_go()

    # ── In the call to send ──────────────────────────────────────────────────────────────────

    def append(self, event: bytes, at: float, certain: bool) -> int:
        """See Store."""
        with self._disk.lock:
            if self._released:
                raise StoreError("the store was released")
            if self._disk.full:
                raise StoreError("the disk is full")
            if self._own is None:
                self._own = self._take(_Events(self._account))
            position = next(self._disk.positions)
            self._own.append(Stored(position, event, at, certain))
            return position

    def append_all(self, events: Sequence[bytes], at: float, certain: bool) -> Sequence[int]:
        """See Store."""
        return [self.append(event, at, certain) for event in events]

    def _take(self, content: _Events) -> MemoryLog:
        if content not in self._disk.logs:
            self._disk.logs.append(content)
        log = MemoryLog(self._disk, content)
        self._logs.append(log)
        return log

    @property
    def due(self) -> bool:
        """See Store: never."""
        return False

    @property
    def has_room(self) -> bool:
        """See Store."""
        return not self._disk.full

    # ── The poll's side ──────────────────────────────────────────────────────────────────────

    @property
    def own(self) -> MemoryLog | None:
        """See Store."""
        return self._own

    def tend(self) -> bool:
        """See Store: nothing is ever lost."""
        return True

    def adopt(self) -> Iterator[MemoryLog]:
        """See Store."""
        strangers = 0
        for content in list(self._disk.logs):
            with self._disk.lock:
                if self._released or content.holder is not None:
                    continue
                if content.account != self._account:
                    strangers += 1
                    continue
                log = self._take(content)
            yield log
        self._strangers = strangers

    @property
    def strangers(self) -> int:
        """See Store."""
        return self._strangers

    def reject(self, events: Sequence[RejectedEvent]) -> int:
        """See Store."""
        with self._disk.lock:
            if not self._released:
                self._disk.rejected.extend(events)
        return 0

    def release(self) -> None:
        """See Store."""
        with self._disk.lock:
            self._released = True
            for log in self._logs:
                log.release()

    def forked(self) -> None:
        """See Store. A child has a copy of the disk, and its client a log of its own on it."""
        self._logs, self._own = [], None
