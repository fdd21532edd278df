"""The events of one client that are on disk and not in memory, and when they are read.

The rules: ``docs/reference/guarantees.md#memory-with-a-spool`` and
``docs/reference/guarantees.md#adoption``; ``docs/reference/guarantees.md#live-logs``.
"""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from masivo._protocol.events.form import size
from masivo._protocol.storage.kept import Kept, read_back, source_of
from masivo._protocol.storage.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from masivo._protocol.delivery import Delivery, Origin
    from masivo._protocol.sending.context import Context
    from masivo._protocol.storage.store import (
        Noted,
        Place,
        Store,
        Stored,
        StoredLog,
        Window,
    )
    from masivo._protocol.storage.work import Queued

    from .gate import Gate
    from .reports import Reports

__all__ = ["SCAN", "Backlog", "Source", "is_live"]

SCAN: Final = 30.0
"""Seconds between two scans for logs that nobody holds."""
PAUSE: Final = 1.0
"""Seconds to wait after a log could not be read."""
LOOK: Final = 1.0
"""Seconds between two reads of a live log at its present end."""
COUNTED: Final = 16_777_216
"""The most bytes of logs whose events are counted when the client is released."""
WINDOW: Final = 1_000
"""The least size of a window, in events; about as many events from windows are in memory."""
WINDOW_BYTES: Final = 4_194_304
"""The most bytes of a window."""


class Source:
    """A log that this client has adopted."""

    def __init__(self, log: StoredLog, noted: Sequence[Noted]) -> None:
        self.log: StoredLog = log
        self.noted: deque[Noted] = deque(noted)
        """Batches that its last owner may have sent: they are sent before the rest is read."""
        self.after: Place | None = None
        """The place after which to continue reading."""
        self.ended: bool = False
        """True once it was read to its end."""
        self.live: bool = False
        """True if others append to it."""
        self.look_at: float = 0.0
        """The time from which a live log may be read again."""
        self.pending: int = len(self.noted)
        """The number of its events in memory, and of its noted batches that are not in memory."""
        self.held: set[int] = set()
        """The positions of events that came into memory in noted batches, before they were read."""


def is_live(delivery: Delivery) -> bool:
    """Return True if an event is in a live log."""
    source = source_of(delivery)
    return isinstance(source, Source) and source.live


