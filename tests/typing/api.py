"""What type checkers must accept of the public interface. It is checked, and never run."""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, assert_type

import httpx
import httpx2

import masivo
from masivo import (
    AnalyticsEvent,
    Api,
    AsyncClient,
    AsyncDelivery,
    Client,
    Delivery,
    FailedEvent,
    FlushResult,
    MasivoAuthError,
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    MasivoQueueFullError,
    MasivoServerKeyError,
    MasivoValidationError,
    SendEventResult,
    Stats,
    TrioClient,
    protocol,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Mapping

T = TypeVar("T")

MYPY = False
"""True to mypy alone."""

assert_type(masivo.__version__, str)


# ── Constructors ─────────────────────────────────────────────────────────────────────────────


def constructors() -> None:
    """No argument is needed; all are accepted by name, the key by position too."""
    for make in (Client, AsyncClient, TrioClient):
        make()
        make("key")
    Client(
        api_key="key",
        brand_id="brand",
        base_url="https://example.com",
        batch_size=10,
        idle_timeout=1,
        max_wait=2.5,
        await_linger=None,
        refresh_interval=None,
        timeout=3,
        max_retries=0,
        max_in_flight=4,
        max_queue=1000,
        max_queue_bytes=1_000_000,
        max_event_bytes=1000,
        max_batch_bytes=100_000,
        isolate_rejected=False,
        on_error=None,
        http_client=None,
        enabled=False,
        api=Api(),
    )


def http_clients() -> None:
    """A client of either family, of the world's kind, or a function that makes one."""
    Client(http_client=httpx.Client())
    Client(http_client=httpx2.Client())
    Client(http_client=httpx.Client)
    Client(http_client=lambda: httpx.Client(verify=False))
    Client(http_client=lambda: httpx2.Client())
    AsyncClient(http_client=httpx.AsyncClient())
    AsyncClient(http_client=httpx2.AsyncClient())
    AsyncClient(http_client=lambda: httpx.AsyncClient())
    TrioClient(http_client=httpx.AsyncClient())
    TrioClient(http_client=lambda: httpx2.AsyncClient())


class Failures:
    """A place to put failures."""

    def __init__(self) -> None:
        self.seen: list[FailedEvent] = []

    def note(self, failure: FailedEvent) -> None:
        """Keep one."""
        self.seen.append(failure)

    def __call__(self, failure: FailedEvent) -> int:
        """Keep one, and count."""
        self.note(failure)
        return len(self.seen)


def print_failure(failure: FailedEvent) -> None:
    """Show what there is of a failure."""
    assert_type(failure.event, dict[str, Any])
    assert_type(failure.error, MasivoError)
    print(failure.event.get("type"), failure.error.status)


def take_anything(thing: object) -> str:
    """Take more than is needed."""
    return repr(thing)


def callbacks() -> None:
    """Any plain callable that takes a FailedEvent, whatever it returns."""
    failures = Failures()
    Client(on_error=print_failure)
    Client(on_error=failures.note)
    Client(on_error=failures)
    Client(on_error=failures.seen.append)
    Client(on_error=take_anything)
    AsyncClient(on_error=lambda failure: print(failure.error.message))


def choices() -> None:
    """``Api`` is made by name."""

    def is_server_key(status: int, body: protocol.Json) -> bool:
        return status == 403 and isinstance(body, dict)

    api = Api(
        authorize_path="/auth",
        events_path="/events",
        events_key=None,
        sdk_header=None,
        reserved_types=frozenset({"PURCHASE"}),
        stamp_issued_at=False,
        is_server_key_refusal=is_server_key,
    )
    assert_type(api.events_key, str | None)
    assert_type(api.reserved_types, frozenset[str])
    TrioClient(api=api)


# ── Events ───────────────────────────────────────────────────────────────────────────────────


class CartEvent(TypedDict):
    """An event type of the caller's own."""

    type: str
    customer_id: str
    brand_id: str | None
    cart_size: int


class DerivedEvent(AnalyticsEvent):
    """An event with a field of the caller's own."""

    cart_size: int


def events(client: Client) -> None:
    """An AnalyticsEvent, or any mapping."""
    full: AnalyticsEvent = {
        "type": "ADD_TO_CART",
        "customer_id": "c-1",
        "brand_id": None,
        "platform": "web",
        "order": {"purchase_id": "p", "value": 10.5},
        "product": {"sku": "s", "tags": ["a"]},
        "fulfilled": True,
        "reserve": 1,
        "redeem": [{"id": "r", "amount": 1}],
        "tags": ["x"],
        "referral_code": "code",
        "metadata": {"anything": object()},
        "issued_at": dt.datetime.now(dt.UTC),
    }
    least: AnalyticsEvent = {"type": "X", "customer_id": "c"}
    text: AnalyticsEvent = {"type": "X", "customer_id": "c", "issued_at": "2026-01-01T00:00:00Z"}
    if not MYPY:  # it does not know further keys (PEP 728) yet
        further: AnalyticsEvent = {"type": "X", "customer_id": "c", "colour": "blue"}
        client.send_analytics_event(further)
    derived: DerivedEvent = {"type": "X", "customer_id": "c", "cart_size": 3}
    client.send_analytics_event(derived)
    own: CartEvent = {"type": "X", "customer_id": "c", "brand_id": "b", "cart_size": 3}
    strings: dict[str, str] = {"type": "X", "customer_id": "c", "brand_id": "b"}
    mapping: Mapping[str, object] = strings
    for event in (full, least, text):
        assert_type(client.send_analytics_event(event), Delivery)
    client.send_analytics_event(own)
    client.send_analytics_event(strings)
    client.send_analytics_event(mapping)
    client.send_analytics_event(MappingProxyType(strings))
    client.send_analytics_event(OrderedDict(strings))
    client.send_analytics_event(
        {"type": "X", "customer_id": "c", "brand_id": None, "n": [1, {"a": 2}]}
    )


# ── Threads ──────────────────────────────────────────────────────────────────────────────────


def threads() -> None:
    """Every method of a Client, and of its deliveries."""
    with Client() as client:
        assert_type(client, Client)
        delivery = client.send_analytics_event({"type": "X", "customer_id": "c"})
        assert_type(delivery, Delivery)
        assert_type(delivery.done(), bool)
        assert_type(delivery.result(), SendEventResult)
        assert_type(delivery.result(timeout=1), SendEventResult)
        assert_type(delivery.exception(0.5), MasivoError | None)
        assert_type(client.flush(), FlushResult)
        assert_type(client.flush(timeout=1.5), FlushResult)
        assert_type(client.get_token(1), str)
        assert_type(client.stats(), Stats)
        client.drain(timeout=None)
        client.close(timeout=None)
        client.close(5)
        client.destroy()


def results(result: SendEventResult, flushed: FlushResult, stats: Stats) -> None:
    """What results carry."""
    assert_type(result.success, bool)
    assert_type(result.status, int)
    assert_type(result.data["data"]["status"], Any)
    assert_type(flushed.delivered + flushed.failed, int)
    counts = (
        stats.accepted,
        stats.delivered,
        stats.failed,
        stats.overflowed,
        stats.retries,
        stats.requests,
        stats.authorizations,
        stats.queued,
        stats.in_flight,
    )
    assert_type(sum(counts), int)


# ── Event loops ──────────────────────────────────────────────────────────────────────────────


async def loops(kind: type[AsyncClient | TrioClient]) -> None:
    """Every method of the clients for event loops, and of their deliveries."""
    async with kind() as client:
        delivery = client.send_analytics_event({"type": "X", "customer_id": "c"})
        assert_type(delivery, AsyncDelivery)
        assert_type(await delivery, SendEventResult)
        assert_type(await delivery.exception(), MasivoError | None)
        assert_type(delivery.done(), bool)
        assert_type(await client.flush(timeout=1), FlushResult)
        assert_type(await client.get_token(), str)
        assert_type(client.stats(), Stats)
        await client.drain(1)
        await client.aclose(timeout=None)
        client.destroy()


async def asyncio_tools(client: AsyncClient, delivery: AsyncDelivery) -> None:
    """What asyncio itself offers takes what the client gives."""
    import asyncio

    awaitable: Awaitable[SendEventResult] = delivery
    coroutine: Coroutine[object, None, FlushResult] = client.flush()
    assert_type(await asyncio.wait_for(awaitable, 1), SendEventResult)
    assert_type(await asyncio.create_task(coroutine), FlushResult)
    assert_type(await asyncio.gather(delivery, client.get_token()), tuple[SendEventResult, str])
    async with asyncio.TaskGroup() as group:
        group.create_task(client.drain())


# ── Errors ───────────────────────────────────────────────────────────────────────────────────


def errors(delivery: Delivery) -> str:
    """Each error is a MasivoError; two are ValueErrors too."""
    try:
        delivery.result()
    except MasivoServerKeyError as error:
        auth: MasivoAuthError = error
        return auth.message
    except (MasivoValidationError, MasivoConfigError) as error:
        wrong: ValueError = error
        return str(wrong)
    except (MasivoNetworkError, MasivoQueueFullError, MasivoClosedError) as error:
        assert_type(error.status, int | None)
        assert_type(error.details, protocol.Json)
        return error.message
    except MasivoError as error:
        assert_type(error.copy(), MasivoError)
        return error.message
    return ""


# ── Drivers ──────────────────────────────────────────────────────────────────────────────────


def drive(settings: protocol.Settings, random: protocol.RandomSource) -> None:
    """The loop of ``masivo.protocol``, and what waits for what."""
    engine = protocol.Engine(
        settings.account, clock=lambda: 0.0, wall_clock=lambda: 0.0, random=random, wake=print
    )
    buffer = engine.attach(settings)
    output = engine.poll()
    for request in output.requests:
        response = protocol.Response(200, {"date": ""}, b"")
        engine.hand_back(request.id, response)
        engine.hand_back(request.id, protocol.Failure("no connection", sent=False))
    assert_type(output.wake_at, float | None)
    assert_type(value_of(buffer.flush()), FlushResult)
    assert_type(value_of(buffer.token()), str)
    assert_type(value_of(buffer.send({})), SendEventResult)


def value_of(awaited: protocol.Awaited[T]) -> T:
    """One way to wait for whatever there is."""
    outcome = awaited.claim()
    assert outcome is not None
    return protocol.unwrap(outcome)
