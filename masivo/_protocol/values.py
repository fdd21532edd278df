"""The small values that cross the core's border.

Values for users are dataclasses. Values for drivers are structs of msgspec, as the settings are:
they make the import quicker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import msgspec

from .errors import (
    MasivoConfigError,
    no_attribute,
)

if TYPE_CHECKING:
    from .errors import MasivoError

__all__ = [
    "MAX_BODY",
    "BeforeSend",
    "Clock",
    "FailedEvent",
    "Failure",
    "FlushResult",
    "OnError",
    "RandomSource",
    "Request",
    "Response",
    "SendEventResult",
    "Stats",
]

LONGEST: Final = 1e9
"""The longest duration that a setting may name, in seconds (some 31 years): "never"."""

MAX_BODY: Final = 1 << 20
"""The most bytes of a response's body, decoded, that a driver reads; a larger response is a
``Failure``."""

Clock: TypeAlias = Callable[[], float]
"""A source of seconds: monotonic for the engine's time, since the epoch for its wall clock."""


class RandomSource(Protocol):
    """The source of jitter and idempotency keys; a ``random.Random`` is one."""

    def random(self) -> float:
        """A number from 0 up to, not including, 1."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """A number of ``k`` random bits."""
        ...


class Request(msgspec.Struct, frozen=True):
    """An HTTP request that the driver must send, once, without following a redirect."""

    id: int
    """The number that its result is handed back under."""
    method: str
    """``GET`` or ``POST``."""
    url: str
    """The absolute address."""
    headers: tuple[tuple[str, str], ...]
    """Names and values, the secrets among them."""
    body: bytes
    """The body; empty for none."""
    timeout: float
    """Seconds for the whole of it, from connecting to the last byte of the response."""
    owner: object = None
    """The owner (see ``Engine.attach``) of the client whose events it carries; None for what all
    clients share."""
    last_try: bool = False
    """True if it is not sent again after a failure. Send it on a new connection: a reused one that
    the server has just closed would cost its events."""

    def __repr__(self) -> str:
        return f"<Request {self.id} {self.method} {self.url}>"

    def __reduce__(self) -> str:
        raise TypeError("a request is not pickled: its headers hold secrets")


class Response(msgspec.Struct, frozen=True):
    """A complete response, of whatever status.

    Raises:
        TypeError: a field has another type, such as one from a mock of an HTTP client.
    """

    status: int
    """The HTTP status."""
    headers: Mapping[str, str]
    """The headers, under lower-case names."""
    body: bytes
    """The body, decoded, of at most ``MAX_BODY`` bytes."""

    def __post_init__(self) -> None:
        if not (
            isinstance(self.status, int)
            and isinstance(self.headers, Mapping)
            and isinstance(self.body, bytes)
        ):
            raise TypeError(
                "a Response needs an int, a mapping and bytes, not "
                + ", ".join(type(each).__name__ for each in (self.status, self.headers, self.body))
            )

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


class Failure(msgspec.Struct, frozen=True):
    """A request that got no complete response.

    Raises:
        TypeError: the reason is no text, or the status no number.
    """

    reason: str
    """The reason, for people; no secret in it."""
    sent: bool
    """True if the request can have reached the server."""
    status: int | None = None
    """The status, where the headers of a response had arrived before it broke."""
    cause: BaseException | None = None
    """The transport's exception; the engine removes everything in it that leads to a secret."""
    fatal: MasivoConfigError | None = None
    """Set if no request can ever be sent (no usable HTTP client): nothing is retried."""

    def __post_init__(self) -> None:
        if not (isinstance(self.reason, str) and isinstance(self.status, int | None)):
            raise TypeError(
                "a Failure needs a str as its reason, and an int (or None) as its status, not "
                f"{type(self.reason).__name__} and {type(self.status).__name__}; pass an exception "
                "as its cause"
            )


