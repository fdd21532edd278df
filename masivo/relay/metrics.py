"""The metrics of a relay, for Prometheus; the intake and the store count into them.

A store passes the activity of its clients (``on_activity``) to ``listen``, and sets ``leases`` to
the number of partitions that it holds.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from masivo.protocol import BatchSettled, EventsFailed, RequestFailed, ResponseReceived

from .upstream import Upstream

if TYPE_CHECKING:
    from masivo.protocol import Activity

    from .store import Backlog

__all__ = ["Metrics"]

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one relay."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        self.upstream: Upstream = Upstream()
        self.rejections: int = 0
        """Events that the API rejected, since the start."""
        self._authorization = 0  # the number of the last one
        self.responses: Counter = counter(
            "masivo_relay_responses", "Responses to clients.", ["route", "status"]
        )
        self.accepted: Counter = counter(
            "masivo_relay_accepted_events", "Events that were taken from clients and stored."
        )
        self.delivered: Counter = counter(
            "masivo_relay_delivered_events", "Events that the API accepted."
        )
        self.rejected: Counter = counter(
            "masivo_relay_rejected_events", "Events that the API rejected: they are dead letters."
        )
        self.leases: Gauge = gauge("masivo_relay_leases", "Partitions that this relay delivers.")
        self._waiting = gauge(
            "masivo_relay_waiting_events",
            "Events in the store that are neither delivered nor rejected.",
        )
        self._oldest = gauge(
            "masivo_relay_oldest_event_seconds",
            "For how long the oldest of them has waited; 0 without one.",
        )
        self._dead_letters = gauge("masivo_relay_dead_letters", "Rejected events that are kept.")
        self._store_up = gauge(
            "masivo_relay_store_up", "1 while the store can keep events, as /ready says, else 0."
        )
        self._upstream_up = gauge(
            "masivo_relay_upstream_up",
            "0 while requests to the API fail or are not accepted, else 1.",
        )
        self._latency = Histogram(
            "masivo_relay_upstream_seconds",
            "Seconds until the API's response.",
            ["request"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._failures = counter(
            "masivo_relay_upstream_failures",
            "Requests without a usable response (status 0), or with an error status.",
            ["request", "status"],
        )

    def listen(self, activity: Activity) -> None:
        """Count the activity of the store's clients: their ``on_activity``.

        Each of them reports the authorizations that they share.
        """
        if isinstance(activity, ResponseReceived | RequestFailed) and activity.batch is None:
            if activity.request == self._authorization:
                return
            self._authorization = activity.request
        if isinstance(activity, ResponseReceived):
            request = _kind(activity.batch)
            self._latency.labels(request).observe(activity.seconds)
            if activity.status >= 300:
                self._failures.labels(request, activity.status).inc()
        elif isinstance(activity, RequestFailed):
            self._failures.labels(_kind(activity.batch), activity.status or 0).inc()
        elif isinstance(activity, BatchSettled):
            self.delivered.inc(activity.delivered)
        elif isinstance(activity, EventsFailed) and activity.error != "MasivoClosedError":
            self.rejections += activity.events
            self.rejected.inc(activity.events)
        self.upstream.listen(activity)

    def exposed(self, backlog: Backlog | None, *, ready: bool) -> bytes:
        """The metrics in Prometheus' text format.

        Args:
            backlog: the store's; None: it does not respond.
            ready: True if the store can keep events.
        """
        self._upstream_up.set(self.upstream.is_up)
        self._store_up.set(ready)
        if backlog is not None:
            self._waiting.set(backlog.waiting)
            self._dead_letters.set(backlog.rejected)
            self._oldest.set(max(0.0, backlog.oldest or 0.0))
        return generate_latest(self._registry)


def _kind(batch: str | None) -> str:
    return "authorization" if batch is None else "batch"
