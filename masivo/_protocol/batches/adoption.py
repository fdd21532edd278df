"""The logs of others: a client adopts them one after another, and lets each go when it is empty.

The rules: ``docs/reference/guarantees.md#adoption`` and
``docs/reference/guarantees.md#live-logs``.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from masivo._protocol.storage.kept import source_of
from masivo._protocol.storage.store import StoreError

from .reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from masivo._protocol.delivery import Delivery
    from masivo._protocol.sending.context import Context
    from masivo._protocol.storage.store import Noted, Store, StoredLog, Window
    from masivo._protocol.storage.work import Queued

__all__ = ["SCAN", "Adoption", "Source", "is_live"]

SCAN: Final = 30.0
"""Seconds between two scans for logs that nobody holds."""
LOOK: Final = 1.0
"""Seconds between two reads of a live log at its present end."""


class Source(Reading):
    """A log that the client has adopted."""

    def __init__(self, log: StoredLog, noted: Sequence[Noted]) -> None:
        super().__init__()
        self.log: StoredLog = log
        self.noted: deque[Noted] = deque(noted)
        """Batches that its last owner may have sent: they are sent before the rest is read."""
        self.ended: bool = False
        """True once it was read to its end."""
        self.live: bool = False
        """True if others append to it."""
        self.look_at: float
        """The time from which a live log may be read again."""

    @property
    def is_done(self) -> bool:
        """True if none of its events is left."""
        return self.ended and not (self.held or self.noted or self.skipped)

    def may_be_read(self, now: float, *, closing: bool) -> bool:
        """Return whether its next window may be read."""
        if self.ended or self.noted:
            return False
        return not self.live or (now >= self.look_at and not closing)

    def end(self, window: Window, *, again: bool) -> None:
        """Note how a window ends."""
        if again:
            if window.end:
                self.have_returned()
            return
        self.live = window.live
        self.ended = window.end and not window.live
        if not window.end:
            self.look_at = -math.inf


class Adoption:
    """The adopted logs of one client, and the scans for others.

    Args:
        context: the engine's.
        store: the client's.
        todo: takes the steps on it.
    """

    def __init__(self, context: Context, store: Store, todo: Queued) -> None:
        self.sources: list[Source] = []
        """The adopted logs."""
        self.scan_at: float = -math.inf
        """The time of the next scan."""
        self._context = context
        self._store = store
        self._todo = todo
        self._scanning = True  # the first scan is due
        self._logs: Iterator[StoredLog] | None = None  # of the present scan; used in steps only

    @property
    def is_unread(self) -> bool:
        """True while there may be a log of an earlier process with an event that has no outcome."""
        return self._scanning or any(not each.live for each in self.sources)

    def is_due(self, now: float) -> bool:
        """Return whether the next log is to be adopted: none before the last one's noted batches
        were taken."""
        self._scanning = self._scanning or now >= self.scan_at
        return self._scanning and not any(each.noted for each in self.sources)

    def times(self) -> list[float]:
        """The times of the next scan, and of the next reads of live logs."""
        return [self.scan_at, *[each.look_at for each in self.sources if each.live]]

    def look(self) -> None:
        """Read live logs next: events were appended to them."""
        for source in self.sources:
            source.look_at = -math.inf

    def adopt(self, then: Callable[[], None]) -> None:
        """Adopt the next log, if there is one; then call ``then``."""

        def done(result: tuple[StoredLog, Sequence[Noted]] | StoreError | None) -> None:
            if result is None or isinstance(result, StoreError):
                self._scanning = False
                self.scan_at = self._context.now + SCAN
            else:
                self.sources.append(Source(*result))
            then()

        self._todo.add(self._next, done)

    def _next(self) -> tuple[StoredLog, Sequence[Noted]] | None:
        if self._logs is None:
            self._logs = iter(self._store.adopt())
        log = next(self._logs, None)
        if log is None:
            self._logs = None
            return None
        try:
            return log, log.noted()
        except StoreError:
            log.release()
            raise

    def end(self, source: Source) -> None:
        """Let a log go if it is done."""
        if source.is_done and source in self.sources:
            self.sources.remove(source)
            self._todo.add(source.log.release)


def is_live(delivery: Delivery) -> bool:
    """Return True if an event is in a live log."""
    source = source_of(delivery)
    return isinstance(source, Source) and source.live