_MEANT: Final = {
    "SendEventResult": {
        **dict.fromkeys(("ok", "delivered", "accepted"), "use success"),
        **dict.fromkeys(("status_code", "code"), "use status"),
        **dict.fromkeys(("body", "json", "response", "text"), "use data"),
        **dict.fromkeys(
            ("error", "message"),
            "a failed event raises its error; success is False only where nothing was sent",
        ),
    },
    "FlushResult": {
        **dict.fromkeys(("sent", "accepted", "succeeded", "count"), "use delivered"),
        **dict.fromkeys(
            ("success", "ok", "errors", "failures"), "use failed, which is 0 if all is well"
        ),
    },
    "Stats": {
        **dict.fromkeys(("sent", "succeeded"), "use delivered"),
        **dict.fromkeys(("pending", "waiting"), "add up queued, in_flight and spooled"),
        **dict.fromkeys(("buffered", "queue", "queue_size", "size"), "use queued"),
        **dict.fromkeys(("errors", "failures", "lost"), "use failed"),
        **dict.fromkeys(("to_dict", "as_dict", "_asdict"), "use dataclasses.asdict"),
    },
    "FailedEvent": {
        **dict.fromkeys(("exception", "exc", "reason", "cause"), "use error"),
        **{name: f"use error.{name}" for name in ("message", "status", "details", "retryable")},
        **dict.fromkeys(("data", "payload"), "use event"),
    },
}
"""Advice for attributes that do not exist, by class and name."""


class _Value:
    """A value for users: its error for a missing attribute says which one is meant."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            raise no_attribute(self, name, _MEANT.get(type(self).__name__, {}))


@dataclass(frozen=True, slots=True)
class SendEventResult(_Value):
    """The outcome of an event that did not fail; the events of a batch share one object."""

    success: bool
    """True for a 2xx; False only where nothing was sent: the client is disabled, or ``before_send``
    dropped the event."""
    status: int
    """The HTTP status; 0 where nothing was sent."""
    data: Any = field(default=None)
    """The whole body of the response, parsed; None for an empty one. Do not change it: the events
    of the batch share it."""


@dataclass(frozen=True, slots=True)
class FlushResult(_Value):
    """The counts of the events that ended since the previous flush, including all that this flush
    waited for. Concurrent flushes, from several threads or tasks, count the same events."""

    delivered: int
    """The number of events that the API accepted."""
    failed: int
    """The number of events that ended with an error, and are not kept in a spool."""
    spooled: int = 0
    """The number of events that could not be delivered now, and stay in the spool: they are sent
    later."""


@dataclass(frozen=True, slots=True)
class Stats(_Value):
    """A snapshot of a client's counters. All but ``queued``, ``in_flight``, ``spooled`` and
    ``oldest`` only grow.

    Each event that the client accepted, or adopted (took over from the spool, where another client
    had left it), is counted once: ``accepted + adopted`` is ``delivered + failed + queued +
    in_flight + spooled``.
    """

    accepted: int
    """Events taken into the buffer, or into the spool alone."""
    delivered: int
    """Events that the API accepted."""
    failed: int
    """Accepted events that ended with an error, and are not kept in a spool."""
    overflowed: int
    """Events not accepted because the buffer, the spool or its disk was full."""
    dropped: int
    """Events that ``before_send`` dropped."""
    adopted: int
    """Events that other clients had left in the spool, and this one took over."""
    retries: int
    """Retries of batches."""
    requests: int
    """Requests with events, retries included."""
    authorizations: int
    """Requests for the token, by all clients that share it."""
    queued: int
    """Events that wait in the buffer."""
    in_flight: int
    """Events in batches that are being sent or wait for a retry."""
    spooled: int
    """Events in the spool without a delivery; they are sent later."""
    oldest: float | None
    """The age in seconds of the oldest pending event; None if there is none."""


@dataclass(frozen=True, slots=True)
class FailedEvent(_Value):
    """An event that the client accepted and that finally failed, as ``on_error`` gets it."""

    event: dict[str, Any] = field(repr=False)
    """The event as it was sent, with its ``issued_at`` (added now if it was never in a batch), so
    that it can be sent again later as it is."""
    error: MasivoError
    """The error that ended the event."""


OnError: TypeAlias = Callable[[FailedEvent], object]
"""Called with each event that the client accepted and that finally failed."""

BeforeSend: TypeAlias = Callable[[dict[str, Any]], Mapping[str, object] | None]
"""Takes a copy of an event; returns the mapping to send in its place, or None to drop it."""
