"""OpenTelemetry: the metrics and spans of a client.

It needs the extra ``masivo[opentelemetry]``: only the package ``opentelemetry-api``, not the SDK.
Counters and gauges are read from ``stats()`` when a metric reader collects; spans, the durations of
requests, and failures by cause come from the client's activity. Nothing of an event is in any of
them, no key and no token.

The names are those of OpenTelemetry's semantic conventions for HTTP clients where these have one,
and ``masivo.…`` elsewhere: ``docs/how-to/observability.md`` lists them.
"""

from __future__ import annotations

import os
import time
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary, WeakSet

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.metrics import Observation
    from opentelemetry.trace import SpanKind, StatusCode
except ImportError as _missing:
    raise ImportError(
        "masivo.opentelemetry needs the package opentelemetry-api: "
        "pip install 'masivo[opentelemetry]'"
    ) from _missing

from masivo import __version__
from masivo._client import ClientBase
from masivo.protocol import (
    AuthorizationSent,
    BatchSent,
    ClientReleased,
    EventsFailed,
    RequestAbandoned,
    RequestFailed,
    ResponseReceived,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from opentelemetry.metrics import CallbackOptions, MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from masivo._session import SessionBase
    from masivo.protocol import Activity, Buffer, Stats

    Attributes = dict[str, str | int]

__all__ = ["instrument"]

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.23.1"
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The buckets that the conventions ask for, in seconds."""

_COUNTERS: Final = (
    ("masivo.events.accepted", "accepted", "{event}", "Events taken by the client"),
    ("masivo.events.delivered", "delivered", "{event}", "Events that the API accepted"),
    ("masivo.events.dropped", "dropped", "{event}", "Events that before_send dropped"),
    ("masivo.events.overflowed", "overflowed", "{event}", "Events that found no room"),
    ("masivo.events.adopted", "adopted", "{event}", "Events that others left in the spool"),
    ("masivo.batches.retried", "retries", "{batch}", "Retries of batches"),
)
"""Name, attribute of ``Stats``, unit and description of each counter that is read from it."""

_PENDING: Final = ("queued", "in_flight", "spooled")

_KEPT: Final = 16
"""The most authorizations that are remembered, as several clients report each."""


def instrument(
    client: ClientBase[Any],
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
) -> None:
    """Report to OpenTelemetry what a client does. Its own ``on_activity`` is still called.

    A client that is already reported to this meter provider stays as it is. The report ends with
    the client, and does not keep it alive.

    Args:
        client: a Client, an AsyncClient or a TrioClient.
        meter_provider: where metrics go; default: the global one.
        tracer_provider: where spans go; default: the global one.

    Raises:
        TypeError: ``client`` is something else.
    """
    if not isinstance(client, ClientBase):
        raise TypeError(f"client must be a client of masivo, not {type(client).__name__}")
    with _adding:
        meters = _meters(meter_provider)
        if client not in meters.clients:
            meters.clients.add(client)
            tracer = trace.get_tracer("masivo", __version__, tracer_provider, _SCHEMA)
            client._listen(partial(_Watch, meters, tracer))  # noqa: SLF001


class _Server(NamedTuple):
    """The place that a client sends to, as attributes name it."""

    address: str
    port: int

    @staticmethod
    def of(url: str) -> _Server:
        """The server of a URL."""
        parts = urlsplit(url)
        return _Server(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))

    @property
    def attributes(self) -> Attributes:
        """The server as attributes."""
        return {"server.address": self.address, "server.port": self.port}


# ── Metrics ──────────────────────────────────────────────────────────────────────────────────


class _Meters:
    """The instruments of one meter provider, and the clients that they show.

    A meter calls back for as long as it lives. So it is given no client. It drops the buffer of a
    client that has ended, and keeps its counts: a counter never decreases.
    """

    def __init__(self, provider: MeterProvider | None) -> None:
        self.clients: WeakSet[ClientBase[Any]] = WeakSet()
        self.requests: WeakKeyDictionary[SessionBase, _Requests] = WeakKeyDictionary()
        self._watches: list[_Watch] = []
        self._past: dict[_Server, dict[str, int]] = {}
        self._lock = Lock()
        meter = metrics.get_meter("masivo", __version__, provider, _SCHEMA)
        self.duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self.failed = meter.create_counter(
            "masivo.events.failed", "{event}", "Accepted events that ended with an error"
        )
        for name, field, unit, text in _COUNTERS:
            meter.create_observable_counter(name, [partial(self._count, field)], unit, text)
        meter.create_observable_gauge(
            "masivo.events.pending", [self._pending], "{event}", "Events without an outcome"
        )
        meter.create_observable_gauge(
            "masivo.events.oldest",
            [self._oldest],
            "s",
            "Age of the oldest event without an outcome",
        )

    def watch(self, watch: _Watch) -> None:
        """Add a client."""
        self._watches.append(watch)
        # A client may be made during a collection, even in a finalizer: never wait for the lock
        # here.
        if self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def forked(self) -> None:
        """Begin anew in the child of a fork: the lock's holder is not there."""
        self._lock = Lock()

    def _fold(self) -> None:
        """Sum up the counts of clients that have ended. The caller holds the lock."""
        for watch in [each for each in self._watches[:] if each.is_over]:
            if (stats := watch.end()) is not None:
                past = self._past.setdefault(watch.server, {})
                for _, field, _, _ in _COUNTERS:
                    past[field] = past.get(field, 0) + int(getattr(stats, field))
            self._watches.remove(watch)

    def _now(self) -> list[tuple[_Server, Stats]]:
        """The counts of each client that is not folded. The caller holds the lock."""
        self._fold()
        return [(watch.server, watch.stats()) for watch in list(self._watches)]

    def _count(self, field: str, _: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            now = self._now()
            sums = {server: past.get(field, 0) for server, past in self._past.items()}
        for server, stats in now:
            sums[server] = sums.get(server, 0) + int(getattr(stats, field))
        return [Observation(count, server.attributes) for server, count in sums.items()]

    def _pending(self, _: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            now = self._now()
        sums: dict[tuple[_Server, str], int] = {}
        for server, stats in now:
            for state in _PENDING:
                sums[server, state] = sums.get((server, state), 0) + int(getattr(stats, state))
        return [
            Observation(count, server.attributes | {"masivo.state": state})
            for (server, state), count in sums.items()
        ]

    def _oldest(self, _: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            now = self._now()
        ages: dict[_Server, float] = {}
        for server, stats in now:
            ages[server] = max(ages.get(server, 0.0), stats.oldest or 0.0)
        return [Observation(age, server.attributes) for server, age in ages.items()]


_global: list[_Meters] = []
"""The instruments of the global meter provider, once there are any: it may be set later."""

_of_providers: WeakKeyDictionary[MeterProvider, _Meters] = WeakKeyDictionary()

_adding = Lock()
"""Held while a client is added: several threads may add theirs at once."""


def _meters(provider: MeterProvider | None) -> _Meters:
    """The instruments of a meter provider: made once, as it ignores those of the same name."""
    if provider is None or provider is metrics.get_meter_provider():
        known = _of_providers.get(metrics.get_meter_provider())
        if not _global:
            _global.append(known or _Meters(None))
        return _global[0]
    if (meters := _of_providers.get(provider)) is None:
        meters = _of_providers[provider] = _Meters(provider)
    return meters


def _forked() -> None:
    global _adding
    _adding = Lock()
    for meters in [*_global, *_of_providers.values()]:
        meters.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


# ── One client ───────────────────────────────────────────────────────────────────────────────


class _Watch:
    """One client's listener, from when it joins a session to its end."""

    def __init__(
        self, meters: _Meters, tracer: Tracer, buffer: Buffer, session: SessionBase
    ) -> None:
        self.server = _Server.of(buffer.settings.account.base_url)
        self._meters = meters
        self._tracer = tracer
        self._buffer: Buffer | None = buffer
        self._last: Stats | None = None  # once it has no buffer
        self._requests = meters.requests.setdefault(session, _Requests(meters))
        self._requests.watches.add(self)
        meters.watch(self)

    @property
    def is_over(self) -> bool:
        """True once the client is gone, or belongs to the parent of this process."""
        buffer = self._buffer
        return buffer is None or buffer.detached or buffer.orphaned is not None

    def end(self) -> Stats | None:
        """Drop the buffer; return its last counts, or None if they belong to the parent process."""
        buffer = self._buffer
        self._last = self.stats()
        self._buffer = None
        self._requests.watches.discard(self)
        return self._last if buffer is None or buffer.orphaned is None else None

    def stats(self) -> Stats:
        """The client's counts."""
        buffer = self._buffer
        if buffer is None:
            assert self._last is not None  # noqa: S101 (it is set first)
            return self._last
        return buffer.stats()

    def __call__(self, activity: Activity) -> None:
        match activity:
            case AuthorizationSent():
                self._requests.authorizes(activity, self._tracer)
            case BatchSent():
                self._requests.sends(activity, self._tracer)
            case ResponseReceived() | RequestFailed() | RequestAbandoned():
                self._requests.ends(activity)
            case EventsFailed():
                reason: Attributes = {"error.type": _kind(activity.error, activity.status)}
                self._meters.failed.add(activity.events, self.server.attributes | reason)
            case ClientReleased():
                self._release(activity.at)
            case _:
                pass

    def _release(self, at: float) -> None:
        self.end()
        if not self._requests.watches:
            self._requests.abandon(at)


def _kind(error: str, status: int | None) -> str:
    return error if status is None else str(status)


# ── Requests ─────────────────────────────────────────────────────────────────────────────────


class _Open(NamedTuple):
    """A request that is out."""

    at: float
    began: int
    """The time in nanoseconds since the epoch."""
    attributes: Attributes
    span: Span


class _Requests:
    """The requests of one session: each is reported once, or once by each client if it is an
    authorization, on any thread."""

    def __init__(self, meters: _Meters) -> None:
        self.watches: set[_Watch] = set()
        self._meters = meters
        self._open: dict[int, _Open] = {}
        self._authorizations: dict[int, object] = {}

    def authorizes(self, sent: AuthorizationSent, tracer: Tracer) -> None:
        """Begin a request for a token, unless another client has reported it."""
        mine = object()
        if self._authorizations.setdefault(sent.request, mine) is mine:
            for old in list(self._authorizations)[:-_KEPT]:
                self._authorizations.pop(old, None)
            self._begin(sent, "GET", {}, tracer)

    def sends(self, sent: BatchSent, tracer: Tracer) -> None:
        """Begin a request with a batch."""
        more: Attributes = {
            "masivo.batch.events": sent.events,
            "masivo.batch.bytes": sent.bytes,
            "masivo.batch.trigger": sent.trigger,
        }
        self._begin(sent, "POST", more, tracer)

    def _begin(
        self, sent: AuthorizationSent | BatchSent, method: str, more: Attributes, tracer: Tracer
    ) -> None:
        began = time.time_ns()
        parts = urlsplit(sent.url)
        server = _Server.of(sent.url)
        attributes: Attributes = {"http.request.method": method, **server.attributes}
        host = f"[{server.address}]" if ":" in server.address else server.address
        url = f"{parts.scheme}://{host}:{server.port}{parts.path}"
        again: Attributes = {"http.request.resend_count": sent.retries} if sent.retries else {}
        span = tracer.start_span(
            f"{method} {parts.path}",
            Context(),  # it has no parent: it serves events of many callers
            SpanKind.CLIENT,
            attributes | {"url.full": url, "url.template": parts.path} | more | again,
            start_time=began,
        )
        self._open[sent.request] = _Open(sent.at, began, attributes, span)

    def ends(self, ended: ResponseReceived | RequestFailed | RequestAbandoned) -> None:
        """End a request, unless another client has reported its end."""
        request = self._open.pop(ended.request, None)
        if request is None:
            return
        if isinstance(ended, RequestAbandoned):
            _end(self._meters, request, ended.at - request.at, None, "abandoned")
        elif isinstance(ended, ResponseReceived):
            wrong = str(ended.status) if ended.status >= 400 else None
            _end(self._meters, request, ended.seconds, ended.status, wrong)
        else:
            wrong = ended.causes[0] if ended.causes else "_OTHER"
            _end(self._meters, request, ended.seconds, ended.status, wrong)

    def abandon(self, at: float) -> None:
        """End the open requests: the last client has ended."""
        for number in list(self._open):
            self.ends(RequestAbandoned(at, number))


def _end(
    meters: _Meters, request: _Open, seconds: float, status: int | None, error: str | None
) -> None:
    result: Attributes = {}
    if status is not None:
        result["http.response.status_code"] = status
    if error is not None:
        result["error.type"] = error
        request.span.set_status(StatusCode.ERROR)
    meters.duration.record(seconds, request.attributes | result)
    request.span.set_attributes(result)
    request.span.end(request.began + max(0, int(seconds * 1e9)))
