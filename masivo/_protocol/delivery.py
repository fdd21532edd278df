"""What a caller holds: deliveries and tickets, and the outcomes that end them.

A ``Delivery`` is the one object that exists for each waiting event: the buffer keeps it, the
caller may. It is a ``msgspec.Struct`` outside the garbage collector's sight, because a hundred
thousand tracked objects make every full collection stall the caller for milliseconds. It can be,
as it is never part of a cycle: nothing that a delivery refers to holds on to a settled one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, TypeVar, cast

import msgspec

from .values import FlushResult, SendEventResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from .errors import MasivoError

__all__ = [
    "Answer",
    "Awaited",
    "Delivery",
    "Failed",
    "Origin",
    "Outcome",
    "Ticket",
    "TokenTicket",
    "unwrap",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Failed:
    """The error that ended a number of events, shared by their deliveries.

    When the last of these is gone and not all have been asked for their outcome, ``report`` is
    called: a failure that nobody asks for must not pass in silence.
    """

    __slots__ = ("__weakref__", "_report", "asked", "count", "error")

    def __init__(
        self,
        error: MasivoError,
        count: int = 0,
        report: Callable[[MasivoError, int], None] | None = None,
    ) -> None:
        self.error: MasivoError = error
        self.count: int = count
        self.asked: int = 0
        self._report = report

    def unasked(self) -> int:
        """How many of the events nobody has asked about; they count as asked from now on."""
        count, self.asked = self.count - self.asked, self.count
        return count

    def tell(self) -> None:
        """Report what nobody has asked about: the process ends, and nobody will."""
        if self._report is not None and (count := self.unasked()) > 0:
            self._report(self.error, count)

    def __del__(self) -> None:
        self.tell()


Outcome: TypeAlias = SendEventResult | Failed
"""What ends an event."""


class Origin:
    """Where deliveries come from: what a delivery knows of its client."""

    def __init__(self, owner: object) -> None:
        self.owner: object = owner
        """Whatever the driver attached; the core does not look at it."""
        self.orphaned: Failed | None = None
        """What pending deliveries end with in a process that forked away from this client."""


class Delivery(msgspec.Struct, gc=False, eq=False, weakref=False):
    """What became, or will become, of one event.

    Drivers derive from it to add their world's way of waiting.
    """

    encoded: bytes
    """The event (see ``events.py`` for its form); empty once it has an outcome."""
    at: float
    """When it was accepted, in seconds on the engine's clock."""
    customer: str | None
    """Its customer, where order is kept per customer; else None."""
    buffer: Origin | None
    """Where it waits; None once a failure has been asked for."""
    outcome: Outcome | None = None
    """How it ended; None until it has. Set by ``Engine.poll``, read by everyone."""

    def done(self) -> bool:
        """Whether the event has its outcome: delivered, or failed with an error."""
        return self.settled() is not None

    def settled(self) -> Outcome | None:
        """The outcome, without the asking: a failure seen like this still counts as unasked."""
        if self.outcome is None and self.buffer is not None:
            return self.buffer.orphaned
        return self.outcome

    def ask(self) -> Outcome | None:
        """The outcome, or None while there is none; a failure counts as asked for."""
        outcome = self.settled()
        if isinstance(outcome, Failed) and self.buffer is not None:
            outcome.asked += 1
            self.buffer, self.outcome = None, outcome
        return outcome

    def __repr__(self) -> str:
        outcome = self.settled()
        if outcome is None:
            state = "pending"
        elif isinstance(outcome, Failed):
            state = f"failed: {outcome.error!r}"
        else:
            state = f"success={outcome.success} status={outcome.status}"
        return f"<{type(self).__name__} {state}>"

    def __reduce__(self) -> str:
        raise TypeError("a Delivery cannot be copied or pickled: it belongs to its client")

    def __copy__(self) -> Self:
        return self


Answer: TypeAlias = FlushResult | str | bool
"""What a ticket can bring: a flush's counts, a token, or the plain word that it is done."""


class Ticket:
    """Something that a caller waits for: a flush, a drain, a close, a token."""

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome: Answer | Failed | None = None

    def ask(self) -> Answer | Failed | None:
        """The outcome, or None while there is none."""
        return self.outcome


class TokenTicket(Ticket):
    """A wait for the token."""

    __slots__ = ()

    def ask(self) -> str | Failed | None:
        """The token, or None while there is none."""
        return cast("str | Failed | None", self.outcome)


class Awaited(Protocol[T_co]):
    """What a caller waits for, a delivery or a ticket, by what it brings.

    A driver's way to wait is one function of it: once ``ask`` gives something, ``unwrap`` that.
    """

    def ask(self) -> T_co | Failed | None:
        """The outcome, or None while there is none; a failure counts as asked for."""
        ...


def unwrap(outcome: T | Failed) -> T:
    """The value of an outcome.

    Raises:
        MasivoError: the error of a failed one, as a copy that belongs to the caller alone.
    """
    if isinstance(outcome, Failed):
        raise outcome.error.copy()
    return outcome
