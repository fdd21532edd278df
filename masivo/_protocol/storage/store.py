"""A store, as the core and a driver know it: protocols and values, and nothing of files.

A position is a whole number that names one event of one log. It says nothing about order: the
order of a log's events is that in which they are read. Positions of one client's own logs are
never used twice, also where one of its logs takes the place of another (after a fork, or where a
log was lost).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Note",
    "Noted",
    "Place",
    "RejectedEvent",
    "Store",
    "StoreError",
    "Stored",
    "StoredLog",
    "Window",
]


class StoreError(Exception):
    """The store could not do it; the message says why, fit for a user."""


class Place(NamedTuple):
    """A point in a log, between two events."""

    segment: int
    offset: int
    within: int = 0
    """Of the events that were stored together and lie at the offset, those that come before it."""


class Stored(msgspec.Struct, frozen=True, gc=False):
    """An event as it is stored."""

    position: int
    event: bytes
    """The bytes that were appended."""
    at: float
    """The time that was appended with it."""
    certain: bool
    """True if that was the server's time, False if the wall clock's."""


class Window(msgspec.Struct, frozen=True):
    """Events that were read together, in order."""

    events: list[Stored]
    """Events that are not removed. Those that the reader holds already may be among them: an event
    can be read before the call that appended it has returned."""
    after: Place
    """Where to read on."""
    end: bool
    """True if nothing came after them."""
    damaged: int
    """How many damaged parts were met for the first time; they are kept in a file of their own."""
    live: bool = False
    """True if others append to the log: ``end`` means for now, and events wait for the ordinary
    triggers. It is looked at again now and then, and at each ``Buffer.look``; it needs no notes."""


class Note(msgspec.Struct, frozen=True):
    """A batch, noted before it is first sent, so that whoever adopts it can send the same bytes."""

    positions: list[int]
    """Of its events, in order."""
    key: str
    """Its ``Idempotency-Key``."""
    stamps: bytes
    """The core's own: what else it needs to make the same bytes again."""


class Noted(msgspec.Struct, frozen=True):
    """A batch that was noted and may have been sent."""

    note: Note
    events: list[Stored]
    """All its events, in the order of the note."""


class RejectedEvent(msgspec.Struct, frozen=True):
    """An event that was rejected for its own sake, to be kept for people to look at."""

    event: bytes
    """The event, as complete JSON in one line."""
    reason: str
    status: int | None
    at: float
    """When, in seconds since the epoch."""


class StoredLog(Protocol):
    """One log: a client's own, or one that it has adopted. For the poll's side alone.

    Nothing here raises for what is wrong with the files, but for ``note``.
    """

    @property
    def name(self) -> str:
        """Its name in the directory."""
        ...

    @property
    def size(self) -> int:
        """The bytes that it takes on disk, as known."""
        ...

    def noted(self) -> list[Noted]:
        """Return the batches that were noted by whoever had the log before, where none of their
        events was removed or noted again. To be called first; ``read`` gives their events, too."""
        ...

    def read(self, after: Place | None, events: int, size: int) -> Window:
        """Read on.

        Args:
            after: ``Window.after`` of an earlier window; None: from the start.
            events: at most this many.
            size: of at most this many bytes together, but one event at least.
        """
        ...

    def note(self, note: Note) -> None:
        """Note a batch. A later note of an event replaces an earlier one.

        Raises:
            StoreError: it is not on disk. The batch may be sent all the same: that makes room.
        """
        ...

    def remove(self, positions: Sequence[int]) -> None:
        """Remove events that have their outcome. Where that cannot be written now, it is written
        later; unknown positions are ignored."""
        ...

    def left(self) -> tuple[int, int, float | None]:
        """Count what is not removed: events, bytes, the time of the oldest. Reads all of it."""
        ...

    def release(self) -> None:
        """Let go of the log: whoever comes next may adopt it. One that is empty is deleted."""
        ...


class Store(Protocol):
    """One client's events on disk."""

    # ── In the call to send: from anywhere, at any time ──────────────────────────────────────

    def append(self, event: bytes, at: float, certain: bool) -> int:
        """Store an event, and return its position: it survives the process from now on.

        Args:
            event: its bytes.
            at: the time of its acceptance, in seconds since the epoch.
            certain: see ``Stored``.

        Raises:
            StoreError: it is not stored: the bound, a full disk, a released store.
        """
        ...

    def append_all(self, events: Sequence[bytes], at: float, certain: bool) -> Sequence[int]:
        """Store some events, all of them or none; see ``append``. Return their positions."""
        ...

    @property
    def due(self) -> bool:
        """True if ``tend`` has work. To be looked at when the engine is polled."""
        ...

    @property
    def has_room(self) -> bool:
        """True unless the next append would pass the bound. From anywhere."""
        ...

    # ── The poll's side: one call at a time ──────────────────────────────────────────────────

    @property
    def own(self) -> StoredLog | None:
        """The log that ``append`` writes to; None before the first event. Another one after it was
        lost: what was in the former one is no more, or for others to adopt."""
        ...

    def tend(self) -> bool:
        """Begin new segments, write removals that could not be written. To be called when ``due``,
        and every 30 s; False if the own log was lost (its files were deleted, its descriptors
        closed by others): events that are in memory should be appended again."""
        ...

    def adopt(self, *, replaced_key: bool = False) -> Iterator[StoredLog]:
        """Take over the logs of the same account that nobody holds, the oldest first, each when the
        iterator comes to it.

        Args:
            replaced_key: those of the same ``base_url``, whatever their key.
        """
        ...

    @property
    def strangers(self) -> int:
        """The number of logs that nobody holds and that are of another key or of a newer version
        of the format, as the last complete ``adopt`` found."""
        ...

    def reject(self, events: Sequence[RejectedEvent]) -> int:
        """Keep rejected events for 30 days; to be called before they are removed. Return how many
        older ones had to make way.

        Raises:
            StoreError: they could not be kept.
        """
        ...

    def release(self) -> None:
        """Take no more events, and let go of every log."""
        ...

    def forked(self) -> None:
        """Begin anew, in the child of a fork: its parent's logs are its parent's. A fork that is
        not announced is noticed at the next append; until then the rest does nothing."""
        ...
