"""The upkeep of one client's store: regular work, the replacement of a lost log, and warnings.

The rules: ``docs/reference/guarantees.md#damage`` and those beside it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from masivo._protocol.storage.store import RejectedEvent, StoreError

from .adoption import SCAN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from masivo._protocol.delivery import Delivery
    from masivo._protocol.errors import MasivoError
    from masivo._protocol.sending.context import Context
    from masivo._protocol.settings import Settings
    from masivo._protocol.storage.store import Store
    from masivo._protocol.storage.work import Queued

    from .backlog import Backlog

__all__ = ["Upkeep"]

PAUSE: Final = 1.0
"""The least number of seconds between two calls of ``Store.tend``, unless room was made."""


class Upkeep:
    """The upkeep of one client's store.

    Args:
        context: the engine's.
        settings: the client's.
        store: the client's.
        todo: takes the steps on it.
        backlog: the client's.
        in_memory: returns the events in memory that are in the client's own log.
    """

    def __init__(
        self,
        context: Context,
        settings: Settings,
        store: Store,
        todo: Queued,
        backlog: Backlog,
        in_memory: Callable[[], list[Delivery]],
    ) -> None:
        self._context = context
        self._settings = settings
        self._store = store
        self._todo = todo
        self._backlog = backlog
        self._in_memory = in_memory
        self._tend_at = context.now + SCAN
        self._due_at = -math.inf
        self._tending = False  # it is planned, and not done
        self._strangers = store.strangers  # as they were at the last ``plan``

    def plan(self, now: float) -> None:
        """Tend the store if it is due, and log warnings of what was found."""
        due = now >= self._tend_at or (self._store.due and now >= self._due_at)
        if due and not self._tending:  # on a slow disk they would pile up
            self._tending = True
            self._tend_at, self._due_at = now + SCAN, now + PAUSE
            self._todo.add(self._store.tend, self._tended)
        self._report()

    def times(self) -> list[float]:
        """The times at which a ``plan`` may have something to do; some have passed."""
        if not self._backlog.used:
            return []
        return [self._tend_at, self._due_at] if self._store.due else [self._tend_at]

    def room_was_made(self) -> None:
        """Allow the store to be tended in the next poll: events were removed."""
        self._due_at = -math.inf

    # ── A log that was lost ──────────────────────────────────────────────────────────────────

    def _tended(self, held: object) -> None:
        self._tending = False
        if held is not False:
            return
        entries = self._in_memory()
        self._warn(
            "the files of this client were deleted, or closed by other code; its events in memory "
            f"({len(entries)}) are stored again"
        )
        clock = self._context.server_clock
        offset, certain = clock.offset(self._context.now), clock.is_known
        records = [(each, each.encoded, offset + each.at) for each in entries]

        def step() -> list[tuple[Delivery, int | None]]:
            return [(each, _append(self._store, event, at, certain)) for each, event, at in records]

        self._todo.add(step, self._stored_again)

    def _stored_again(self, stored: list[tuple[Delivery, int | None]] | StoreError) -> None:
        if isinstance(stored, StoreError):  # interrupted, as the process ends
            return
        # A delivery may have ended meanwhile, and its event not: another object holds that now.
        here = {each.position: each for each in self._in_memory()}
        ended: list[Delivery] = []
        for entry, position in stored:
            each = entry if entry.encoded else here.get(entry.position, entry)
            self._backlog.own.moved(each, position)
            if not each.encoded:
                ended.append(each)
        self._backlog.gone(ended, delivered=False)

    # ── Rejected events ──────────────────────────────────────────────────────────────────────

    def keep_rejected(self, events: Sequence[bytes], error: MasivoError) -> None:
        """Keep rejected events; to be called before they are removed."""
        at = self._context.wall_clock()
        rejected = [RejectedEvent(event, error.message, error.status, at) for event in events]
        self._todo.add(lambda: self._store.reject(rejected), self._kept_rejected)

    def _kept_rejected(self, dropped: int | StoreError) -> None:
        if isinstance(dropped, StoreError):
            self._warn(f"rejected events could not be kept: {dropped}")
        elif dropped:
            self._warn(f"{dropped} older rejected events were deleted to make room")

    # ── The end ──────────────────────────────────────────────────────────────────────────────

    def release(self, then: Callable[[], None], *, silent: bool) -> None:
        """Release the store, then call ``then``. Log how many events it keeps, or be ``silent``."""

        def step() -> int | None:
            left = 0 if silent else self._backlog.left()
            self._store.release()
            return left

        def done(left: object) -> None:
            if left != 0:
                events = f"{left} events" if isinstance(left, int) else "events"
                stay, them = "stay", "them"
                if left == 1:
                    events, stay, them = "1 event", "stays", "it"
                place = self._settings.spool or "its directory"
                self._context.out.warnings.append(
                    f"{events} of this client {stay} in the spool {place}: the next client of this "
                    f"key and address sends {them}"
                )
            then()

        self._todo.add(step, done)

    # ── Warnings ─────────────────────────────────────────────────────────────────────────────

    def _report(self) -> None:
        if (damaged := self._backlog.damaged) > 0:
            self._backlog.damaged = 0
            parts = "1 part" if damaged == 1 else f"{damaged} parts"
            self._warn(f"{parts} could not be read: see the files that end in .bad")
        strangers = self._store.strangers
        if strangers > self._strangers:
            logs = "1 log is" if strangers == 1 else f"{strangers} logs are"
            self._warn(
                f"{logs} of another key or address, and left alone; to see what is left, and how "
                f"to send it: masivo spool {self._settings.spool or 'DIR'}"
            )
        self._strangers = strangers

    def _warn(self, text: str) -> None:
        place = f" {self._settings.spool}" if self._settings.spool else ""
        self._context.out.warnings.append(f"spool{place}: {text}")


def _append(store: Store, event: bytes, at: float, certain: bool) -> int | None:
    try:
        return store.append(event, at, certain)
    except StoreError:
        return None
