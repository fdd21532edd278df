"""One log that this process holds: its segments, its notes, and its removals.

All of it runs in steps of work, one call at a time; callers append to the newest segment meanwhile.

A segment is deleted when every event in it was removed. Which events are in it, only a reader
knows, and to read it takes time. So a closed segment is left alone while the oldest events are
being removed: once all that callers can have written before it was closed are, it is empty.

Before the newest segment is read to its end, ``Tail.move`` makes callers write to another one; a
caller whose write may have come too late to be read writes its record again (``Tail.generation``).
So a position can be in a segment twice, or in two segments: a reader skips the second.
"""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from masivo.protocol import Note, Noted, Place, Stored, StoreError, Window

from .bodies import events_in, note_or_removal_in, packed_note, packed_removal
from .ranges import Ranges
from .records import NOTE, REMOVAL, Bad, Record, encode, scan, skim
from .segment import Segment
from .tail import LostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .disk import Disk, DiskLock, DiskTail

__all__ = ["LOCK", "Log", "first_segment", "lock_of"]

LOCK: Final = ".lock"
"""The ending of a log's lock file."""

_NOT_NOW: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of a process that can read no file at the moment: the file itself is not damaged."""

_UNREAD: Final = 3
"""The most closed segments that are left alone: they may have to be read at once."""

_FILE: Final = re.compile(r"(.+)\.([0-9]{6,})\.(log|notes)")


def first_segment(name: str) -> str:
    """The file of a log's first segment."""
    return _file(name, 1, "log")


def lock_of(file: str) -> str | None:
    """The lock file of the log that a segment or a file of notes belongs to; None for others."""
    match = _FILE.fullmatch(file)
    return None if match is None else match[1] + LOCK


def _file(name: str, number: int, kind: str) -> str:
    return f"{name}.{number:06d}.{kind}"