class Backlog:
    """The events of one client that are on disk and not in memory.

    The client's own log is read only while it is behind: after an event was accepted into the store
    alone. Later events wait until the log was read to its end, as it has all of them in order.
    Adopted logs are read one after another.
    """

    def __init__(
        self,
        context: Context,
        gate: Gate,
        store: Store,
        todo: Queued,
        reports: Reports,
        origin: Callable[[], Origin],
    ) -> None:
        settings = gate.settings
        self.alone: int = 0
        """The number of events that were accepted into the store alone."""
        self.adopted: int = 0
        """The number of adopted events that came into memory."""
        self.read: int = 0
        """The number of events that came into memory from a log, adopted ones included."""
        self.damaged: int = 0
        """The number of damaged parts of logs that were not reported yet."""
        self.sources: list[Source] = []
        """The adopted logs."""
        self._context = context
        self._began = context.now
        self._gate = gate
        self._store = store
        self._todo = todo
        self._reports = reports
        self._origin = origin
        self._window = max(WINDOW, 2 * settings.batch_size * settings.max_in_flight)
        self._fresh: list[Delivery] = []  # read, and not yet returned by ``fresh``
        self._in_memory = 0  # events that were read and have not ended
        self._busy = False  # a log is being read, or looked for
        self._not_before = 0.0
        self._clocks = (-math.inf, 0.0, 0.0)  # the engine's, the wall clock, the server's
        # The client's own log.
        self._log: StoredLog | None = None
        self._after: Place | None = None
        self._behind = False
        self._held: set[int] = set()  # in memory
        self._ended: set[int] | None = None  # ended since a read began
        self._told: set[int] = set()  # accepted into the store alone, and not yet read
        self._early: set[int] = set()  # read before ``come`` or ``comes_alone`` was called for them
        self._waiting: dict[int, Delivery] = {}  # in memory, and waiting behind those, by position
        self._seen_end = False
        # The logs of others.
        self._used = False
        self._scanning = False
        self._logs: Iterator[StoredLog] | None = None  # of the present scan; used in steps only
        self._scan_at = 0.0

    # ── Numbers ──────────────────────────────────────────────────────────────────────────────

    @property
    def unread(self) -> bool:
        """True while there is, or may be, an event to be read."""
        return self._used and (
            self._behind
            or self._scanning
            or self._scan_at == 0.0
            or any(not (s.ended or s.live) or s.noted for s in self.sources)
        )

    @property
    def untaken(self) -> int:
        """The known number of own events that are not in memory."""
        return len(self._told)

    @property
    def waiting(self) -> int:
        """The number of events in memory that wait behind others which are not."""
        return len(self._waiting)

    @property
    def accepted(self) -> int:
        """The number of events that the client accepted, less those that its gate has counted."""
        return self.alone + len(self._early) - self.read

    # ── What comes and goes ──────────────────────────────────────────────────────────────────

    def use(self) -> None:
        """Adopt logs from now on: the client is in use."""
        self._used = True

    def look(self) -> None:
        """Read live logs at the next ``plan``: events were appended to them."""
        for source in self.sources:
            source.look_at = 0.0

    def come(self, deliveries: list[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
        """Note events that callers sent and that are in memory.

        Returns:
            The events to queue, and those that were read already, whose deliveries must end. The
            others wait behind events that are not in memory; ``fresh`` returns them later.
        """
        if not (self._behind or self._early):
            self._held.update([each.position for each in deliveries if each.position is not None])
            return deliveries, []
        queued: list[Delivery] = []
        ended: list[Delivery] = []
        for delivery in deliveries:
            position = delivery.position
            assert position is not None  # noqa: S101
            if position in self._early:
                self._early.discard(position)
                ended.append(delivery)
            elif self._behind:
                self._waiting[position] = delivery
            else:
                self._held.add(position)
                queued.append(delivery)
        return queued, ended

    def comes_alone(self, position: int) -> None:
        """Note an event that was accepted into the store alone."""
        self.alone += 1
        if position in self._early:
            self._early.discard(position)
            return
        self._told.add(position)
        self._behind = self._gate.behind = True
        self._seen_end = False

    def fresh(self) -> list[Delivery]:
        """Remove and return the events that can be queued now."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def gone(self, deliveries: Iterable[Delivery]) -> None:
        """Remove events that have their outcome."""
        own: list[int] = []
        others: dict[Source, list[int]] = {}
        if not self.read:  # all are in the own log, and were always in memory
            own = [each.position for each in deliveries if each.position is not None]
            deliveries = ()
        for delivery in deliveries:
            position = delivery.position
            if position is None:
                continue
            if isinstance(delivery, Kept) and delivery.stored is not None:
                self._in_memory -= 1
            source = delivery.source if isinstance(delivery, Kept) else None
            if isinstance(source, Source):
                others.setdefault(source, []).append(position)
            else:
                own.append(position)
        if own:
            self._held.difference_update(own)
            if self._ended is not None:
                self._ended.update(own)
            self._todo.add(partial(self._remove_own, own))
        for source, positions in others.items():
            source.pending -= len(positions)
            self._todo.add(partial(source.log.remove, positions))
            self._end_source(source)

    def _remove_own(self, positions: list[int]) -> None:
        if (log := self._store.own) is not None:
            log.remove(positions)

    def _end_source(self, source: Source) -> None:
        if source.ended and not source.pending and source in self.sources:
            self.sources.remove(source)
            self._todo.add(source.log.release)

    # ── Reading ──────────────────────────────────────────────────────────────────────────────

    def next_at(self, now: float) -> float | None:
        """The time of the next ``plan`` if nothing else happens; None: never."""
        if not self._used or self._busy:
            return None
        if self._not_before > now:
            return self._not_before
        looks = [s.look_at for s in self.sources if s.live and s.look_at > now]
        return max(now, min([self._scan_at, *looks]))

    def plan(self, now: float, *, stuck: bool, closing: bool) -> None:
        """Start a read for which there is room, or a scan for logs, if it is due.

        Args:
            now: the engine's time.
            stuck: True if all events in memory wait for batches that could not be delivered. Then
                other customers' events are needed, to find out if these batches are at fault.
            closing: True if the client is closing: then live logs are not read.
        """
        if not self._used or self._busy or now < self._not_before:
            return
        if not self._scanning and now >= self._scan_at:
            self._scanning = True
        gate, settings = self._gate, self._gate.settings
        room = settings.max_queue - gate.pending
        bytes_ = max(1, min(WINDOW_BYTES, settings.max_queue_bytes // 2))
        if stuck:
            room = max(room, min(settings.batch_size, room + self._window))
        elif self._waiting and not self._in_memory:
            room = max(room, settings.batch_size)  # waiting events leave none
        elif self._in_memory > self._window // 2 or gate.count()[2] + bytes_ > gate.full_bytes:
            return
        if room <= 0:
            return
        events = min(room, self._window)
        source = next((s for s in self.sources if _may_be_read(s, now, closing=closing)), None)
        if self._behind:
            self._busy = True
            self._ended = set()
            log, after = self._log, self._after
            self._todo.add(lambda: self._read_own(log, after, events, bytes_), self._own_read)
        elif source is not None:
            self._busy = True
            source.look_at = now + LOOK
            self._todo.add(
                lambda: source.log.read(source.after, events, bytes_),
                lambda window: self._source_read(source, window),
            )
        elif self._scanning and not any(each.noted for each in self.sources):
            self._busy = True
            self._todo.add(self._adopt, self._adopted)

    def _read_own(
        self, log: StoredLog | None, after: Place | None, events: int, bytes_: int
    ) -> tuple[StoredLog, Window] | None:
        own = self._store.own
        if own is None:
            return None
        return own, own.read(after if own is log else None, events, bytes_)

    def _own_read(self, result: tuple[StoredLog, Window] | StoreError | None) -> None:
        self._busy = False
        ended, self._ended = self._ended or (), None
        if isinstance(result, StoreError):
            self._not_before = self._context.now + PAUSE
            return
        found: list[Stored] = []
        end = True
        if result is not None:
            self._log, window = result
            self._after, found, end = window.after, window.events, window.end
            self.damaged += window.damaged
        for stored in found:
            position = stored.position
            if position in self._held or position in ended:
                continue
            if (delivery := self._waiting.pop(position, None)) is not None:
                self._fresh.append(delivery)
                self._held.add(position)
                continue
            if position in self._told:
                self._told.discard(position)
            else:
                self._early.add(position)
            if self._enter(stored, None):
                self._held.add(position)
        if end:
            self._own_ended(again=bool(found))

    def _own_ended(self, *, again: bool) -> None:
        """Act on the end of the own log. Events that were not found may have been written since;
        after a second read they are lost with a damaged part, or with the log."""
        if (self._told or self._waiting) and (again or not self._seen_end):
            self._seen_end = True
            return
        self._told.clear()
        self._fresh.extend(self._waiting.values())
        self._held.update(self._waiting)
        self._waiting.clear()
        self._behind = self._gate.behind = False

    def _adopt(self) -> tuple[StoredLog, Sequence[Noted]] | None:
        if self._logs is None:
            self._logs = iter(self._store.adopt())
        log = next(self._logs, None)
        if log is None:
            self._logs = None
            return None
        return log, log.noted()

    def _adopted(self, result: tuple[StoredLog, Sequence[Noted]] | StoreError | None) -> None:
        self._busy = False
        if result is None or isinstance(result, StoreError):
            self._scanning = False
            self._scan_at = self._context.now + SCAN
            return
        log, noted = result
        self.sources.append(Source(log, noted))

    def _source_read(self, source: Source, window: Window | StoreError) -> None:
        self._busy = False
        if isinstance(window, StoreError):
            self._not_before = self._context.now + PAUSE
            return
        source.after, source.live = window.after, window.live
        source.ended = window.end and not window.live
        if not window.end:
            source.look_at = 0.0
        self.damaged += window.damaged
        before = self.adopted
        for stored in window.events:
            if stored.position not in source.held and self._enter(stored, source):
                self.adopted += 1
        if not window.live:  # events of a live log are not of an earlier process
            self._reports.adopted(self.adopted - before)
        self._end_source(source)

    def take_noted(self, source: Source) -> list[Kept]:
        """Take the events of the next batch that the last owner of a log may have sent; none if
        they cannot be read."""
        noted = source.noted.popleft()
        source.pending -= 1
        entries: list[Kept] = []
        for stored in noted.events:
            kept = self._kept(stored, source)
            if kept is None:
                return []
            entries.append(kept)
        for kept in entries:
            self._count(kept)
            assert kept.position is not None  # noqa: S101
            source.held.add(kept.position)
            source.pending += 1
        self.adopted += len(entries)
        return entries

    def drop_waiting(self) -> list[Delivery]:
        """Remove and return the events that wait behind others: the client is released."""
        waiting = [*self._waiting.values()]
        self._waiting.clear()
        return waiting

    def moved(self, delivery: Delivery, position: int | None) -> None:
        """Note that an own event was stored again, at another position; None: it could not be
        stored."""
        if delivery.position is not None:
            self._held.discard(delivery.position)
        delivery.position = position
        if position is not None and delivery.encoded:
            self._held.add(position)

    def left(self) -> int | None:
        """Count the events on disk, in a step; None if there are too many bytes to read."""
        own = self._store.own
        logs = [s.log for s in self.sources if not s.live] + ([] if own is None else [own])
        if sum(log.size for log in logs) > COUNTED:
            return None
        return sum(log.left()[0] for log in logs)

    def _enter(self, stored: Stored, source: Source | None) -> bool:
        """Enter an event that was read; return False if it is not valid, and remove it."""
        kept = self._kept(stored, source)
        if kept is None:
            self.damaged += 1
            log = None if source is None else source.log
            positions = [stored.position]
            remove = self._remove_own if log is None else log.remove
            self._todo.add(partial(remove, positions))
            return False
        self._count(kept)
        if source is not None:
            source.pending += 1
        self._fresh.append(kept)
        return True

    def _count(self, kept: Kept) -> None:
        self.read += 1
        self._in_memory += 1
        self._gate.arrivals.append(size(kept.encoded))

    def _kept(self, stored: Stored, source: Source | None) -> Kept | None:
        now, clock = self._context.now, self._context.server_clock
        if self._clocks[0] != now:  # once per window
            wall = self._context.wall_clock()
            self._clocks = now, wall, now + clock.offset(now) if clock.is_known else wall
        _, wall, server = self._clocks
        age = max(0.0, (server if stored.certain else wall) - stored.at)
        if source is None:  # bounded by the engine's clock, which is never set
            age = min(age, now - self._began)
        return read_back(stored, source, now - age, self._origin())


def _may_be_read(source: Source, now: float, *, closing: bool) -> bool:
    if source.ended or source.noted:
        return False
    return not source.live or (now >= source.look_at and not closing)
