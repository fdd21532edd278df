"""Everything that one poll puts out, for the driver to carry out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from .delivery import Claim, CloseTicket, Delivery, Origin, Outcome, Ticket
from .reporting.activity import Activity
from .storage.work import StoreWork
from .values import FailedEvent, OnError, Request

__all__ = ["ErrorCall", "Logger", "Output", "Settled"]


class Logger(Protocol):
    """The logger of a driver; ``logging.getLogger("masivo")`` is one."""

    def log(self, level: int, msg: str, /) -> object:
        """Log a line at a level: 10 (DEBUG) or 20 (INFO)."""
        ...

    def warning(self, msg: str, /) -> object:
        """Log a line at level WARNING."""
        ...

    def error(self, msg: str, /, *, exc_info: bool) -> object:
        """Log a line at level ERROR, with the exception that is being handled."""
        ...


class Settled(msgspec.Struct, frozen=True):
    """Deliveries that got the same outcome in this poll."""

    deliveries: list[Delivery]
    """The deliveries; ``outcome`` is set on each already."""
    outcome: Outcome
    """Their outcome."""


class ErrorCall(msgspec.Struct, frozen=True):
    """A call of a client's ``on_error`` that is to be made."""

    origin: Origin
    """The client."""
    failed: FailedEvent
    """The argument for its function."""
    claim: Claim | None = None
    """The claim that the call makes, if it makes one."""
    inside: Sequence[OnError] = ()
    """The functions inside which the event was sent, if it failed at once."""


class Output(msgspec.Struct):
    """Everything that the driver must do after one ``poll()``."""

    requests: list[Request] = []
    """Requests to send; the result of each is handed back by ``Engine.hand_back``."""
    storage: list[StoreWork] = []
    """Work on stores, to be run on a thread that may block; each result is handed back likewise."""
    settled: list[Settled] = []
    """Deliveries whose waiters are to be woken."""
    tickets: list[Ticket] = []
    """Flushes, drains and token calls whose waiters are to be woken."""
    closes: list[CloseTicket] = []
    """Closes of released clients; ``settle`` ends them."""
    failed_events: list[ErrorCall] = []
    """Calls of ``on_error`` to be made, in order and outside every lock."""
    client_activity: list[tuple[Origin, Activity]] = []
    """Calls of a client's ``on_activity`` to be made, in order and outside every lock."""
    warnings: list[str] = []
    """Lines for the ``masivo`` logger, at level WARNING."""
    activity: list[Activity] = []
    """The engine's activity, in order, for the log; empty unless it is asked for (``Engine``:
    ``listening``)."""
    dropped: Callable[[], list[str]] = list
    """Returns further warnings, of failures whose deliveries ``settle`` has dropped."""
    wake_at: float | None = None
    """The latest time for the next poll, on the engine's clock; None: not before an input."""
    closed: bool = False
    """True once the last client has detached: the key needs no more polls."""
