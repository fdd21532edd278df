"""One client's buffer, as its callers and its driver see it: inputs, and counters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from .delivery import Awaited, Delivery, Failed, Ticket, TokenTicket
from .errors import MasivoClosedError, MasivoConfigError, MasivoError, MasivoQueueFullError
from .events import BRACE, STAMP_SIZE, encoder
from .tally import FlushTicket, Tally
from .values import SendEventResult, Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .core import Core
    from .settings import Settings

__all__ = ["Buffer", "closed_error"]

_DISABLED: Final = SendEventResult(success=False, status=0)


class Buffer(ABC):
    """One client, as the engine's driver sees it; ``Engine.attach`` makes it.

    Every method is an input: it may be called at any time, from any thread, from a signal handler
    or a finalizer. What inputs lead to is done by the next ``Engine.poll`` (``Outbox``).
    """

    def __init__(
        self, core: Core, settings: Settings, delivery_type: type[Delivery], owner: object
    ) -> None:
        self.settings: Settings = settings
        self.owner: object = owner
        """Whatever the driver attached; the core does not look at it."""
        self.closed: bool = False
        """Whether new events are refused: set by ``close`` and ``destroy``, at the call."""
        self.orphaned: Failed | None = None
        """What pending deliveries end with in a process that forked away from this client."""

        # Written by callers. A `+=` on an int attribute is not interrupted in CPython (no thread
        # switch, no signal handler between its load and its store), so these need no lock; a
        # lock would have to be reentrant and cost as much as the rest of the bookkeeping.
        self._accepted: int = 0
        self._accepted_bytes: int = 0
        self._rejected: int = 0
        self._overflow: Failed | None = None

        # Written by polls.
        self.detached: bool = False
        """Whether the engine is done with it."""
        self._requests: int = 0
        self._retries: int = 0
        self._in_flight: int = 0
        self._tally = Tally()
        self._taken_in: int = 0
        self._taken_in_bytes: int = 0
        self._ended: int = 0
        self._ended_bytes: int = 0
        self._wake_count: float = 1
        self._wake_bytes: float = 0  # with a byte for the comma after each event

        self._core = core
        self._clock = core.clock
        self._input = core.input
        self._enabled = settings.enabled
        self._encode = encoder(settings)
        self._make: Callable[[bytes, float, str | None, Buffer], Delivery] = delivery_type
        self._per_customer = settings.max_in_flight > 1
        self._max_queue = settings.max_queue
        self._max_queue_bytes = settings.max_queue_bytes

    # ── Inputs: from anywhere, at any time ───────────────────────────────────────────────────

    def send(self, event: Mapping[str, object]) -> Delivery:
        """Take an event; the delivery may have failed already (the buffer was full).

        Raises:
            MasivoValidationError: the event is refused.
            MasivoClosedError: the client is closed.
        """
        if self.closed:
            raise closed_error()
        encoded, customer = self._encode(event)
        delivery = self._make(
            encoded, self._clock(), customer if self._per_customer else None, self
        )
        if not self._enabled:
            delivery.outcome, delivery.encoded = _DISABLED, b""
            return delivery
        # ``size`` without its call, which would be a fiftieth of this one.
        length = len(encoded) if encoded[0] == BRACE else len(encoded) + STAMP_SIZE
        accepted = self._accepted + 1
        accepted_bytes = self._accepted_bytes + length
        if (
            accepted - self._ended > self._max_queue
            or accepted_bytes - self._ended_bytes > self._max_queue_bytes
        ):
            return self._reject(delivery)
        self._accepted += 1
        self._accepted_bytes += length
        self._input(delivery)
        # Read anew: of several callers at once, the last must see the sum.
        accepted = self._accepted
        if accepted >= self._wake_count or self._accepted_bytes + accepted > self._wake_bytes:
            self._core.wake()
        return delivery

    def flush(self) -> FlushTicket:
        """Send what is buffered now; the ticket ends when every event so far has its outcome.

        Raises:
            MasivoClosedError: the client is closed.
        """
        self._check_open()
        ticket = FlushTicket()
        if not self.settings.enabled:
            ticket.outcome = ticket.result()
        else:
            self._core.input(lambda: self._flush(ticket))
        return ticket

    def drain(self) -> Ticket:
        """Wait for room for a batch; the ticket ends when there is.

        Raises:
            MasivoClosedError: the client is closed.
        """
        self._check_open()
        ticket = Ticket()
        if self._has_room():
            ticket.outcome = True
        else:
            self._core.input(lambda: self._drain(ticket))
        return ticket

    def cancel(self, ticket: Awaited[object]) -> None:
        """Stop waiting: a drain pushes no more batches out, and what a flush would have told of
        is told by the next one. For anything else, and once there is an outcome, nothing."""
        self._core.input(lambda: self._cancel(ticket))

    def token(self) -> TokenTicket:
        """The current token, fetched if need be.

        Raises:
            MasivoClosedError: the client is closed.
            MasivoConfigError: the client is disabled.
        """
        self._check_open()
        if not self.settings.enabled:
            raise MasivoConfigError("the client is disabled: it has no token")
        ticket = TokenTicket()
        self._core.input(lambda: self._want_token(ticket))
        return ticket

    def close(self, timeout: float | None) -> Ticket:
        """Flush, then detach; the ticket ends when that is done. Works more than once.

        Args:
            timeout: seconds after which everything undelivered fails; None for no limit.
        """
        self.closed = True
        ticket = Ticket()
        if self.detached:
            ticket.outcome = True
            return ticket
        deadline = None if timeout is None else self._clock() + timeout
        error = MasivoClosedError(
            "the client was closed before this could be delivered"
            + ("" if timeout is None else f": close(timeout={timeout:g}) ran out")
        )
        self._core.input(lambda: self._close(ticket, deadline, error))
        return ticket

    def destroy(self) -> None:
        """Detach without sending; undelivered events fail."""
        self.closed = True
        error = MasivoClosedError("the client was destroyed before this could be delivered")
        self._core.input(lambda: self._release(error))

    def abandon(self, why: str) -> None:
        """As ``destroy``, with one warning that says how many events were lost, and why."""
        self.closed = True
        self._core.input(lambda: self._abandon(why))

    def stats(self) -> Stats:
        """A snapshot of the counters."""
        delivered, failed, in_flight = self._tally.delivered, self._tally.failed, self._in_flight
        return Stats(
            accepted=self._accepted,
            delivered=delivered,
            failed=failed,
            rejected=self._rejected,
            retries=self._retries,
            requests=self._requests,
            authorizations=self._core.authorizer.count,
            queued=self._accepted - delivered - failed - in_flight,
            in_flight=in_flight,
        )

    @property
    @abstractmethod
    def awaits_answers(self) -> bool:
        """Whether only an answer lets it go on: as many of its batches are out as may be, or it has
        events and the token is being fetched."""

    # ── What they have in common ─────────────────────────────────────────────────────────────

    def _check_open(self) -> None:
        if self.closed:
            raise closed_error()

    def _held(self) -> int:
        """How many events wait or are in flight."""
        return self._accepted - self._ended

    def _has_room(self) -> bool:
        """Whether there is room for a batch: at most for half of what may be held."""
        settings = self.settings
        events = min(settings.batch_size, max(1, settings.max_queue // 2))
        length = min(settings.max_batch_bytes, settings.max_queue_bytes // 2)
        return (
            self._held() + events <= settings.max_queue
            and self._accepted_bytes - self._ended_bytes + length <= settings.max_queue_bytes
        )

    def _reject(self, delivery: Delivery) -> Delivery:
        """Fail an event for which there is no room. Those of one poll share their error."""
        self._rejected += 1
        overflow = self._overflow
        if overflow is None:
            overflow = self._overflow = Failed(
                MasivoQueueFullError(
                    f"the buffer is full (max_queue={self._max_queue} events, "
                    f"max_queue_bytes={self._max_queue_bytes}): the event was not taken. "
                    "Call drain() before sending, to wait for room, or raise the bound"
                ),
                0,
                self._core.unasked,
            )
            self._core.input(self._overflowed)
            self._core.wake()
        overflow.count += 1
        delivery.outcome, delivery.encoded = overflow, b""
        return delivery

    # ── What they lead to, in the next poll ──────────────────────────────────────────────────

    @abstractmethod
    def _overflowed(self) -> None: ...

    @abstractmethod
    def _flush(self, ticket: FlushTicket) -> None: ...

    @abstractmethod
    def _drain(self, ticket: Ticket) -> None: ...

    @abstractmethod
    def _cancel(self, ticket: Awaited[object]) -> None: ...

    @abstractmethod
    def _want_token(self, ticket: TokenTicket) -> None: ...

    @abstractmethod
    def _close(self, ticket: Ticket, deadline: float | None, error: MasivoError) -> None: ...

    @abstractmethod
    def _release(self, error: MasivoError) -> None: ...

    @abstractmethod
    def _abandon(self, why: str) -> None: ...


def closed_error() -> MasivoClosedError:
    """What a call on a closed client raises."""
    return MasivoClosedError("the client is closed; make a new one to go on sending")
