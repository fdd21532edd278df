"""A driver whose client delivers a live log: others append to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo._protocol.json import encode
from masivo._protocol.storage.store import Place, Stored, StoreError, Window

from .simulator import START, Driver, event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from masivo._protocol.storage.store import Note, Noted, RejectedEvent, StoredLog
    from masivo.protocol import Buffer, ClientOptions

__all__ = ["LiveDriver", "LiveLog"]


class LiveLog:
    """A log in memory, and the store that holds nothing else."""

    name = "live"
    size = 0
    own = None
    has_room = False
    strangers = 0

    def __init__(self) -> None:
        self.events: dict[int, Stored] = {}
        self.rejected: list[RejectedEvent] = []
        self.quick = False
        self.due = False
        self.tended = 0
        self.reads = 0
        self.size_asked = 0
        self.notes = 0
        self.released = False
        self.adopted = False

    def put(self, number: int, at: float, *, customer: str = "c", certain: bool = False) -> None:
        """Append an event, as others do."""
        text = encode(event(number, customer))[1:]
        self.events[number] = Stored(number, text, at, certain)

    # ── StoredLog ────────────────────────────────────────────────────────────────────────────

    def noted(self) -> list[Noted]:
        """See StoredLog."""
        return []

    def read(self, after: Place | None, events: int, size: int) -> Window:
        """See StoredLog."""
        self.reads += 1
        self.size_asked = size
        start = -1 if after is None else after.offset
        more = [each for number, each in self.events.items() if number > start]
        found = more[:events]
        last = found[-1].position if found else start
        return Window(found, Place(0, last), end=len(found) == len(more), damaged=0, live=True)

    def note(self, note: Note) -> None:
        """See StoredLog."""
        self.notes += 1

    def remove(self, positions: Sequence[int]) -> None:
        """See StoredLog."""
        for position in positions:
            self.events.pop(position, None)

    def left(self) -> tuple[int, int, float | None]:
        """See StoredLog."""
        return len(self.events), 0, None

    def release(self) -> None:
        """See StoredLog, and Store."""
        self.released = True

    # ── Store ────────────────────────────────────────────────────────────────────────────────

    def append(self, event: bytes, at: float, certain: bool) -> int:
        """See Store."""
        raise StoreError("this client only delivers")

    def append_all(self, events: Sequence[bytes], at: float, certain: bool) -> Sequence[int]:
        """See Store."""
        return [self.append(event, at, certain) for event in events]

    def tend(self) -> bool:
        """See Store."""
        self.tended += 1
        return True

    def adopt(self) -> Iterator[StoredLog]:
        """See Store."""
        if not self.adopted:
            self.adopted = True
            yield self

    def reject(self, events: Sequence[RejectedEvent]) -> int:
        """See Store."""
        self.rejected += events
        return 0

    def forked(self) -> None:
        """See Store."""


class LiveDriver(Driver):
    """A process whose client delivers a live log.

    Attributes:
        log: the log.
    """

    def __init__(self, log: LiveLog, **options: Unpack[ClientOptions]) -> None:
        self.log = log
        super().__init__(**options)
        self.buffer.use()
        self.poll()

    def attach(self) -> Buffer:
        """See Driver: with a store."""
        return self.engine.attach(self.settings, store=self.log)

    def put(self, *numbers: int, customer: str = "c") -> None:
        """Have others append events now."""
        for number in numbers:
            self.log.put(number, self.wall + self.now - START, customer=customer)

    def look(self) -> None:
        """Tell the client of it."""
        self.buffer.look()
        self.poll()
