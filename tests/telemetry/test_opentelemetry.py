"""Metrics and spans for OpenTelemetry: the same in every world, and nothing secret in them."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import processes
import pytest
import trio
from drivers.events import closed_port, event, until
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import masivo
from masivo import AsyncClient, Client, FailedEvent, TrioClient
from masivo.emulator import Emulator, Fault
from masivo.opentelemetry import _Meters, _meters, instrument

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from masivo.protocol import Activity

    Event: TypeAlias = Mapping[str, object]

BULK = "/api/storefront/v1/behavior/events/bulk"
AUTHORIZE = "/api/storefront/v1/auth/authorize"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the random waits before retries."""
    monkeypatch.setattr("masivo._protocol.sending.backoff.FIRST_WAIT", 0.02)


@pytest.fixture(autouse=True)
def nothing_raised(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No listener raises; a test in which one does clears the log."""
    yield
    said = caplog.get_records("call")
    assert [each.getMessage() for each in said if each.levelno >= logging.ERROR] == []


class Telemetry:
    """The real SDK with exporters in memory."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.exporter = InMemorySpanExporter()
        self.meters = MeterProvider([self.reader])
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))

    def instrument(self, client: Client | AsyncClient | TrioClient) -> None:
        """Have a client report to it."""
        instrument(client, self.meters, self.tracers)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans so far."""
        return self.exporter.get_finished_spans()

    def points(self, name: str) -> list[dict[str, Any]]:
        """The points of a metric, as the exporters show them; an empty list if it has none."""
        data = self.reader.get_metrics_data()
        if data is None:
            return []
        return [
            point
            for resource in json.loads(data.to_json())["resource_metrics"]
            for scope in resource["scope_metrics"]
            for metric in scope["metrics"]
            if metric["name"] == name
            for point in metric["data"]["data_points"]
        ]

    def value(self, name: str, **attributes: object) -> float:
        """The sum of the points of a metric with these attributes (``_`` for a dot)."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}
        return sum(
            float(point["value"])
            for point in self.points(name)
            if wanted.items() <= point["attributes"].items()
        )

    def counts(self) -> dict[str, float]:
        """The value of each counter."""
        names = ("events.accepted", "events.delivered", "events.failed", "events.dropped")
        return {
            name: self.value(f"masivo.{name}")
            for name in (*names, "events.overflowed", "batches.retried")
        }


@pytest.fixture
def telemetry() -> Telemetry:
    """An SDK for the test."""
    return Telemetry()


# ── The worlds ───────────────────────────────────────────────────────────────────────────────


@dataclass
class Job:
    """A client that sends, flushes and closes."""

    options: dict[str, Any]
    events: list[Event]
    prepare: Callable[[Any], None]
    """Called with the client before its first use."""
    before_close: Callable[[], None] = lambda: None


def in_threads(job: Job) -> None:
    """Do a job with a Client."""
    with Client(**job.options) as client:
        job.prepare(client)
        for each in job.events:
            client.send_analytics_event(each)
        client.flush()
        job.before_close()


async def in_loop(make: Callable[..., AsyncClient | TrioClient], job: Job) -> None:
    """Do a job in the loop that runs."""
    client = make(**job.options)
    job.prepare(client)
    async with client:
        for each in job.events:
            client.send_analytics_event(each)
        await client.flush()
        job.before_close()


def in_asyncio(job: Job) -> None:
    """Do a job with an AsyncClient."""
    asyncio.run(in_loop(AsyncClient, job))


def in_trio(job: Job) -> None:
    """Do a job with a TrioClient."""
    trio.run(in_loop, TrioClient, job)


World: TypeAlias = Callable[[Job], None]
worlds = pytest.mark.parametrize("world", [in_threads, in_asyncio, in_trio])


def options(emulator: Emulator, **more: object) -> dict[str, Any]:
    """The settings of a client of the emulator."""
    return {"api_key": emulator.client_key, "base_url": emulator.url, **more}


def ignore(_failure: FailedEvent) -> None:
    """Do nothing."""


def scrub(each: Event) -> Event | None:
    """Drop the events of one customer."""
    return None if each["customer_id"] == "c-drop" else each


# ── What is measured ─────────────────────────────────────────────────────────────────────────


