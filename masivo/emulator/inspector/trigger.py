"""A guess at the trigger of a batch, which does not show on the wire.

A batch shows the number of its events, their age by `issued_at`, whether its Idempotency-Key was
seen before, and whether its events were in a rejected batch. The client's settings are unknown:
the defaults are assumed, except for the batch size, which shows after a few full batches. Pure: no
clock, no lock.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from masivo._protocol.wire.schema import moment_of
from masivo.emulator.responses import Json

# The client's defaults (``docs/reference/guarantees.md#triggers``); seconds and bytes.
BATCH_SIZE: Final = 100
MAX_BATCH_BYTES: Final = 4_194_304
MAX_EVENT_BYTES: Final = 262_144
IDLE_TIMEOUT: Final = 30.0
MAX_WAIT: Final = 60.0

# A stamp is cut to a second of the server's clock, and may be another second or so too early.
SLACK: Final = 3.0

# The largest size seen counts as the client's batch_size after this many times.
TIMES: Final = 3
# Batches of a smaller size may have it by chance.
SMALLEST_FULL: Final = 5

KEPT_KEYS: Final = 1_000
KEPT_REJECTED: Final = 20


class Trigger(StrEnum):
    """The trigger of a batch, as shown on the page."""

    FULL = "full"
    IDLE = "idle"
    MAX_WAIT = "max wait"
    RETRY = "retry"
    PART = "part"
    ASKED = "flush or close"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Guess:
    """A probable trigger, and the evidence for it."""

    # One of a client's own names, where that has told it.
    trigger: Trigger | str
    # A sentence for a person, without its full stop.
    why: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The visible properties of a batch."""

    # The number of its request.
    number: int
    # When it arrived, in seconds since the epoch.
    at: float
    events: list[Json]
    # The length of its body, in bytes.
    size: int
    # The Idempotency-Key; None if there is none.
    key: str | None = None


class Guesser:
    """The guesser of triggers, batch by batch; its memory is bounded."""

    def __init__(self) -> None:
        # Idempotency keys, with the number of the batch that had them first.
        self._keys: OrderedDict[str, int] = OrderedDict()
        self._rejected: deque[Batch] = deque(maxlen=KEPT_REJECTED)
        self._largest = 0
        self._times = 0

    def rejected(self, batch: Batch) -> None:
        """Note a batch that was rejected: its client may send the halves of it."""
        self._rejected.appendleft(batch)

    def guess(self, batch: Batch) -> Guess:
        """Return the guess for a batch; call it once for each, in order of arrival."""
        again = self._retry(batch) or self._part(batch)
        if again is not None:
            return again
        self._measure(len(batch.events))
        return _by_size(batch) or _by_age(batch) or self._by_custom(batch) or _by_default(batch)

    def _retry(self, batch: Batch) -> Guess | None:
        if batch.key is None:
            return None
        first = self._keys.get(batch.key, batch.number)
        if first != batch.number:
            return Guess(Trigger.RETRY, f"request {first} had the same Idempotency-Key")
        self._keys[batch.key] = batch.number
        if len(self._keys) > KEPT_KEYS:
            self._keys.popitem(last=False)
        return None

    def _part(self, batch: Batch) -> Guess | None:
        for whole in self._rejected:
            if _is_part(batch.events, whole.events):
                return Guess(
                    Trigger.PART,
                    f"request {whole.number} was rejected with these events and others: "
                    "the client isolates the events at fault",
                )
        return None

    def _measure(self, count: int) -> None:
        if count > self._largest:
            self._largest, self._times = count, 0
        self._times += count == self._largest

    def _by_custom(self, batch: Batch) -> Guess | None:
        count = len(batch.events)
        if count == self._largest >= SMALLEST_FULL and self._times >= TIMES:
            return Guess(
                Trigger.FULL,
                f"{count} events came {self._times} times, never more: batch_size may be {count}",
            )
        return None


def _by_size(batch: Batch) -> Guess | None:
    if len(batch.events) == BATCH_SIZE:
        return Guess(Trigger.FULL, f"{BATCH_SIZE} events are the default batch_size")
    if batch.size > MAX_BATCH_BYTES - MAX_EVENT_BYTES:
        size = batch.size / 1_048_576
        return Guess(Trigger.FULL, f"{size:.1f} MiB are near the default max_batch_bytes, 4 MiB")
    return None


def _by_age(batch: Batch) -> Guess | None:
    oldest, newest = _age(batch, 0), _age(batch, -1)
    if newest is not None and _just_past(newest, IDLE_TIMEOUT):
        return Guess(
            Trigger.IDLE,
            f"the last event was {newest:.0f} s old; the default idle_timeout is 30 s",
        )
    if oldest is not None and _just_past(oldest, MAX_WAIT):
        return Guess(
            Trigger.MAX_WAIT,
            f"the first event was {oldest:.0f} s old; the default max_wait is 60 s",
        )
    return None


def _by_default(batch: Batch) -> Guess:
    newest = _age(batch, -1)
    if newest is None:
        return Guess(Trigger.UNCLEAR, "its events have no issued_at that shows their age")
    if 0 <= newest < SLACK:
        return Guess(Trigger.ASKED, "the last event was new, and the batch not full")
    return Guess(
        Trigger.UNCLEAR,
        f"the last event was {newest:.0f} s old: other settings, a flush, or a wait behind others",
    )


def _just_past(age: float, limit: float) -> bool:
    return limit - 0.1 <= age <= limit + SLACK


def _age(batch: Batch, index: int) -> float | None:
    """Return the age of an event in seconds; None without a usable `issued_at`."""
    event = batch.events[index] if batch.events else None
    moment = moment_of(event.get("issued_at")) if isinstance(event, dict) else None
    return None if moment is None else batch.at - moment


def _is_part(events: list[Json], whole: list[Json]) -> bool:
    """Return whether a larger batch contains the events side by side, in this order."""
    if not 0 < len(events) < len(whole):
        return False
    try:
        starts = (at for at, event in enumerate(whole) if event == events[0])
        return any(whole[at : at + len(events)] == events for at in starts)
    except RecursionError:  # nested so deeply that they cannot be compared
        return False
