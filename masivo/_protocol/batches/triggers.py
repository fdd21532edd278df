"""Every batch trigger: why and when a batch is due
(``docs/reference/guarantees.md#triggers``).

``outbox`` decides if a due batch may be sent (batches in flight, the token, a hold). The parts of a
halved batch have the trigger ``halving``, those of a batch whose events are sent alone ``probe``
(``batch``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from masivo._protocol.delivery import Delivery
    from masivo._protocol.settings import Settings

    from .queues import Queue

__all__ = ["Missing", "Triggers"]


class Missing(NamedTuple):
    """The time, the events or the bytes that make the next batch due."""

    at: float | None
    """The time at which one is due; None: never."""
    events: float
    """The events after which one is due: infinite for never."""
    bytes: float
    """The bytes, with a comma for each event, past which one is due: infinite for never."""


class Triggers:
    """The reasons to send one client's next batch. If several apply, the first one here is the
    trigger:

    - ``batch_size``: a whole batch of events waits
    - ``max_batch_bytes``: more bytes wait than a batch may have
    - a push, of the events that wait then: by a flush, a close, an event without room, or
      ``await_linger``: a caller has waited long enough for the outcome of one of them
    - ``max_wait``: the oldest event has waited long enough
    - ``idle_timeout``: no event has come for long enough
    - ``drain``, ``close``: a caller waits for room, or for the end of the client (events that came
      since)
    - ``max_queue``: the buffer is full

    Args:
        settings: the client's.
        budget: the bytes that a batch's events may have, a comma after each included.
    """

    def __init__(self, settings: Settings, budget: int) -> None:
        self._settings = settings
        self._budget = budget
        self._pushed_below = 0  # events numbered below this are due ...
        self._push: str  # ... for this reason
        self._last_at = -math.inf
        linger = settings.await_linger
        self._linger = math.inf if linger is None else linger
        # The callers that wait for the outcome of a buffered event, with the time of each.
        self._waits: dict[Delivery, dict[object, float]] = {}
        self._waited_since = math.inf  # the earliest of these times, or an earlier one

    def arrived(self, at: float) -> None:
        """Note an event that was accepted at this time."""
        self._last_at = max(self._last_at, at)

    def push(self, number: int, why: str) -> None:
        """Make the events numbered below ``number`` due; ``why`` is their trigger."""
        self._pushed_below, self._push = number, why

    # ── Callers that wait for an outcome ─────────────────────────────────────────────────────

    def begin_wait(self, delivery: Delivery, waiter: object, at: float) -> None:
        """Note a caller that waits for the outcome of a buffered event from this time on."""
        self._waits.setdefault(delivery, {})[waiter] = at
        self._waited_since = min(self._waited_since, at)

    def end_wait(self, delivery: Delivery, waiter: object) -> None:
        """Forget the wait of a caller that gave up."""
        waiters = self._waits.get(delivery, {})
        waiters.pop(waiter, None)
        if not waiters:
            self._forget_waits((delivery,))

    def gone(self, deliveries: Iterable[Delivery]) -> None:
        """Forget the waits for events that are no longer buffered."""
        if self._waits:
            self._forget_waits(deliveries)

    def _forget_waits(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._waits.pop(delivery, None)
        if not self._waits:
            self._waited_since = math.inf

    def await_until(self) -> float:
        """The time at which ``push_awaited`` is to be called again: infinite for never."""
        return self._waited_since + self._linger

    def push_awaited(self, number: int, now: float) -> None:
        """Push the events numbered below ``number``, if a caller has waited long enough."""
        if now < self.await_until():
            return
        waits = (at for waiters in self._waits.values() for at in waiters.values())
        self._waited_since = min(waits)  # the earliest waiter may have given up
        if now >= self.await_until():
            self.push(number, "await_linger")
            self._waits.clear()
            self._waited_since = math.inf

    # ── The next batch ───────────────────────────────────────────────────────────────────────

    def due(self, queue: Queue, now: float, pending: int, call: str | None) -> str | None:
        """The trigger of a batch that is due now; None if none is.

        Args:
            queue: the waiting events.
            now: the engine's time.
            pending: the events that wait or are in flight.
            call: ``drain`` or ``close`` if a caller waits in it, else None.
        """
        settings, oldest = self._settings, queue.oldest()
        if oldest is None:
            return None
        at, number = oldest
        if queue.ready >= settings.batch_size:
            return "batch_size"
        if queue.ready_bytes > self._budget:
            return "max_batch_bytes"
        if number < self._pushed_below:
            return self._push
        if now >= at + settings.max_wait:
            return "max_wait"
        if now >= self._last_at + settings.idle_timeout:
            return "idle_timeout"
        if call is not None:
            return call
        return "max_queue" if pending >= settings.max_queue else None

    def missing(
        self, queue: Queue, now: float, room: int, *, in_flight: bool, draining: bool
    ) -> Missing:
        """Return the time, the events or the bytes that make the next batch due, while none is.

        Args:
            queue: the waiting events.
            now: the engine's time.
            room: the events that fill the buffer.
            in_flight: whether a batch is in flight.
            draining: whether a caller waits for room.
        """
        settings, oldest = self._settings, queue.oldest()
        if oldest is not None:
            return Missing(
                min(self._last_at + settings.idle_timeout, oldest[0] + settings.max_wait),
                min(settings.batch_size - queue.ready, room),
                self._budget - queue.ready_bytes,
            )
        if not in_flight:
            return Missing(None, 1, math.inf)
        # All waiting events are of customers in flight. A poll every `idle_timeout` finds events of
        # others soon enough; a wake-up for each event of these customers would cost too much.
        at = now + min(settings.idle_timeout, settings.max_wait)
        return Missing(at, 1 if draining else min(settings.batch_size, room), self._budget)