@worlds
def test_counters_and_durations(emulator: Emulator, telemetry: Telemetry, world: World) -> None:
    """Every accepted, delivered, failed, dropped event and every retried batch is counted once, and
    the duration of every request."""
    emulator.fail(503, route="events", number=1)
    emulator.reject = lambda each: "no such customer" if each["customer_id"] == "c-bad" else None
    events: list[Event] = [event(1), event(2, customer_id="c-bad"), event(3, customer_id="c-drop")]
    world(
        Job(
            options(emulator, before_send=scrub, on_error=ignore),
            events,
            telemetry.instrument,
        )
    )
    assert telemetry.counts() == {
        "events.accepted": 2,
        "events.delivered": 1,
        "events.failed": 1,
        "events.dropped": 1,
        "events.overflowed": 0,
        "batches.retried": 1,
    }
    assert telemetry.value("masivo.events.failed", error_type="422") == 1
    points = telemetry.points("http.client.request.duration")
    assert sum(point["count"] for point in points) == len(emulator.requests)
    assert points[0]["explicit_bounds"] == [
        *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    ]
    failed = [point for point in points if "error.type" in point["attributes"]]
    assert {point["attributes"]["error.type"] for point in failed} == {"503", "422"}


def test_a_client_error_is_an_error(emulator: Emulator, telemetry: Telemetry) -> None:
    """From 400 on, by the semantic conventions of clients."""
    emulator.fail(400, route="events")
    in_threads(Job(options(emulator, on_error=ignore), [event(1)], telemetry.instrument))
    rejected = telemetry.spans[1]
    assert (rejected.attributes or {})["error.type"] == "400"
    assert rejected.status.status_code == StatusCode.ERROR


@worlds
def test_spans(emulator: Emulator, telemetry: Telemetry, world: World) -> None:
    """Each request is a client span without a parent, with the names of the semantic conventions;
    its duration is that of the request."""
    emulator.fail(503, route="events", number=1)
    with telemetry.tracers.get_tracer("application").start_as_current_span("checkout"):
        world(Job(options(emulator), [event(1)], telemetry.instrument))
    *requests, _ = telemetry.spans
    port = int(emulator.url.split(":")[2].split("/")[0])
    common = {"server.address": "127.0.0.1", "server.port": port}
    batch = {
        "http.request.method": "POST",
        "url.full": f"http://127.0.0.1:{port}{BULK}",
        "url.template": BULK,
        "masivo.batch.events": 1,
        "masivo.batch.bytes": len(emulator.batches[0].body),
        "masivo.batch.trigger": "flush",
        **common,
    }
    authorize = {
        "http.request.method": "GET",
        "url.full": f"http://127.0.0.1:{port}{AUTHORIZE}",
        "url.template": AUTHORIZE,
        "http.response.status_code": 200,
        **common,
    }
    assert [(each.name, dict(each.attributes or {})) for each in requests] == [
        (f"GET {AUTHORIZE}", authorize),
        (f"POST {BULK}", batch | {"http.response.status_code": 503, "error.type": "503"}),
        (
            f"POST {BULK}",
            batch | {"http.response.status_code": 200, "http.request.resend_count": 1},
        ),
    ]
    for each in requests:
        assert (each.kind, each.parent) == (SpanKind.CLIENT, None)
        assert each.start_time is not None
        assert each.end_time is not None
        assert 0 < each.end_time - each.start_time < 5e9
    lasted = [(each.end_time or 0) - (each.start_time or 0) for each in requests]
    measured = [point["sum"] for point in telemetry.points("http.client.request.duration")]
    assert abs(sum(lasted) / 1e9 - sum(measured)) < 1e-7
    assert [each.status.status_code for each in requests] == [
        *(StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET)
    ]


@worlds
def test_nothing_secret(emulator: Emulator, telemetry: Telemetry, world: World) -> None:
    """No key, no token, nothing of an event."""
    emulator.reject = lambda each: "the customer c-secret is unknown"
    job = Job(
        options(emulator, on_error=ignore),
        [event(customer_id="c-secret", note="n-secret")],
        telemetry.instrument,
    )
    world(job)
    token = emulator.batches[0].headers["authorization"].removeprefix("Bearer ")
    data = telemetry.reader.get_metrics_data()
    assert data is not None
    shown = data.to_json() + "".join(each.to_json() for each in telemetry.spans)
    assert "masivo.events.failed" in shown
    for secret in (emulator.client_key, token, "c-secret", "n-secret"):
        assert secret not in shown


