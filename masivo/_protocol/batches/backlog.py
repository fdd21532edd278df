"""The events of one client that are on disk and not in memory, and when they are read.

The rules: ``docs/reference/guarantees.md#memory-with-a-spool``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from masivo._protocol.storage.kept import Kept, positions_of, read_back, source_of
from masivo._protocol.storage.store import StoreError

from .adoption import LOOK, Adoption, Source
from .own_log import Own
from .queues import total_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from masivo._protocol.delivery import Delivery, Origin
    from masivo._protocol.sending.context import Context
    from masivo._protocol.storage.store import Place, Store, Stored, StoredLog, Window
    from masivo._protocol.storage.work import Queued

    from .gate import Gate
    from .reading import Reading
    from .reports import Reports

__all__ = ["Backlog", "Removal"]

PAUSE: Final = 1.0
"""Seconds to wait after a log could not be read."""
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
        self.damaged: int = 0
        """The number of damaged parts of logs that were not reported yet."""
        self.own: Own = Own(gate)
        """The client's own log."""
        self._adoption = Adoption(context, store, todo)
        self._context = context
        self._began = context.now
        self._gate = gate
        self._store = store
        self._todo = todo
        self._reports = reports
        self._origin = origin
        self._busy_customers = busy
        self._window = max(WINDOW, 2 * settings.batch_size * settings.max_in_flight)
        self._fresh: list[Delivery] = []  # read, and not yet returned by ``fresh``
        self._in_memory = 0  # events that were read and have not ended
        self._busy = False  # a log is being read, or looked for
        self._not_before = -math.inf
        self.used: bool = False
        """True from the client's first use to its end."""

    # ── Numbers ──────────────────────────────────────────────────────────────────────────────

    @property
    def sources(self) -> list[Source]:
        """The adopted logs."""
        return self._adoption.sources

    @property
    def is_mixed(self) -> bool:
        """True if events in memory may be in several logs."""
        logs = len(self.sources)
        return logs > 1 or (logs == 1 and self.own.used)

    @property
    def unread(self) -> bool:
        """True while there is, or may be, an event to be read."""
        own = self.own
        return self.used and (own.behind or bool(own.skipped) or self._adoption.is_unread)

    @property
    def untaken(self) -> int:
        """The known number of events that are not in memory."""
        return sum([len(each.counted) for each in (self.own, *self.sources)])

    @property
    def waiting(self) -> int:
        """The number of events in memory that wait behind others which are not."""
        return len(self.own.waiting)

    @property
    def accepted(self) -> int:
        """The number of events that the client accepted, and that its gate has not counted."""
        return self.alone + len(self.own.early)

    # ── What comes and goes ──────────────────────────────────────────────────────────────────

    def use(self) -> None:
        """Adopt logs from now on: the client is in use."""
        self.used = True

    def release(self) -> list[Delivery]:
        """Read nothing from now on: the client is released. Return the events in memory that are
        not queued."""
        self.used = False
        return self.fresh() + self.own.stop_waiting()

    def look(self) -> None:
        """Read live logs at the next ``plan``: events were appended to them."""
        self._adoption.look()

    def comes_alone(self, position: int) -> None:
        """Note an event that was accepted into the store alone."""
        self.alone += 1
        self.own.comes_alone(position)

    def put_back(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Skip the customers of events that leave memory before they have their outcome. Return
        those that wait behind others in memory: they leave it, too, and their deliveries end."""
        logs: dict[Reading, list[Delivery]] = {}
        behind = self.own.stop_waiting()
        for delivery in (*deliveries, *behind):
            logs.setdefault(self._log_of(delivery), []).append(delivery)
        self._in_memory -= _were_read(deliveries)
        for log, events in logs.items():
            log.put_back(events)
        return behind

    def _log_of(self, delivery: Delivery) -> Reading:
        source = source_of(delivery)
        return source if isinstance(source, Source) else self.own

    def fresh(self) -> list[Delivery]:
        """Remove and return the events that can be queued now."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def gone(self, deliveries: Sequence[Delivery], *, delivered: bool) -> None:
        """Remove events of one log that have their outcome. Those that were not delivered are
        removed in a step of work: after ``on_error`` was called for them."""
        positions = positions_of(deliveries)
        if not positions:
            return
        log = self._log_of(deliveries[0])
        if self._gate.read:
            self._in_memory -= _were_read(deliveries)
        log.gone(positions)
        waits = self._todo.last
        if isinstance(waits, Removal) and waits.reading is log:
            waits.positions += positions  # on another host, one step takes as long as two
        else:
            removal = Removal(log, positions, self._store)
            (self._todo.do if delivered else self._todo.add)(removal)
        if isinstance(log, Source):
            self._adoption.end(log)

    # ── Reading ──────────────────────────────────────────────────────────────────────────────

    def times(self) -> list[float]:
        """The times at which a ``plan`` may have something to do; some have passed."""
        return [self._not_before, *self._adoption.times()]

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
        due = self._adoption.is_due(now)
        room = self._room()
        if stuck is not None:
            most = self._free + stuck + self._window
            room = max(room, min(self._gate.settings.batch_size, most))
        if room <= 0:
            return
        found = self._next(now, closing)
        if found is not None:
            self._busy = True
            self._read(*found, min(room, self._window), now)
        elif due:
            self._busy = True
            self._adoption.adopt(self._adopted)

    def _adopted(self) -> None:
        self._busy = False

    def _may_read(self, now: float) -> bool:
        return self.used and not self._busy and now >= self._not_before

    @property
    def _free(self) -> int:
        return self._gate.settings.max_queue - self._gate.pending

    @property
    def _bytes(self) -> int:
        return min(WINDOW_BYTES, self._gate.settings.max_queue_bytes // 2)

    def _room(self) -> int:
        """The number of events that may be read now."""
        gate = self._gate
        if self.own.waiting and not self._in_memory:
            return max(self._free, gate.settings.batch_size)  # waiting events leave none
        if self._in_memory > self._window // 2 or gate.count()[2] + self._bytes > gate.full_bytes:
            return 0
        return self._free

    def _next(self, now: float, closing: bool) -> tuple[Reading, bool] | None:
        """The log to be read next, and True if it is read again for skipped customers."""
        own, busy = self.own, self._busy_customers
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
            log, self.own.has_grown = self.own.log, False
            self._todo.add(
                lambda: self._read_own(log, after, events, size),
                lambda result: self._own_read(again, result),
            )

    def _read_own(
        self, log: StoredLog | None, after: Place | None, events: int, bytes_: int
    ) -> tuple[StoredLog, Window]:
        own = self._store.own
        assert own is not None  # noqa: S101 (events were appended to it)
        return own, own.read(after if own is log else None, events, bytes_)

    def _own_read(self, again: bool, result: tuple[StoredLog, Window] | StoreError) -> None:
        own = self.own
        if isinstance(result, StoreError):
            self._failed(own)
            return
        self._busy = False
        if not self.used:
            return
        log, window = result
        own.begin(log)
        self._take(own, window, again)
        if window.end:
            self._fresh += own.end(again=again)

    def _source_read(self, source: Source, again: bool, window: Window | StoreError) -> None:
        if isinstance(window, StoreError):
            self._failed(source)
            return
        self._busy = False
        if not self.used:
            return
        new = self._take(source, window, again)
        self.adopted += new
        source.end(window, again=again)
        if not window.live:  # events of a live log are not of an earlier process
            self._reports.adopted(new)
        self._adoption.end(source)

    def _failed(self, reading: Reading) -> None:
        """Read again after a pause: a log could not be read."""
        self._busy = False
        reading.removed = None
        self._not_before = self._context.now + PAUSE

    def _take(self, reading: Reading, window: Window, again: bool) -> int:
        """Take the events of a window; return how many were not known before."""
        self.damaged += window.damaged
        events = reading.take(window, again=again)
        waiting = reading.waiting
        choose = again or bool(reading.skipped)
        taken: list[Kept] = []
        for stored, kept in zip(events, self._read_back(events, reading), strict=True):
            position = stored.position
            if position in waiting:
                if not again:
                    self._fresh.append(waiting.pop(position))
                    reading.held.add(position)
            elif kept is None:
                self.damaged += 1
                reading.meet([position])
                self._todo.add(Removal(reading, [position], self._store))
            elif not choose or reading.is_wanted(kept.customer, again=again):
                taken.append(kept)
                self._fresh.append(kept)
        return len(reading.meet(self._enter(taken, reading)))

    def take_noted(self, source: Source) -> list[Kept]:
        """Take the events of the next batch that the last owner of a log may have sent; none if
        they cannot be read."""
        events = source.noted.popleft().events
        entries = [kept for kept in self._read_back(events, source) if kept is not None]
        if len(entries) < len(events):
            entries = []
        self._enter(entries, source)
        self.adopted += len(entries)
        return entries

    def left(self) -> int | None:
        """Count the events on disk, in a step; None if there are too many bytes to read, or they
        cannot be read."""
        own = self._store.own
        logs = [s.log for s in self.sources if not s.live] + ([] if own is None else [own])
        if sum(log.size for log in logs) > COUNTED:
            return None
        try:
            return sum(log.left()[0] for log in logs)
        except StoreError:
            return None

    def _read_back(self, events: Sequence[Stored], reading: Reading) -> list[Kept | None]:
        """Make the object in memory for each event of a log, with the time at which the event was
        accepted; None for an event that is not valid."""
        now, origin, wall = self._context.now, self._origin(), self._context.wall_clock()
        server = now + self._context.server_clock.offset(now)
        source, began = (reading, -math.inf) if isinstance(reading, Source) else (None, self._began)
        read: list[Kept | None] = []
        last, certain, at = math.nan, False, now
        for stored in events:
            if stored.at != last or stored.certain is not certain:  # many share their time
                last, certain = stored.at, stored.certain
                # A client's own are bounded by the engine's clock, which is never set.
                at = max(began, now - max(0.0, (server if certain else wall) - last))
            read.append(read_back(stored, source, at, origin))
        return read

    def _enter(self, entries: Sequence[Kept], reading: Reading) -> list[int]:
        """Note events that came into memory from a log; return their positions."""
        positions = positions_of(entries)
        self._in_memory += len(entries)
        self._gate.fold(len(entries), total_size(entries))
        reading.held.update(positions)
        return positions


class Removal:
    """A step that removes events of one log. Others may be added until it starts.

    Args:
        reading: the log.
        positions: of the events.
        store: the client's.
    """

    def __init__(self, reading: Reading, positions: list[int], store: Store) -> None:
        self.reading: Reading = reading
        """The log."""
        self.positions: list[int] = positions
        """The positions of the events."""
        self._store = store

    def __call__(self) -> None:
        reading = self.reading
        log = reading.log if isinstance(reading, Source) else self._store.own
        if log is not None:
            log.remove(self.positions)


def _were_read(deliveries: Sequence[Delivery]) -> int:
    """The number of events that came into memory from a log."""
    return sum([isinstance(each, Kept) and each.stored is not None for each in deliveries])
