"""The libraries that people would use otherwise, with the settings that suit them best.

Each is imported by ``open``: what an import costs is a measure of its own. Where events are to
wait and not to be sent (``Options.hold``), that is done with what the library itself offers.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from .contender import BATCH, LINGER, Contender

if TYPE_CHECKING:
    from .events import Event

__all__ = ["ALL", "MODULES"]


def _module(name: str) -> Any:
    """A peer's module; few of them have types."""
    return import_module(name)


class _Peer(Contender):
    kind: ClassVar[Literal["peer", "masivo", "limit"]] = "peer"
    _client: Any

    async def open(self) -> None:
        """See Contender."""
        # Their loggers say that a queue is full, once for each event that is lost.
        logging.disable(logging.CRITICAL)
        self._open()

    def _open(self) -> None:
        raise NotImplementedError

    async def finish(self) -> None:
        """See Contender."""
        self._client.flush()

    async def close(self) -> None:
        """See Contender."""


class Posthog(_Peer):
    """posthog: a queue of dicts, one thread, requests."""

    name = "posthog"

    def _open(self) -> None:
        client = _module("posthog").Posthog
        options = self.options
        settings: dict[str, Any] = {}
        if options.capacity is not None:
            settings = {"max_queue_size": options.capacity, "flush_at": BATCH}
        if options.hold:
            settings["thread"] = 0
        self._client = client(options.key, host=options.sink.url, **settings)
        capture = self._client.capture

        def send(event: Event) -> None:
            capture(event["type"], distinct_id=event["customer_id"], properties=event)

        self.send = send


class Segment(_Peer):
    """segment-analytics-python: a queue of dicts, one thread, requests."""

    name = "segment"

    def _open(self) -> None:
        self._use(_module("segment.analytics.client").Client)

    def _use(self, client: Any, **settings: Any) -> None:
        options = self.options
        if options.capacity is not None:
            settings |= {"max_queue_size": options.capacity, "upload_size": BATCH}
        if options.hold:
            settings["thread"] = 0
        self._client = client(options.key, host=options.sink.url, **settings)
        track = self._client.track

        def send(event: Event) -> None:
            track(event["customer_id"], event["type"], event)

        self.send = send


class Rudder(Segment):
    """rudder-sdk-python: of the same descent as segment's."""

    name = "rudder"

    def _open(self) -> None:
        # Without compression, as all others: the sink counts what it can read.
        self._use(_module("rudderstack.analytics.client").Client, gzip=False)


class Amplitude(_Peer):
    """amplitude-analytics: objects copied deeply, 16 threads, urllib."""

    name = "amplitude"

    def _open(self) -> None:
        amplitude = _module("amplitude")
        options = self.options
        settings: dict[str, Any] = {}
        if options.capacity is not None:
            settings["flush_queue_size"] = BATCH
        if options.hold:
            settings = {"flush_queue_size": 10**9, "flush_interval_millis": int(LINGER * 1000)}
        config = amplitude.Config(server_url=f"{options.sink.url}/2/httpapi", **settings)
        self._client = amplitude.Amplitude(options.key, config)
        track, make = self._client.track, amplitude.BaseEvent

        def send(event: Event) -> None:
            track(make(event["type"], user_id=event["customer_id"], event_properties=event))

        self.send = send

    async def finish(self) -> None:
        """See Contender."""
        for future in self._client.flush():
            if future is not None:
                future.result()

    async def close(self) -> None:
        """See Contender."""
        if not self.options.hold:
            self._client.shutdown()


class _Keep:
    """A consumer, by mixpanel's own interface, that keeps messages as its BufferedConsumer does.

    That one sends after 50 messages at the latest.
    """

    def __init__(self) -> None:
        self._messages: list[str] = []

    def send(self, endpoint: str, json_message: str, *_: object) -> None:
        """Take a message."""
        self._messages.append(json_message)


class Mixpanel(_Peer):
    """mixpanel: a list of texts, sent by the caller's own thread, requests."""

    name = "mixpanel"

    def _open(self) -> None:
        mixpanel = _module("mixpanel")
        options = self.options
        self._consumer: Any
        if options.hold:
            self._consumer = _Keep()
        else:
            self._consumer = mixpanel.BufferedConsumer(events_url=f"{options.sink.url}/track")
        self._client = mixpanel.Mixpanel(options.key, self._consumer)
        track = self._client.track

        def send(event: Event) -> None:
            track(event["customer_id"], event["type"], event)

        self.send = send

    async def finish(self) -> None:
        """See Contender."""
        self._consumer.flush()


class Snowplow(_Peer):
    """snowplow-tracker: a list of dicts, one thread, requests."""

    name = "snowplow"

    def _open(self) -> None:
        snowplow = _module("snowplow_tracker")
        options = self.options
        settings: dict[str, Any] = {}
        if options.capacity is not None:
            settings = {"buffer_capacity": options.capacity, "batch_size": BATCH}
            settings["session"] = _module("requests").Session()
        if options.hold:
            settings["batch_size"] = settings["buffer_capacity"] = 10**9
        self._client = snowplow.AsyncEmitter(options.sink.url, **settings)
        # Plain JSON: cheaper than base64, and the sink can count.
        track = snowplow.Tracker("benchmark", self._client, encode_base64=False).track
        make, describe = snowplow.SelfDescribing, snowplow.SelfDescribingJson
        schema = "iglu:com.example/cart/jsonschema/1-0-0"

        def send(event: Event) -> None:
            track(make(describe(schema, event)))

        self.send = send

    async def finish(self) -> None:
        """See Contender."""
        self._client.sync_flush()


ALL: tuple[type[Contender], ...] = (Posthog, Segment, Amplitude, Mixpanel, Rudder, Snowplow)

MODULES = {
    "posthog": "posthog",
    "segment": "segment.analytics",
    "amplitude": "amplitude",
    "mixpanel": "mixpanel",
    "rudder": "rudderstack.analytics",
    "snowplow": "snowplow_tracker",
}
"""What each is imported by."""