@worlds
def test_beside_on_activity(
    emulator: Emulator, telemetry: Telemetry, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's own listener hears everything too, whatever it raises."""
    heard: list[Activity] = []

    def on_activity(activity: Activity) -> None:
        heard.append(activity)
        raise ValueError

    world(Job(options(emulator, on_activity=on_activity), [event()], telemetry.instrument))
    assert len(telemetry.spans) == 2
    assert len(heard) > 6
    assert {each.getMessage() for each in caplog.records} == {
        "on_activity raised an exception; the client is not affected"
    }
    caplog.clear()


@worlds
def test_no_usable_response(telemetry: Telemetry, world: World) -> None:
    """The class of the exception is the ``error.type``; events fail by the class of the error."""
    base_url = f"http://127.0.0.1:{closed_port()}/v1"
    settings = {"api_key": "k-1", "base_url": base_url, "max_retries": 0}
    world(Job(settings | {"on_error": ignore}, [event()], telemetry.instrument))
    (span,) = telemetry.spans
    assert span.attributes is not None
    assert "Connect" in str(span.attributes["error.type"])
    assert span.status.status_code is StatusCode.ERROR
    assert telemetry.value("masivo.events.failed", error_type="MasivoNetworkError") == 1


def test_a_success_that_breaks_off_has_its_status(emulator: Emulator, telemetry: Telemetry) -> None:
    """Beside the class of the exception: the events may have been accepted."""
    emulator.fail(Fault(truncate=1), route="events")
    in_threads(Job(options(emulator, on_error=ignore), [event(1)], telemetry.instrument))
    broken = telemetry.spans[1].attributes or {}
    assert broken["http.response.status_code"] == 200
    assert broken["error.type"] != "200"


def test_counts_are_read_under_a_lock(
    emulator: Emulator, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exporters read in a thread of their own, while clients come and go."""
    held: list[bool] = []
    now = _Meters._now

    def noting(self: _Meters) -> Any:
        held.append(self._lock.locked())
        return now(self)

    monkeypatch.setattr(_Meters, "_now", noting)
    with Client(**options(emulator)) as client:
        telemetry.instrument(client)
        client.send_analytics_event(event())
        for name in ("accepted", "pending", "oldest"):
            assert telemetry.points(f"masivo.events.{name}")
    assert held
    assert all(held)


@worlds
def test_waiting_events(emulator: Emulator, telemetry: Telemetry, world: World) -> None:
    """The gauges show how many events have no outcome, by state, and the age of the oldest."""
    pending: list[float] = []
    ages: list[float] = []

    def look() -> None:
        pending.append(telemetry.value("masivo.events.pending", masivo_state="queued"))
        ages.append(telemetry.value("masivo.events.oldest"))

    def prepare(client: Client | AsyncClient | TrioClient) -> None:
        telemetry.instrument(client)
        client_of.append(client)

    client_of: list[Client | AsyncClient | TrioClient] = []

    def before_close() -> None:
        look()
        client_of[0].send_analytics_event(event(2))
        client_of[0].send_analytics_event(event(3))
        look()

    world(Job(options(emulator), [event(1)], prepare, before_close))
    look()
    assert pending == [0, 2, 0]
    assert ages[0] == ages[2] == 0.0
    assert 0.0 < ages[1] < 5.0


def test_a_spool(emulator: Emulator, telemetry: Telemetry, tmp_path: Path) -> None:
    """Events that stay on disk have not failed: they are pending until a client adopts them."""

    def numbers(name: str) -> dict[str, Any]:
        points = telemetry.points(f"masivo.events.{name}")
        return {each["attributes"].get("masivo.state", name): each["value"] for each in points}

    emulator.fail(503, route="events", times=None)
    with Client(**options(emulator), spool=tmp_path, max_retries=0) as client:
        telemetry.instrument(client)
        assert client.send_analytics_event(event()).exception(5.0) is not None
        until(lambda: numbers("pending") == {"queued": 0, "in_flight": 0, "spooled": 1})
        assert numbers("failed") == {}
        client.close(0.0)
    emulator.heal()
    with Client(**options(emulator), spool=tmp_path) as successor:
        telemetry.instrument(successor)
        successor.send_analytics_event(event(2))
        successor.flush(5.0)
        until(lambda: successor.stats().delivered == 2)
        assert numbers("adopted") == {"adopted": 1}
        assert numbers("delivered") == {"delivered": 2}
        assert numbers("pending") == {"queued": 0, "in_flight": 0, "spooled": 0}


def test_where_it_comes_from(emulator: Emulator, telemetry: Telemetry) -> None:
    """Metrics and spans name the package; each metric of events, and its server alone. Each metric
    is described."""
    emulator.reject = lambda each: "no such customer" if each["customer_id"] == "c-bad" else None
    with Client(**options(emulator, on_error=ignore)) as client:
        telemetry.instrument(client)
        for customer in ("c-good", "c-bad"):
            client.send_analytics_event(event(customer_id=customer))
        client.flush()
        port = int(emulator.url.split(":")[2].split("/")[0])
        server = {"server.address": "127.0.0.1", "server.port": port}
        for name in ("events.accepted", "events.delivered", "batches.retried", "events.oldest"):
            (point,) = telemetry.points(f"masivo.{name}")
            assert point["attributes"] == server
        states = [each["attributes"] for each in telemetry.points("masivo.events.pending")]
        assert states == [
            server | {"masivo.state": state} for state in ("queued", "in_flight", "spooled")
        ]
        # A flush may return before the activity of its requests is put out.
        until(lambda: telemetry.points("masivo.events.failed"))
        data = telemetry.reader.get_metrics_data()
    assert data is not None
    (metrics,) = data.resource_metrics[0].scope_metrics
    assert {each.name: each.unit for each in metrics.metrics} == {
        **{
            f"masivo.events.{name}": "{event}"
            for name in (
                *("accepted", "delivered", "failed", "dropped", "overflowed", "adopted"),
                "pending",
            )
        },
        "masivo.batches.retried": "{batch}",
        "masivo.events.oldest": "s",
        "http.client.request.duration": "s",
    }
    assert all(each.description for each in metrics.metrics)
    scopes = [metrics.scope, *(each.instrumentation_scope for each in telemetry.spans)]
    found = {(each.name, each.version, each.schema_url) for each in scopes if each is not None}
    assert found == {("masivo", masivo.__version__, "https://opentelemetry.io/schemas/1.23.1")}


@pytest.mark.parametrize(
    ("base_url", "address", "port"),
    [
        ("https://shop.example/v1", "shop.example", 443),
        ("https://shop.example:8443/v1", "shop.example", 8443),
        ("http://[::1]/v1", "::1", 80),
    ],
)
def test_the_port_of_a_server(telemetry: Telemetry, base_url: str, address: str, port: int) -> None:
    """It is always named, as the conventions ask."""
    client = Client("k-1", base_url=base_url)
    telemetry.instrument(client)
    (point,) = telemetry.points("masivo.events.accepted")
    client.destroy()
    assert point["value"] == 0
    assert point["attributes"] == {"server.address": address, "server.port": port}


def test_several_clients_of_a_server(emulator: Emulator, telemetry: Telemetry) -> None:
    """Their waiting events are summed up; the age is that of the oldest of all."""
    with (
        Client(**options(emulator)) as one,
        Client(**options(emulator)) as other,
        Client(**options(emulator)) as idle,
    ):
        for client in (other, one, idle):
            telemetry.instrument(client)
            client.get_token(10)
        one.send_analytics_event(event())
        first = one.stats().oldest
        other.send_analytics_event(event())
        other.send_analytics_event(event())
        age = telemetry.value("masivo.events.oldest")
        assert telemetry.value("masivo.events.pending", masivo_state="queued") == 3
        youngest, last = other.stats().oldest, one.stats().oldest  # in this order: time passes
    assert first is not None
    assert last is not None
    assert youngest is not None
    assert first <= age <= last
    assert youngest < last


# ── Clients that come and go ─────────────────────────────────────────────────────────────────


def test_a_client_is_not_kept(emulator: Emulator, telemetry: Telemetry) -> None:
    """A client that is let go of is collected, delivers what it holds, and keeps its counts."""
    client = Client(**options(emulator))
    telemetry.instrument(client)
    client.send_analytics_event(event())
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    emulator.wait_for(lambda emulator: emulator.event_count == 1)
    with Client(**options(emulator)) as other:
        telemetry.instrument(other)
        other.send_analytics_event(event())
        other.flush()
        until(lambda: telemetry.value("masivo.events.delivered") == 2)
    assert telemetry.value("masivo.events.accepted") == 2


def test_the_buffers_of_clients_that_are_gone_are_not_kept(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    """Nor before a reader collects; the counts stay."""
    buffers: list[weakref.ref[object]] = []

    def use() -> None:
        with Client(**options(emulator)) as client:
            telemetry.instrument(client)
            client.send_analytics_event(event())
            buffers.append(weakref.ref(client._buffer))

    for _ in range(3):
        use()
    for thread in threading.enumerate():
        if thread.name == "masivo":
            thread.join(8)
    gc.collect()
    assert [each() for each in buffers] == [None] * 3
    assert len(_meters(telemetry.meters)._watches) <= 2, "sums take their places"
    assert telemetry.value("masivo.events.delivered") == 3


def test_a_client_that_was_closed_before(emulator: Emulator, telemetry: Telemetry) -> None:
    """It reports what it had done, and its buffer is not kept."""

    def use() -> weakref.ref[object]:
        with Client(**options(emulator)) as client:
            client.send_analytics_event(event())
        telemetry.instrument(client)
        return weakref.ref(client._buffer)

    buffer = use()
    assert telemetry.value("masivo.events.accepted") == 1
    for thread in threading.enumerate():
        if thread.name == "masivo":
            thread.join(8)
    gc.collect()
    assert buffer() is None
    assert telemetry.value("masivo.events.accepted") == 1


def test_one_authorization_of_several_clients(emulator: Emulator, telemetry: Telemetry) -> None:
    """Clients of a key share it: it is one span and one duration."""
    with Client(**options(emulator)) as one, Client(**options(emulator)) as other:
        for client in (one, other):
            telemetry.instrument(client)
        for client in (one, other):
            client.send_analytics_event(event())
            client.flush()
    names = [each.name.split()[0] for each in telemetry.spans]
    assert sorted(names) == ["GET", "POST", "POST"]
    points = telemetry.points("http.client.request.duration")
    assert sum(point["count"] for point in points) == 3
    assert telemetry.value("masivo.events.delivered") == 2


def test_every_authorization_of_several_clients(emulator: Emulator, telemetry: Telemetry) -> None:
    """However many there are, each is one span, and the memory of them is bounded."""
    with Client(**options(emulator)) as one, Client(**options(emulator)) as other:
        for client in (one, other):
            telemetry.instrument(client)
        for _ in range(20):
            emulator.revoke_tokens()
            one.send_analytics_event(event())
            assert one.flush().delivered == 1
        (requests,) = _meters(telemetry.meters).requests.values()
        assert len(requests._authorizations) <= 17
    authorizations = [each for each in telemetry.spans if each.name.startswith("GET")]
    assert len(authorizations) == len(emulator.authorizations) == 20


def test_instrumented_twice(emulator: Emulator, telemetry: Telemetry) -> None:
    """The second time changes nothing."""
    with Client(**options(emulator)) as client:
        telemetry.instrument(client)
        telemetry.instrument(client)
        client.send_analytics_event(event())
    assert len(telemetry.spans) == 2
    assert telemetry.value("masivo.events.accepted") == 1


@pytest.mark.parametrize("slow", ["_Meters", "_Requests"])
def test_threads_that_instrument_at_once(
    emulator: Emulator, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """Each in its own thread, several clients of a key share the instruments, and each request is
    reported once: a meter ignores a second instrument of the same name."""
    both = threading.Barrier(2)
    make = getattr(masivo.opentelemetry, slow)

    def wait_and_make(*args: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        return make(*args)

    monkeypatch.setattr(masivo.opentelemetry, slow, wait_and_make)
    clients = [Client(**options(emulator)) for _ in range(2)]
    threads = [threading.Thread(target=telemetry.instrument, args=(each,)) for each in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.send_analytics_event(event())
        client.flush(10)
    for client in clients:
        client.close()
    assert telemetry.value("masivo.events.delivered") == 2
    assert len([span for span in telemetry.spans if "authorize" in span.name]) == 1


def test_a_request_that_is_abandoned(emulator: Emulator, telemetry: Telemetry) -> None:
    """It ends with its client, as an error."""
    emulator.fail(Fault(delay=60), route="events")
    client = Client(**options(emulator, batch_size=1))
    telemetry.instrument(client)
    client.send_analytics_event(event())
    emulator.wait_for(lambda emulator: emulator.batches)
    client.close(timeout=0)
    (_, span) = telemetry.spans
    assert span.attributes is not None
    assert span.attributes["error.type"] == "abandoned"
    assert telemetry.value("masivo.events.failed", error_type="MasivoClosedError") == 1


def test_an_authorization_that_is_abandoned(emulator: Emulator, telemetry: Telemetry) -> None:
    """It ends with the last client of its key."""
    emulator.fail(Fault(delay=60), route="authorize")
    client = Client(**options(emulator))
    telemetry.instrument(client)
    client.send_analytics_event(event())
    emulator.wait_for(lambda emulator: emulator.authorizations)
    client.close(timeout=0)
    (span,) = telemetry.spans
    assert span.attributes is not None
    assert span.attributes["error.type"] == "abandoned"


def test_the_end_of_another_client(emulator: Emulator, telemetry: Telemetry) -> None:
    """It ends no request of those that stay."""
    emulator.fail(Fault(delay=0.2), route="events")
    with Client(**options(emulator, batch_size=1)) as stays:
        leaves = Client(**options(emulator))
        telemetry.instrument(stays)
        telemetry.instrument(leaves)
        delivery = stays.send_analytics_event(event())
        emulator.wait_for(lambda emulator: emulator.batches)
        leaves.close()
        assert delivery.result(10).success
    (_, span) = telemetry.spans
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 200
    assert "error.type" not in span.attributes


def test_what_is_no_client() -> None:
    """The error names what was given."""
    client: Any = "client"
    with pytest.raises(TypeError, match="a client of masivo, not str"):
        instrument(client)


# ── Programs ─────────────────────────────────────────────────────────────────────────────────


def run(program: str, *arguments: str) -> tuple[str, str]:
    """Run a program; what it prints."""
    out, err = processes.start(program, *arguments).communicate(timeout=60)
    return out.decode(), err.decode()


def test_without_the_package() -> None:
    """The error names the extra."""
    _, err = run("import sys; sys.modules['opentelemetry'] = None; import masivo.opentelemetry")
    assert "ImportError: masivo.opentelemetry needs the package opentelemetry-api" in err
    assert "pip install 'masivo[opentelemetry]'" in err


GLOBAL = """
import sys
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from masivo import Client, opentelemetry
from masivo.opentelemetry import instrument

def client():
    made = Client(sys.argv[1], base_url=sys.argv[2])
    instrument(made)
    made.send_analytics_event({"type": "VIEW", "customer_id": "c-1", "brand_id": None})
    return made

early = client()
reader = InMemoryMetricReader()
provider = MeterProvider([reader])
metrics.set_meter_provider(provider)
late = client()
instrument(late, provider)
assert len(opentelemetry._global) == 1
print("counted", [
    point.value
    for resource in reader.get_metrics_data().resource_metrics
    for scope in resource.scope_metrics
    for metric in scope.metrics
    if metric.name == "masivo.events.accepted"
    for point in metric.data.data_points
])
"""


def test_the_global_provider_is_set_later(emulator: Emulator) -> None:
    """Clients are counted that were instrumented before it was set, and after, by the same
    instruments."""
    assert run(GLOBAL, emulator.client_key, emulator.url) == ("counted [2]\n", "")


FORK = """
import os, sys, warnings
warnings.filterwarnings("ignore", "This process", DeprecationWarning)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from masivo import Client, opentelemetry
from masivo.opentelemetry import instrument

reader = InMemoryMetricReader()
provider = MeterProvider([reader])
client = Client(sys.argv[1], base_url=sys.argv[2])
instrument(client, provider)

def send(who):
    client.send_analytics_event({"type": "VIEW", "customer_id": "c-1", "brand_id": None})
    client.flush()
    print(who, [
        point.value
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "masivo.events.delivered"
        for point in metric.data.data_points
    ], flush=True)

send("parent")
locks = [opentelemetry._adding, opentelemetry._of_providers[provider]._lock]
for lock in locks:  # as other threads may do
    lock.acquire()
child = os.fork()
if child == 0:
    instrument(client, provider)
    send("child")
    sys.exit()
for lock in locks:
    lock.release()
os.waitpid(child, 0)
send("parent")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_child_of_a_fork_counts_its_own(emulator: Emulator) -> None:
    """Its client is reported too, without the events of its parent; a lock that another thread of
    the parent held does not stop it."""
    assert run(FORK, emulator.client_key, emulator.url) == (
        "parent [1]\nchild [1]\nparent [2]\n",
        "",
    )
