"""Deliveries and tickets, which callers hold, and the outcomes that end them.

A ``Delivery`` is the one object that exists for each waiting event: the buffer keeps it, and the
caller may keep it too. It is a ``msgspec.Struct`` outside the garbage collector's sight, because a
hundred thousand tracked objects make every full collection stall the caller for milliseconds. This
is safe, as a delivery is never part of a cycle: nothing that it refers to keeps a settled one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol, SupportsIndex, TypeAlias, TypeVar, cast

import msgspec

from .calls import Calls
from .tally import Tally
from .values import FlushResult, OnError, SendEventResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from .errors import MasivoError
    from .reporting.activity import OnActivity

__all__ = [
    "Awaited",
    "Claim",
    "CloseTicket",
    "Delivery",
    "DeliveryType",
    "Failed",
    "NotCopied",
    "Origin",
    "Outcome",
    "Ticket",
    "TicketValue",
    "TokenTicket",
    "unwrap",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Failed:
    """The error that ended a number of events, shared by their deliveries.

    When the last of these is gone and not all have been claimed, ``report`` is called: an unclaimed
    failure must be reported.
    """

    __slots__ = ("__weakref__", "_claimed", "_claims", "_count", "_report", "_reported", "error")

    def __init__(
        self,
        error: MasivoError,
        count: int = 0,
        report: Callable[[MasivoError, int], None] | None = None,
    ) -> None:
        self.error: MasivoError = error
        self._count = Tally(count)
        self._claimed = Tally()
        self._claims: dict[int, object] = {}
        self._reported = 0
        self._report = report

    @property
    def count(self) -> int:
        """The number of events that it ended."""
        return self._count.value

    @property
    def claimed(self) -> int:
        """The number of events that it ended and whose failure was claimed."""
        return self._claimed.value

    def join(self, delivery: Delivery) -> None:
        """Count one more event that it ended. From any thread."""
        self._claims.pop(id(delivery), None)  # of an earlier delivery with the same id
        self._count.add()

    def claim(self, delivery: Delivery) -> None:
        """Count a failure as claimed: once, however many threads claim it at the same time."""
        mine = object()
        if self._claims.setdefault(id(delivery), mine) is mine:
            self._claimed.add()

    def unclaimed(self) -> int:
        """Return the number of unclaimed failures; they count as reported from now on."""
        count = self.count - self.claimed - self._reported
        self._reported += count
        return count

    def report_unclaimed(self) -> None:
        """Report the unclaimed failures: their deliveries were dropped, or the process ends."""
        if self._report is not None and (count := self.unclaimed()) > 0:
            self._report(self.error, count)

    def __del__(self) -> None:
        self.report_unclaimed()


class Claim:
    """Holds a failure while ``on_error`` is called for it. If ``on_error`` returns, the failure is
    claimed.

    Until ``end``, this object refers to the failure, which therefore is not logged as unclaimed.
    After that it no longer does. So the traceback of an error in ``on_error``, which may keep this
    object alive, does not keep the failure alive with it.
    """

    __slots__ = ("_delivery", "_failed")

    def __init__(self, failed: Failed, delivery: Delivery) -> None:
        self._failed: Failed | None = failed
        self._delivery: Delivery | None = delivery

    def end(self, *, taken: bool) -> None:
        """Claim the failure, or leave it unclaimed.

        Args:
            taken: True if ``on_error`` has run to its end.
        """
        failed, delivery = self._failed, self._delivery
        self._failed = self._delivery = None
        if taken and failed is not None and delivery is not None:
            failed.claim(delivery)


Outcome: TypeAlias = SendEventResult | Failed
"""The end of an event."""


class NotCopied:
    """A client, or an object that belongs to one, which cannot be copied or pickled: a copy would
    not work in another process, and would be a duplicate in this one."""

    __slots__ = ()

    def __copy__(self) -> NoReturn:
        self.__reduce_ex__(0)

    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError(
            f"a client and its parts ({type(self).__name__}) cannot be copied or pickled: make a "
            "client in each process"
        )


class Origin(NotCopied):
    """A client, as its deliveries know it."""

    def __init__(
        self,
        owner: object,
        on_error: OnError | None = None,
        listeners: tuple[OnActivity, ...] = (),
    ) -> None:
        self.owner: object = owner
        """Kept for the driver; the core does not use it."""
        self.on_error: OnError | None = on_error
        self.listeners: tuple[OnActivity, ...] = listeners
        """The functions that are called with each activity, in this order."""
        self.calls: Calls = Calls()
        """The calls of listeners and ``on_error``, and the ends of closes behind them."""
        self.orphaned: Failed | None = None
        """The outcome of pending deliveries in a process that forked away from this client."""

    def listen(self, on_activity: OnActivity) -> None:
        """Add a function that is called with the client's activity, after the others. An exception
        in one does not stop the next."""
        self.listeners = (*self.listeners, on_activity)

    def forked(self, outcome: Failed) -> None:
        """In the child of a fork: treat this client as the parent's from now on.

        Args:
            outcome: given to the deliveries that are pending.
        """
        self.orphaned = outcome

    def begin_wait(self, delivery: Delivery, waiter: object) -> None:
        """Input: a caller begins to wait for the outcome of one of the client's events.

        Args:
            delivery: the event's.
            waiter: identifies this wait.
        """

    def end_wait(self, delivery: Delivery, waiter: object) -> None:
        """Input: a caller has given up such a wait."""


class Delivery(NotCopied, msgspec.Struct, gc=False, eq=False, weakref=False):
    """The handle of one event, which gives the event's outcome.

    Drivers derive from it to add waiting in their world.
    """

    encoded: bytes
    """The event (``masivo/_protocol/events/form.py`` describes its form); empty once it has an
    outcome."""
    at: float
    """The time at which the event was accepted, on the engine's clock."""
    customer: str
    """The event's customer, if order is kept per customer; else empty."""
    buffer: Origin | None
    """The client that the event belongs to; None once a failure was claimed."""
    outcome: Outcome | None = None
    """Its outcome; None until it has one. Set by ``Engine.poll``, read by everyone."""
    position: int | None = None
    """Its position in the client's log on disk; None if it is not stored."""

    def done(self) -> bool:
        """Return whether the event has its outcome: delivered, or failed with an error."""
        return self.peek() is not None

    def peek(self) -> Outcome | None:
        """Return the outcome, or None while there is none; a failure stays unclaimed."""
        buffer = self.buffer  # before the outcome: a claim on another thread sets it after that
        if self.outcome is None and buffer is not None:
            return buffer.orphaned
        return self.outcome

    def claim(self) -> Outcome | None:
        """Return the outcome, or None while there is none; a failure counts as claimed."""
        outcome = self.peek()
        if isinstance(outcome, Failed) and self.buffer is not None:
            outcome.claim(self)
            self.outcome = outcome
            self.buffer = None
        return outcome

    def __repr__(self) -> str:
        outcome = self.peek()
        if outcome is None:
            state = "pending"
        elif isinstance(outcome, Failed):
            state = f"failed: {outcome.error!r}"
        else:
            state = f"success={outcome.success} status={outcome.status}"
        return f"<{type(self).__name__} {state}>"


