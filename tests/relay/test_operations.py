"""What people and their machines learn of a relay: health, readiness, numbers, warnings."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.applications import Starlette

from masivo.protocol import BatchSettled, EventsFailed, KeyRefused, RequestFailed, ResponseReceived
from masivo.relay.metrics import Metrics
from masivo.relay.operations import Operations
from masivo.relay.store import Backlog
from masivo.relay.upstream import AGAIN, PATIENCE, Upstream

from .memory import MemoryStore
from .relays import Running, batch, event, in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from masivo.protocol import Activity


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Running, MemoryStore]]:
    """A relay and its store."""
    with in_memory() as made:
        yield made


def test_it_is_ready_while_its_store_is(shared: tuple[Running, MemoryStore]) -> None:
    """Else a 503 that says why; it is alive all the while."""
    relay, store = shared
    assert relay.ask("GET", "/ready", root=True).status == 200
    store.reachable = False
    try:
        answer = relay.ask("GET", "/ready", root=True)
        assert (answer.status, answer.body) == (503, b"it does not respond\n")
        assert relay.ask("GET", "/health", root=True).status == 200
        assert relay.numbers()["masivo_relay_store_up"] == 0
    finally:
        store.reachable = True


def test_it_is_not_ready_before_its_store_has_started() -> None:
    """However reachable that is; it is alive."""

    async def main() -> list[tuple[int, str]]:
        app = Starlette(routes=Operations(MemoryStore(), Metrics()).routes())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
            responses = [await client.get(path) for path in ("/health", "/ready")]
        return [(each.status_code, each.text) for each in responses]

    assert asyncio.run(main()) == [
        (200, "alive, but it takes no events: the relay starts\n"),
        (503, "the relay starts\n"),
    ]


def test_the_numbers_of_the_intake(shared: tuple[Running, MemoryStore]) -> None:
    """Accepted events are counted once, however often a batch comes; waiting ones and dead letters
    are the store's."""
    relay, _ = shared
    before = relay.numbers().get("masivo_relay_accepted_events_total", 0)
    for _ in range(2):
        relay.send(batch(event(1), event(2)), headers={"idempotency-key": "once"})
    relay.send(batch({}))
    numbers = relay.numbers()
    assert numbers["masivo_relay_accepted_events_total"] == before + 2
    assert numbers['masivo_relay_responses_total{route="events",status="200"}'] >= 2
    assert numbers['masivo_relay_responses_total{route="events",status="422"}'] >= 1
    assert numbers["masivo_relay_waiting_events"] == 2
    assert numbers["masivo_relay_oldest_event_seconds"] == 60
    assert numbers["masivo_relay_dead_letters"] == 3


def test_the_numbers_say_what_they_are(shared: tuple[Running, MemoryStore]) -> None:
    """A Prometheus of today takes no numbers without their type."""
    relay, _ = shared
    answer = relay.ask("GET", "/metrics", root=True)
    assert answer.headers["content-type"].startswith("text/plain; version=")


def test_numbers_of_other_programs_are_not_among_them() -> None:
    """Each relay has a registry of its own: two in a process are no fault."""
    first, second = Metrics(), Metrics()
    first.accepted.inc()
    assert b"masivo_relay_accepted_events_total 1.0" in first.exposed(None, ready=True)
    assert b"masivo_relay_accepted_events_total 0.0" in second.exposed(None, ready=True)
    assert b"python_info" not in first.exposed(None, ready=True)


