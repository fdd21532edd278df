"""One partition of a fleet's events, as the log of the client that delivers it.

An entry of its stream holds several events. An event's position is its entry's id and its index in
the entry. An entry is deleted when all its events have ended; until then ``done`` lists those that
have, so that the next relay does not send them again. While the lease lasts no other relay writes
``done``, so it is read once.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from itertools import accumulate, count, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from masivo.protocol import Place, Stored, StoreError, Window

from .scripts import DONE
from .store import StoreFullError, StoreUnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from masivo.protocol import Note, Noted, RejectedEvent, StoredLog

    from .connection import Blocking
    from .scripts import Keys

__all__ = ["MOST_REJECTED", "Partition", "entry_time"]

MOST_REJECTED: Final = 100_000
"""The most dead letters that are kept."""
REJECTED_FOR: Final = 30 * 86_400
"""Seconds for which dead letters are kept."""
READ: Final = 16
"""The number of entries of the first read; each further one reads twice as many."""

_logger = logging.getLogger("masivo.relay")

_INDEX: Final = 14  # the bits of an event's place in its entry
_LAST: Final = (1 << _INDEX) - 1
_SEQUENCE: Final = 40  # the bits of an id's second number


def entry_time(at: float, *, certain: bool) -> str:
    """The time of an entry's events, in the entry's form."""
    return f"{at:.3f} {int(certain)}"


class _Entry:
    """An entry that was read and not yet deleted."""

    __slots__ = ("done", "left")

    def __init__(self, events: int, done: int) -> None:
        self.done = done  # bit n: event n has ended
        self.left = events - done.bit_count()


class _Removal(NamedTuple):
    """The changes that one script writes."""

    attempt: str
    events: int
    letters: Sequence[RejectedEvent]
    entries: Sequence[str]
    partial: Sequence[str]
    """Ids in alternation with what has ended of their entries, as ``_mask_of`` reads it."""


class Partition:
    """A partition, while this relay has its lease: a client's store, and its only log.

    Methods may be called from any thread, one call at a time; attributes and properties at any
    time.

    Args:
        redis: connections for threads.
        keys: the fleet's.
        number: of the partition.
        token: the lease's.
        at_end: called when the partition was read to its present end.
    """

    # See Store, and StoredLog. The intake appends, and the store counts.
    quick: bool = False
    own: None = None
    has_room: bool = False
    strangers: int = 0
    size: int = 0

    def __init__(
        self, redis: Blocking, keys: Keys, number: int, token: bytes, at_end: Callable[[], None]
    ) -> None:
        self.number: int = number
        self.name: str = keys.streams[number]
        self.last: str = "0-0"
        """The id of the last entry that was read."""
        self.lost: bool = False
        """True once another relay has the lease."""
        self.released: bool = False
        """True once its client has released it."""
        self._redis = redis
        self._keys = keys
        self._token = token
        self._at_end = at_end
        self._entries: dict[int, _Entry] = {}
        self._done: dict[bytes, bytes] | None = None
        self._ahead: deque[Stored] = deque()  # read, and not yet returned
        self._given: Place | None = None
        self._letters: list[RejectedEvent] = []
        self._removals: deque[_Removal] = deque()  # to be written, in order
        self._attempts = count(1)
        self._dropped = 0
        self._adopted = False
        self._failing = False  # the last removal could not be written

    @property
    def writable(self) -> bool:
        """False while removals cannot be written: events that are sent now could be sent twice."""
        return not (self._failing or self.lost)

    # ── The log ──────────────────────────────────────────────────────────────────────────────

    def noted(self) -> list[Noted]:
        """See StoredLog: no batch is noted."""
        return []

    def note(self, note: Note) -> None:
        """See StoredLog: no batch is noted."""

    def left(self) -> tuple[int, int, float | None]:
        """See StoredLog: the store counts them."""
        return 0, 0, None

    def read(self, after: Place | None, events: int, size: int) -> Window:
        """See StoredLog.

        Raises:
            StoreError: Redis does not respond.
        """
        try:
            return self._read(after, events, size)
        except (StoreUnreachableError, StoreFullError) as error:
            raise StoreError(str(error)) from None

    def _read(self, after: Place | None, events: int, size: int) -> Window:
        if self._done is None:
            self._done = self._redis.call("HGETALL", self._keys.done[self.number])
        if after != self._given:  # a window was lost after it was read, or is read again
            self._write()
            if self._removals:
                raise StoreError("events that have ended could not be removed yet")
            self._ahead.clear()
            self.last = "0-0" if after is None else _before(after)
        ahead, entries, end = self._ahead, READ, False
        waiting = sum([len(each.event) for each in ahead])
        while not end and len(ahead) < events and waiting < size:
            rows = self._redis.call("XRANGE", self.name, f"({self.last}", "+", "COUNT", entries)
            for name, fields in rows:
                found = self._take(name, fields, after)
                ahead.extend(found)
                waiting += sum([len(each.event) for each in found])
            end = len(rows) < entries
            entries *= 2
        taken = min(len(ahead), events)
        if waiting > size:
            ends = accumulate([len(each.event) for each in islice(ahead, taken)])
            taken = max(1, sum([end <= size for end in ends]))
        given = [ahead.popleft() for _ in range(taken)]
        end = end and not ahead
        if given:
            position = given[-1].position
            after = Place(position >> _INDEX, position & _LAST)
        elif after is None:
            after = Place(0, 0)
        self._given = after
        if end:
            self._at_end()
        return Window(given, after, end, damaged=0, live=True)

    def _take(self, name: bytes, fields: dict[bytes, bytes], after: Place | None) -> list[Stored]:
        """Enter a row; return its events after a place that have not ended."""
        self.last = name.decode()
        entry = _number(self.last)
        lines = fields.get(b"e", b"").split(b"\n")
        known = self._entries.get(entry)
        if known is None:
            done = _mask_of((self._done or {}).pop(name, b"0"))
            known = self._entries[entry] = _Entry(len(lines), done)
        at, certain = _time_of(fields.get(b"t", b""), entry)
        passed = known.done
        if after is not None and after.segment == entry:
            passed |= (2 << after.offset) - 1
        position = entry << _INDEX
        return [
            Stored(position + index, line, at, certain)
            for index, line in enumerate(lines)
            if not passed >> index & 1
        ]

    def remove(self, positions: Sequence[int]) -> None:
        """See StoredLog. Rejected events become dead letters in the same step."""
        ended: defaultdict[int, int] = defaultdict(int)
        for position in positions:
            ended[position >> _INDEX] |= 1 << (position & _LAST)
        events = 0
        finished: list[str] = []
        partial: list[str] = []
        for entry, indexes in ended.items():
            known = self._entries.get(entry)
            if known is None or not (new := (indexes & ~known.done).bit_count()):
                continue
            known.done |= indexes
            events += new
            known.left -= new
            if known.left:
                partial += [_name(entry), f"{known.done:x}"]
            else:
                del self._entries[entry]
                finished.append(_name(entry))
        if self._ahead and max(positions, default=0) >= self._ahead[0].position:
            self._ahead = deque([each for each in self._ahead if not self._has_ended(each)])
        letters, self._letters = self._letters, []
        if events or letters:
            attempt = str(next(self._attempts))
            self._removals.append(_Removal(attempt, events, letters, finished, partial))
        self._write()

    def _has_ended(self, stored: Stored) -> bool:
        """True for an event that was read, and was removed then: it had been read once before."""
        known = self._entries.get(stored.position >> _INDEX)
        return known is None or bool(known.done >> (stored.position & _LAST) & 1)

    def _write(self) -> None:
        """Write the removals, as long as Redis responds."""
        while self._removals and not self.lost:
            try:
                dropped = self._redis.run(DONE, *self._script(self._removals[0]))
            except (StoreUnreachableError, StoreFullError) as error:
                if not self._failing:
                    self._failing = True
                    _logger.warning(
                        "what has ended of partition %d could not be removed; nothing more of it "
                        "is sent until that works: %s",
                        self.number,
                        error,
                    )
                return
            self._failing = False
            if dropped < 0:
                self.lost = True
                self._removals.clear()
                return
            self._dropped += dropped
            self._removals.popleft()

    def _script(self, removal: _Removal) -> tuple[list[str], list[object]]:
        keys, number = self._keys, self.number
        oldest = round(1000 * (time.time() - REJECTED_FOR))
        letters: list[object] = []
        for each in removal.letters:
            letters += [f"{each.at:.3f}", each.reason, each.status or 0, each.event]
        return (
            [
                keys.leases[number],
                self.name,
                keys.done[number],
                keys.counts,
                keys.rejected,
            ],
            [
                self._token,
                f"{self._token.decode()} {removal.attempt}",
                number,
                removal.events,
                MOST_REJECTED,
                f"{oldest}-0",
                len(removal.letters),
                *letters,
                len(removal.entries),
                *removal.entries,
                *removal.partial,
            ],
        )

    # ── The store ────────────────────────────────────────────────────────────────────────────

    def append(self, event: bytes, at: float, certain: bool) -> int:
        """See Store: the intake appends."""
        raise StoreError("this client delivers what a relay's intake has stored, and takes nothing")

    def append_all(self, events: Sequence[bytes], at: float, certain: bool) -> Sequence[int]:
        """See Store: the intake appends."""
        return [self.append(event, at, certain) for event in events]

    @property
    def due(self) -> bool:
        """See Store."""
        return bool(self._removals) and not self.lost

    def tend(self) -> bool:
        """See Store."""
        self._write()
        return True

    def adopt(self) -> Iterator[StoredLog]:
        """See Store: the partition itself, once."""
        if not self._adopted:
            self._adopted = True
            yield self

    def reject(self, events: Sequence[RejectedEvent]) -> int:
        """See Store. They are written in the step that removes them."""
        self._letters += events
        dropped, self._dropped = self._dropped, 0
        return dropped

    def release(self) -> None:
        """See Store, and StoredLog."""
        self._write()
        self.released = True

    def forked(self) -> None:
        """See Store: a relay does not fork."""


def _number(name: str) -> int:
    """An entry's id as a whole number."""
    milliseconds, _, sequence = name.partition("-")
    return int(milliseconds) << _SEQUENCE | int(sequence)


def _name(entry: int) -> str:
    milliseconds, sequence = divmod(entry, 1 << _SEQUENCE)
    return f"{milliseconds}-{sequence}"


def _mask_of(text: bytes) -> int:
    """The bits of the events of an entry that have ended; 0 if another program wrote there."""
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _before(place: Place) -> str:
    """The id after which to read, so that a place's own entry is read again."""
    return _name(max(0, place.segment - 1))


def _time_of(text: bytes, entry: int) -> tuple[float, bool]:
    """The time at which an entry's events were stored; taken from its id if another program added
    it."""
    try:
        at, certain = text.split(b" ")
        return float(at), certain == b"1"
    except ValueError:
        return (entry >> _SEQUENCE) / 1000.0, False
