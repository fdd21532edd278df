"""Clients and their values in the hands of other libraries: copies, pydantic, msgspec, FastAPI."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import masivo
from masivo import AnalyticsEvent, SendEventResult

from .events import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Connect

EVENT: dict[str, Any] = {
    "type": "VIEW",
    "customer_id": "c",
    "brand_id": None,
    "product": {"sku": "s", "tags": ["a"]},
    "redeem": [{"id": 1}],
    "tags": ["new"],
    "issued_at": "2026-01-01T00:00:00Z",
}
"""An event with a field of every kind."""


# ── Copies ───────────────────────────────────────────────────────────────────────────────────


def spawned(value: object) -> None:
    """Give something to a process that is spawned."""
    multiprocessing.get_context("spawn").Process(target=repr, args=(value,)).start()


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps, spawned])
def test_a_client_is_not_copied(connect: Connect, way: Callable[[object], object]) -> None:
    """Nor is its delivery: the error says to make one in each process
    (``docs/reference/guarantees.md#no-copies``)."""
    client = connect()
    delivery = client.send_analytics_event(event(1))
    for each in (client, delivery):
        with pytest.raises(
            TypeError,
            match=r"a client and its parts .* cannot be copied.*make a client in each process",
        ):
            way(each)
    client.flush(5)
    client.close()


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("kind", [masivo.AsyncClient, masivo.TrioClient])
def test_clients_of_loops_are_not_copied(
    kind: Callable[..., object], way: Callable[[object], object]
) -> None:
    """The same, used or not."""
    with pytest.raises(TypeError, match="make a client in each process"):
        way(kind("a-key", base_url="http://localhost:1"))


# ── Validation ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.full
def test_pydantic_takes_an_event_as_a_field() -> None:
    """With the fields that the vendor does not name, too, as the client passes them through; and a
    result, which it gives back as JSON."""
    import pydantic

    class Order(pydantic.BaseModel):
        event: AnalyticsEvent
        result: SendEventResult | None = None

    order = Order.model_validate({"event": {**EVENT, "own": 5}})
    assert order.event == {**EVENT, "own": 5}
    assert Order.model_json_schema()
    with pytest.raises(pydantic.ValidationError, match="customer_id"):
        Order.model_validate({"event": {"type": "VIEW"}})
    order = Order(
        event=AnalyticsEvent(type="V", customer_id="c"), result=SendEventResult(True, 200)
    )
    assert '"result":{"success":true,"status":200,"data":null}' in order.model_dump_json()


@pytest.mark.full
def test_fastapi_takes_an_event_as_a_body() -> None:
    """And a result as the model of a response."""
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app = FastAPI()

    @app.post("/events")
    def send(event: AnalyticsEvent) -> SendEventResult:
        return SendEventResult(True, 200, {"got": event})

    response = TestClient(app).post("/events", json={**EVENT, "own": 5})
    assert response.json() == {
        "success": True,
        "status": 200,
        "data": {"got": {**EVENT, "own": 5}},
    }
    assert "AnalyticsEvent" in str(app.openapi())


def test_msgspec_reads_both() -> None:
    """And writes what it has read."""
    encoded = msgspec.json.encode(EVENT)
    assert msgspec.json.decode(encoded, type=AnalyticsEvent) == EVENT
    result = SendEventResult(True, 200, {"x": [1]})
    assert msgspec.json.decode(msgspec.json.encode(result), type=SendEventResult) == result
