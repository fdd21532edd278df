"""The engine's activity: a small value for each step of its work.

Values hold numbers, statuses, addresses and names of classes: no key, no token, nothing of an
event, and no text of the server. They are made only for a reader: the log (``Engine``:
``listening``), or a client's ``on_activity``.

Every ``at`` is a time on the engine's clock; every duration is in seconds. Values of one request
have its number (``Request.id``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

__all__ = [
    "Activity",
    "AuthorizationSent",
    "BatchHalved",
    "BatchSent",
    "BatchSettled",
    "CallWaits",
    "ClientReleased",
    "EventsAdopted",
    "EventsFailed",
    "EventsQueued",
    "EventsSpooled",
    "FlushEnded",
    "Idle",
    "KeyRefused",
    "LongHold",
    "OnActivity",
    "RenewalFailed",
    "RequestAbandoned",
    "RequestFailed",
    "ResponseReceived",
    "RetryScheduled",
    "TimerFired",
    "TokenGranted",
    "TokenRevoked",
]


class Activity(msgspec.Struct, frozen=True):
    """One thing that the engine did."""

    at: float
    """The time, on the engine's clock."""


OnActivity: TypeAlias = Callable[[Activity], object]
"""Called with each activity, one call at a time and in order."""


# ── Requests ─────────────────────────────────────────────────────────────────────────────────


class AuthorizationSent(Activity, frozen=True):
    """An authorization was sent."""

    request: int
    url: str
    retries: int
    """The number of earlier tries."""
    timeout: float


class BatchSent(Activity, frozen=True):
    """A batch was sent."""

    request: int
    url: str
    retries: int
    """The number of earlier tries."""
    timeout: float
    batch: str
    """The first characters of its ``Idempotency-Key``."""
    events: int
    bytes: int
    """The size of the request's body."""
    trigger: str
    """The reason for which it was sent: ``batch_size``, ``idle_timeout``, ``flush``, …"""


class ResponseReceived(Activity, frozen=True):
    """A request got a complete response."""

    request: int
    batch: str | None
    """As in ``BatchSent``; None for an authorization."""
    status: int
    seconds: float


class RequestFailed(Activity, frozen=True):
    """A request got no usable response."""

    request: int
    batch: str | None
    """As in ``BatchSent``; None for an authorization."""
    status: int | None
    """The status, where the headers of a response had arrived."""
    seconds: float
    causes: tuple[str, ...]
    """The classes of the exceptions that it failed with, outermost first."""
    sent: bool
    """True if it can have reached the server."""


class RequestAbandoned(Activity, frozen=True):
    """The result of a request no longer matters: its client was released."""

    request: int


class RetryScheduled(Activity, frozen=True):
    """A batch or an authorization is to be sent again."""

    batch: str | None
    """As in ``BatchSent``; None for an authorization."""
    retries: int
    """The number of retries, this one included."""
    wait: float
    why: str
    """``backoff``, ``Retry-After``, or ``last try`` before a close."""


class LongHold(Activity, frozen=True):
    """A ``Retry-After`` is above 300 s: batches fail at once until it has passed."""

    wait: float


# ── Batches and events ───────────────────────────────────────────────────────────────────────


class EventsQueued(Activity, frozen=True):
    """Events that were sent since the last poll were taken into the buffer."""

    events: int
    pending: int
    """The number of the client's pending events."""


class BatchHalved(Activity, frozen=True):
    """A rejected batch was halved."""

    batch: str
    first: int
    """The events of the first part."""
    second: int
    """The events of the second part."""


class BatchSettled(Activity, frozen=True):
    """The events of a batch, or of a part of one, have their outcome."""

    batch: str
    delivered: int
    failed: int


class EventsFailed(Activity, frozen=True):
    """Events ended with an error."""

    events: int
    error: str
    """The class of the error."""
    status: int | None


class EventsSpooled(Activity, frozen=True):
    """Deliveries ended; their events stay in the spool and are sent later."""

    events: int
    error: str
    """The class of the error."""
    status: int | None


class EventsAdopted(Activity, frozen=True):
    """Events that another client had left in the spool were adopted."""

    events: int


# ── The token ────────────────────────────────────────────────────────────────────────────────


class TokenGranted(Activity, frozen=True):
    """A token was granted."""

    lifetime: float | None
    """Seconds until its own expiry; None if unknown."""
    renewal: float | None
    """Seconds until it is renewed; None: never."""


class TokenRevoked(Activity, frozen=True):
    """The token was discarded."""

    why: str


class RenewalFailed(Activity, frozen=True):
    """A renewal failed; the current token stays in use."""

    wait: float
    """Seconds until the next renewal."""


class KeyRefused(Activity, frozen=True):
    """The API refused the key, or each token that it granted: events fail at once."""

    error: str
    """The class of the error."""
    status: int | None
    wait: float
    """Seconds until the key is tried again."""


# ── Clients and time ─────────────────────────────────────────────────────────────────────────


class CallWaits(Activity, frozen=True):
    """A caller waits."""

    call: str
    """``flush``, ``drain`` or ``close``."""
    pending: int
    """The number of the client's pending events."""


class FlushEnded(Activity, frozen=True):
    """A flush ended."""

    delivered: int
    failed: int
    spooled: int = 0


class ClientReleased(Activity, frozen=True):
    """A client was released."""

    delivered: int
    """Events that it delivered in all."""
    failed: int
    """Events that failed in all."""


class TimerFired(Activity, frozen=True):
    """A timer fired."""

    timer: str
    """The name of the timer."""


class Idle(Activity, frozen=True):
    """Nothing is due before ``wake_at``; reported once for each such time."""

    wake_at: float | None
    """The time; None: not before an input."""
    timer: str | None
    """The timer that is due then."""
