"""What type checkers must refuse of the public interface. It is checked, and never run.

Each comment that ignores an error is itself an error where there is none, for mypy and for
pyright alike: so a line that one of them comes to accept breaks the check.
"""

from __future__ import annotations

import httpx

from masivo import (
    AnalyticsEvent,
    Api,
    AsyncClient,
    Client,
    Delivery,
    FailedEvent,
    FlushResult,
    SendEventResult,
    Stats,
    TrioClient,
    protocol,
)

# ── Constructors ─────────────────────────────────────────────────────────────────────────────

Client(7)  # type: ignore[arg-type]
Client("key", "brand")  # type: ignore[call-arg, arg-type]
Client(b"key")  # type: ignore[arg-type]
Client(brand_id=7)  # type: ignore[arg-type]
Client(base_url=b"https://example.com")  # type: ignore[arg-type]
Client(batch_size="100")  # type: ignore[arg-type]
Client(batch_size=1.5)  # type: ignore[arg-type]
Client(idle_timeout=None)  # type: ignore[arg-type]
Client(idle_timeout="30")  # type: ignore[arg-type]
Client(refresh_interval="never")  # type: ignore[arg-type]
Client(timeout=None)  # type: ignore[arg-type]
Client(max_retries=None)  # type: ignore[arg-type]
Client(max_queue=1e6)  # type: ignore[arg-type]
Client(isolate_rejected="yes")  # type: ignore[arg-type]
Client(enabled=None)  # type: ignore[arg-type]
Client(api={"events_path": "/events"})  # type: ignore[arg-type]
Client(colour="blue")  # type: ignore[call-arg]
AsyncClient(timeout="10")  # type: ignore[arg-type]
TrioClient(max_in_flight=2.0)  # type: ignore[arg-type]
Api("/auth", 7)  # type: ignore[arg-type]
Api(events_key=b"events")  # type: ignore[arg-type]
Api(reserved_types=["PURCHASE"])  # type: ignore[arg-type]
Api(is_server_key_refusal=lambda status: True)  # type: ignore[arg-type, misc]
Api().events_path = "/events"  # type: ignore[misc]

# ── HTTP clients of the wrong kind ───────────────────────────────────────────────────────────

Client(http_client=httpx.AsyncClient())  # type: ignore[arg-type]
Client(http_client=httpx.AsyncClient)  # type: ignore[arg-type]
Client(http_client=lambda: httpx.AsyncClient())  # type: ignore[arg-type, return-value]
Client(http_client="httpx")  # type: ignore[arg-type]
AsyncClient(http_client=httpx.Client())  # type: ignore[arg-type]
AsyncClient(http_client=lambda: httpx.Client())  # type: ignore[arg-type, return-value]
TrioClient(http_client=httpx.Client())  # type: ignore[arg-type]


async def make_client() -> httpx.AsyncClient:
    """Not a plain function."""
    return httpx.AsyncClient()


AsyncClient(http_client=make_client)  # type: ignore[arg-type]


# ── Callbacks ────────────────────────────────────────────────────────────────────────────────


def takes_text(failure: str) -> None:
    """Take the wrong thing."""


def takes_two(failure: FailedEvent, why: str) -> None:
    """Take too much."""


def takes_nothing() -> None:
    """Take too little."""


Client(on_error=takes_text)  # type: ignore[arg-type]
Client(on_error=takes_two)  # type: ignore[arg-type]
AsyncClient(on_error=takes_nothing)  # type: ignore[arg-type]
TrioClient(on_error="print")  # type: ignore[arg-type]


# ── Events ───────────────────────────────────────────────────────────────────────────────────

nothing: AnalyticsEvent = {}  # type: ignore[typeddict-item]
no_customer: AnalyticsEvent = {"type": "X"}  # type: ignore[typeddict-item]
no_type: AnalyticsEvent = {"customer_id": "c"}  # type: ignore[typeddict-item]
number: AnalyticsEvent = {"type": 7, "customer_id": "c"}  # type: ignore[typeddict-item]
nobody: AnalyticsEvent = {"type": "X", "customer_id": None}  # type: ignore[typeddict-item]
brand: AnalyticsEvent = {"type": "X", "customer_id": "c", "brand_id": 7}  # type: ignore[typeddict-item]
date: AnalyticsEvent = {"type": "X", "customer_id": "c", "issued_at": 1_700_000_000}  # type: ignore[typeddict-item]


# ── Calls ────────────────────────────────────────────────────────────────────────────────────


def threads(client: Client, delivery: Delivery) -> None:
    """A thread's client and its deliveries."""
    client.send_analytics_event("X")  # type: ignore[arg-type]
    client.send_analytics_event([("type", "X")])  # type: ignore[arg-type]
    client.send_analytics_event({1: "X"})  # type: ignore[dict-item]
    client.send_analytics_event()  # type: ignore[call-arg]
    client.flush("5")  # type: ignore[arg-type]
    client.flush(1, 2)  # type: ignore[call-arg]
    client.aclose()  # type: ignore[attr-defined]
    client.send({"type": "X"})  # type: ignore[attr-defined]
    text: str = delivery.result()  # type: ignore[assignment]
    delivery.result("soon")  # type: ignore[arg-type]
    delivery.outcome = "done"  # type: ignore[assignment]
    flushed: int = client.flush()  # type: ignore[assignment]
    print(text, flushed)


async def loops(client: AsyncClient, trio_client: TrioClient) -> None:
    """A loop's client and its deliveries."""
    with client:  # type: ignore[attr-defined]
        pass
    client.close()  # type: ignore[attr-defined]
    delivery = client.send_analytics_event({"type": "X", "customer_id": "c"})
    delivery.result()  # type: ignore[attr-defined]
    await client.send_analytics_event({"type": "X", "customer_id": "c"}).done()  # type: ignore[misc]
    flushed: FlushResult = client.flush()  # type: ignore[assignment]
    await trio_client.drain("now")  # type: ignore[arg-type]
    await trio_client.aclose("soon")  # type: ignore[arg-type]
    print(flushed)


def results(result: SendEventResult, flushed: FlushResult, stats: Stats) -> None:
    """Results do not change, and have no other fields."""
    result.success = False  # type: ignore[misc]
    flushed.delivered = 3  # type: ignore[misc]
    stats.accepted += 1  # type: ignore[misc]
    print(result.error, flushed.total)  # type: ignore[attr-defined]


# ── Drivers ──────────────────────────────────────────────────────────────────────────────────


def drive(engine: protocol.Engine, settings: protocol.Settings) -> None:
    """What a driver must not do."""
    protocol.Engine(settings.account, clock=0.0, wall_clock=0.0, random=None, wake=None)  # type: ignore[arg-type]
    protocol.configure("key")  # type: ignore[arg-type]
    engine.hand_back(1, b"body")  # type: ignore[arg-type]
    protocol.Response("200", {}, b"")  # type: ignore[arg-type]
    protocol.Failure("reason")  # type: ignore[call-arg]
    for request in engine.poll().requests:
        request.timeout = 5  # type: ignore[misc]
