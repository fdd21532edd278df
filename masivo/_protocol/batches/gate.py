"""The numbers that a client's two sides share: its callers, at any time, and the engine's polls."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masivo._protocol.delivery import Failed
    from masivo._protocol.settings import Settings

__all__ = ["Gate"]


class Gate:
    """The counts of events that came in and went out, and the number that must wake the driver.

    Each count is written by one side, ``closed`` and ``overflow`` by both, by plain assignment. A
    ``+=`` on an int attribute is not interrupted in CPython (no thread switch, no signal handler
    between its load and its store), so this needs no lock.
    """

    __slots__ = (
        "accepted",
        "accepted_bytes",
        "closed",
        "ended",
        "ended_bytes",
        "overflow",
        "overflowed",
        "settings",
        "wake_bytes",
        "wake_count",
    )

    def __init__(self, settings: Settings) -> None:
        self.settings: Settings = settings
        self.closed: bool = False
        """True once the client takes no more events."""
        # Written by callers.
        self.accepted: int = 0
        self.accepted_bytes: int = 0
        self.overflowed: int = 0
        """Events for which there was no room."""
        self.overflow: Failed | None = None
        """The outcome of events for which there was no room since the last poll."""
        # Written by polls.
        self.ended: int = 0
        self.ended_bytes: int = 0
        self.wake_count: float = 1
        self.wake_bytes: float = 0  # with a byte for the comma after each event

    @property
    def pending(self) -> int:
        """The number of events that wait or are in flight."""
        return self.accepted - self.ended

    @property
    def due(self) -> bool:
        """True if enough events came in for the driver to poll."""
        return (
            self.accepted >= self.wake_count
            or self.accepted_bytes + self.accepted > self.wake_bytes
        )

    @property
    def has_room(self) -> bool:
        """True if there is room for a batch, or for half of the buffer."""
        settings = self.settings
        events = min(settings.batch_size, max(1, settings.max_queue // 2))
        length = min(settings.max_batch_bytes, settings.max_queue_bytes // 2)
        return (
            self.pending + events <= settings.max_queue
            and self.accepted_bytes - self.ended_bytes + length <= settings.max_queue_bytes
        )