DeliveryType: TypeAlias = "Callable[[bytes, float, str, Origin], Delivery]"
"""A subclass of Delivery, or a function that makes one: of the encoded event, the time of its
acceptance, its customer, and its client."""

TicketValue: TypeAlias = FlushResult | str | bool
"""The value of a ticket: a flush's counts, a token, or True."""


class Ticket(NotCopied):
    """The wait for a flush, a drain, a close or a token."""

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome: TicketValue | Failed | None = None

    def claim(self) -> TicketValue | Failed | None:
        """Return the outcome, or None while there is none."""
        return self.outcome


class CloseTicket(Ticket):
    """A wait for the end of a client; ``settle`` gives it its outcome, after the ``on_error`` calls
    for all that failed."""

    __slots__ = ("calls",)

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.calls: Calls = calls


class TokenTicket(Ticket):
    """A wait for the token."""

    __slots__ = ()

    def claim(self) -> str | Failed | None:
        """Return the token, or None while there is none."""
        return cast("str | Failed | None", self.outcome)


class Awaited(Protocol[T_co]):
    """A delivery or a ticket, as a waiter sees it.

    A driver waits for either in one function: until ``claim`` returns an outcome, which ``unwrap``
    turns into its value or its error.
    """

    def claim(self) -> T_co | Failed | None:
        """Return the outcome, or None while there is none; a failure counts as claimed."""
        ...


def unwrap(outcome: T | Failed) -> T:
    """The value of an outcome.

    Raises:
        MasivoError: the error of a failed one, as a copy that belongs to the caller alone.
    """
    if isinstance(outcome, Failed):
        raise outcome.error.copy()
    return outcome