def test_the_numbers_of_the_deliveries() -> None:
    """They are what the store's clients say of themselves. An authorization counts once, though all
    of them report it."""
    metrics = Metrics()
    told: list[Activity] = [
        ResponseReceived(1.0, 1, None, 200, 0.02),
        ResponseReceived(1.0, 1, None, 200, 0.02),
        ResponseReceived(2.0, 2, "b", 200, 0.2),
        ResponseReceived(3.0, 3, "c", 422, 0.2),
        ResponseReceived(4.0, 4, "d", 503, 0.2),
        RequestFailed(5.0, 5, "d", None, 10.0, ("ConnectError",), False),
        BatchSettled(6.0, "b", 100, 0),
        EventsFailed(7.0, 3, "MasivoError", 422),
        EventsFailed(8.0, 50, "MasivoClosedError", None),
    ]
    for each in told:
        metrics.listen(each)
    metrics.leases.set(2)
    lines = metrics.exposed(Backlog(5, None, 3), ready=True).decode().splitlines()
    numbers = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert numbers["masivo_relay_delivered_events_total"] == "100.0"
    assert numbers["masivo_relay_rejected_events_total"] == "3.0"
    assert numbers["masivo_relay_leases"] == "2.0"
    assert numbers["masivo_relay_waiting_events"] == "5.0"
    assert numbers["masivo_relay_oldest_event_seconds"] == "0.0"
    assert numbers["masivo_relay_upstream_up"] == "0.0"
    assert numbers['masivo_relay_upstream_seconds_count{request="batch"}'] == "3.0"
    assert numbers['masivo_relay_upstream_seconds_count{request="authorization"}'] == "1.0"
    failures = "masivo_relay_upstream_failures_total"
    assert numbers[failures + '{request="batch",status="422"}'] == "1.0"
    assert numbers[failures + '{request="batch",status="503"}'] == "1.0"
    assert numbers[failures + '{request="batch",status="0"}'] == "1.0"


# ── The warning ──────────────────────────────────────────────────────────────────────────────


def failed(at: float) -> Activity:
    """A request that got no response."""
    return RequestFailed(at, 1, "b", None, 10.0, ("MasivoNetworkError", "ConnectError"), False)


def status(at: float, code: int, batch_: str | None = "b") -> Activity:
    """A request that got one."""
    return ResponseReceived(at, 1, batch_, code, 0.1)


def test_an_outage_is_one_warning_and_its_end_another(caplog: pytest.LogCaptureFixture) -> None:
    """When it has lasted half a minute; then every ten minutes."""
    upstream = Upstream()
    with caplog.at_level(logging.WARNING):
        upstream.listen(failed(0.0))
        upstream.listen(failed(PATIENCE - 1))
        assert caplog.messages == []
        assert not upstream.is_up
        upstream.listen(failed(PATIENCE))
        upstream.listen(failed(PATIENCE + AGAIN - 1))
        assert len(caplog.messages) == 1
        assert "30 s" in caplog.messages[0]
        assert "ConnectError" in caplog.messages[0]
        upstream.listen(status(PATIENCE + AGAIN, 503))
        assert "HTTP 503" in caplog.messages[1]
        upstream.listen(status(PATIENCE + AGAIN + 1, 200))
        assert "again, after 631 s" in caplog.messages[2]
        assert upstream.is_up
        assert len(caplog.messages) == 3


def test_what_is_everyday_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    """A retry that works, a token that has expired, events that the API rejects."""
    upstream = Upstream()
    with caplog.at_level(logging.WARNING):
        for at in range(0, 100_000, 1_000):
            upstream.listen(failed(at))
            upstream.listen(status(at + 1, 200))
            upstream.listen(status(at + 2, 401))
            upstream.listen(status(at + 3, 422))
            assert upstream.is_up
    assert caplog.messages == []


def test_a_refused_key_is_a_warning_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """And every ten minutes: it does not pass by itself."""
    upstream = Upstream()
    with caplog.at_level(logging.WARNING):
        for at in range(0, int(AGAIN) + 30, 30):
            upstream.listen(status(at, 401, None))
            upstream.listen(KeyRefused(at, "MasivoServerKeyError", 401, 30.0))
            assert not upstream.is_up
        assert len(caplog.messages) == 2
        assert "MasivoServerKeyError, HTTP 401" in caplog.messages[0]
        assert "MASIVO_API_KEY" in caplog.messages[0]
        upstream.listen(status(AGAIN + 60, 200))
        assert "again" in caplog.messages[2]


def test_a_failed_authorization_is_an_outage() -> None:
    """Whatever its status."""
    for code in (401, 403, 422, 404, 301):
        upstream = Upstream()
        upstream.listen(status(1.0, code, None))
        assert not upstream.is_up
