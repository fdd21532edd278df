"""The protocol of a store and its values, independent of files.

A position is a whole number that names one event of one log. It says nothing about order: the order
of a log's events is that in which they are read. Positions of one client's own logs are never
reused, even if a new log replaces another (after a fork, or after a log was lost).
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
    """An operation of the store failed; the message, for users, says why."""


class Place(NamedTuple):
    """A point in a log, between two events."""

    segment: int
    offset: int
    within: int = 0
    """The number of events before it at the same offset, where some were stored together."""


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
    """Events that were not removed. The reader may hold some of them already: an event can be read
    before the call that appended it has returned."""
    after: Place
    """The place after which to continue reading."""
    end: bool
    """True if they were the last."""
    damaged: int
    """The number of damaged parts that were found for the first time; each is kept in its own
    file."""
    live: bool = False
    """True if others append to the log: then ``end`` is only the present end, events wait for the
    ordinary triggers, batches are not noted, and the log is read again every second and at each
    ``Buffer.look``."""


class Note(msgspec.Struct, frozen=True):
    """A batch, noted before it is first sent, so that a client that adopts it can send the same
    bytes."""

    positions: list[int]
    """The positions of its events, in order."""
    key: str
    """Its ``Idempotency-Key``."""
    stamps: bytes
    """The stamps of its events, as the core needs them to make the same bytes again."""


class Noted(msgspec.Struct, frozen=True):
    """A batch that was noted and may have been sent."""

    note: Note
    events: list[Stored]
    """All its events, in the order of the note."""


class RejectedEvent(msgspec.Struct, frozen=True):
    """A rejected event, to be kept for people."""

    event: bytes
    """The event, as complete JSON in one line."""
    reason: str
    status: int | None
    at: float
    """The time of the rejection, in seconds since the epoch."""


class StoredLog(Protocol):
    """One log: a client's own, or one that it has adopted.

    Its methods are called in ``Engine.do_work``. If the store is ``quick``, ``note`` and ``remove``
    are called in polls, too, while no work is out.

    If the log cannot be read at the moment, ``noted``, ``read`` and ``left`` may raise a
    StoreError, and are called again later. If it cannot be written, only ``note`` raises one.
    Lasting damage raises none: the damaged part is skipped, and kept in its own file.
    """

    @property
    def name(self) -> str:
        """Its name in the directory."""
        ...

    @property
    def size(self) -> int:
        """The bytes that it takes on disk, as far as known."""
        ...

    def noted(self) -> list[Noted]:
        """Return the batches that earlier owners of the log noted, except those of which an event
        was removed or noted again. To be called before ``read``, which returns their events,
        too."""
        ...

    def read(self, after: Place | None, events: int, size: int) -> Window:
        """Read on.

        Args:
            after: ``Window.after`` of an earlier window; None: from the start.
            events: at most this many events.
            size: at most this many bytes of events, but at least one event.
        """
        ...

    def note(self, note: Note) -> None:
        """Note a batch. A later note of an event replaces an earlier one.

        Raises:
            StoreError: the note is not on disk, for example because the disk is full. The batch is
                sent anyway: its events are removed once they have their outcome, which makes room.
        """
        ...

    def remove(self, positions: Sequence[int]) -> None:
        """Remove events that have their outcome. If that cannot be written now, it is written
        later; unknown positions are ignored."""
        ...

    def left(self) -> tuple[int, int, float | None]:
        """Count the events that were not removed: their number, bytes, and the time of the oldest.
        Reads the whole log."""
        ...

    def release(self) -> None:
        """Release the log, so that another client may adopt it; delete it if it is empty."""
        ...


class Store(Protocol):
    """One client's events, kept outside its process: on disk, or on another host."""

    # ── In the call to send: from anywhere, at any time ──────────────────────────────────────

    def append(self, event: bytes, at: float, certain: bool) -> int:
        """Store an event, so that it survives the process; return its position, which no other
        event of the client has.

        Args:
            event: its bytes.
            at: the time of its acceptance, in seconds since the epoch.
            certain: True if ``at`` is the server's time, False if it is the wall clock's.

        Raises:
            StoreError: it is not stored: the bound is reached, the disk is full, the store is
                released, or it belongs to the parent of this process (see ``forked``).
        """
        ...

    def append_all(self, events: Sequence[bytes], at: float, certain: bool) -> Sequence[int]:
        """Store some events, all of them or none; see ``append``. Return their positions."""
        ...

    @property
    def due(self) -> bool:
        """True if ``tend`` has work. Checked at each poll."""
        ...

    @property
    def has_room(self) -> bool:
        """True unless the next append would pass the bound. May be read from anywhere."""
        ...

    # ── The poll's side: one call at a time ──────────────────────────────────────────────────

    @property
    def quick(self) -> bool:
        """True if ``note`` and ``remove`` of its logs take no longer than ``append``, as on a local
        disk. False: they are done in steps of work, because they wait for another host, or
        because polls run in an event loop, which must not wait for a disk."""
        ...

    @property
    def own(self) -> StoredLog | None:
        """The log that ``append`` writes to; None before the first event. A new log replaces one
        that was lost; the lost log's events are gone, or are left for others to adopt."""
        ...

    def tend(self) -> bool:
        """Begin new segments, delete empty ones, and write removals that could not be written. To
        be called when ``due``, and every 30 s. Return False if the own log was lost (others deleted
        its files or closed its descriptors): events in memory should be appended again."""
        ...

    def adopt(self) -> Iterator[StoredLog]:
        """Adopt the logs of the same account that nobody holds, the oldest first, each when the
        iterator comes to it."""
        ...

    @property
    def strangers(self) -> int:
        """The number of logs that nobody holds and that are of another account or of a newer
        version of the format, as the last complete ``adopt`` found."""
        ...

    def reject(self, events: Sequence[RejectedEvent]) -> int:
        """Keep rejected events for 30 days; to be called before they are removed. Return how many
        older ones were deleted to make room.

        Raises:
            StoreError: they could not be kept.
        """
        ...

    def release(self) -> None:
        """Accept no more events, and release every log."""
        ...

    def forked(self) -> None:
        """Begin anew, in the child of a fork: the logs so far belong to the parent.

        After a fork that bypasses Python's hooks, this is called late or never. So ``append``
        notices such a fork itself, and begins anew or fails. In a child no method changes the
        parent's logs, even if it is called before the fork is noticed.
        """
        ...
