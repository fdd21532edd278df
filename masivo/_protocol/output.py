"""What a poll puts out: requests, outcomes, lines for the log."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from .delivery import Delivery, Outcome, Ticket
    from .values import FailedEvent, OnError, Request

__all__ = ["Logger", "Notes", "Output", "Settled"]


class Logger(Protocol):
    """What a driver logs to; ``logging.getLogger("masivo")`` is one."""

    def log(self, level: int, msg: str, /) -> object:
        """Log a line at a level: 10 (DEBUG) or 20 (INFO)."""
        ...

    def warning(self, msg: str, /) -> object:
        """Log a line at level WARNING."""
        ...

    def error(self, msg: str, /, *, exc_info: bool) -> object:
        """Log a line at level ERROR, with the exception that is being handled."""
        ...


class Notes:
    """Lines that wait to be written, in order."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, str]] = deque()
        self._turn: list[None] = [None]  # who takes it out writes, and puts it back

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, level: int, text: str) -> None:
        """Add a line, to be written at a level."""
        self._lines.append((level, text))

    def write(self, logger: Logger) -> None:
        """Write them all. Of several threads at once, one writes: the others need not wait, as it
        takes theirs as well, and so the order is kept."""
        while self._lines:
            try:
                turn = self._turn.pop()
            except IndexError:
                return  # who has it looks once more after giving it back
            try:
                while self._lines:
                    line = self._lines.popleft()
                    with suppress(Exception):  # a handler of the application's log may raise
                        logger.log(*line)
            finally:
                self._turn.append(turn)


class Settled(msgspec.Struct, frozen=True):
    """Deliveries that have just got their outcome together."""

    deliveries: list[Delivery]
    """The deliveries; ``outcome`` is set on each already."""
    outcome: Outcome
    """What they got."""


class Output(msgspec.Struct, frozen=True):
    """Everything that one ``poll()`` found to be done."""

    requests: list[Request]
    """To be sent; each is answered by ``handle_response`` or ``handle_failure``."""
    settled: list[Settled]
    """Deliveries whose waiters can go on."""
    tickets: list[Ticket]
    """Flushes, drains, closes and token calls whose waiters can go on."""
    failed_events: list[tuple[OnError, FailedEvent]]
    """Calls of ``on_error`` to be made, outside every lock."""
    warnings: list[str]
    """Lines for the ``masivo`` logger, at level WARNING."""
    wake_at: float | None
    """When to poll again at the latest (the engine's clock); None for not before an input."""
    closed: bool
    """Whether the last client has detached: nothing is left to be done for this key."""
    notes: Notes | None = None
    """Lines about what was done, for the ``masivo`` logger, shared by all outputs of an engine;
    None where nobody reads them (``Engine``: ``log_level``)."""