class Log:
    """See StoredLog.

    Args:
        disk: of the directory.
        name: the log's.
        lock: the log's, held.
        bad_file: the file for parts that cannot be read.
        tail: the end of the first segment, to which callers append; None for an adopted log.
        torn: has an item for each record that a call wrote only in part.
        taken: returns the number that all positions are below which a caller may have written; None
            if it is not known.
        in_polls: True if callers in other threads may wait while it notes and removes.
    """

    def __init__(
        self,
        disk: Disk,
        name: str,
        lock: DiskLock,
        bad_file: str,
        tail: DiskTail | None = None,
        torn: Sequence[object] = (),
        taken: Callable[[], int | None] = lambda: None,
        *,
        in_polls: bool = False,
    ) -> None:
        self.name: str = name
        self._disk = disk
        self._process = disk.process()
        self._lock: DiskLock | None = lock
        self._tail = tail
        self._growing = 0 if tail is None else 1  # the segment that callers append to; 0: none
        self._bad_file = bad_file
        self._torn = torn
        self._taken = taken
        self._rest = disk.rest if in_polls else lambda: None
        self._explained = 0  # the number of these that were read, or lie in earlier segments
        self._torn_before = 0  # those in earlier segments
        self._segments: dict[int, Segment] = {}
        self._newest = 1
        self._notes: dict[int, int] = {}  # the files of notes, with their bytes
        self._highest = 0  # one more than the highest position that was read
        self._removed = Ranges()
        self._first_left = 0  # the first position that was not removed, at the last ``tend``
        self._unwritten = Ranges()  # removals that are not in a file yet
        self._open: list[tuple[Note, Ranges]] = []  # batches that an earlier owner had noted
        self.to_sweep: bool = False
        """True if a segment may be left without an event."""
        self._damaged = 0  # bad parts that no window has reported yet
        self._is_torn = False  # the last bad part is one of ``torn``
        if tail is None:
            self._load()
        else:
            self._segments[1] = Segment()

    # ── Adoption ─────────────────────────────────────────────────────────────────────────────

    def _load(self) -> None:
        """Read the notes; the segments are read on demand."""
        numbers: list[int] = []
        for file in self._disk.names():
            match = _FILE.fullmatch(file)
            if match is not None and match[1] == self.name:
                number, size = int(match[2]), self._disk.size(file)
                if match[3] == "log":
                    self._segments[number] = Segment(size)
                else:
                    self._notes[number] = size
                numbers.append(number)
        self._segments = dict(sorted(self._segments.items()))
        # Not the file of notes that is there: where a power failure has cut off its last byte, the
        # first byte of another record could take its place.
        self._newest = max(numbers, default=0) + 1
        for number in sorted(self._notes):
            self._load_notes(_file(self.name, number, "notes"))

    def _load_notes(self, file: str) -> None:
        for record in scan(partial(self._disk.read, file), 0):
            if isinstance(record, Bad):
                self._keep_bad(record.body)
                continue
            found = note_or_removal_in(record)
            if found is None:
                self._keep_newer(record)
            elif isinstance(found, Note):
                ranges = Ranges.of(found.positions)
                self._supersede(ranges)
                self._open.append((found, ranges))
            else:
                self._supersede(found)
                self._removed.update(found)

    def _supersede(self, ranges: Ranges) -> None:
        """Forget the notes of these events: they were noted again or removed."""
        self._open = [each for each in self._open if not each[1].meets(ranges)]

    def noted(self) -> list[Noted]:
        """See StoredLog."""
        wanted = Ranges()
        for _, ranges in self._open:
            wanted.update(ranges)
        found: dict[int, Stored] = {}
        count = len(wanted)
        for stored in self._all() if count else ():
            if stored.position in wanted:
                found.setdefault(stored.position, stored)
                if len(found) == count:
                    break
        return [
            Noted(note, [found[position] for position in note.positions])
            for note, _ in self._open
            if all(position in found for position in note.positions)
        ]

    # ── Reading ──────────────────────────────────────────────────────────────────────────────

    def read(self, after: Place | None, events: int, size: int) -> Window:
        """See StoredLog."""
        found: list[Stored] = []
        total = 0
        place = after or Place(0, 0)
        for number in list(self._segments) if self._is_mine else ():
            if number < place.segment:
                continue
            offset, within = place[1:] if number == place.segment else (0, 0)
            for start, at, stored in self._events(number, offset, within):
                if stored.position in self._removed:
                    continue
                total += len(stored.event)
                if found and (len(found) >= events or total > size):
                    return self._window(found, Place(number, start, at), end=False)
                found.append(stored)
            place = Place(number, max(offset, self._segments[number].read))
        return self._window(found, place, end=True)

    def _window(self, found: list[Stored], after: Place, *, end: bool) -> Window:
        if self.to_sweep:
            self._sweep()
        damaged, self._damaged = self._damaged, 0
        return Window(found, after, end, damaged)

    def _all(self) -> Iterator[Stored]:
        """The events of all segments, removed ones too."""
        for number in list(self._segments) if self._is_mine else ():
            for _, _, stored in self._events(number):
                yield stored

    def _events(
        self, number: int, offset: int = 0, within: int = 0
    ) -> Iterator[tuple[int, int, Stored]]:
        """The events of a segment from a place on, removed ones too, each with its place.

        Raises:
            StoreError: this process cannot read now.
        """
        segment = self._segments[number]
        is_growing = number == self._growing
        read = partial(self._disk.read, _file(self.name, number, "log"))
        try:
            for record in scan(read, min(offset, segment.read)):
                if isinstance(record, Bad):
                    if record.last and self._tail is not None:
                        break  # a caller is writing it, or wrote only a part on a full disk
                    if record.start >= segment.read:
                        self._keep_bad(
                            record.body,
                            goes_on=record.start == segment.bad,
                            may_be_torn=segment.possible is None,
                        )
                        segment.read = segment.bad = record.end
                    continue
                found = events_in(record)
                if record.start >= segment.read:
                    segment.read = record.end
                    if not found:
                        self._keep_newer(record)
                    for stored in found:
                        self._enter(segment, record.start, stored.position)
                if record.start < offset or record.start in segment.again:
                    continue
                first = within if record.start == offset else 0
                for at, stored in enumerate(found[first:], first):
                    yield record.start, at, stored
        except OSError as error:
            if error.errno in _NOT_NOW:
                raise StoreError(f"the spool cannot be read now: {error.strerror}") from None
            self._damaged += 1
        else:
            if not (is_growing or segment.whole):
                segment.whole = self.to_sweep = True

    def _enter(self, segment: Segment, start: int, position: int) -> None:
        """Enter the position of a record that is read for the first time."""
        if position >= self._highest:
            self._highest = position + 1
        elif any(position in each.present for each in self._segments.values()):
            segment.again.add(start)
        segment.present.add(position, position + 1)

    def _keep_newer(self, record: Record) -> None:
        """Keep a record of a newer version."""
        self._keep_bad(encode(record.kind, record.position, record.at, record.body))

    def _keep_bad(self, data: bytes, *, goes_on: bool = False, may_be_torn: bool = True) -> None:
        """Keep a bad part; ``goes_on`` if it continues the last one. It may be the rest of a failed
        write, unless none had failed when its segment was closed."""
        if not goes_on:
            self._is_torn = may_be_torn and self._explained < len(self._torn)
            self._explained += self._is_torn
            self._damaged += not self._is_torn
        if self._is_torn:
            return
        with suppress(OSError):
            self._disk.append(self._bad_file, data)

    def left(self) -> tuple[int, int, float | None]:
        """See StoredLog."""
        count = size = 0
        oldest: float | None = None
        for stored in self._all():
            if stored.position not in self._removed:
                count += 1
                size += len(stored.event)
                oldest = stored.at if oldest is None else min(oldest, stored.at)
        return count, size, oldest

    # ── Notes and removals ───────────────────────────────────────────────────────────────────

    def note(self, note: Note) -> None:
        """See StoredLog."""
        if not self._is_mine:
            return
        try:
            self._write(encode(NOTE, 0, 0.0, packed_note(note)))
        except OSError as error:
            raise StoreError(f"the spool cannot be written: {error.strerror or error}") from None
        self._rest()

    def remove(self, positions: Sequence[int]) -> None:
        """See StoredLog."""
        if not self._is_mine:
            return
        ranges = Ranges.of(positions)
        self._removed.update(ranges)
        self._unwritten.update(ranges)
        self._write_removals()
        self._rest()
        if not self.to_sweep:  # deletions take time: ``tend`` does them
            self.to_sweep = any(
                (segment.possible or segment.present.meets(ranges)) and self._is_empty(segment)
                for segment in self._segments.values()
            )

    def _write_removals(self) -> None:
        if self._unwritten:
            try:
                self._write(encode(REMOVAL, 0, 0.0, packed_removal(self._unwritten)))
            except OSError:
                return  # later
            self._unwritten = Ranges()

    def _write(self, data: bytes) -> None:
        self._disk.append(_file(self.name, self._newest, "notes"), data)
        self._notes[self._newest] = self._notes.get(self._newest, 0) + len(data)

    def _is_empty(self, segment: Segment) -> bool:
        """True if nothing is left in a segment."""
        present = segment.present if segment.whole else segment.possible
        return present is not None and self._removed.covers(present)

    def _sweep(self) -> None:
        """Delete the segments of which nothing is left."""
        self.to_sweep = False
        for number, segment in list(self._segments.items()):
            if self._is_empty(segment):
                self._disk.delete(_file(self.name, number, "log"))
                del self._segments[number]
        # The notes beside a segment are of events in it and in those before it.
        first = next(iter(self._segments), self._newest)
        for number in [each for each in self._notes if each < first]:
            self._disk.delete(_file(self.name, number, "notes"))
            del self._notes[number]

    # ── The newest segment ───────────────────────────────────────────────────────────────────

    @property
    def size(self) -> int:
        """See StoredLog."""
        growing = self._segments.get(self._growing)
        return self.closed_size + (0 if growing is None else growing.size)

    @property
    def closed_size(self) -> int:
        """The bytes of all but the segment to which callers append."""
        closed = (each.size for number, each in self._segments.items() if number != self._growing)
        return sum(closed) + sum(self._notes.values())

    @property
    def is_linked(self) -> bool:
        """False if the files were deleted, or the descriptors closed by others."""
        return (
            self._lock is not None
            and self._lock.is_held
            and (self._tail is None or self._tail.is_linked)
        )

    @property
    def is_stuck(self) -> bool:
        """True if a write to the newest segment has failed."""
        return len(self._torn) > self._torn_before

    def tend(self, most: int, *, short: bool = False) -> None:
        """Begin a new segment if the newest is large, or could not grow: on a full disk, it would
        never give back the room of its delivered events. Write removals that could not be written,
        and delete segments of which nothing is left.

        Args:
            most: the bytes from which on a segment is large.
            short: True if there is little room: no segment is left alone.
        """
        if not self._is_mine:
            return
        if self._tail is not None:
            newest = self._segments[self._newest]
            try:
                newest.size, torn = self._tail.size, len(self._torn)
                if newest.size >= most or (newest.size and self.is_stuck):
                    self._rotate(self._tail)
                self._torn_before = torn
                first, self._first_left = self._first_left, self._removed.first_missing
                if self._finish_closed(soon=not short and self._first_left > first):
                    self._explained = torn  # the next bad part is none of them
            except (OSError, LostError):
                pass  # later
        self._write_removals()
        if self.to_sweep:
            self._sweep()

    def _rotate(self, tail: DiskTail) -> None:
        tail.move(_file(self.name, self._newest + 1, "log"))
        self._segments[self._newest].possible = self._possible()
        self._growing = self._newest = self._newest + 1
        self._segments[self._newest] = Segment()

    def _possible(self) -> Ranges | None:
        """All positions that callers can have written by now; None if it is not known, or some were
        never written: then it is of no use."""
        below = None if self._torn else self._taken()
        return None if below is None else Ranges((0, below))

    def _finish_closed(self, *, soon: bool) -> bool:
        """Read the closed segments to their ends, unless nothing is left in them; return False if
        one is yet to be read.

        Args:
            soon: True if nothing will be left in the oldest soon, as far as can be told.
        """
        closed = {n: each for n, each in self._segments.items() if n != self._growing}
        for number, segment in closed.items():
            if self._is_empty(segment):
                self.to_sweep = True
            elif not (segment.whole or (soon and segment.possible and len(closed) <= _UNREAD)):
                with suppress(OSError, StoreError):  # later
                    self._finish(number)
        return all(segment.whole for segment in closed.values())

    def _finish(self, number: int) -> None:
        """Read a segment to its end."""
        segment, file = self._segments[number], _file(self.name, number, "log")
        whole = skim(partial(self._disk.read, file), segment.read, self._disk.rest)
        fresh: list[int] = []
        for start, end, position in whole:
            if position >= self._highest:  # the usual case
                self._highest = position + 1
                fresh.append(position)
            else:
                segment.present.update(Ranges.of(fresh))
                fresh.clear()
                self._enter(segment, start, position)
            segment.read = end
        segment.present.update(Ranges.of(fresh))
        for _ in self._events(number, segment.read):
            pass
        segment.size = self._disk.size(file)

    # ── The end ──────────────────────────────────────────────────────────────────────────────

    @property
    def _is_mine(self) -> bool:
        return self._lock is not None and self._disk.process() == self._process

    def release(self) -> None:
        """See StoredLog."""
        lock, tail = self._lock, self._tail
        if lock is None:
            return
        if self._is_mine and self.is_linked:
            if tail is not None:
                self._growing = 0
                if tail.stop():
                    self._segments[self._newest].possible = self._possible()
                self._finish_closed(soon=False)  # or an adopter reads them
            self._write_removals()
            self._sweep()
            if not self._segments:
                for number in self._notes:
                    self._disk.delete(_file(self.name, number, "notes"))
                lock.delete()
        self.let_go()

    def let_go(self) -> None:
        """Close the descriptors only: the log belongs to another process, or is lost."""
        lock, self._lock = self._lock, None
        if self._tail is not None:
            self._tail.stop()
        self._tail = None
        if lock is not None:
            lock.release()
