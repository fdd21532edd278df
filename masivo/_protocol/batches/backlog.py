"""The events of one client that are on disk and not in memory, and when they are read.

The rules: ``docs/reference/guarantees.md#memory-with-a-spool`` and
``docs/reference/guarantees.md#adoption``; ``docs/reference/guarantees.md#live-logs``.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from masivo._protocol.events.form import size
from masivo._protocol.storage.kept import Kept, read_back, source_of
from masivo._protocol.storage.store import StoreError

from .reading import Own, Reading, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

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

__all__ = ["SCAN", "Backlog"]

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


class Backlog:
    """The events of one client that are on disk and not in memory.

    The client's own log is read before adopted ones, and these one after another.

    Args:
        context: the engine's.
        gate: the client's.
        store: the client's.
        todo: takes the steps on it.
        reports: the client's.
        origin: returns the client, as its deliveries know it.
        busy: the customers that have a batch.
    """

    def __init__(
        self,
        context: Context,
        gate: Gate,
        store: Store,
        todo: Queued,
        reports: Reports,
        origin: Callable[[], Origin],
        busy: AbstractSet[str],
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
        self._busy_customers = busy
        self._own = Own()
        self._window = max(WINDOW, 2 * settings.batch_size * settings.max_in_flight)
        self._fresh: list[Delivery] = []  # read, and not yet returned by ``fresh``
        self._in_memory = 0  # events that were read and have not ended
        self._busy = False  # a log is being read, or looked for
        self._not_before = 0.0
        self._clocks = (-math.inf, 0.0, 0.0)  # the engine's, the wall clock, the server's
        # The logs of others.
        self._used = False
        self._scanning = False
        self._logs: Iterator[StoredLog] | None = None  # of the present scan; used in steps only
        self._scan_at = 0.0

    # ── Numbers ──────────────────────────────────────────────────────────────────────────────

    @property
    def unread(self) -> bool:
        """True while there is, or may be, an event to be read."""
        own = self._own
        return self._used and (
            own.behind
            or bool(own.skipped)
            or self._scanning
            or self._scan_at == 0.0
            or any(not s.live and (s.skipped or s.noted or not s.ended) for s in self.sources)
        )

    @property
    def untaken(self) -> int:
        """The known number of events that are not in memory."""
        return sum([len(each.counted) for each in (self._own, *self.sources)])

    @property
    def waiting(self) -> int:
        """The number of events in memory that wait behind others which are not."""
        return len(self._own.waiting)

    @property
    def accepted(self) -> int:
        """The number of events that the client accepted, less those that its gate has counted."""
        return self.alone + len(self._own.early) - self.read

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
            The events to queue, and those whose deliveries must end, as they were read already, or
            stay on disk behind others. The rest waits behind events that are not in memory;
            ``fresh`` returns it later.
        """
        own = self._own
        if not (own.behind or own.early or own.skipped):
            own.held.update([each.position for each in deliveries if each.position is not None])
            return deliveries, []
        queued: list[Delivery] = []
        ended: list[Delivery] = []
        for delivery in deliveries:
            position = delivery.position
            assert position is not None  # noqa: S101
            if position in own.early:
                own.early.discard(position)
                ended.append(delivery)
            elif (delivery.customer or "") in own.skipped:
                own.counted.add(position)
                own.has_grown = own.has_grown or (delivery.customer or "") in own.returning
                ended.append(delivery)
            elif own.behind:
                own.waiting[position] = delivery
                own.has_grown = True
            else:
                own.held.add(position)
                queued.append(delivery)
        return queued, ended

    def comes_alone(self, position: int) -> None:
        """Note an event that was accepted into the store alone."""
        own = self._own
        self.alone += 1
        if position in own.early:
            own.early.discard(position)
            return
        own.counted.add(position)
        own.behind = self._gate.behind = own.has_grown = True

    def put_back(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Skip the customers of events that leave memory before they have their outcome: all that
        wait in memory. Return those whose deliveries must end, too."""
        logs: dict[Reading, list[Delivery]] = {}
        for delivery in deliveries:
            source = source_of(delivery)
            logs.setdefault(source if isinstance(source, Source) else self._own, []).append(
                delivery
            )
            if isinstance(delivery, Kept) and delivery.stored is not None:
                self._in_memory -= 1
        own = self._own
        names = {each.customer for each in logs.get(own, ())}
        behind = [each for each in own.waiting.values() if each.customer in names]
        if behind:
            logs[own] += behind
            own.waiting = {n: each for n, each in own.waiting.items() if each.customer not in names}
        for log, events in logs.items():
            log.put_back(events)
            if isinstance(log, Source):
                log.pending -= len(events)
        return behind

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
            self._own.gone(own)
            self._todo.add(partial(self._remove_own, own))
        for source, positions in others.items():
            source.gone(positions)
            source.pending -= len(positions)
            self._todo.add(partial(source.log.remove, positions))
            self._end_source(source)

    def _remove_own(self, positions: list[int]) -> None:
        if (log := self._store.own) is not None:
            log.remove(positions)

    def _end_source(self, source: Source) -> None:
        if source.ended and not (source.pending or source.skipped) and source in self.sources:
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

    def is_blocked(self, now: float, *, closing: bool) -> bool:
        """True if there is something to read, and no room for it."""
        return self._may_read(now) and self._room() <= 0 and self._next(now, closing) is not None

    def plan(self, now: float, *, stuck: int | None, closing: bool) -> None:
        """Start a read for which there is room, or a scan for logs, if it is due.

        Args:
            now: the engine's time.
            stuck: None, unless all events in memory wait for batches that could not be delivered.
                Then other customers' events are needed, to find out if these batches are at fault.
                It is the number of events by which noted batches exceed the client's own.
            closing: True if the client is closing: then live logs are not read.
        """
        if not self._may_read(now):
            return
        if not self._scanning and now >= self._scan_at:
            self._scanning = True
        room = self._room()
        if room <= 0 and stuck is not None:
            free = self._free + stuck
            room = max(free, min(self._gate.settings.batch_size, free + self._window))
        if room <= 0:
            return
        found = self._next(now, closing)
        if found is not None:
            self._busy = True
            self._read(*found, min(room, self._window), now)
        elif self._scanning and not any(each.noted for each in self.sources):
            self._busy = True
            self._todo.add(self._adopt, self._adopted)

    def _may_read(self, now: float) -> bool:
        return self._used and not self._busy and now >= self._not_before

    @property
    def _free(self) -> int:
        return self._gate.settings.max_queue - self._gate.pending

    @property
    def _bytes(self) -> int:
        return max(1, min(WINDOW_BYTES, self._gate.settings.max_queue_bytes // 2))

    def _room(self) -> int:
        """The number of events that may be read now."""
        gate = self._gate
        if self._own.waiting and not self._in_memory:
            return max(self._free, gate.settings.batch_size)  # waiting events leave none
        if self._in_memory > self._window // 2 or gate.count()[2] + self._bytes > gate.full_bytes:
            return 0
        return self._free

    def _next(self, now: float, closing: bool) -> tuple[Reading, bool] | None:
        """The log to be read next, and True if it is read again for skipped customers."""
        own, busy = self._own, self._busy_customers
        if own.skipped and own.returns(busy):
            return own, True
        if own.behind:
            return own, False
        for each in self.sources:
            if each.skipped and not (each.live and closing) and each.returns(busy):
                return each, True
            if each.may_be_read(now, closing=closing):
                return each, False
        return None

    def _read(self, reading: Reading, again: bool, events: int, now: float) -> None:
        after = reading.again if again else reading.after
        reading.removed, size = set(), self._bytes
        if isinstance(reading, Source):
            if not again:
                reading.look_at = now + LOOK
            self._todo.add(
                lambda: reading.log.read(after, events, size),
                lambda window: self._source_read(reading, again, window),
            )
        else:
            log, self._own.has_grown = self._own.log, False
            self._todo.add(
                lambda: self._read_own(log, after, events, size),
                lambda result: self._own_read(again, result),
            )

    def _read_own(
        self, log: StoredLog | None, after: Place | None, events: int, bytes_: int
    ) -> tuple[StoredLog, Window] | None:
        own = self._store.own
        if own is None:
            return None
        return own, own.read(after if own is log else None, events, bytes_)

    def _own_read(self, again: bool, result: tuple[StoredLog, Window] | StoreError | None) -> None:
        self._busy = False
        own = self._own
        if isinstance(result, StoreError):
            self._failed(own)
            return
        end = True
        if result is not None:
            log, window = result
            if log is not own.log:
                own.log, own.after, own.again = log, None, None
            self._take(own, window, again)
            end = window.end
        if end:
            self._own_ended(again)

    def _failed(self, reading: Reading) -> None:
        """Read again after a pause: a log could not be read."""
        reading.removed = None
        self._not_before = self._context.now + PAUSE

    def _take(self, reading: Reading, window: Window, again: bool) -> int:
        """Take the events of a window; return how many were not counted before."""
        own = self._own if reading is self._own else None
        source = reading if isinstance(reading, Source) else None
        removed, reading.removed = reading.removed or (), None
        if again:
            reading.again = window.after
        else:
            reading.after = window.after
        self.damaged += window.damaged
        new = 0
        for stored in window.events:
            position = stored.position
            if position in reading.held or position in removed:
                continue
            if own is not None and position in own.waiting:
                if not again:
                    self._fresh.append(own.waiting.pop(position))
                    own.held.add(position)
                continue
            kept = self._kept(stored, source)
            if kept is not None and not reading.is_wanted(kept.customer, again=again):
                continue
            if position in reading.counted:
                reading.counted.discard(position)
            elif own is not None:
                own.early.add(position)
            else:
                new += kept is not None
            if kept is None:
                self.damaged += 1
                remove = self._remove_own if source is None else source.log.remove
                self._todo.add(partial(remove, [position]))
                continue
            self._enter(kept, reading)
            self._fresh.append(kept)
        return new

    def _own_ended(self, again: bool) -> None:
        """Act on the end of the own log. Events that were not found are lost with a damaged part,
        or with the log, unless they were written since."""
        own = self._own
        if again:
            if own.has_grown and not own.behind:
                return
            own.have_returned()
        elif not own.has_grown:
            self._fresh.extend(own.waiting.values())
            own.held.update(own.waiting)
            own.waiting.clear()
            own.behind = self._gate.behind = False
        if not (own.behind or own.skipped):
            own.counted.clear()

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

    def _source_read(self, source: Source, again: bool, window: Window | StoreError) -> None:
        self._busy = False
        if isinstance(window, StoreError):
            self._failed(source)
            return
        new = self._take(source, window, again)
        self.adopted += new
        if again:
            if window.end:
                source.have_returned()
        else:
            source.live = window.live
            source.ended = window.end and not window.live
            if not window.end:
                source.look_at = 0.0
        if not window.live:  # events of a live log are not of an earlier process
            self._reports.adopted(new)
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
            self._enter(kept, source)
        self.adopted += len(entries)
        return entries

    def drop_waiting(self) -> list[Delivery]:
        """Remove and return the events that wait behind others: the client is released."""
        waiting = [*self._own.waiting.values()]
        self._own.waiting.clear()
        return waiting

    def moved(self, delivery: Delivery, position: int | None) -> None:
        """Note that an own event was stored again, at another position; None: it could not be
        stored."""
        if delivery.position is not None:
            self._own.held.discard(delivery.position)
        delivery.position = position
        if position is not None and delivery.encoded:
            self._own.held.add(position)

    def left(self) -> int | None:
        """Count the events on disk, in a step; None if there are too many bytes to read."""
        own = self._store.own
        logs = [s.log for s in self.sources if not s.live] + ([] if own is None else [own])
        if sum(log.size for log in logs) > COUNTED:
            return None
        return sum(log.left()[0] for log in logs)

    def _enter(self, kept: Kept, reading: Reading) -> None:
        """Note an event that came into memory from a log."""
        self.read += 1
        self._in_memory += 1
        self._gate.arrivals.append(size(kept.encoded))
        reading.held.add(cast("int", kept.position))
        if isinstance(reading, Source):
            reading.pending += 1

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
