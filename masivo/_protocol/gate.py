"""What the two sides of a client share: its callers, at any time, and the engine's polls."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .delivery import Failed
    from .settings import Settings

__all__ = ["Gate"]


class Gate:
    """How many events came in and went out, and when the next one must wake the driver.

    A ``+=`` on an int attribute is not interrupted in CPython (no thread switch, no signal handler
    between its load and its store), so this needs no lock: each attribute is written by one side.
    """

    __slots__ = (
        "accepted",
        "accepted_bytes",
        "closed",
        "ended",
        "ended_bytes",
        "overflow",
        "rejected",
        "settings",
        "wake_bytes",
        "wake_count",
    )

    def __init__(self, settings: Settings) -> None:
        self.settings: Settings = settings
        self.closed: bool = False
        """Whether new events are refused."""
        # Written by callers.
        self.accepted: int = 0
        self.accepted_bytes: int = 0
        self.rejected: int = 0
        self.overflow: Failed | None = None
        """What events end with that found no room since the last poll."""
        # Written by polls.
        self.ended: int = 0
        self.ended_bytes: int = 0
        self.wake_count: float = 1
        self.wake_bytes: float = 0  # with a byte for the comma after each event

    @property
    def held(self) -> int:
        """How many events wait or are in flight."""
        return self.accepted - self.ended

    @property
    def has_room(self) -> bool:
        """Whether there is room for a batch: at most for half of what may be held."""
        settings = self.settings
        events = min(settings.batch_size, max(1, settings.max_queue // 2))
        length = min(settings.max_batch_bytes, settings.max_queue_bytes // 2)
        return (
            self.held + events <= settings.max_queue
            and self.accepted_bytes - self.ended_bytes + length <= settings.max_queue_bytes
        )
