"""Taking events from callers: validation, encoding, the bounds, and when to wake the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .delivery import Delivery, Failed
from .errors import MasivoClosedError, MasivoQueueFullError
from .events import BRACE, STAMP_SIZE, encoder
from .values import SendEventResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .engine import Engine
    from .settings import Settings

__all__ = ["Intake"]

_DISABLED: Final = SendEventResult(success=False, status=0)


class Intake:
    """What one client has taken and still holds; the part of a ``Buffer`` that callers run."""

    def __init__(self, engine: Engine, settings: Settings, delivery_type: type[Delivery]) -> None:
        self.settings = settings
        self.closed: bool = False
        """Whether new events are refused: set by ``close`` and ``destroy``, at the call."""
        self.orphaned: Failed | None = None
        """What pending deliveries end with in a process that forked away from this client."""

        # Written by callers. A `+=` on an int attribute is not interrupted in CPython (no thread
        # switch, no signal handler between its load and its store), so these need no lock; a
        # lock would have to be reentrant and cost as much as the rest of the bookkeeping.
        self.accepted: int = 0
        self._accepted_bytes = 0
        self.rejected: int = 0
        self._overflow: Failed | None = None

        # Written by the engine.
        self._taken_in = 0
        self._taken_in_bytes = 0
        self._ended = 0
        self._ended_bytes = 0
        self._wake_count: float = 1
        self._wake_bytes: float = 0  # with a byte for the comma after each event

        self._engine = engine
        self._clock = engine.clock
        self._input = engine.input
        self._enabled = settings.enabled
        self._encode = encoder(settings)
        # Its last argument is this object as the Buffer that it is part of.
        self._make: Callable[[bytes, float, str | None, Any], Delivery] = delivery_type
        self._per_customer = settings.max_in_flight > 1
        self._max_queue = settings.max_queue
        self._max_queue_bytes = settings.max_queue_bytes

    def send(self, event: Mapping[str, object]) -> Delivery:
        """Take an event; the delivery may have failed already (the buffer was full).

        Raises:
            MasivoValidationError: the event is refused.
            MasivoClosedError: the client is closed.
        """
        if self.closed:
            raise self.closed_error()
        encoded, customer = self._encode(event)
        delivery = self._make(
            encoded, self._clock(), customer if self._per_customer else None, self
        )
        if not self._enabled:
            delivery.outcome, delivery.encoded = _DISABLED, b""
            return delivery
        # ``size`` without its call, which would be a fiftieth of this one.
        length = len(encoded) if encoded[0] == BRACE else len(encoded) + STAMP_SIZE
        accepted = self.accepted + 1
        accepted_bytes = self._accepted_bytes + length
        if (
            accepted - self._ended > self._max_queue
            or accepted_bytes - self._ended_bytes > self._max_queue_bytes
        ):
            return self._reject(delivery)
        self.accepted += 1
        self._accepted_bytes += length
        self._input(delivery)
        # Read anew: of several callers at once, the last must see the sum.
        accepted = self.accepted
        if accepted >= self._wake_count or self._accepted_bytes + accepted > self._wake_bytes:
            self._engine.wake()
        return delivery

    def _reject(self, delivery: Delivery) -> Delivery:
        """Fail an event for which there is no room. Those of one poll share their error."""
        self.rejected += 1
        overflow = self._overflow
        if overflow is None:
            overflow = self._overflow = Failed(
                MasivoQueueFullError(
                    f"the buffer is full (max_queue={self._max_queue} events, "
                    f"max_queue_bytes={self._max_queue_bytes}): the event was not taken. "
                    "Call drain() before sending, to wait for room, or raise the bound"
                ),
                0,
                self._engine.unasked,
            )
            self._engine.input(self.overflowed)
            self._engine.wake()
        overflow.count += 1
        delivery.outcome, delivery.encoded = overflow, b""
        return delivery

    def check_open(self) -> None:
        """Raise MasivoClosedError if the client is closed."""
        if self.closed:
            raise self.closed_error()

    @staticmethod
    def closed_error() -> MasivoClosedError:
        """What a call on a closed client raises."""
        return MasivoClosedError("the client is closed; make a new one to go on sending")

    @property
    def held(self) -> int:
        """How many events it holds: those that wait and those in flight."""
        return self.accepted - self._ended

    @property
    def wants_poll(self) -> bool:
        """Whether enough events came in since the last poll to make another worthwhile."""
        return (
            self.accepted >= self._wake_count
            or self._accepted_bytes + self.accepted > self._wake_bytes
        ) and self.accepted > self._taken_in

    def has_room(self) -> bool:
        """Whether there is room for a batch (at most for half of what the buffer may hold)."""
        settings = self.settings
        events = min(settings.batch_size, max(1, settings.max_queue // 2))
        length = min(settings.max_batch_bytes, settings.max_queue_bytes // 2)
        return (
            self.held + events <= settings.max_queue
            and self._accepted_bytes - self._ended_bytes + length <= settings.max_queue_bytes
        )

    @property
    def unended(self) -> int:
        """How many events the engine has taken in that have no outcome yet."""
        return self._taken_in - self._ended

    def count_taken_in(self, events: int, length: int) -> None:
        """The engine takes events in, of so many bytes in all."""
        self._taken_in += events
        self._taken_in_bytes += length

    def count_ended(self, events: int, length: int) -> None:
        """The engine ends events, of so many bytes in all."""
        self._ended += events
        self._ended_bytes += length

    def wake_after(self, events: float, length: float) -> None:
        """Have a sender wake the driver when so many more events, or bytes, have come."""
        self._wake_count = self._taken_in + events
        self._wake_bytes = self._taken_in_bytes + self._taken_in + length

    def overflowed(self) -> None:
        """The engine learns that there was no room; later events fail with an error of their
        own."""
        self._overflow = None
